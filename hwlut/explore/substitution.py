"""What stands in for the parts of a compressed model: multipliers for its products, units for its functions."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwlut.fit import fit
from hwlut.fixed import Fixed
from hwlut.nn import Approximate, ApproxMatmul, PwlLayerNorm, PwlSoftmax, convert
from hwlut.nn.approx import ApproxLayer
from hwlut.nn.approx.replace import approximated
from hwlut.nn.lut.replace import looked_up_layer
from hwlut.nn.lut.spec import Lookup
from hwlut.nn.quantized import QuantizedProduct, quantized_operations
from hwlut.nn.quantized.choice import FormatChoice
from hwlut.nn.quantized.layers import QuantizedLayer
from hwlut.nn.targets import Target
from hwlut.quant import Quantizer
from hwlut.share import share
from hwlut.unit import load
from hwlut.units.multiplier import Multiplier
from hwlut.units.pwl import Pwl

__all__ = ["common_operands", "look_up", "multiplied", "multiply", "piecewise"]

_SHIPPED = (8, 16)

_NAMES: Mapping[type[nn.Module], str] = {
    nn.SiLU: "silu",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    nn.Hardswish: "hswish",
    nn.Hardsigmoid: "hsigmoid",
    nn.Mish: "mish",
    nn.Softplus: "softplus",
    nn.ELU: "elu",
}
"""The functions of modules that a unit can stand in for; beside them GELU, of either form."""

_Operation = QuantizedLayer | QuantizedProduct


def common_operands(model: nn.Module, most: int) -> tuple[Fixed, Fixed]:
    """The operands of `most` bits of a multiplier for all quantized operations: the first without a sign where no
    activation has one."""
    firsts = [_chosen(each.input_choice).format for each in _operations(model).values()]
    return Fixed(most, signed=any(format.signed for format in firsts)), Fixed(most)


def multiply(model: nn.Module, multiplier: Multiplier) -> None:
    """Let all quantized operations of `model`, as `hwlut.prune.compress` leaves them, multiply by one multiplier.

    Steps are no longer learned. An operand keeps its step where the multiplier's operand has as many bits of magnitude,
    and has a coarser one of as great a range where it has fewer. ValueError, naming the operation, where a sign would
    be lost.
    """
    for path, operation in _operations(model).items():
        try:
            model.set_submodule(path, _by(operation, multiplier))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def multiplied(model: nn.Module) -> dict[str, Multiplier]:
    """The multipliers of the operations of `model` that have one, by path."""
    kinds = ApproxLayer, ApproxMatmul
    return {path: module.multiplier for path, module in model.named_modules() if isinstance(module, kinds)}


def look_up(model: nn.Module, paths: Iterable[str], lookup: Lookup, data: Iterable[Any]) -> None:
    """Replace quantized layers of `model`, in place, by layers of look-ups that learn from them and the data."""
    convert(model, {path: lambda layer: looked_up_layer(_dense(layer), lookup) for path in paths}, data=data)


def piecewise(model: nn.Module, segments: int, data: Iterable[Any], folder: Path) -> bool:
    """Let units of so many lines stand in for softmax, layer normalization and activations of `model`, in place, where
    these are modules; whether there are any.

    Units of other than the shipped sizes are fitted and kept in the folder. Softmaxes read exp at one scale, the
    coarsest that one of them needs, so that one operator serves them all.
    """

    def unit(name: str) -> Pwl:
        found = load(_table(name, segments, folder))
        assert isinstance(found, Pwl)
        return found

    factories: dict[type[nn.Module] | tuple[type[nn.Module], ...] | str, Target] = {}
    present = {type(module) for module in model.modules()}
    if nn.Softmax in present:
        factories[nn.Softmax] = partial(_softmax, unit("exp"), unit("reciprocal"))
    if nn.LayerNorm in present:
        factories[nn.LayerNorm] = partial(_layer_norm, unit("rsqrt"))
    factories |= {kind: unit(name) for kind, name in _NAMES.items() if kind in present}
    if nn.GELU in present:
        forms = {module.approximate for module in model.modules() if isinstance(module, nn.GELU)}
        if len(forms) > 1:
            raise ValueError("Network segments must be left out for a model with GELUs of both forms")
        factories[nn.GELU] = unit("gelu" if forms == {"none"} else "gelu_tanh")
    if not factories:
        return False
    convert(model, factories, data=data)
    exps = [module.exp.quantizer for module in model.modules() if isinstance(module, PwlSoftmax)]
    for quantizer in exps:
        quantizer.scale.copy_(min(each.current_scale() for each in exps))
    return True


def _softmax(exp: Pwl, reciprocal: Pwl, old: Any) -> nn.Module:
    return PwlSoftmax(exp, reciprocal, old.dim)


def _layer_norm(rsqrt: Pwl, old: Any) -> nn.Module:
    return PwlLayerNorm(old, rsqrt)


def _table(name: str, segments: int, folder: Path) -> Path:
    if segments in _SHIPPED:
        return share("pretrained", f"{name}_{segments}.json")
    path = folder / f"{name}_{segments}.json"
    if not path.exists():
        fit(name, segments=segments).save(path)
    return path


def _operations(model: nn.Module) -> dict[str, _Operation]:
    return {path: each for path, each in quantized_operations(model).items() if each.choices[1] is not None}


def _by(operation: _Operation, multiplier: Multiplier) -> nn.Module:
    weight, activation = (_chosen(choice) for choice in operation.choices)
    spec = Approximate(multiplier, _cast(activation, multiplier.a), _cast(weight, multiplier.b))
    if isinstance(operation, QuantizedProduct):
        return ApproxMatmul(multiplier=multiplier, activations=spec.activations, weights=spec.weights)
    return approximated(_dense(operation), spec)


def _chosen(choice: FormatChoice | None) -> Quantizer:
    found = None if choice is None else choice.quantizer(choice.selected)
    if found is None or not isinstance(found.format, Fixed):
        raise ValueError("operands must be quantized to integers")
    return found


def _cast(old: Quantizer, format: Fixed) -> Quantizer:
    """A quantizer in another format with the step of the old one, or a coarser one, for as great a range."""
    assert isinstance(old.format, Fixed)
    if old.granularity.kind != "tensor":
        raise ValueError(f"operands must have one step, not one for each {old.granularity.kind}")
    if old.format.signed and not format.signed:
        raise ValueError(f"multiplier must take negative operands, not {format}")
    lost = (old.format.bits - old.format.signed) - (format.bits - format.signed)
    new = Quantizer(Fixed(format.bits, signed=format.signed), steps="real")
    new.step.copy_(torch.ldexp(old.step.detach(), torch.tensor(max(0, lost))))
    new.calibrated = True
    return new


def _dense(layer: nn.Module) -> nn.Module:
    """The layer of torch with the parameters of a quantized one."""
    assert isinstance(layer, QuantizedLayer)
    dense = object.__new__(layer.base)
    held = {name: value.copy() if isinstance(value, dict) else value for name, value in vars(layer).items()}
    held["_modules"] = {}
    dense.__dict__.update(held)
    return dense
