"""What a design is: what a network is trained for, and the array that computes it."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hwlut.fields import shorten
from hwlut.files import digest_of
from hwlut.nn import Lookup
from hwlut.units.multiplier import Multiplier

__all__ = ["HELD_OUT", "Array", "LookUps", "Network"]

HELD_OUT = 0.1
"""Share of the training data by which designs are chosen, and on which nothing is trained."""

_BITS = (2, 16)
_SEGMENTS = (2, 64)
_SIDE = (1, 64)


@dataclass(frozen=True, kw_only=True)
class LookUps:
    """The shape of look-ups: prototypes, inputs of a sub-vector, how it is encoded and bits of an entry, all as of
    `hwlut.nn.Lookup`, whose errors it raises."""

    k: int = 16
    v: int | None = None
    encoder: str = "l2"
    table_bits: int = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoder", self.lookup().encoder)

    def lookup(self, seed: int = 0) -> Lookup:
        """What layers are converted by."""
        return Lookup(**asdict(self), seed=seed)

    @property
    def label(self) -> str:
        """Such as ``k16,v4,l2``, and the bits of an entry but for 8."""
        words = [f"k{self.k}", *([f"v{self.v}"] if self.v else []), self.encoder]
        return ",".join(words + ([] if self.table_bits == 8 else [f"{self.table_bits}bit"]))


@dataclass(frozen=True, kw_only=True)
class Network:
    """What training sees of a design.

    Parameters
    ----------
    sparsity: share of the groups of channels that go, from 0 to below 1.
    bits: least and most bits, from 2 to 16, of every operation's operands.
    multiplier: of all products, None for exact ones.
    look_ups: how layers look their products up; None where all are multiplied.
    segments: of the piecewise-linear units, 2 to 64, that stand for functions; None for tables of all codes.

    TypeError and ValueError for other values. Whether a task has such a network shows when it is made.
    """

    sparsity: float = 0.0
    bits: tuple[int, int] = (8, 8)
    multiplier: Multiplier | None = None
    look_ups: LookUps | None = None
    segments: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.sparsity, bool) or not isinstance(self.sparsity, (int, float)):
            raise TypeError(f"Network sparsity must be a number, not {shorten(self.sparsity)}")
        if not 0 <= self.sparsity < 1:
            raise ValueError(f"Network sparsity must be from 0 to below 1, not {self.sparsity:g}")
        object.__setattr__(self, "sparsity", float(self.sparsity))
        if not isinstance(self.bits, (tuple, list)) or len(self.bits) != 2:
            raise TypeError(f"Network bits must be the least and the most bits, not {shorten(self.bits)}")
        least, most = (_whole("Network bits", each, *_BITS) for each in self.bits)
        if least > most:
            raise ValueError(f"Network bits must be ascending, not {least} and {most}")
        object.__setattr__(self, "bits", (least, most))
        for name, kind in (("multiplier", Multiplier), ("look_ups", LookUps)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"Network {name} must be a {kind.__name__} or None, not {shorten(value)}")
        if self.segments is not None:
            _whole("Network segments", self.segments, *_SEGMENTS)

    @functools.cached_property
    def digest(self) -> str:
        """sha256 of all that it says, with a multiplier's content in the place of its name."""
        return digest_of(self.to_json() | {"multiplier": None if self.multiplier is None else self.multiplier.digest})

    @property
    def label(self) -> str:
        """A short text, such as ``50% 4:8 mul8s_drum_4 k16,v4,l2 s16``: what is left at its default but bits, out."""
        least, most = self.bits
        words = [f"{100 * self.sparsity:.4g}%"] if self.sparsity else []
        words.append(f"{most}" if least == most else f"{least}:{most}")
        words += [self.multiplier.name] if self.multiplier else []
        words += [self.look_ups.label] if self.look_ups else []
        return " ".join([*words, *([f"s{self.segments}"] if self.segments else [])])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; of the multiplier, its name and digest."""
        unit = self.multiplier
        return {
            "sparsity": self.sparsity,
            "bits": list(self.bits),
            "multiplier": None if unit is None else {"name": unit.name, "digest": unit.digest},
            "look_ups": None if self.look_ups is None else asdict(self.look_ups),
            "segments": self.segments,
        }

    @classmethod
    def from_json(cls, content: Any, multipliers: Iterable[Multiplier] = ()) -> "Network":
        """What `to_json` wrote; ValueError for anything else, and for a multiplier that is not among `multipliers`."""
        given = dict(_object("Network", content, cls))
        if (named := given["multiplier"]) is not None:
            named = _object("Network multiplier", named, ("name", "digest"))
            same = [unit for unit in multipliers if (unit.name, unit.digest) == (named["name"], named["digest"])]
            if not same:
                raise ValueError(f"Network multiplier {shorten(named['name'])} must be one of those given")
            given["multiplier"] = same[0]
        try:
            if (looked := given["look_ups"]) is not None:
                given["look_ups"] = LookUps(**_object("Network look_ups", looked, LookUps))
            return cls(**given)
        except TypeError as error:
            raise ValueError(str(error)) from None


@dataclass(frozen=True, kw_only=True, order=True)
class Array:
    """The size of a tile: samples and outputs at once, 1 to 64 each. TypeError and ValueError for other values."""

    rows: int = 8
    columns: int = 8

    def __post_init__(self) -> None:
        for field in fields(self):
            _whole(f"Array {field.name}", getattr(self, field.name), *_SIDE)

    @property
    def label(self) -> str:
        """Such as ``8x16``."""
        return f"{self.rows}x{self.columns}"

    @classmethod
    def from_json(cls, content: Any) -> "Array":
        """What `dataclasses.asdict` wrote; ValueError for anything else."""
        try:
            return cls(**_object("Array", content, cls))
        except TypeError as error:
            raise ValueError(str(error)) from None


def _whole(label: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{label} must be an integer, not {shorten(value)}")
    if not least <= value <= most:
        raise ValueError(f"{label} must be from {least} to {most}, not {value}")
    return value


def _object(label: str, content: Any, keys: type | tuple[str, ...]) -> Mapping[str, Any]:
    """Content with just these keys, or those of a dataclass."""
    names = keys if isinstance(keys, tuple) else tuple(field.name for field in fields(keys))
    if not isinstance(content, dict) or set(content) != set(names):
        raise ValueError(f"{label} must be an object of {', '.join(names)}, not {shorten(content)}")
    return content
