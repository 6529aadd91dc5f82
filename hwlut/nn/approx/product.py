"""The differentiable product of real operands by way of their codes."""

from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from hwlut.fixed import Fixed
from hwlut.nn.approx.gradients import Gradient
from hwlut.nn.approx.sums import Engine, corrected
from hwlut.nn.real import without_autocast
from hwlut.ops import ExpandedWeights
from hwlut.ops.forms import Form
from hwlut.quant import Quantizer
from hwlut.quant.formats import integers_of

__all__ = ["Columns", "Operand", "columns_of", "operand", "product", "totals"]


class Operand(NamedTuple):
    """Codes, in the smallest type that holds them, their step and zero point (None: 0)."""

    codes: torch.Tensor
    step: torch.Tensor
    zero: torch.Tensor | None


class Columns(NamedTuple):
    """The second operand made ready for an engine: codes or prepared codes [..., K, N]; their sums and zero
    points [..., 1, N], each None where no zero point asks for it."""

    matrix: torch.Tensor | ExpandedWeights
    sums: torch.Tensor | None
    zero: torch.Tensor | None


def operand(quantizer: Quantizer, x: torch.Tensor) -> Operand:
    """The codes of `x`; nothing is observed."""
    codes, step, zero = quantizer.quantize(x)
    return Operand(codes.to(_smallest(integers_of(quantizer.format))), step, None if quantizer.symmetric else zero)


def columns_of(form: Form, x_symmetric: bool, w: Operand, engine: Engine | None = None) -> Columns:
    """The `Columns` of a second operand, for first operands with or without zero points; prepared by an engine, or as
    they are."""
    matrix = form.columns(w.codes)
    sums = None if x_symmetric else matrix.sum(-2, keepdim=True, dtype=torch.int64)
    zero = w.zero
    if zero is not None and zero.dim():
        zero = form.columns(zero.expand(w.codes.shape))[..., :1, :]
    return Columns(matrix if engine is None else engine.prepared(matrix), sums, zero)


def totals(form: Form, x: Operand, columns: Columns, engine: Engine, correct: bool = True) -> torch.Tensor:
    """Sums of products of codes less zero points, in the shape of the result; see `corrected`, or uncorrected ones."""
    rows = form.rows(form.padded(x.codes, x.zero))
    zeros = (_row_zeros(form, x), columns.zero) if correct else (None, None)
    return form.result(corrected(rows, columns.matrix, columns.sums, zeros, form.overlaps, engine))


def _row_zeros(form: Form, x: Operand) -> torch.Tensor | None:
    if x.zero is None or not x.zero.dim():
        return x.zero
    return form.rows(x.zero.expand(x.codes.shape))[..., :1]


def product(
    form: Form,
    real: tuple[torch.Tensor | None, torch.Tensor | None],
    x: Operand,
    w: Operand,
    columns: Columns,
    engine: Engine,
    gradient: Gradient,
) -> torch.Tensor:
    """``float32(totals) * (step of x * step of w)``, all float32, contiguous.

    `real`: the operands quantized and dequantized, where they are to get a gradient.
    """
    return _Product.apply(*real, form, x, w, columns, engine, gradient)


class _Product(torch.autograd.Function):
    """With D the derivatives of the multiplier by code, zx and zw the zero points and g the result's gradient,

    gradient of x[k] = sum over n of g[n] * step_w[n] * (D_a(cx[k], cw[k, n]) - zw[n])
    gradient of w[k, n] = sum over x of g[n] * step_x * (D_b(cx[k], cw[k, n]) - zx)

    where D is a sum of products of a function of a and one of b: each is the float form on the latter, times the
    former (and the other way round).
    """

    @staticmethod
    def forward(
        ctx: Any,
        real_x: torch.Tensor | None,
        real_w: torch.Tensor | None,
        form: Form,
        x: Operand,
        w: Operand,
        columns: Columns,
        engine: Engine,
        gradient: Gradient,
    ) -> torch.Tensor:
        ctx.dtypes = [None if real is None else real.dtype for real in (real_x, real_w)]
        ctx.form, ctx.gradient = form, gradient
        ctx.save_for_backward(*x, *w)
        values = totals(form, x, columns, engine).to(torch.float32, memory_format=torch.contiguous_format)
        return values.mul_(x.step * form.steps(w.step))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        saved = ctx.saved_tensors
        x, w, form, (g,) = Operand(*saved[:3]), Operand(*saved[3:]), ctx.form, gradients
        of_x = of_w = None
        with without_autocast(g.device.type):
            if ctx.needs_input_grad[0]:
                of_x = _input_gradient(form, g * form.steps(w.step), x, w, ctx.gradient).to(ctx.dtypes[0])
            if ctx.needs_input_grad[1]:
                of_w = _weight_gradient(form, g * x.step, x, w, ctx.gradient).to(ctx.dtypes[1])
        return of_x, of_w, *[None] * 6


def _input_gradient(form: Form, g: torch.Tensor, x: Operand, w: Operand, gradient: Gradient) -> torch.Tensor:
    total = torch.zeros_like(x.codes, dtype=torch.float32)
    zero = w.zero
    for term in gradient.by_a:
        weights = 1.0 if term.b is None else term.b(w.codes)
        if term.a is None and zero is not None:
            weights, zero = weights - zero, None
        part = form.input_gradient(g, _filled(weights, w.codes))
        total += part if term.a is None else part * term.a(x.codes)
    if zero is not None:
        total -= form.input_gradient(g, _filled(zero, w.codes))
    return total


def _weight_gradient(form: Form, g: torch.Tensor, x: Operand, w: Operand, gradient: Gradient) -> torch.Tensor:
    total = torch.zeros_like(w.codes, dtype=torch.float32)
    padded = form.padded(x.codes, x.zero)
    zero = x.zero
    for term in gradient.by_b:
        inputs = 1.0 if term.a is None else term.a(padded)
        if term.b is None and zero is not None:
            inputs, zero = inputs - zero, None
        part = form.weight_gradient(g, _filled(inputs, padded))
        total += part if term.b is None else part * term.b(w.codes)
    if zero is not None:
        total -= form.weight_gradient(g, _filled(zero, padded))
    return total


def _filled(values: torch.Tensor | float, like: torch.Tensor) -> torch.Tensor:
    """float32 values of the shape of the codes."""
    if not isinstance(values, torch.Tensor):
        return torch.full_like(like, values, dtype=torch.float32)
    return values.float().expand(like.shape)


def _smallest(format: Fixed) -> torch.dtype:
    if format.bits <= 8:
        return torch.int8 if format.signed else torch.uint8
    return torch.int16 if format.bits + (not format.signed) <= 16 else torch.int32
