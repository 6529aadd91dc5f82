"""Programs: units and simple integer operations put together into one function of a code."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from hwlut.fields import fixed, shorten
from hwlut.fixed import Fixed
from hwlut.unit import Resources, Unit
from hwlut.units.codes import checked_codes
from hwlut.units.nested import TooDeep
from hwlut.units.nodes import WORD, Node, Span, format_of, nodes
from hwlut.units.one_scale import OneScale
from hwlut.units.operations import Apply
from hwlut.units.schedule import DEPTH, Schedule, schedule

if TYPE_CHECKING:
    import torch

__all__ = ["INPUT", "NESTING", "Program"]

INPUT = "q"
"""Name of the input value."""

NESTING = 16
"""Most programs within each other, the outermost included."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Program(OneScale, Unit, schema="hwlut.program/1"):
    """A function of one integer code, computed by nodes in order.

    Input code q stands for q * 2^-input.frac and is the value named ``q``; each node adds a value
    of its own name, made from earlier ones; the last one is the result, which stands for
    y * 2^-output.frac. All values are exact integers: the span of each is proven from the input's
    when the program is made, and no wider than 62 bits.

    Parameters
    ----------
    input: format of the input code, 1 to 32 bits.
    nodes: `hwlut.units.operations`, each taking values that stand before it; all are used. Units among
        them may be programs, nested at most 16 deep.
    output: format of the result, whose span it must hold.
    """

    name: str = "nodes"  # the kind's own is a Verilog keyword
    input: Fixed = fixed("bits", "signed", "frac")
    nodes: tuple[Node, ...] = nodes()
    output: Fixed = fixed("bits", "signed", "frac")

    def validate(self) -> None:
        if self.nesting > NESTING:
            raise TooDeep(f"Program nesting must be at most {NESTING} deep, not {self.nesting}")
        if self.input.bits > 32:
            raise ValueError(f"Program input bits must be from 1 to 32, not {self.input.bits}")
        used = {name for node in self.nodes for name in node.operands} | {self.nodes[-1].name}
        if unused := [name for name in self.spans if name not in used]:
            raise ValueError(f"Program values must all be used, which {shorten(unused[0])} is not")
        low, high = self.spans[self.nodes[-1].name]
        if low < self.output.min or high > self.output.max:
            raise ValueError(f"Program output must hold {low} to {high}, which {self.output} does not")

    @cached_property
    def nesting(self) -> int:
        """How many programs are within each other, this one included."""
        units = (node.unit for node in self.nodes if isinstance(node, Apply))
        return 1 + max((unit.nesting for unit in units if isinstance(unit, Program)), default=0)

    @cached_property
    def spans(self) -> dict[str, Span]:
        """The lowest and the highest integer that each value can be, in the order of the nodes."""
        spans: dict[str, Span] = {INPUT: (self.input.min, self.input.max)}
        for node in self.nodes:
            if node.name in spans:
                raise ValueError(f"Program node names must differ from each other and from q, not {node.name!r} again")
            for operand in node.operands:
                if operand not in spans:
                    raise ValueError(f"Program node {node.name!r} must take values before it, not {operand!r}")
            try:
                span = node.span(*(spans[operand] for operand in node.operands))
            except ValueError as error:
                raise ValueError(f"Program node {node.name!r} {error}") from None
            if (bits := format_of(span).bits + (span[0] >= 0)) > WORD:
                raise ValueError(f"Program node {node.name!r} must stay within {WORD} bits, not {bits}")
            spans[node.name] = span
        return spans

    def __call__(self, codes: "torch.Tensor", scale: int | None = None) -> "torch.Tensor":
        """Results of input `codes` (any integer dtype and shape): int32 where `output` allows, else int64.

        Raises ValueError for a code outside the input format or another scale than the program's.
        """
        import torch

        self.chosen_scale(scale)
        values = {INPUT: checked_codes(codes, self.input, "Program")}
        for node in self.nodes:
            result = node(*(values[operand] for operand in node.operands))
            values[node.name] = torch.as_tensor(result, dtype=torch.int64, device=codes.device)
        result = values[self.nodes[-1].name].expand(codes.shape)
        return result.to(self.result_dtype())

    def schedule(self, depth: int = DEPTH) -> Schedule:
        """When each value is computed by hardware that has at most `depth` operations in a clock cycle."""
        return schedule(self.nodes, self.spans, depth)

    def staged(self, stages: int) -> Schedule:
        """The schedule of that latency; ValueError where no depth gives it, which lists those there are."""
        if isinstance(stages, bool) or not isinstance(stages, int):
            raise TypeError(f"Program stages must be an integer, not {shorten(stages)}")
        plans = {plan.latency: plan for plan in map(self.schedule, range(len(self.nodes), 0, -1))}
        if stages not in plans:
            raise ValueError(f"Program stages must be one of {', '.join(map(str, sorted(plans)))}, not {stages}")
        return plans[stages]

    def cost(self) -> Resources:
        return self._cost

    @cached_property
    def _cost(self) -> Resources:
        # Held, since both the nodes and the schedule of an outer program ask for it.
        costs = [node.cost(*(self.spans[operand] for operand in node.operands)) for node in self.nodes]
        return Resources(
            storage_bits=sum(cost.storage_bits for cost in costs),
            multiplier_bits=sum(cost.multiplier_bits for cost in costs),
            adder_bits=sum(cost.adder_bits for cost in costs),
            latency=self.schedule().latency,
        )
