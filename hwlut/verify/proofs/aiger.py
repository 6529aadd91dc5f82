"""And-inverter graphs: files of yosys read back, run cycle by cycle, or for all values of their inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwlut.errors import ToolError

__all__ = ["Graph", "read_graph"]

_TOGETHER = 14  # inputs whose values are taken at once, a bit each


@dataclass(frozen=True)
class Graph:
    """A circuit of AND gates and registers, in the literals of the AIGER format: twice a variable, plus 1 to invert.

    inputs: how many; they are the variables from 1 on, then come registers, then gates. registers: next values.
    outputs: literals. ports: the outputs' places among them, by (name, bit). gates: operands.
    """

    inputs: int
    registers: tuple[int, ...]
    outputs: tuple[int, ...]
    ports: dict[tuple[str, int], int]
    gates: tuple[tuple[int, int], ...]

    def run(self, cycles: Sequence[Sequence[int]]) -> list[dict[str, int]]:
        """The numbers of all outputs in each cycle, by name, from zero registers on; cycles: bits of the inputs."""
        state = [0] * len(self.registers)
        found = []
        for bits in cycles:
            values = self._values([*bits, *state], 1)
            shown: dict[str, int] = {}
            for (name, bit), place in self.ports.items():
                shown[name] = shown.get(name, 0) | _literal(values, self.outputs[place], 1) << bit
            found.append(shown)
            state = [_literal(values, literal, 1) for literal in self.registers]
        return found

    def first(self, name: str) -> tuple[int, ...] | None:
        """The first inputs, bit 0 counting most, that make an output 1, of a circuit without registers; else None."""
        together = min(self.inputs, _TOGETHER)
        every = (1 << (1 << together)) - 1
        tables = []
        for place in range(together):
            half = 1 << (together - 1 - place)
            tables.append(every // ((1 << 2 * half) - 1) * ((1 << half) - 1) << half)
        for rest in range(1 << (self.inputs - together)):
            above = [rest >> place & 1 for place in range(self.inputs - together)]
            values = self._values([*(-bit & every for bit in above), *tables], every)
            if ones := _literal(values, self.outputs[self.ports[name, 0]], every):
                at = (ones & -ones).bit_length() - 1
                return (*above, *(at >> (together - 1 - place) & 1 for place in range(together)))
        return None

    def _values(self, inputs: Sequence[int], every: int) -> list[int]:
        """Of each variable, a bit for each of several runs; every: all bits."""
        values = [0, *inputs]
        for left, right in self.gates:
            values.append(_literal(values, left, every) & _literal(values, right, every))
        return values


def _literal(values: Sequence[int], literal: int, every: int) -> int:
    value = values[literal >> 1]
    return value ^ every if literal & 1 else value


def read_graph(path: Path, names: Path, declared: Sequence[tuple[str, int]]) -> Graph:
    """The graph of an AIGER file in binary form.

    Parameters
    ----------
    path, names: the file, and the map of its ports that yosys wrote beside it, without outputs that are constant.
    declared: its outputs, by (name, bit), in the order of the module.

    ToolError where yosys wrote them in another order.
    """
    head, data = path.read_bytes().split(b"\n", 1)
    inputs, registers, outputs, gates = (int(number) for number in head.split()[2:6])
    rest = data.split(b"\n", registers + outputs)
    literals = [int(line.split()[0]) for line in rest[:-1]]
    coded = iter(rest[-1])

    def delta() -> int:
        number = shift = 0
        while (byte := next(coded)) & 0x80:
            number |= (byte & 0x7F) << shift
            shift += 7
        return number | byte << shift

    first = inputs + registers + 1
    pairs = []
    for variable in range(first, first + gates):
        left = 2 * variable - delta()
        pairs.append((left, left - delta()))
    told = [line.split() for line in names.read_text().splitlines()]
    ports = {port: index for index, port in enumerate(declared)}
    given = literals[registers:]
    mapped = {(name, int(bit)): int(index) for kind, index, bit, name in told if kind == "output" and "." not in name}
    if len(declared) != outputs or any(given[index] != given[ports[port]] for port, index in mapped.items()):
        raise ToolError("yosys", "outputs of a graph in another order than their module's", "install 0.23")
    return Graph(inputs, tuple(literals[:registers]), tuple(given), ports, tuple(pairs))
