"""Engine: matrix products and convolutions by approximate multipliers."""

from collections.abc import Callable

import torch

from hwlut.ops import approx_matmul, expand_weights
from hwlut.ops.evaluate import narrowest
from hwlut.ops.forms import Convolution
from hwlut.program.engine.prepared import Compute, Place, as_integers, tensor_of
from hwlut.units.products import Convolve, Linear, MatrixProduct, Weighted

__all__ = ["convolution", "linear", "matrix_product"]


def linear(node: Linear, place: Place) -> Compute:
    """Of rows and weights."""
    sums = _sums(node, place, lambda weights: weights.t(), 1)
    return lambda value: place.given(sums(as_integers(value)))


def convolution(node: Convolve, place: Place) -> Compute:
    """Of patches, as rows, and weights."""
    kernel, pads = tuple(node.weights.shape[2:]), tuple((width, width) for width in node.padding)
    fill = tensor_of((node.fill,), place.device, torch.int64) if any(node.padding) else None

    def form(sizes: tuple[int, ...]) -> Convolution:
        return Convolution(sizes, kernel, node.stride, pads, node.dilation, node.groups)

    sums = _sums(node, place, form(kernel).columns, node.groups)

    def run(value: torch.Tensor) -> torch.Tensor:
        made = form(tuple(value.shape[2:]))
        return place.given(made.result(sums(made.rows(made.padded(_holding(value, node), fill)))))

    return run


def _holding(value: torch.Tensor, node: Convolve) -> torch.Tensor:
    """Codes in a dtype that holds what pads them."""
    whole = as_integers(value)
    held = torch.iinfo(whole.dtype)
    return whole if not any(node.padding) or held.min <= node.fill <= held.max else whole.to(torch.int32)


def _sums(
    node: Weighted, place: Place, columns_of: Callable[[torch.Tensor], torch.Tensor], groups: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """From rows of codes to their sums, with corrections: of several groups [groups, M, ...]."""
    dtype = torch.int32 if node.accumulator(place.spans[0]).bits <= 32 else torch.int64
    weights = tensor_of(node.weights, place.device, narrowest(node.multiplier.b))
    columns = expand_weights(columns_of(weights), node.multiplier)

    def along(values: torch.Tensor) -> torch.Tensor:
        return values if groups == 1 else values.view(groups, 1, -1)

    zeros = constants = None
    if any(node.zeros):
        zeros = along(tensor_of(node.zeros, place.device, torch.int64).expand(len(node.weights)).contiguous())
    if node.constants is not None:
        constants = along(tensor_of(node.constants, place.device, dtype))

    def sums(rows: torch.Tensor) -> torch.Tensor:
        total = approx_matmul(rows, columns, node.multiplier).to(dtype)
        if zeros is not None:
            total = total - (zeros * rows.sum(-1, keepdim=True, dtype=torch.int64)).to(dtype)
        return total if constants is None else total + constants

    return sums


def matrix_product(node: MatrixProduct, place: Place) -> Compute:
    """Of two operands of codes."""
    dtype = torch.int32 if node.accumulator(*place.spans).bits <= 32 else torch.int64

    def run(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        node.check(a)
        a, b = as_integers(a), as_integers(b)
        total = approx_matmul(a, b, node.multiplier).to(dtype)
        if node.b_zero:
            total = total - (a.sum(-1, keepdim=True) - a.shape[-1] * node.a_zero) * node.b_zero
        if node.a_zero:
            total = total - b.sum(-2, keepdim=True) * node.a_zero
        return place.given(total)

    return run
