"""Quantized layers and products as what hardware computes: integer codes, steps, constants and accumulators."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from hwlut.fixed import Fixed, signed_bits
from hwlut.nn.quantized.choice import FormatChoice
from hwlut.nn.quantized.layers import (
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedConv3d,
    QuantizedEmbedding,
    QuantizedLayer,
    QuantizedLinear,
    QuantizedTransposedLinear,
)
from hwlut.nn.quantized.products import QuantizedProduct
from hwlut.nn.quantized.quantize import quantized_operations
from hwlut.quant import Quantized, Quantizer, RangedQuantizer, multiplier_and_shift
from hwlut.quant.calibration import called
from hwlut.quant.formats import Format, integers_of
from hwlut.quant.modes import evaluating
from hwlut.quant.steps import MultiplierSteps, PowerOfTwoSteps

__all__ = ["IntegerOperand", "IntegerOperation", "integers"]

_KINDS: Mapping[type[nn.Module], str] = {
    QuantizedLinear: "linear",
    QuantizedTransposedLinear: "linear",
    QuantizedConv1d: "conv1d",
    QuantizedConv2d: "conv2d",
    QuantizedConv3d: "conv3d",
    QuantizedEmbedding: "embedding",
}
_GEOMETRY = ("stride", "padding", "dilation", "groups", "padding_mode")
_DTYPES = (torch.int8, torch.int16, torch.int32, torch.int64)
_LIMIT = 1 << 62


@dataclass(frozen=True)
class IntegerOperand:
    """An operand of integer codes, which stand for ``(code - zero_point) * step``.

    format: of the codes. integers: what holds them in front of an integer multiplier. steps: float32 numbers, one, or
    one an output channel; zero_points: as many, 0 where zero is the code 0. multipliers, shifts: as many too, with
    step = multiplier * 2^-shift; for a power of two the multiplier is 1 and the shift from -62 to 62; None for real
    steps.
    """

    format: Format
    integers: Fixed
    steps: tuple[float, ...]
    zero_points: tuple[int, ...]
    multipliers: tuple[int, ...] | None
    shifts: tuple[int, ...] | None


@dataclass(frozen=True, eq=False)
class IntegerOperation:
    """A quantized layer or product in integers.

    With activation codes a and weight codes w, the output is step_a * step_w times the integer
    ``sum(a * w) - zero_w * sum(a) + constant``, where the middle term is there for weights with a zero point alone. A
    convolution pads with the zero point of its activations. A product of activations is
    ``sum(a * w) - zero_w * sum(a) - zero_a * sum(w) + inputs * zero_a * zero_w``, with w for its second operand. An
    embedding gives its rows of ``step_w * (w - zero_w)``.

    kind: "linear", "conv1d", "conv2d", "conv3d", "embedding" or "product". weight, activation: the operands; an
    embedding has no activation. codes: of the weights, in the narrowest of int8 to int32, [outputs, inputs / groups,
    *kernel]; [rows, features] of an embedding; None of a product. bias: int32 or int64 [outputs], in units of step_a *
    step_w, rounded to the nearest; None where there is none. constant: likewise, bias - zero_a * sum(w - zero_w); None
    of an embedding and a product. accumulator: the narrowest integers that hold every partial sum of a * w in any
    order, with and without the constant and the corrections, whatever the activations are; None of an embedding, and of
    a product whose inputs are not known. inputs: how many products a sum has, where it is known. geometry: stride,
    padding, dilation, groups and padding_mode of a convolution.
    """

    kind: str
    weight: IntegerOperand
    activation: IntegerOperand | None = None
    codes: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    constant: torch.Tensor | None = None
    accumulator: Fixed | None = None
    inputs: int | None = None
    geometry: Mapping[str, Any] = field(default_factory=dict)


def integers(model: nn.Module, sample: Any = None) -> dict[str, IntegerOperation]:
    """Every quantized layer and product of `model`, by module path, in integers of the formats that are selected.

    sample: what the model is called with, a tensor, tuple or dict, by which products of activations have `inputs` and
    an accumulator; without it, they have none.

    The values of codes are exact where the model's own have float32's rounding: of a real step times a code, and of
    sums. Raises ValueError, naming the operation and the operand, for what does not map: one that is left real, steps
    that follow each input (all of tokens and blocks), that are not calibrated, or of channels of activations; formats
    whose integers have more than 32 bits, such as E5M2's; numbers that are not finite, and accumulators beyond 63 bits.
    """
    operations = quantized_operations(model)
    if not operations:
        raise ValueError("integers needs a model with quantized layers; hwlut.nn.quantized.quantize makes them")
    lengths = {} if sample is None else _lengths(model, operations, sample)
    found = {}
    for path, operation in operations.items():
        try:
            if isinstance(operation, QuantizedProduct):
                found[path] = _product(operation, lengths.get(path))
            else:
                found[path] = _layer(operation)
        except ValueError as error:
            raise ValueError(f"integers of {path!r}: {error}") from None
    return found


def _layer(layer: QuantizedLayer) -> IntegerOperation:
    kind = next(word for base, word in _KINDS.items() if isinstance(layer, base))
    _check_finite("weight", layer.weight)
    weight, kept = _operand("weight", layer.weight_choice, layer.weight.detach(), layer.channel)
    codes = kept.codes.cpu().movedim(layer.channel, 0).contiguous()
    narrow = _narrow(codes, weight.integers.min, weight.integers.max)
    if layer.input_choice is None:
        return IntegerOperation(kind, weight, codes=narrow)
    activation, _ = _operand("activation", layer.input_choice, torch.zeros(1))
    rows = codes.long().flatten(1)
    inputs = rows.shape[1]
    _check_reach(inputs, activation, weight)
    zero = torch.tensor(weight.zero_points).view(-1, 1)
    bias = _bias(layer, activation, weight)
    constant = -activation.zero_points[0] * (rows - zero).sum(1) + (0 if bias is None else bias)
    ends = []
    for factors in (rows, rows - zero):
        products = factors * activation.format.min, factors * activation.format.max
        sums = torch.minimum(*products).sum(1), torch.maximum(*products).sum(1)  # zero is between them in each
        ends += [extreme for each in sums for extreme in (each, each + constant)]
    return IntegerOperation(
        kind,
        weight,
        activation,
        codes=narrow,
        bias=None if bias is None else _narrow(bias.long(), -1 << 31, int(bias.abs().max())),
        constant=_narrow(constant, -1 << 31, int(constant.abs().max())),
        accumulator=_holding(int(end) for each in ends for end in each.aminmax()),
        inputs=inputs,
        geometry={name: getattr(layer, name) for name in _GEOMETRY if hasattr(layer, name)},
    )


def _product(product: QuantizedProduct, inputs: int | None) -> IntegerOperation:
    activation, _ = _operand("activation", product.input_choice, torch.zeros(1))
    weight, _ = _operand("second operand", product.weight_choice, torch.zeros(1))
    accumulator = None
    if inputs is not None:
        _check_reach(inputs, activation, weight)
        firsts, seconds = (
            [end - zero for end in (each.format.min, each.format.max) for zero in (0, each.zero_points[0])]
            for each in (activation, weight)
        )
        accumulator = _holding(inputs * a * b for a in firsts for b in seconds)
    return IntegerOperation("product", weight, activation, accumulator=accumulator, inputs=inputs)


def _operand(
    label: str, choice: FormatChoice, like: torch.Tensor, channel: int | None = None
) -> tuple[IntegerOperand, Quantized]:
    """An operand, and the values `like` as it has them; it may have a step for each place along the axis `channel`."""
    if choice.shares is not None:
        raise ValueError(f"{label} must have one format, not shares of several")
    quantizer = choice.quantizer(choice.selected)
    if quantizer is None:
        raise ValueError(f"{label} must be quantized, not left real")
    kind, axis = quantizer.granularity.kind, quantizer.granularity.axis
    if quantizer.source == "dynamic":
        each = "input" if kind == "tensor" else kind
        raise ValueError(f"{label} must have steps that are kept, not a dynamic one for each {each}")
    if kind == "channel" and channel is None:
        raise ValueError(f"{label} must have one step, not one for each channel")
    if kind == "channel" and axis % like.dim() != channel:
        raise ValueError(f"{label} must have steps along its output channels, axis {channel}, not axis {axis}")
    if not quantizer.calibrated:
        raise ValueError(f"{label} must be calibrated, by hwlut.quant.calibrate")
    if isinstance(quantizer, RangedQuantizer) and not quantizer.fixed:
        raise ValueError(f"{label} must have a fixed number of bits, by hwlut.nn.quantized.fix_ranges")
    try:
        held = integers_of(quantizer.format)
    except ValueError as error:
        raise ValueError(f"{label}: {error}") from None
    state = next(itertools.chain(quantizer.parameters(), quantizer.buffers()))
    kept = quantizer.quantize(like.to(state.device))
    multipliers, shifts = _multiplied(label, quantizer, kept.step)
    steps, zero_points = tuple(kept.step.flatten().tolist()), tuple(kept.zero_point.flatten().tolist())
    return IntegerOperand(quantizer.format, held, steps, zero_points, multipliers, shifts), kept


def _multiplied(
    label: str, quantizer: Quantizer, step: torch.Tensor
) -> tuple[tuple[int, ...], tuple[int, ...]] | tuple[None, None]:
    """Steps as multipliers and shifts, where the quantizer keeps to such."""
    if isinstance(quantizer.steps, PowerOfTwoSteps):
        shifts = tuple(quantizer.current_scale().flatten().tolist())
        return (1,) * len(shifts), shifts
    if not isinstance(quantizer.steps, MultiplierSteps):
        return None, None
    try:
        return multiplier_and_shift(step)
    except ValueError as error:
        raise ValueError(f"{label} {error}") from None


def _bias(layer: QuantizedLayer, activation: IntegerOperand, weight: IntegerOperand) -> torch.Tensor | None:
    """The bias in units of the product of both steps, int64."""
    bias = getattr(layer, "bias", None)
    if bias is None:
        return None
    _check_finite("bias", bias)
    unit = torch.tensor(activation.steps, dtype=torch.float64) * torch.tensor(weight.steps, dtype=torch.float64)
    codes = (bias.detach().cpu().double() / unit).round()
    if bool((codes.abs() >= _LIMIT).any()):
        raise ValueError(f"bias must be below 2^62 of the product of both steps, not {float(codes.abs().max()):.3g}")
    return codes.long()


def _check_finite(label: str, values: torch.Tensor) -> None:
    if not bool(values.isfinite().all()):
        raise ValueError(f"{label} must be finite")


def _check_reach(inputs: int, activation: IntegerOperand, weight: IntegerOperand) -> None:
    """Refuse sums that int64 may not hold."""
    spans = [each.format.max - each.format.min for each in (activation, weight)]
    if inputs * spans[0] * spans[1] >= _LIMIT:
        raise ValueError(f"accumulator must have at most 63 bits, not that of {inputs} products of such formats")


def _narrow(codes: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """`codes` in the narrowest type that holds both ends."""
    return codes.to(next(each for each in _DTYPES if torch.iinfo(each).min <= low and high <= torch.iinfo(each).max))


def _holding(ends: Iterable[int]) -> Fixed:
    """The narrowest signed integers that hold all of these."""
    held = list(ends)
    return Fixed(signed_bits(min(held), max(held)))


def _lengths(
    model: nn.Module, operations: Mapping[str, QuantizedLayer | QuantizedProduct], sample: Any
) -> dict[str, int]:
    """How many products a sum of each product of activations has, at most, in a forward on the sample."""
    products = {path: each for path, each in operations.items() if isinstance(each, QuantizedProduct)}
    lengths: dict[str, int] = {}

    def seen(path: str, first: torch.Tensor) -> None:
        lengths[path] = max(first.shape[-1], lengths.get(path, 0))

    hooks = [
        each.register_forward_pre_hook(lambda _, inputs, path=path: seen(path, inputs[0]))
        for path, each in products.items()
    ]
    try:
        with evaluating(model):
            called("integers", model, sample)
    finally:
        for hook in hooks:
            hook.remove()
    if missed := products.keys() - lengths.keys():
        raise ValueError(f"integers sample must reach every product of activations, but not {min(missed)!r}")
    return lengths
