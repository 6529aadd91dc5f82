"""What the options of `hwlut explore` ask for."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from hwlut.cli.search_asked import Asked, flag
from hwlut.cli.table import open_table

if TYPE_CHECKING:
    from hwlut.explore import Space
    from hwlut.train import Finetune
    from hwlut.units import Multiplier

__all__ = ["explored_space", "training_of_networks"]

_Value = TypeVar("_Value")
_TRAINING = {
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "learning_rate": "learning_rate",
    "train_batch_size": "batch",
    "seed": "seed",
}


def explored_space(asked: Asked) -> "Space":
    """The values of every choice; ValueError, naming the option, for what is none."""
    from hwlut.explore import LookUps, Space

    shapes = _each(asked, "look_ups", _shape, "none, or K[:V[:ENCODER[:BITS]]], such as none,16,16:4:tree")
    return Space(
        sparsity=_each(asked, "sparsity", float, "shares such as 0,0.5"),
        bits=_each(asked, "bits", _bits, "numbers or ranges such as 8,4:8"),
        multipliers=[_multiplier(each) for each in _parts(asked, "multipliers")],
        look_ups=[None if each is None else LookUps(**each) for each in shapes],
        segments=_each(asked, "segments", _segments, "none or numbers such as none,8,16"),
        rows=_each(asked, "rows", int, "numbers such as 4,8"),
        columns=_each(asked, "columns", int, "numbers such as 4,8"),
    )


def training_of_networks(asked: Asked) -> "Finetune":
    """How each network is trained."""
    from hwlut.train import Finetune

    if "max_steps" in asked:
        asked.refuse(("num_train_epochs",), "with --max-steps")
    return Finetune(**asked.renamed(_TRAINING))


def _each(asked: Asked, name: str, read: Callable[[str], _Value], words: str) -> list[_Value]:
    try:
        return [read(each) for each in _parts(asked, name)]
    except ValueError:
        raise ValueError(f"{flag(name)} must be {words}, not {asked[name]!r}") from None


def _parts(asked: Asked, name: str) -> list[str]:
    return [each.strip() for each in asked[name].split(",")]


def _bits(text: str) -> tuple[int, int]:
    least, colon, most = text.partition(":")
    return int(least), int(most if colon else least)


def _segments(text: str) -> int | None:
    return None if text == "none" else int(text)


def _multiplier(text: str) -> "Multiplier | None":
    from hwlut.units import Multiplier

    if text == "exact":
        return None
    unit = open_table(text).unit
    if not isinstance(unit, Multiplier):
        raise TypeError(f"--multipliers must be exact or tables of multipliers, not {text!r}, a {type(unit).__name__}")
    return unit


def _shape(text: str) -> dict[str, Any] | None:
    """Fields of `LookUps`."""
    if text == "none":
        return None
    k, *others = text.split(":")
    if len(others) > 3:
        raise ValueError(text)
    given = {name: value for name, value in zip(("v", "encoder", "table_bits"), others) if value}
    return {"k": int(k)} | {name: value if name == "encoder" else int(value) for name, value in given.items()}
