"""What every node of a program has: a name, operands, a span, a cost, a JSON form."""

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

from hwlut.fields import INLINE_LIMIT, Field, shorten
from hwlut.fixed import Fixed, signed_bits
from hwlut.names import check_name
from hwlut.unit import Resources, Unit
from hwlut.units.nested import Nested

__all__ = ["block", "Node", "Span", "WORD", "format_of", "nodes", "operand"]

WORD = 62
"""Most bits of a value: int64 then holds it, its double and every rounding."""

Span = tuple[int, int]
"""The lowest and the highest integer a value takes."""

_KINDS: dict[str, type["Node"]] = {}


def format_of(span: Span) -> Fixed:
    """The narrowest format of all integers in `span`: unsigned where none is negative."""
    low, high = span
    return Fixed(signed_bits(low, high)) if low < 0 else Fixed(max(1, high.bit_length()), signed=False)


class _Name(Field):
    def coerce(self, label: str, value: Any) -> str:
        return check_name(value, label)


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


@dataclass(frozen=True)
class Node:
    """One integer operation; `name` is its result's, by which later nodes take it."""

    op: ClassVar[str]
    name: str = dataclasses.field(metadata={"field": _Name()})

    def __init_subclass__(cls, op: str) -> None:
        cls.op = op
        _KINDS[op] = cls

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", check_name(self.name, "Program node name"))
        for field in dataclasses.fields(self)[1:]:
            value = field.metadata["field"].coerce(
                f"Program node {self.name!r} {field.name}", getattr(self, field.name)
            )
            object.__setattr__(self, field.name, value)

    def __str__(self) -> str:
        return f"{self.name}={self.op}({', '.join(self.operands)})"

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of the values that are taken."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self) if "operand" in field.metadata)

    def __call__(self, *values: Any, **_: Any) -> Any:
        """The result for operands that are ints, or int64 tensors of shapes that broadcast."""
        raise NotImplementedError

    def span(self, *spans: Any, **_: Any) -> Span:
        """The result's span from its operands'; ValueError where these may be no operands of the node.

        Here: from every combination of ends, which is right for what is monotone in each operand.
        """
        results = [self(*ends) for ends in itertools.product(*spans)]
        return min(results), max(results)

    def cost(self, *spans: Span) -> Resources:
        """What the node costs; shifts and selections count nothing, being neither adders nor storage."""
        return Resources(storage_bits=0, multiplier_bits=0, adder_bits=self.adder_bits(*spans), latency=0)

    def adder_bits(self, *spans: Any, **_: Any) -> int:
        """Bits of adders and comparators."""
        return 0

    def levels(self, *spans: Any, **_: Any) -> int:
        """1 where the node is logic, 0 where it is wires."""
        return 1

    def write(self) -> dict[str, Any]:
        """JSON form."""
        fields = {f.name: f.metadata["field"].write(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return {"name": fields.pop("name"), "op": self.op, **fields}


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
        if set(content) != set(keys):
            raise ValueError(f"{label} keys must be op, {', '.join(keys)}, not {shorten(', '.join(map(str, value)))}")
        return kind(**content)

    def write(self, value: tuple[Node, ...]) -> list[dict[str, Any]]:
        return [node.write() for node in value]


def nodes() -> Any:
    """The nodes of a program."""
    return dataclasses.field(metadata={"field": _Nodes()})
