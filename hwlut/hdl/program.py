"""Hardware of a program: of one of codes a pipeline."""

from amaranth.hdl import Module

from hwlut.hdl.component import UnitComponent, component
from hwlut.hdl.program_nodes import fields, lay
from hwlut.hdl.program_rows import RowsComponent
from hwlut.hdl.stream import Beat, Pipeline
from hwlut.units.nodes import Extent, Node
from hwlut.units.passes import Section, row_passes, staged_passes
from hwlut.units.program import Program
from hwlut.units.schedule import Schedule

__all__ = ["ProgramComponent"]


class ProgramComponent(UnitComponent):
    """A `Program` of codes as hardware, one beat a cycle: a field for each of its inputs, and for each of its outputs.

    Parameters
    ----------
    unit: the program.
    schedule: in which row each of its nodes is computed.
    """

    unit: Program

    def __init__(self, unit: Program, schedule: Schedule):
        super().__init__(
            unit,
            Beat(fields(unit.inputs)),
            Beat(fields(unit.outputs)),
            scale=unit.chosen_scale(None),
            latency=schedule.latency,
        )
        self.schedule = schedule

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipeline = Pipeline(m, self.i, self.o)
        inputs = {port.name: pipeline.payload[port.name] for port in self.unit.inputs}
        names = [port.name for port in self.unit.outputs]
        section = Section(tuple(inputs), self.unit.nodes, tuple(names), self.schedule)
        results = lay(m, pipeline, section, self.unit.spans, inputs, names)
        pipeline.finish(**dict(zip(names, results)))
        return m


@component.register(Program)
def _component(unit: Program, *, scale: int | None = None, stages: int | None = None) -> UnitComponent:
    unit.chosen_scale(scale)
    if unit.extent is Extent.TENSORS:
        node = next(node for node in unit.nodes if node.extent is Extent.TENSORS or _of_tensors(node))
        raise ValueError(
            f"Program {unit.name!r} cannot become one stream; its node {node.name!r} ({node.op}) takes whole tensors"
        )
    if unit.extent is Extent.ROWS:
        return RowsComponent(unit, row_passes(unit) if stages is None else staged_passes(unit, stages))
    return ProgramComponent(unit, unit.schedule() if stages is None else unit.staged(stages))


def _of_tensors(node: Node) -> bool:
    return any(isinstance(unit, Program) and unit.extent is Extent.TENSORS for unit in node.units)
