"""Hardware of a truth table: one case a code."""

from amaranth.hdl import Array, Const, Module

from hwlut.hdl.arithmetic import named
from hwlut.hdl.component import UnitComponent, checked_stages, component
from hwlut.hdl.stream import Beat, BeatField, Pipeline, shape_of
from hwlut.units.direct import STAGES, Direct

__all__ = ["DirectComponent"]

_CUTS = {1: (), 2: ("code",)}


class DirectComponent(UnitComponent):
    """A `Direct` as hardware.

    Parameters
    ----------
    unit: the table, whose values become constants.
    stages: 1 or 2 rows of registers.
    """

    unit: Direct

    def __init__(self, unit: Direct, stages: int):
        super().__init__(
            unit,
            Beat((BeatField("q", unit.input.bits, unit.input.signed, unit.input.frac),)),
            Beat((BeatField("y", unit.output.bits, unit.output.signed, unit.output.frac),)),
            scale=unit.input.frac,
            latency=stages,
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        unit, cuts = self.unit, _CUTS[self.latency]
        pipeline = Pipeline(m, self.i, self.o)
        (q,) = pipeline.register_if("code" in cuts, q=pipeline.payload.q)

        # Look up: the code's bits, read as unsigned, count from code 0; the values count from the lowest code.
        shape = shape_of(unit.output)
        first = -unit.input.min
        entries = Array(Const(value, shape) for value in (*unit.values[first:], *unit.values[:first]))
        (y,) = pipeline.register(y=named(m, "value", entries[q.as_unsigned()], shape))
        pipeline.finish(y=y)
        return m


@component.register(Direct)
def _component(unit: Direct, *, scale: int | None = None, stages: int | None = None) -> DirectComponent:
    unit.chosen_scale(scale)
    return DirectComponent(unit, checked_stages(stages, STAGES, max(_CUTS), "Direct"))
