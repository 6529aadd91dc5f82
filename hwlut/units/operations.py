"""The operations that programs are made of."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hwlut.fields import choice, integer
from hwlut.fixed import Fixed, Rounding
from hwlut.unit import Resources, Unit
from hwlut.units.nodes import WORD, Node, Span, block, format_of, operand

if TYPE_CHECKING:
    import torch

__all__ = [
    "Add",
    "Apply",
    "Bits",
    "Clamp",
    "Constant",
    "Equal",
    "LeadingOne",
    "Less",
    "Multiply",
    "Select",
    "ShiftLeft",
    "ShiftRight",
    "Subtract",
]

_HALF = 1 << (WORD - 1)


@dataclass(frozen=True, eq=False)
class Constant(Node, op="constant"):
    """A number."""

    value: int = integer(-_HALF, _HALF - 1)

    def __call__(self) -> int:
        return self.value

    def levels(self) -> int:
        return 0


@dataclass(frozen=True, eq=False)
class Apply(Node, op="unit"):
    """The result of a unit of one input, one scale and one channel."""

    of: str = operand()
    unit: Unit = block()

    def __call__(self, value: "torch.Tensor") -> "torch.Tensor":
        return self.unit(value).long()

    @property
    def output(self) -> Fixed:
        """Format of the unit's result."""
        unit: Any = self.unit
        return unit.output_format(unit.scales[0]) if hasattr(unit, "output_format") else unit.output

    def span(self, span: Span) -> Span:
        input: Fixed = self.unit.input  # type: ignore[attr-defined]
        if span[0] < input.min or span[1] > input.max:
            raise ValueError(f"of must be from {input.min} to {input.max}, not {span[0]} to {span[1]}")
        return self.output.min, self.output.max

    def cost(self, *spans: Span) -> Resources:
        return self.unit.cost()

    @property
    def latency(self) -> int:
        return self.unit.cost().latency


class _Shift:
    """What both shifts share: amounts from 0 to 62, and none is wires when the amount is constant."""

    @staticmethod
    def _check(by: Span) -> None:
        if by[0] < 0 or by[1] > WORD:
            raise ValueError(f"by must be from 0 to {WORD}, not {by[0]} to {by[1]}")


@dataclass(frozen=True, eq=False)
class ShiftLeft(Node, _Shift, op="shift_left"):
    """``of * 2^by``."""

    of: str = operand()
    by: str = operand()

    def __call__(self, value: Any, by: Any) -> Any:
        return value << by

    def span(self, value: Span, by: Span) -> Span:
        self._check(by)
        return super().span(value, by)

    def levels(self, value: Span, by: Span) -> int:
        return int(by[0] != by[1])


@dataclass(frozen=True, eq=False)
class ShiftRight(Node, _Shift, op="shift_right"):
    """``round(of * 2^-by)``."""

    of: str = operand()
    by: str = operand()
    rounding: Rounding = choice(Rounding, default=Rounding.HALF_UP)

    def __call__(self, value: Any, by: Any) -> Any:
        if self.rounding is Rounding.FLOOR:
            return value >> by
        nearest = (value << 1 >> by) + 1 >> 1
        if self.rounding is Rounding.HALF_UP:
            return nearest
        # A tie was rounded up by half a step.
        tie = ((nearest << by) - value) * 2 == (by * 0 + 1 << by)
        return nearest - (tie * (by > 0)) * (nearest & 1)

    def span(self, value: Span, by: Span) -> Span:
        self._check(by)
        return super().span(value, by)

    def adder_bits(self, value: Span, by: Span) -> int:
        return 0 if self.rounding is Rounding.FLOOR else format_of(value).bits

    def levels(self, value: Span, by: Span) -> int:
        return int(by[0] != by[1] or (by[0] > 0 and self.rounding is not Rounding.FLOOR))


@dataclass(frozen=True, eq=False)
class Add(Node, op="add"):
    """``a + b``."""

    a: str = operand()
    b: str = operand()

    def __call__(self, a: Any, b: Any) -> Any:
        return a + b

    def adder_bits(self, *spans: Span) -> int:
        return format_of(self.span(*spans)).bits


@dataclass(frozen=True, eq=False)
class Subtract(Node, op="subtract"):
    """``a - b``."""

    a: str = operand()
    b: str = operand()

    def __call__(self, a: Any, b: Any) -> Any:
        return a - b

    def adder_bits(self, *spans: Span) -> int:
        return format_of(self.span(*spans)).bits


@dataclass(frozen=True, eq=False)
class Multiply(Node, op="multiply"):
    """``a * b``."""

    a: str = operand()
    b: str = operand()

    def __call__(self, a: Any, b: Any) -> Any:
        return a * b

    def span(self, a: Span, b: Span) -> Span:
        low, high = super().span(a, b)
        return (max(0, a[0], -a[1]) ** 2 if self.a == self.b else low), high

    def cost(self, a: Span, b: Span) -> Resources:  # type: ignore[override]
        bits = format_of(a).bits * format_of(b).bits
        return Resources(storage_bits=0, multiplier_bits=bits, adder_bits=0, latency=0)


@dataclass(frozen=True, eq=False)
class Less(Node, op="less"):
    """1 where a < b, else 0."""

    a: str = operand()
    b: str = operand()

    def __call__(self, a: Any, b: Any) -> Any:
        return (a < b) * 1

    def span(self, a: Span, b: Span) -> Span:
        return int(a[1] < b[0]), int(a[0] < b[1])

    def adder_bits(self, a: Span, b: Span) -> int:
        return max(format_of(a).bits, format_of(b).bits)


@dataclass(frozen=True, eq=False)
class Equal(Node, op="equal"):
    """1 where a = b, else 0."""

    a: str = operand()
    b: str = operand()

    def __call__(self, a: Any, b: Any) -> Any:
        return (a == b) * 1

    def span(self, a: Span, b: Span) -> Span:
        return int(a[0] == a[1] == b[0] == b[1]), int(a[0] <= b[1] and b[0] <= a[1])

    def adder_bits(self, a: Span, b: Span) -> int:
        return max(format_of(a).bits, format_of(b).bits)


@dataclass(frozen=True, eq=False)
class LeadingOne(Node, op="leading_one"):
    """Position of the highest one in a number that is never negative: floor(log2(of)), and 0 for 0."""

    of: str = operand()

    def __call__(self, value: Any) -> Any:
        if isinstance(value, int):
            return max(value.bit_length() - 1, 0)
        import torch

        powers = torch.tensor([1 << k for k in range(1, WORD + 1)], device=value.device)
        return torch.bucketize(value.contiguous(), powers, right=True)

    def span(self, value: Span) -> Span:
        if value[0] < 0:
            raise ValueError(f"of must be from 0, not from {value[0]}")
        return super().span(value)


@dataclass(frozen=True, eq=False)
class Select(Node, op="select"):
    """`a` where the condition is not 0, else `b`."""

    condition: str = operand()
    a: str = operand()
    b: str = operand()

    def __call__(self, condition: "torch.Tensor", a: Any, b: Any) -> "torch.Tensor":
        import torch

        return torch.where(condition != 0, a, b)

    def span(self, condition: Span, a: Span, b: Span) -> Span:
        reached = [a] * (condition != (0, 0)) + [b] * (condition[0] <= 0 <= condition[1])
        return min(low for low, _ in reached), max(high for _, high in reached)


@dataclass(frozen=True, eq=False)
class Clamp(Node, op="clamp"):
    """The nearest number to `of` from `low` to `high`."""

    of: str = operand()
    low: int = integer(-_HALF, _HALF - 1)
    high: int = integer(-_HALF, _HALF - 1)

    def __call__(self, value: Any) -> Any:
        return min(max(value, self.low), self.high) if isinstance(value, int) else value.clip(self.low, self.high)

    def span(self, value: Span) -> Span:
        if self.low > self.high:
            raise ValueError(f"low must not be above high, not {self.low} and {self.high}")
        return super().span(value)

    def adder_bits(self, value: Span) -> int:
        return format_of(value).bits * ((value[0] < self.low) + (value[1] > self.high))


@dataclass(frozen=True, eq=False)
class Bits(Node, op="bits"):
    """`count` bits of two's complement from bit `low` up, as a number that is never negative."""

    of: str = operand()
    low: int = integer(0, WORD - 1)
    count: int = integer(1, WORD - 1)

    def __call__(self, value: Any) -> Any:
        return (value >> self.low) & ((1 << self.count) - 1)

    def span(self, value: Span) -> Span:
        most = (1 << self.count) - 1
        return 0, most if value[0] < 0 else min(most, value[1] >> self.low)

    def levels(self, value: Span) -> int:
        return 0
