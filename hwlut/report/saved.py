"""JSON that commands print: which keys a report takes of it, and of what kind they must be."""

from collections.abc import Callable, Mapping
from typing import Any

from hwlut.fields import shorten

__all__ = ["KINDS", "SAVED", "checked"]

_MOST = 1e18
_NUMBER = (int, float)
_TEXT = (str, type(None))
_MAYBE = (int, float, type(None))
_LAYER = {"name": str, "cycles": int, "model_cycles": int, "utilisation": _NUMBER, "macs": int}
_TRACED = {"layer": str, "first": int, "end": int, "waves": _TEXT, "activity": _TEXT}
_BLOCK = {"name": str, "count": int, "area": _NUMBER, "gate_equivalents": _MAYBE, "registers": int, "delay": _MAYBE}

_ON_TILE = {
    "ok": bool,
    "program": str,
    "digest": str,
    "tile": str,
    "engine": str,
    "samples": int,
    "batches": int,
    "cycles": int,
    "cycles_per_sample": _NUMBER,
    "utilisation": _NUMBER,
    "macs": int,
    "layers": [_LAYER],
    "difference": _TEXT,
}
_AREA = {
    "tile": str,
    "digest": str,
    "liberty": str,
    "tool": str,
    "blocks": [_BLOCK],
    "memories": {str: int},
    "area": _NUMBER,
    "gate_equivalents": _MAYBE,
    "registers": int,
    "ram_bits": int,
    "delay": _MAYBE,
}


def _run(content: Mapping[str, Any]) -> dict[str, Any]:
    keys: dict[str, Any] = {"name": str, "samples": int}
    keys |= _ON_TILE if "layers" in content else {}
    keys |= {"task": str, "metric": _NUMBER} if "task" in content else {}
    return keys | ({"traced": _TRACED} if content.get("traced") is not None else {})


def _sim(content: Mapping[str, Any]) -> dict[str, Any]:
    keys = {"ok": bool, "engine": str}
    return keys | ({"tile": str, "tests": {str: _TEXT}} if "tests" in content else {"unit": str, "vectors": int})


def _synth(content: Mapping[str, Any]) -> dict[str, Any]:
    if "blocks" in content:
        return _AREA
    if "candidates" in content:
        return {"candidates": [{"label": str}], "front": [str]}
    return {"unit": str, "ok": bool, "target": str, "area": _MAYBE, "gate_equivalents": _MAYBE, "delay": _MAYBE}


_NETWORK = {"label": str, "folder": str, "accuracy": _MAYBE, "metric": _MAYBE, "float_accuracy": _MAYBE}
_SIZE = {"rows": int, "columns": int, "tile": _TEXT}
_DESIGN = _SIZE | {"network": int, "cycles": _MAYBE, "area": _MAYBE, "optimal": bool}
_EXPLORED = {"networks": [_NETWORK], "designs": [_DESIGN], "best": (int, type(None))}
_MADE = {"accuracy": _NUMBER, "metric": _NUMBER, "float_accuracy": _NUMBER}

_OPERATIONS = {"operations": {str: {"macs": int, "weights": int, "cost": _NUMBER}}, "metric": _NUMBER}
_TRIAL = {"target": _NUMBER, "cost": _NUMBER, "metric": _NUMBER, "loss": _NUMBER, "optimal": bool}

KINDS: dict[str, dict[str, Any]] = {
    "hwlut.compression/1": _OPERATIONS,
    "hwlut.quantization/1": _OPERATIONS,
    "hwlut.front/1": {"trials": [_TRIAL]},
}
"""By schema, kinds of what is taken from a file that has a reader of its own, beyond what that looks at."""

SAVED: dict[str, tuple[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "hwlut.run/1": ("run of a program", _run),
    "hwlut.sim/1": ("verification", _sim),
    "hwlut.synth/1": ("synthesis", _synth),
    "hwlut.explore/1": ("exploration", lambda content: _EXPLORED),
    "hwlut.fitted/1": ("tile that was fitted", lambda content: {"file": str, "digest": str}),
    "hwlut.made/1": ("accuracy of a network", lambda content: _MADE),
}
"""By schema, what such a file is, in words, and what gives the keys that are taken of a content, with their kinds."""


def checked(value: Any, kind: Any, label: str = "") -> Any:
    """The value, which must be of a kind: a type, types, a list of one kind, or an object of keys and kinds.

    Raises ValueError, naming the key, for another, and for numbers that are not finite or beyond 10^18.
    """
    if isinstance(kind, list):
        for index, item in enumerate(checked(value, list, label)):
            checked(item, kind[0], f"{label}[{index}]")
    elif isinstance(kind, dict):
        given = checked(value, dict, label)
        for key, each in ((key, kind[str]) for key in given) if str in kind else kind.items():
            where = f"{label}.{key}" if label else key
            if key not in given:
                raise ValueError(f"{where} must be there")
            checked(given[key], each, where)
    elif not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool) or _vast(value):
        raise ValueError(f"{label or 'content'} must be {_said(kind)}, not {shorten(value)}")
    return value


def _vast(value: Any) -> bool:
    """Whether it is a number with which nothing can be reckoned."""
    return isinstance(value, (int, float)) and not -_MOST <= value <= _MOST


def _said(kind: Any) -> str:
    words = {bool: "true or false", int: "an integer", float: "a number", str: "a string", list: "a list"}
    words |= {dict: "an object", type(None): "null"}
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(words[each] for each in kinds if not (each is int and float in kinds))
