"""What an exploration came to, and its file."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwlut.explore.choices import Array, Network
from hwlut.fields import shorten
from hwlut.files import write_atomic
from hwlut.pareto import unbeaten
from hwlut.records import json_text, read_record
from hwlut.unit import load
from hwlut.units.multiplier import Multiplier

__all__ = ["Design", "Exploration", "Trained"]

_SCHEMA = "hwlut.explore/1"
_LIMIT = 64 << 20
_KEYS = ("request", "source", "networks", "designs", "best")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """A network: its program's accuracy on held-out data and metric on the test data, each 0 to 1, and the dense
    model's metric; or the reason why there is no program. folder: in that of the exploration."""

    network: Network
    folder: str
    accuracy: float | None = None
    metric: float | None = None
    float_accuracy: float | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        _check_text("folder", self.folder)
        _check_figures(self, ("accuracy", "metric", "float_accuracy"), self.reason is None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Design:
    """A network, by its place, on an array.

    tile: digest of the one that the program fits. cycles: a sample's, by `hwlut.explore.costs.cycles_of`. area: in gate
    equivalents, before layout and without RAM. ram_bits: of its memories. delay: ns, the longest of a module, if known.
    reason: why it is no choice, with what had been found by then.
    """

    network: int
    array: Array
    tile: str | None = None
    cycles: float | None = None
    area: float | None = None
    ram_bits: int | None = None
    delay: float | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.tile is not None or self.reason is None:
            _check_text("tile", self.tile)
        _check_figures(self, ("cycles", "area", "ram_bits"), self.reason is None)
        _check_figures(self, ("delay",), False)


@dataclasses.dataclass(frozen=True)
class Exploration:
    """``explore.json``. request: what was asked for. source: of the task, as of a search. networks: in the order in
    which the space has them. designs: of each network, every array."""

    request: Mapping[str, Any]
    source: Any
    networks: tuple[Trained, ...]
    designs: tuple[Design, ...]

    @functools.cached_property
    def optimal(self) -> tuple[bool, ...]:
        """Of each design whether it is a choice, and no other has as high an accuracy for as little area in as few
        cycles, and is better in one of them."""
        places = [place for place, design in enumerate(self.designs) if design.reason is None]
        best = {place for place, flag in zip(places, unbeaten([self._point(place) for place in places])) if flag}
        return tuple(place in best for place in range(len(self.designs)))

    @property
    def front(self) -> tuple[int, ...]:
        """Places of the optimal designs, the most accurate first, of equals that of the least area times cycles."""
        places = [place for place, flag in enumerate(self.optimal) if flag]
        return tuple(sorted(places, key=lambda place: (self._point(place)[0], math.prod(self._point(place)[1:]))))

    @property
    def best(self) -> int | None:
        """The place of the first of the front, if there is any."""
        return self.front[0] if self.front else None

    def _point(self, place: int) -> tuple[float, float, float]:
        design = self.designs[place]
        accuracy = self.networks[design.network].accuracy
        assert accuracy is not None and design.area is not None and design.cycles is not None
        return -accuracy, design.area, design.cycles

    def to_json(self) -> dict[str, Any]:
        """What the file holds."""
        return {
            "schema": _SCHEMA,
            "request": dict(self.request),
            "source": self.source,
            "networks": [
                {"network": each.network.to_json(), "label": each.network.label} | _others(each, "network")
                for each in self.networks
            ],
            "designs": [
                {"network": each.network, **dataclasses.asdict(each.array)}
                | _others(each, "network", "array")
                | {"optimal": optimal}
                for each, optimal in zip(self.designs, self.optimal)
            ],
            "best": self.best,
        }

    def save(self, path: str | Path) -> Path:
        """Write it as JSON."""
        write_atomic(Path(path), json_text(self.to_json(), "exploration"))
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> "Exploration":
        """Read one, with its multipliers from the folder ``multipliers`` beside it; ValueError, naming the file, for
        anything else than `save` writes."""
        path = Path(path)
        content = read_record(path, "exploration", _SCHEMA, _KEYS, _LIMIT)
        try:
            found = cls(
                content["request"],
                content["source"],
                tuple(_trained(each, path.parent) for each in _list(content, "networks")),
                tuple(_design(each) for each in _list(content, "designs")),
            )
            if any(not 0 <= each.network < len(found.networks) for each in found.designs):
                raise ValueError(f"designs must be of the {len(found.networks)} networks")
            if found.to_json() != {"schema": _SCHEMA, **content}:
                raise ValueError("labels, optimal and best must be those of its networks and designs")
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from None
        return found


def _trained(content: Any, folder: Path) -> Trained:
    given = _taken(content, Trained, ("label",))
    named = given["network"].get("multiplier") if isinstance(given["network"], dict) else None
    units: list[Multiplier] = []
    if isinstance(named, dict) and isinstance(named.get("name"), str):
        unit = load(folder / "multipliers" / f"{named['name']}.json")
        units = [unit] if isinstance(unit, Multiplier) else []
    return Trained(**given | {"network": Network.from_json(given["network"], units)})


def _design(content: Any) -> Design:
    given = _taken(content, Design, ("rows", "columns", "optimal"), ("array",))
    array = Array.from_json({name: content[name] for name in ("rows", "columns")})
    if isinstance(given["network"], bool) or not isinstance(given["network"], int):
        raise TypeError(f"design network must be an integer, not {shorten(given['network'])}")
    return Design(**given, array=array)


def _taken(content: Any, kind: type, aside: Sequence[str], without: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of a kind in an object that has these, but for some, and others aside."""
    names = {field.name for field in dataclasses.fields(kind)} - set(without)
    if not isinstance(content, dict) or set(content) != names | set(aside):
        raise ValueError(f"{kind.__name__.lower()} must be an object of {', '.join(sorted(names | set(aside)))}")
    return {name: content[name] for name in names}


def _list(content: Mapping[str, Any], name: str) -> list[Any]:
    if not isinstance(content[name], list):
        raise TypeError(f"{name} must be a list, not {shorten(content[name])}")
    return content[name]


def _others(row: Any, *names: str) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in dataclasses.fields(row) if field.name not in names}


def _check_text(label: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{label} must be a string, not {shorten(value)}")


def _check_figures(row: Any, names: Sequence[str], needed: bool) -> None:
    """Numbers from 0, or None where they are not needed; and the reason, text or None."""
    if row.reason is not None:
        _check_text("reason", row.reason)
    for name in names:
        value = getattr(row, name)
        if value is None and not needed:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number, not {shorten(value)}")
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be a finite number from 0, not {value}")
