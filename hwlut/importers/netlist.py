"""Networks of two-input gates, simplified while they are built: what circuits in C and in Verilog are read into."""

from collections.abc import Sequence

import numpy as np

__all__ = ["AND", "NOT", "OR", "XNOR", "XOR", "Netlist"]

AND, OR, XOR, XNOR, NOT = 8, 14, 6, 9, 5
"""Truth tables: bit x + 2 y is the gate's value. NOT is of x."""

_FIRST, _SECOND, _NOT_SECOND = 10, 12, 3
_GATE_LIMIT = 1 << 16
_WORK_LIMIT = 1 << 21


class Netlist:
    """Gates over the bits of two operands.

    Nodes are numbered: 0 and 1 are the constants, then come the bits of a and of b, least
    significant first (`a` and `b` hold their numbers), then the gates. Words are lists of nodes,
    least significant first. Equal gates are one gate, constants are folded, buffers vanish and
    inverters are drawn into the gates they feed.

    Every method raises ValueError beyond 65,536 gates, or 2 million asked for.
    """

    def __init__(self, a_bits: int, b_bits: int):
        self.a = list(range(2, 2 + a_bits))
        self.b = list(range(2 + a_bits, 2 + a_bits + b_bits))
        self._inputs = 2 + a_bits + b_bits
        self._gates: list[tuple[int, int, int]] = []
        self._numbers: dict[tuple[int, int, int], int] = {}
        self._inverted: dict[int, int] = {}
        self._work = 0

    def spend(self, work: int = 1) -> None:
        """Count work, so that a small file cannot ask for an endless amount of it."""
        self._work += work
        if self._work > _WORK_LIMIT:
            raise ValueError(f"the circuit takes more than {_WORK_LIMIT} steps to read")

    def gate(self, truth: int, x: int, y: int) -> int:
        """The node whose value is bit x + 2 y of the 4-bit `truth`."""
        self.spend()
        if x in self._inverted:
            x, truth = self._inverted[x], (truth & 5) << 1 | (truth & 10) >> 1
        if y in self._inverted:
            y, truth = self._inverted[y], (truth & 3) << 2 | truth >> 2
        if x < 2:
            kept = truth >> x & 5
            truth = kept | kept << 1
        if y < 2:
            kept = truth >> 2 * y & 3
            truth = kept | kept << 2
        if x == y:
            truth = (truth & 1) * 5 | (truth >> 3) * 10
        if truth in (0, 15):
            return truth & 1
        if truth in (_FIRST, _SECOND):
            return x if truth == _FIRST else y
        if truth in (NOT, _NOT_SECOND):
            return self._number(NOT, x if truth == NOT else y, 0)
        if x > y:
            x, y, truth = y, x, truth & 9 | (truth & 2) << 1 | (truth & 4) >> 1
        return self._number(truth, x, y)

    def _number(self, truth: int, x: int, y: int) -> int:
        key = (truth, x, y)
        if key not in self._numbers:
            if len(self._gates) == _GATE_LIMIT:
                raise ValueError(f"the circuit has more than {_GATE_LIMIT} gates")
            self._numbers[key] = node = self._inputs + len(self._gates)
            self._gates.append(key)
            if truth == NOT:
                self._inverted[node] = x
        return self._numbers[key]

    def bitwise(self, truth: int, x: Sequence[int], y: Sequence[int]) -> list[int]:
        """The gate `truth` on each pair of bits of two words of one width."""
        return [self.gate(truth, p, q) for p, q in zip(x, y, strict=True)]

    def invert(self, x: Sequence[int]) -> list[int]:
        """The complement of each bit."""
        return [self.gate(NOT, p, 0) for p in x]

    def reduce(self, truth: int, x: Sequence[int]) -> int:
        """All bits of a word combined by AND, OR or XOR."""
        result = x[0]
        for bit in x[1:]:
            result = self.gate(truth, result, bit)
        return result

    def select(self, choice: int, x: Sequence[int], y: Sequence[int]) -> list[int]:
        """x where `choice` is 1, else y."""
        return [
            self.gate(OR, self.gate(AND, choice, p), self.gate(AND, self.gate(NOT, choice, 0), q))
            for p, q in zip(x, y, strict=True)
        ]

    def add(self, x: Sequence[int], y: Sequence[int], carry: int = 0) -> list[int]:
        """x + y + carry, as wide as x and y are."""
        total = []
        for p, q in zip(x, y, strict=True):
            half = self.gate(XOR, p, q)
            total.append(self.gate(XOR, half, carry))
            carry = self.gate(OR, self.gate(AND, p, q), self.gate(AND, half, carry))
        return total

    def subtract(self, x: Sequence[int], y: Sequence[int]) -> list[int]:
        """x - y, as wide as x and y are."""
        return self.add(x, self.invert(y), 1)

    def multiply(self, x: Sequence[int], y: Sequence[int]) -> list[int]:
        """x * y, as wide as x and y are."""
        total = [0] * len(x)
        for place, bit in enumerate(y):
            if bit:
                row = [0] * place + [self.gate(AND, p, bit) for p in x[: len(x) - place]]
                total = self.add(total, row)
        return total

    def finish(self, outputs: Sequence[int]) -> tuple[np.ndarray, tuple[int, ...]]:
        """The gates that `outputs` need, int64 rows (truth, x, y), and the outputs, both renumbered."""
        needed = set(outputs)
        for index in reversed(range(len(self._gates))):
            if self._inputs + index in needed:
                needed.update(self._gates[index][1:])
        numbers = {node: node for node in range(self._inputs)}
        rows = []
        for index, (truth, x, y) in enumerate(self._gates):
            if self._inputs + index in needed:
                rows.append((truth, numbers[x], numbers[y]))
                numbers[self._inputs + index] = self._inputs + len(rows) - 1
        return np.array(rows, np.int64).reshape(-1, 3), tuple(numbers[node] for node in outputs)
