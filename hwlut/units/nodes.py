"""What every node of a program has: a name, operands, a span, a cost, a JSON form."""

import dataclasses
import enum
import functools
import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hwlut.fields import INLINE_LIMIT, Field, shorten
from hwlut.fixed import Fixed, signed_bits
from hwlut.names import check_name
from hwlut.unit import Resources, Unit
from hwlut.units.nested import Nested

__all__ = ["Extent", "Node", "Span", "WORD", "block", "format_of", "nodes", "operand", "operands"]

WORD = 62
"""Most bits of a value: int64 then holds it, its double and every rounding."""

Span = tuple[int, int]
"""The lowest and the highest integer a value takes."""

_KINDS: dict[str, type["Node"]] = {}


class Extent(enum.IntEnum):
    """What a node computes its result from: codes of one place, of one row (the last axis), or of whole tensors."""

    CODES = 0
    ROWS = 1
    TENSORS = 2


def format_of(span: Span) -> Fixed:
    """The narrowest format of all integers in `span`: unsigned where none is negative."""
    low, high = span
    return Fixed(signed_bits(low, high)) if low < 0 else Fixed(max(1, high.bit_length()), signed=False)


class _Name(Field):
    def coerce(self, label: str, value: Any) -> str:
        return check_name(value, label)


class _Names(Field):
    def coerce(self, label: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, (tuple, list)) or not value:
            raise TypeError(f"{label} must be a sequence of names, not {shorten(value)}")
        return tuple(check_name(name, label) for name in value)

    def write(self, value: tuple[str, ...], path: str = "") -> list[str]:
        return list(value)


class _Block(Nested):
    """A unit inside a program."""

    def coerce(self, label: str, value: Any) -> Unit:
        unit = super().coerce(label, value)
        if not isinstance(getattr(unit, "input", None), Fixed):
            raise ValueError(f"{label} must have one input, which {type(unit).__name__} has not")
        for key, count in (("scales", len(getattr(unit, "scales", (0,)))), ("channels", getattr(unit, "channels", 1))):
            if count != 1:
                raise ValueError(f"{label} must have one of its {key}, not {count}")
        return unit


def block() -> Any:
    """A unit of one input, one scale and one channel."""
    return dataclasses.field(metadata={"field": _Block()})


def operand() -> Any:
    """The name of an earlier value."""
    return dataclasses.field(metadata={"field": _Name(), "operand": True})


def operands() -> Any:
    """The names of several earlier values."""
    return dataclasses.field(metadata={"field": _Names(), "operand": True})


@dataclass(frozen=True, eq=False)
class Node:
    """One integer operation; `name` is its result's, by which later nodes take it."""

    op: ClassVar[str]
    extent: ClassVar[Extent] = Extent.CODES
    name: str = dataclasses.field(metadata={"field": _Name()})

    def __init_subclass__(cls, op: str | None = None) -> None:
        if op is not None:
            cls.op = op
            _KINDS[op] = cls

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", check_name(self.name, "Program node name"))
        for field in dataclasses.fields(self)[1:]:
            codec, value = field.metadata["field"], getattr(self, field.name)
            if value is not None or not codec.optional:
                value = codec.coerce(f"Program node {self.name!r} {field.name}", value)
                object.__setattr__(self, field.name, value)
        try:
            self.validate()
        except ValueError as error:
            raise ValueError(f"Program node {self.name!r} {error}") from None

    def validate(self) -> None:
        """Refuse impossible combinations of valid fields, by messages that begin with the key."""

    def __str__(self) -> str:
        return f"{self.name}={self.op}({', '.join(self.operands)})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.write() == other.write()

    def __hash__(self) -> int:
        return hash((self.op, self.name, self.operands))

    @functools.cached_property
    def operands(self) -> tuple[str, ...]:
        """Names of the values that are taken."""
        given = (getattr(self, field.name) for field in dataclasses.fields(self) if "operand" in field.metadata)
        return tuple(itertools.chain.from_iterable((each,) if isinstance(each, str) else each for each in given))

    @property
    def units(self) -> tuple[Unit, ...]:
        """The units inside."""
        held = (getattr(self, field.name) for field in dataclasses.fields(self))
        return tuple(each for each in held if isinstance(each, Unit))

    def __call__(self, *values: Any, **_: Any) -> Any:
        """The result for operands that are ints, or int64 tensors of shapes that broadcast."""
        raise NotImplementedError

    def span(self, *spans: Any, **_: Any) -> Span:
        """The result's span from its operands'; ValueError where these may be no operands of the node.

        Here: from every combination of ends, which is right for what is monotone in each operand.
        """
        results = [self(*ends) for ends in itertools.product(*spans)]
        return min(results), max(results)

    @property
    def latency(self) -> int:
        """Clock cycles of a unit or a memory inside; 0 without one."""
        return 0

    def cost(self, *spans: Span) -> Resources:
        """What the node costs that computes a position or a row at a time; shifts and selections, which are neither
        adders nor storage, count nothing."""
        return Resources(storage_bits=0, multiplier_bits=0, adder_bits=self.adder_bits(*spans), latency=0)

    def adder_bits(self, *spans: Any, **_: Any) -> int:
        """Bits of adders and comparators."""
        return 0

    def levels(self, *spans: Any, **_: Any) -> int:
        """1 where the node is logic, 0 where it is wires."""
        return 1

    def _held(self) -> dict[str, tuple[Field, Any]]:
        """Every field with its value, those left out that may be and are."""
        held = {field.name: (field.metadata["field"], getattr(self, field.name)) for field in dataclasses.fields(self)}
        return {key: (field, value) for key, (field, value) in held.items() if value is not None or not field.optional}

    def write(self, path: str = "") -> dict[str, Any]:
        """JSON form; large arrays by reference, under names that begin with `path`."""
        fields = {key: field.write(value, path + key) for key, (field, value) in self._held().items()}
        return {"name": fields.pop("name"), "op": self.op, **fields}

    def arrays(self, path: str) -> dict[str, np.ndarray]:
        """The arrays that `write` refers to, by the same names."""
        parts = (field.arrays(value, path + key) for key, (field, value) in self._held().items())
        return {where: array for part in parts for where, array in part.items()}


class _Nodes(Field):
    """The nodes of a program, in files a list of objects with name, op and what the op takes."""

    def coerce(self, label: str, value: Any) -> tuple[Node, ...]:
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"{label} must be a sequence of nodes, not {shorten(value)}")
        if not 1 <= len(value) <= INLINE_LIMIT:
            raise ValueError(f"{label} must be from 1 to {INLINE_LIMIT}, not {len(value)}")
        return tuple(self._node(f"{label}[{index}]", item) for index, item in enumerate(value))

    @staticmethod
    def _node(label: str, value: Any) -> Node:
        if isinstance(value, Node):
            return value
        if not isinstance(value, dict):
            raise TypeError(f"{label} must be a node, not {shorten(value)}")
        content = dict(value)
        op = content.pop("op", None)
        if not isinstance(op, str) or op not in _KINDS:
            raise ValueError(f"{label} op must be one of {', '.join(sorted(_KINDS))}, not {shorten(op)}")
        kind = _KINDS[op]
        keys = [field.name for field in dataclasses.fields(kind)]
        needed = {field.name for field in dataclasses.fields(kind) if not field.metadata["field"].optional}
        if not needed <= set(content) <= set(keys):
            raise ValueError(f"{label} keys must be op, {', '.join(keys)}, not {shorten(', '.join(map(str, value)))}")
        return kind(**content)

    def write(self, value: tuple[Node, ...], path: str = "") -> list[dict[str, Any]]:
        return [node.write(f"{path.removesuffix('nodes')}{node.name}.") for node in value]

    def arrays(self, value: tuple[Node, ...], path: str) -> dict[str, np.ndarray]:
        parts = (node.arrays(f"{path.removesuffix('nodes')}{node.name}.") for node in value)
        return {where: array for part in parts for where, array in part.items()}


def nodes() -> Any:
    """The nodes of a program."""
    return dataclasses.field(metadata={"field": _Nodes()})
