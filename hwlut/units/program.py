"""Programs: units and integer operations put together, from a function of one code to a whole network."""

import contextlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hwlut.fields import shorten
from hwlut.fixed import Fixed, signed_bits
from hwlut.unit import Resources, Unit
from hwlut.units.codes import checked_codes, result_dtype
from hwlut.units.nested import TooDeep
from hwlut.units.nodes import WORD, Extent, Node, Span, nodes
from hwlut.units.one_scale import OneScale
from hwlut.units.passes import row_passes
from hwlut.units.ports import Port, ports
from hwlut.units.reductions import Entries
from hwlut.units.schedule import DEPTH, Schedule, schedule, staged

if TYPE_CHECKING:
    import torch

__all__ = ["INPUT", "NESTING", "Program"]

INPUT = "q"
"""Name of the input of a program that has one of codes."""

NESTING = 16
"""Most programs within each other, the outermost included."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Program(OneScale, Unit, schema="hwlut.program/1"):
    """A function of integer codes, computed by nodes in order.

    Each input is a value by its port's name; each node adds a value of its own name, made from earlier ones; outputs
    are values. All values are exact integers: the span of each is proven from those of the inputs when the program is
    made, and no wider than 62 bits.

    What its nodes take in says what the program is a function of (`extent`): of codes, place by place, in any shape; of
    rows along the last axis, in any shape; or of tensors, whose first dimension is the batch.

    Parameters
    ----------
    inputs, outputs: `Port`s; the format of an output holds the span of its value.
    nodes: `hwlut.units.operations`, `reductions`, `movement` and `products`, each taking values that stand before it;
        all are used. Units among them may be programs, nested at most 16 deep.
    """

    name: str = "nodes"  # the kind's own is a Verilog keyword
    inputs: tuple[Port, ...] = ports()
    nodes: tuple[Node, ...] = nodes()
    outputs: tuple[Port, ...] = ports()

    @classmethod
    def of(cls, *, input: Fixed, nodes: tuple[Node, ...], output: Fixed, **fields: Any) -> "Program":
        """The program of one input, ``q``, and one output, the last of its nodes."""
        if not isinstance(nodes, (tuple, list)) or not nodes or not isinstance(nodes[-1], Node):
            raise TypeError(f"Program nodes must be a sequence of nodes, not {shorten(nodes)}")
        outputs = (Port(nodes[-1].name, output),)
        return cls(inputs=(Port(INPUT, input),), nodes=tuple(nodes), outputs=outputs, **fields)

    def validate(self) -> None:
        if self.nesting > NESTING:
            raise TooDeep(f"Program nesting must be at most {NESTING} deep, not {self.nesting}")
        for port in self.inputs:
            if port.format.bits > 32:
                raise ValueError(f"Program input {port.name!r} bits must be from 1 to 32, not {port.format.bits}")
        used = {name for node in self.nodes for name in node.operands} | {port.name for port in self.outputs}
        if unused := [name for name in self.spans if name not in used]:
            raise ValueError(f"Program values must all be used, which {shorten(unused[0])} is not")
        for port in self.outputs:
            if port.name not in self.spans:
                raise ValueError(f"Program output must be one of its values, not {port.name!r}")
            low, high = self.spans[port.name]
            if low < port.format.min or high > port.format.max:
                raise ValueError(
                    f"Program output {port.name!r} must hold {low} to {high}, which {port.format} does not"
                )

    @cached_property
    def extent(self) -> Extent:
        """What the program is a function of."""
        inner = (unit.extent for node in self.nodes for unit in node.units if isinstance(unit, Program))
        return max((*inner, *(node.extent for node in self.nodes)))

    @property
    def scales(self) -> tuple[int, ...]:  # type: ignore[override]
        """Fraction bits of the only input; none where there are several, or it has no frac."""
        frac = self.inputs[0].format.frac if len(self.inputs) == 1 else None
        return () if frac is None else (frac,)

    def chosen_scale(self, scale: int | None) -> int | None:  # type: ignore[override]
        """The one scale, or None where there is none; else as `OneScale`."""
        if self.scales:
            return super().chosen_scale(scale)
        if scale is not None:
            raise ValueError(f"Program scale must not be given where inputs have none, not {shorten(scale)}")
        return None

    @property
    def input(self) -> Fixed:  # type: ignore[override]
        """Format of the only input."""
        return self._only("input", self.inputs)

    @property
    def output(self) -> Fixed:  # type: ignore[override]
        """Format of the only output."""
        return self._only("output", self.outputs)

    @staticmethod
    def _only(label: str, given: tuple[Port, ...]) -> Fixed:
        if len(given) > 1:
            raise AttributeError(f"Program must have one {label}, not {', '.join(port.name for port in given)}")
        return given[0].format

    @cached_property
    def nesting(self) -> int:
        """How many programs are within each other, this one included."""
        units = (unit for node in self.nodes for unit in node.units)
        return 1 + max((unit.nesting for unit in units if isinstance(unit, Program)), default=0)

    @cached_property
    def spans(self) -> dict[str, Span]:
        """The lowest and the highest integer that each value can be, in the order of the nodes."""
        spans: dict[str, Span] = {port.name: (port.format.min, port.format.max) for port in self.inputs}
        names = f"each other and from {', '.join(spans)}"
        for node in self.nodes:
            if node.name in spans:
                raise ValueError(f"Program node names must differ from {names}, not {node.name!r} again")
            for operand in node.operands:
                if operand not in spans:
                    raise ValueError(f"Program node {node.name!r} must take values before it, not {operand!r}")
            try:
                span = node.span(*(spans[operand] for operand in node.operands))
            except ValueError as error:
                raise ValueError(f"Program node {node.name!r} {error}") from None
            if (bits := signed_bits(*span)) > WORD:
                raise ValueError(f"Program node {node.name!r} must stay within {WORD} bits, not {bits}")
            spans[node.name] = span
        return spans

    def __call__(self, *codes: "torch.Tensor", scale: int | None = None) -> Any:
        """Results of the codes of each input (any integer dtypes): a tensor, or a tuple where there are several.

        int32 where the output's format allows, else int64. The results of a program of codes or rows have the shape
        that those of the inputs broadcast to.

        Raises TypeError for other than one tensor an input, and ValueError for a code outside its format, another shape
        than the port's or the constants', or another scale than the program's.
        """
        import torch

        self.chosen_scale(scale)
        values = self.values(*codes)
        results = [values[port.name] for port in self.outputs]
        if self.extent is not Extent.TENSORS:
            shape = torch.broadcast_shapes(*(each.shape for each in codes))
            results = [result.expand(shape) for result in results]
        results = [result.to(result_dtype(port.format)) for result, port in zip(results, self.outputs)]
        return results[0] if len(results) == 1 else tuple(results)

    def values(self, *codes: "torch.Tensor") -> dict[str, "torch.Tensor"]:
        """Every value by name, int64, of the codes of each input."""
        import torch

        values = self.check(*codes)
        if self.extent is not Extent.TENSORS:
            self._check_places([tuple(given.shape) for given in codes])
        for node in self.nodes:
            result = node(*(values[operand] for operand in node.operands))
            values[node.name] = torch.as_tensor(result, dtype=torch.int64, device=codes[0].device)
        return values

    def check(self, *codes: "torch.Tensor") -> dict[str, "torch.Tensor"]:
        """The codes of each input by its name, int64; raises TypeError and ValueError as a call does."""
        self.check_shapes(*codes)
        labels = ["Program"] if len(self.inputs) == 1 else [f"Program {port.name}" for port in self.inputs]
        given = zip(self.inputs, codes, labels)
        return {port.name: checked_codes(each, port.format, label) for port, each, label in given}

    def check_shapes(self, *codes: "torch.Tensor") -> None:
        """TypeError for another number of tensors than inputs, ValueError for one of another shape than its port's."""
        if len(codes) != len(self.inputs):
            raise TypeError(f"Program codes must be {len(self.inputs)} tensors, one an input, not {len(codes)}")
        for port, given in zip(self.inputs, codes):
            shape = tuple(getattr(given, "shape", ()))
            if port.shape is not None and shape[max(0, len(shape) - len(port.shape)) :] != port.shape:
                wanted = ", ".join(("...", *map(str, port.shape)))
                raise ValueError(f"Program {port.name} codes must have the shape [{wanted}], not {list(shape)}")

    def _check_places(self, shapes: list[tuple[int, ...]]) -> None:
        """ValueError where inputs do not broadcast to each other, or constants not to them."""
        try:
            whole = np.broadcast_shapes(*shapes)
        except ValueError:
            told = ", ".join(str(list(shape)) for shape in shapes)
            raise ValueError(f"Program codes must have shapes that broadcast to each other, not {told}") from None
        for node in self.nodes:
            if isinstance(node, Entries) and not _broadcasts(node.values.shape, whole):
                told = ", ".join(map(str, node.values.shape))
                raise ValueError(f"Program codes must have the shape [..., {told}] of {node.name!r}, not {list(whole)}")

    def schedule(self, depth: int = DEPTH) -> Schedule:
        """When each value is computed by hardware that has at most `depth` operations in a clock cycle."""
        return schedule(self.nodes, self.spans, [port.name for port in self.outputs], depth)

    def staged(self, stages: int) -> Schedule:
        """The schedule of that latency; ValueError where no depth gives it, which lists those there are."""
        return staged(stages, map(self.schedule, range(len(self.nodes), 0, -1)))

    def cost(self) -> Resources:
        return self._cost

    @property
    def _latency(self) -> int:
        """As of hardware; of what cannot become a stream of rows that of its nodes after each other."""
        if self.extent is Extent.ROWS:
            with contextlib.suppress(ValueError):
                return row_passes(self).latency
        return self.schedule().latency

    @cached_property
    def _cost(self) -> Resources:
        # Held, since both the nodes and the schedule of an outer program ask for it.
        costs = [node.cost(*(self.spans[operand] for operand in node.operands)) for node in self.nodes]
        return Resources(
            storage_bits=sum(cost.storage_bits for cost in costs),
            multiplier_bits=sum(cost.multiplier_bits for cost in costs),
            adder_bits=sum(cost.adder_bits for cost in costs),
            latency=self._latency,
        )


def _broadcasts(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    ends = whole[max(0, len(whole) - len(shape)) :]
    return len(shape) <= len(whole) and all(size in (1, other) for size, other in zip(shape, ends))
