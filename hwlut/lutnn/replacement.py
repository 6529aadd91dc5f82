"""Which layers of a model become layers of look-ups, and how they are converted."""

import fnmatch
import glob
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from hwlut.nn import Conversion, Lookup, LutLayer, convert
from hwlut.nn.convert import Replacement
from hwlut.nn.lut.replace import LOOKED_UP, looked_up_layer
from hwlut.quant.calibration import batches_of, called
from hwlut.quant.modes import evaluating

__all__ = ["Replaced", "replace"]

Step = Callable[[int, int, str], None]
_LAYERS: tuple[type[nn.Module], ...] = (*LOOKED_UP, LutLayer)
_ORDERS = ("together", "in_turn")


@dataclass(frozen=True)
class Replaced(Conversion):
    """What `replace` did, in order of execution. lookups: of each replaced layer. left: why each other stays dense."""

    lookups: Mapping[str, Lookup]
    left: Mapping[str, str]

    def __str__(self) -> str:
        lines = [super().__str__()]
        if self.left:
            lines.append("left dense: " + ", ".join(f"{name} ({why})" for name, why in self.left.items()))
        return "\n".join(lines)


def replace(
    model: nn.Module,
    lookup: Lookup | Mapping[str, Lookup],
    data: Iterable[Any],
    *,
    include: Collection[str] = ("*",),
    exclude: Collection[str] = (),
    keep_ends: bool = True,
    last_blocks: int | None = None,
    order: str = "together",
    progress: Step | None = None,
) -> Replaced:
    """Replace linear layers, convolutions and attention of `model`, in place, by layers of look-ups learned from data.

    Parameters
    ----------
    lookup: one for all layers, or by patterns of names, of which the first that matches counts.
    data: batches, as `hwlut.quant.calibrate` takes them; held.
    include, exclude: patterns of the names of layers that are replaced (``"blocks.*.fc1"``; ``*`` also spans dots).
    keep_ends: leave the layers dense that are called first and last.
    last_blocks: take only layers in the last so many entries of the longest ``nn.ModuleList`` or ``nn.Sequential``
        of entries of one type.
    order: "together", each layer learns from what the dense model feeds it; "in_turn", one after the other, each from
        what the model converted so far feeds it, a pass over the data for each.
    progress: called with how many layers are done, of how many, and the last one's name.

    Layers that cannot be looked up, or that no batch reaches, are left and named. Raises TypeError and ValueError where
    none is chosen, a pattern matches no layer, or a layer cannot learn from the data, with the model as it was.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"replace model must be a torch module, not {type(model).__name__}")
    if order not in _ORDERS:
        raise ValueError(f"replace order must be one of {', '.join(_ORDERS)}, not {order!r}")
    held = list(batches_of("replace", data))
    if not held:
        raise ValueError("replace data must be at least one batch")
    chosen, left = _chosen(model, lookup, held, include, exclude, keep_ends, last_blocks)
    if not chosen:
        why = ", ".join(f"{name} ({reason})" for name, reason in left.items()) or "the model has none"
        raise ValueError(f"replace must find a layer to look up; left out: {why}")
    parts = [chosen] if order == "together" else [{name: chosen[name]} for name in chosen]
    before = {name: module for name, module in model.named_modules(remove_duplicate=False) if name}
    replaced: dict[str, Replacement] = {}
    try:
        for part in parts:
            done = convert(model, {glob.escape(name): spec for name, spec in part.items()}, held)
            replaced |= {entry.name: entry for entry in done.replaced}
            if progress is not None:
                progress(len(replaced), len(chosen), next(reversed(part)))
    except BaseException:
        for name in replaced:
            model.set_submodule(name, before[name])
        raise
    entries = tuple(replaced[name] for name in (*chosen, *(name for name in replaced if name not in chosen)))
    return Replaced(entries, chosen, left)


def _chosen(
    model: nn.Module,
    lookup: Lookup | Mapping[str, Lookup],
    data: list[Any],
    include: Collection[str],
    exclude: Collection[str],
    keep_ends: bool,
    last_blocks: int | None,
) -> tuple[dict[str, Lookup], dict[str, str]]:
    """The lookup of each layer that is replaced, and why each other is not, in order of execution."""
    lookups = lookup if isinstance(lookup, Mapping) else {"*": lookup}
    for pattern, each in lookups.items():
        if not isinstance(pattern, str) or not isinstance(each, Lookup):
            raise TypeError(f"replace lookup must be a Lookup or Lookups by patterns, not {type(each).__name__}")
    for label, patterns in (("include", include), ("exclude", exclude)):
        if isinstance(patterns, str) or not all(isinstance(pattern, str) for pattern in patterns):
            raise TypeError(f"replace {label} must be patterns of names, not {patterns!r}")
    layers = _layers(model)
    for label, patterns in (("lookup", lookups), ("include", include), ("exclude", exclude)):
        for pattern in patterns:
            if layers and not any(_matches(name, [pattern]) for name in layers):
                raise ValueError(f"replace {label} {pattern!r} must match a layer; it matches none")
    blocks = None if last_blocks is None else _last_blocks(model, last_blocks)
    called_layers = _called(model, layers, data[0])
    ends = dict(zip((called_layers[:1] + called_layers[1:][-1:]), ("called first", "called last"))) if keep_ends else {}
    chosen: dict[str, Lookup] = {}
    left: dict[str, str] = {}
    for name in (*called_layers, *(name for name in layers if name not in called_layers)):
        spec = next((each for pattern, each in lookups.items() if _matches(name, [pattern])), None)
        if isinstance(layers[name], LutLayer):
            left[name] = "already looked up"
        elif not _matches(name, include):
            left[name] = "not included"
        elif _matches(name, exclude):
            left[name] = "excluded"
        elif blocks is not None and not any(name.startswith(f"{block}.") for block in blocks):
            left[name] = f"not in the last {last_blocks} blocks"
        elif name in ends:
            left[name] = ends[name]
        elif name not in called_layers:
            left[name] = "called by no batch"
        elif spec is None:
            left[name] = "no lookup"
        elif refusal := _refusal(layers[name], spec):
            left[name] = refusal
        else:
            chosen[name] = spec
    return chosen, left


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that could be looked up, those inside a MultiheadAttention left out, and those that are."""
    found: dict[str, nn.Module] = {}
    inside: list[str] = []
    for name, module in model.named_modules():
        if name and isinstance(module, _LAYERS) and not name.startswith(tuple(inside)):
            found[name] = module
            if isinstance(module, nn.MultiheadAttention):
                inside.append(f"{name}.")
    return found


def _refusal(layer: nn.Module, lookup: Lookup) -> str | None:
    try:
        looked_up_layer(layer, lookup)
    except ValueError as error:
        return str(error)
    return None


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _last_blocks(model: nn.Module, count: int) -> list[str]:
    """The names of the last entries of the longest list of alike blocks."""
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"replace last_blocks must be an integer, not {count!r}")
    longest: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.ModuleList, nn.Sequential)):
            entries = [f"{name}.{entry}" if name else entry for entry, _ in module.named_children()]
            if len({type(child) for child in module.children()}) == 1 and len(entries) > len(longest):
                longest = entries
    if len(longest) < 2:
        raise ValueError("replace last_blocks must be with a model of alike blocks in a list; this has none")
    if not 1 <= count <= len(longest):
        raise ValueError(f"replace last_blocks must be from 1 to {len(longest)}, not {count}")
    return longest[-count:]


def _called(model: nn.Module, layers: Mapping[str, nn.Module], batch: Any) -> list[str]:
    """The names of the layers in the order in which a batch first calls them, those it does not left out."""
    names: dict[nn.Module, str] = {module: name for name, module in layers.items()}
    order: list[str] = []

    def seen(layer: nn.Module, _: Any) -> None:
        if names[layer] not in order:
            order.append(names[layer])

    hooks = [module.register_forward_pre_hook(seen) for module in layers.values()]
    try:
        with evaluating(model):
            called("replace", model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return order
