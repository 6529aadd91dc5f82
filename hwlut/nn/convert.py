"""Conversion: modules of a model replaced by layers on units."""

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from hwlut.fields import shorten
from hwlut.nn.activation import UnitActivation
from hwlut.nn.approx import Approximate, ApproxMultiheadAttention
from hwlut.nn.approx.replace import APPROXIMATE, CONVOLUTIONS, LAYERS, is_a, restored
from hwlut.nn.rtl import InRtl
from hwlut.nn.targets import Factory, Target, factory_of, multiplier_of
from hwlut.quant import Calibrated, calibrate
from hwlut.units import Multiplier

__all__ = ["Conversion", "Replacement", "convert", "restore"]

_Key = type[nn.Module] | tuple[type[nn.Module], ...] | str


@dataclass(frozen=True)
class Replacement:
    """One module that was replaced: its name in the model, and what both are, in words."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Conversion:
    """What `convert` or `restore` did, in the order of the model's modules."""

    replaced: tuple[Replacement, ...]

    def __str__(self) -> str:
        return "\n".join(f"{entry.name}: {entry.before} -> {entry.after}" for entry in self.replaced)


def convert(
    model: nn.Module,
    mapping: Mapping[_Key, Target] | Multiplier | Approximate | InRtl | str | Path,
    data: Iterable[Any] | None = None,
    *,
    conv_only: bool = False,
    ignore_first: bool = False,
) -> Conversion:
    """Replace modules of `model`, in place, and say which.

    Parameters
    ----------
    mapping: what is replaced, and by what; for a module that several keys match, the first counts. A key is a type of
        module, a tuple of types or a pattern of names (``"blocks.*.act"``; ``*`` also spans dots). What replaces it is
        a unit, the name of a shipped table (``"gelu_8"``) or the path of a file, an `Approximate`, a `Lookup`, an
        `InRtl`, or a function of the module that returns the new one (and takes over its parameters). A Pwl becomes a
        `PwlActivation`; a Multiplier, as an `Approximate` of it, the approximate layer of the same kind as the module,
        with its parameters; a `Lookup` the layer of look-ups of the same kind, which learns its numbers from the
        module and the data; an `InRtl` of a unit that unit's layer with the hardware in it, and one without the same
        module with hardware for its units. A multiplier by itself, in place of the mapping, replaces every layer that
        can be.
    data: batches, as `hwlut.quant.calibrate` takes them, by which the new modules' quantizers choose their scales.
        Without it, they are to be calibrated before the model is called.
    conv_only, ignore_first: with a multiplier by itself, leave what is no convolution; leave the first layer.

    A new module has the mode, the device and, where one was shared, the places of the old one. An approximate layer
    counts as the layer of torch that it stands for, and is replaced whole. The parameters are the same objects, so
    that an optimizer made before goes on with them, but for the weight and bias that torch's MultiheadAttention holds
    for queries, keys and values together: these are copied, and the optimizer is to be made after.

    The modules inside a replaced one are not looked at, nor those inside a MultiheadAttention, which are not called;
    those inside an approximate one match by their names alone. Raises TypeError and ValueError where nothing is to be
    replaced, a key matches nothing, the model itself matches, or a module carries hooks or parametrizations, which
    would be lost. After any error, one of the calibration too, the model holds the modules it held.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"convert model must be a torch module, not {type(model).__name__}")
    if isinstance(mapping, Mapping):
        if conv_only or ignore_first:
            raise ValueError("convert conv_only and ignore_first must be with a multiplier by itself, not a mapping")
        matched = _matches(model, _checked(mapping))
        keys = {key: factory_of(target) for key, target in mapping.items()}
    else:
        spec, kinds = multiplier_of(mapping), CONVOLUTIONS if conv_only else LAYERS
        if not any(is_a(module, kinds) for module in model.modules()):
            known = ", ".join(kind.__name__ for kind in kinds)
            raise ValueError(f"convert model must hold a layer that can be replaced ({known}); it holds none")
        matched = _matches(model, [kinds])
        keys = {kinds: factory_of(spec)}
        if ignore_first:
            first, _ = next(iter(matched.values()))
            matched = {name: (module, key) for name, (module, key) in matched.items() if module is not first}
            if not matched:
                raise ValueError("convert model must hold more than the first layer with ignore_first; it holds one")
    return _replace(model, {name: (module, keys[key]) for name, (module, key) in matched.items()}, data)


def restore(model: nn.Module) -> Conversion:
    """Replace every approximate layer of `model`, in place, by the layer of torch with its parameters.

    The reverse of `convert`, with the parameters as they are now; also raises ValueError where there is none.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"restore model must be a torch module, not {type(model).__name__}")
    if isinstance(model, APPROXIMATE):
        raise ValueError(f"restore model must hold what is replaced, not be it: {_words(model)}")
    if not any(isinstance(module, APPROXIMATE) for module in model.modules()):
        raise ValueError("restore model must hold an approximate layer; it holds none")
    matched = _matches(model, [APPROXIMATE])
    return _replace(model, {name: (module, restored) for name, (module, _) in matched.items()}, None, back=True)


def _replace(
    model: nn.Module, found: Mapping[str, tuple[nn.Module, Factory]], data: Iterable[Any] | None, back: bool = False
) -> Conversion:
    """Put new modules, or with `back` those of torch, in the places of the old ones, and calibrate them."""
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    new: dict[nn.Module, nn.Module] = {}
    for name, (module, factory) in found.items():
        if module not in new:
            _refuse_extras(name, module)
            new[module] = _replacement(name, module, factory, device)
    called = {module for encoder in model.modules() for module in vars(encoder).get("_replaced", (None, ()))[1]}
    _put(model, {name: new[module] for name, (module, _) in found.items()})
    _call_modules(model, set() if back else set(new.values()))
    added = {child for module in new.values() for child in module.modules() if isinstance(child, Calibrated)}
    unknown = [child for child in model.modules() if child in added and not child.calibrated]
    if data is not None and unknown:
        try:
            calibrate(model, data, unknown)
        except BaseException:
            _put(model, {name: module for name, (module, _) in found.items()})
            _call_modules(model, called)
            raise
    return Conversion(
        tuple(Replacement(name, _words(module), _words(new[module])) for name, (module, _) in found.items())
    )


def _checked(mapping: Mapping[_Key, Target]) -> Mapping[_Key, Target]:
    if not mapping:
        raise ValueError("convert mapping must name at least one type or pattern")
    for key in mapping:
        named = isinstance(key, str)
        if not named and not all(isinstance(kind, type) and issubclass(kind, nn.Module) for kind in _types(key)):
            raise TypeError(f"convert key must be a type of module or a pattern of names, not {shorten(key)}")
    return mapping


def _matches(model: nn.Module, keys: Iterable[_Key]) -> dict[str, tuple[nn.Module, _Key]]:
    """Every name at which a module is to be replaced, with that module and the key it was found by."""
    matched: dict[str, tuple[nn.Module, _Key]] = {}
    by_module: dict[nn.Module, _Key] = {}
    closed: list[str] = []
    named: list[str] = []
    for name, module in model.named_modules(remove_duplicate=False):
        if any(name.startswith(f"{outer}.") for outer in (*matched, *closed)):
            continue
        if isinstance(module, nn.MultiheadAttention):
            closed.append(name)
        inside = any(name.startswith(f"{outer}.") for outer in named)
        if isinstance(module, ApproxMultiheadAttention):
            named.append(name)
        open_to = [key for key in keys if isinstance(key, str) or not inside]
        key = by_module.get(module) or next((key for key in open_to if _fits(key, name, module)), None)
        if key is None:
            continue
        if not name:
            raise ValueError(f"convert model must hold what is replaced, not be it: {_words(module)}")
        matched[name] = module, by_module.setdefault(module, key)
    for key in keys:
        if key not in by_module.values():
            shown = repr(key) if isinstance(key, str) else " or ".join(kind.__name__ for kind in _types(key))
            raise ValueError(f"convert key {shown} must match a module that no earlier key does; it matches none")
    return matched


def _types(key: Any) -> tuple[type[nn.Module], ...]:
    return key if isinstance(key, tuple) and key else (key,)


def _fits(key: _Key, name: str, module: nn.Module) -> bool:
    return fnmatch.fnmatchcase(name, key) if isinstance(key, str) else is_a(module, key)


def _put(model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    """Set the submodule of each name."""
    for name, module in modules.items():
        model.set_submodule(name, module)


def _call_modules(model: nn.Module, new: set[nn.Module]) -> None:
    """Keep encoders of torch from computing, in evaluation, with a kernel of their own in the place of new modules.

    An encoder remembers those in it, and its own choice of a kernel, which it gets back when the last has gone.
    """
    for encoder in model.modules():
        if not isinstance(encoder, (nn.TransformerEncoder, nn.TransformerEncoderLayer)):
            continue
        choice = "use_nested_tensor" if isinstance(encoder, nn.TransformerEncoder) else "activation_relu_or_gelu"
        own, known = vars(encoder).pop("_replaced", (getattr(encoder, choice), set()))
        held = (new | known) & set(encoder.modules())
        if held:
            encoder.__dict__["_replaced"] = own, held
        setattr(encoder, choice, type(own)(0) if held else own)


def _refuse_extras(name: str, module: nn.Module) -> None:
    if any(map(is_lazy, module.parameters())):
        raise ValueError(f"convert module {name!r} must have its parameters: call the lazy model on a batch first")
    hooks = (value for key, value in vars(module).items() if key.endswith("_hooks"))
    if any(hooks) or parametrize.is_parametrized(module):
        raise ValueError(f"convert module {name!r} must have no hooks or parametrizations: they would be lost")


def _replacement(
    name: str, module: nn.Module, factory: Callable[[nn.Module], nn.Module], device: torch.device
) -> nn.Module:
    try:
        new = factory(module)
    except ValueError as error:
        raise ValueError(f"convert module {name!r}: {error}") from error
    if not isinstance(new, nn.Module):
        raise TypeError(f"convert function must return a module for {name!r}, not {shorten(new)}")
    own = next((tensor.device for tensor in (*module.parameters(), *module.buffers())), device)
    return new.to(own).train(module.training)


def _words(module: nn.Module) -> str:
    """The module in one line."""
    described = module.extra_repr() if not isinstance(module, UnitActivation) else f"{module.unit.name}"
    if isinstance(module, UnitActivation):
        described += f", {module.quantizer.extra_repr()}"
    return f"{type(module).__name__}({described})"
