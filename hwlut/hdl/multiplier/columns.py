"""Sums of many bits: a carry-save tree."""

from amaranth.hdl import Cat, Const, Module, Value

from hwlut.hdl.arithmetic import named
from hwlut.hdl.multiplier.register import Register

__all__ = ["Columns"]


class Columns:
    """Bits by the column, the power of two, that each counts for.

    Parameters
    ----------
    width: of their sum, which is taken modulo 2^width.
    """

    def __init__(self, width: int):
        self._bits: list[list[Value]] = [[] for _ in range(width)]
        self._constant = 0

    def add(self, column: int, bit: Value) -> None:
        """``bit * 2^column`` more."""
        self._bits[column].append(bit)

    def subtract(self, column: int, bit: Value) -> None:
        """``bit * 2^column`` less: its complement more, and a constant less."""
        self._bits[column].append(~bit)
        self._constant -= 1 << column

    def sum(self, m: Module, register: Register) -> Value:
        """The sum, cut at "sum" between the tree and the adder of its last two rows."""
        for column, bits in enumerate(self._bits):
            if self._constant >> column & 1:
                bits.append(Const(1, 1))
        self._reduce(m)
        first = next((column for column, bits in enumerate(self._bits) if len(bits) > 1), len(self._bits))
        rows = (Cat(bits[number] if number < len(bits) else Const(0, 1) for bits in self._bits) for number in (0, 1))
        x, y = register("sum", row_x=named(m, "row_x", next(rows)), row_y=named(m, "row_y", next(rows)[first:]))
        high = named(m, "high_sum", (x[first:] + y)[: len(y)])
        return Cat(x[:first], high)

    def _reduce(self, m: Module) -> None:
        """Down to two bits a column by full and half adders, as late as the depth allows (Dadda, Some Schemes for
        Parallel Multipliers, Alta Frequenza 1965).
        """
        heights = [2]
        while heights[-1] < max(map(len, self._bits)):
            heights.append(heights[-1] * 3 // 2)
        for level, height in enumerate(reversed(heights)):
            for column, bits in enumerate(self._bits):
                adder = 0
                while (excess := len(bits) - height) > 0:
                    taken = [bits.pop(0) for _ in range(2 if excess == 1 else 3)]
                    name = f"{level}_{column}_{adder}"
                    total, carry = (
                        _full_adder(*taken) if len(taken) == 3 else (taken[0] ^ taken[1], taken[0] & taken[1])
                    )
                    bits.append(named(m, f"sum_{name}", total))
                    if column + 1 < len(self._bits):
                        self._bits[column + 1].append(named(m, f"carry_{name}", carry))
                    adder += 1


def _full_adder(x: Value, y: Value, z: Value) -> tuple[Value, Value]:
    return x ^ y ^ z, x & y | z & (x ^ y)
