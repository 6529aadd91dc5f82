"""Products of two activations."""

from typing import Any

import torch

from hwlut.nn.approx.gradients import Gradient, gradient_of
from hwlut.nn.approx.layer import Multiplied, real_and_codes
from hwlut.nn.approx.product import columns_of, product
from hwlut.nn.approx.spec import Approximate
from hwlut.nn.approx.sums import Engine, Kernels
from hwlut.nn.real import check_real, in_float32
from hwlut.ops.forms import Matmul
from hwlut.quant import Quantizer
from hwlut.units import Multiplier

__all__ = ["ApproxMatmul", "approx_bmm"]


def approx_bmm(
    x: torch.Tensor,
    w: torch.Tensor,
    multiplier: Multiplier,
    activations: Quantizer | None = None,
    weights: Quantizer | None = None,
    gradient: Any = "ste",
) -> torch.Tensor:
    """``x @ w`` by an approximate multiplier, differentiable: real x [..., M, K] and w [..., K, N] to [..., M, N].

    Leading dimensions broadcast as in torch.matmul; the arithmetic is that of `ApproxLayer`, without a bias.
    activations, weights: the quantizers of x and of w, used as they are, not copied; by default one with a real step
    from the range of each input, for the whole tensor. Steps and zero points must be the same along K: w may have
    channels of axis -1. gradient: as of `Approximate`.
    """
    spec = Approximate(multiplier, activations, weights, gradient)
    _check("approx_bmm", x, w)
    x_quantizer = spec.activation_quantizer() if activations is None else activations
    w_quantizer = spec.second_quantizer() if weights is None else weights
    derivatives = gradient_of(spec.gradient, multiplier).to(x.device)
    return _multiplied(x, w, x_quantizer, w_quantizer, Kernels(multiplier), derivatives)


class ApproxMatmul(Multiplied):
    """`approx_bmm` as a module of two arguments, with copies of the quantizers.

    Without `weights`, the second operand has a quantizer like that of the first, with one step for the tensor.
    """

    def __init__(
        self,
        *,
        multiplier: Multiplier,
        activations: Quantizer | None = None,
        weights: Quantizer | None = None,
        gradient: Any = "ste",
        engine: Engine | None = None,
    ):
        super().__init__()
        spec = Approximate(multiplier, activations, weights, gradient, engine)
        second = spec.second_quantizer() if weights is None else spec.weight_quantizer()
        self._take(spec, spec.activation_quantizer(), second)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        _check(type(self).__name__, x, w)
        return _multiplied(x, w, self.activation_quantizer, self.weight_quantizer, self.engine, self._gradient)


def _check(name: str, x: torch.Tensor, w: torch.Tensor) -> None:
    for label, operand in (("x", x), ("w", w)):
        check_real(f"{name} {label}", operand)
        if operand.dim() < 2:
            raise ValueError(f"{name} {label} must have at least two dimensions, not {list(operand.shape)}")


def _multiplied(
    x: torch.Tensor, w: torch.Tensor, of_x: Quantizer, of_w: Quantizer, engine: Engine, gradient: Gradient
) -> torch.Tensor:
    def run(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        form = Matmul(x.shape, w.shape)
        (real_x, x_codes), (real_w, w_codes) = real_and_codes(of_x, x), real_and_codes(of_w, w)
        for label, step, place in (("x", x_codes.step, -1), ("w", w_codes.step, -2)):
            if step.dim() and step.shape[place] != 1:
                raise ValueError(f"approx_bmm {label} must have one step along K, not {step.shape[place]}")
        columns = columns_of(form, x_codes.zero is None, w_codes)
        return product(form, (real_x, real_w), x_codes, w_codes, columns, engine, gradient)

    return in_float32(run, x, w)
