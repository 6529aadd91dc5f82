"""Hardware of a program: its nodes in rows, units as clock-enabled components."""

from functools import singledispatch

from amaranth.hdl import Const, EnableInserter, Module, Mux, Signal, Value

from hwlut.hdl.arithmetic import named, round_shift, shift_left
from hwlut.hdl.component import UnitComponent, component
from hwlut.hdl.stream import Beat, BeatField, Pipeline, shape_of
from hwlut.units.nodes import Node, Span, format_of
from hwlut.units.operations import (
    Add,
    Apply,
    Bits,
    Clamp,
    Constant,
    Equal,
    LeadingOne,
    Less,
    Select,
    ShiftLeft,
    ShiftRight,
    Subtract,
)
from hwlut.units.program import INPUT, Program
from hwlut.units.schedule import Schedule

__all__ = ["ProgramComponent"]


class ProgramComponent(UnitComponent):
    """A `Program` as hardware, one beat a cycle.

    A unit inside is its own component with its default latency: always fed, never stalled, and
    enabled when the program's rows move, so that its registers are rows of the program's.

    Parameters
    ----------
    unit: the program.
    schedule: in which row each of its nodes is computed.
    """

    unit: Program

    def __init__(self, unit: Program, schedule: Schedule):
        super().__init__(
            unit,
            Beat((BeatField(INPUT, unit.input.bits, unit.input.signed, unit.input.frac),)),
            Beat((BeatField("y", unit.output.bits, unit.output.signed, unit.output.frac),)),
            scale=unit.input.frac,
            latency=schedule.latency,
        )
        self.schedule = schedule

    def elaborate(self, platform: object) -> Module:
        m = Module()
        plan, nodes = self.schedule, self.unit.nodes
        pipeline = Pipeline(m, self.i, self.o)
        values: dict[str, Value] = {INPUT: pipeline.payload[INPUT]}
        arriving: dict[str, Value] = {}
        for row in range(self.latency + 1):
            # Results of units leave their last register.
            values |= {name: arriving.pop(name) for name in list(arriving) if plan.ready[name] == row}

            # Nodes of this row; those of constants alone have none and come first.
            for node in nodes:
                if plan.start.get(node.name, 0) != row:
                    continue
                if isinstance(node, Apply):
                    arriving[node.name] = self._apply(m, node, values[node.of], pipeline.move)
                else:
                    span, spans = self.unit.spans[node.name], [self.unit.spans[name] for name in node.operands]
                    result = _compute(node, m, spans, *(values[name] for name in node.operands))
                    values[node.name] = named(m, node.name, result, shape_of(format_of(span)))

            # What later rows take, one row later; constants stay.
            if row < self.latency:
                moving = {name: value for name, value in values.items() if name in plan.ready}
                kept = {name: value for name, value in moving.items() if self._last_row(name) > row}
                later = dict(zip(kept, pipeline.register(**kept)))
                values = {name: value for name, value in values.items() if name not in moving} | later
        pipeline.finish(y=values[nodes[-1].name])
        return m

    def _last_row(self, name: str) -> int:
        """The last row in which the value is taken."""
        nodes = self.unit.nodes
        takers = [self.schedule.start.get(node.name, 0) for node in nodes if name in node.operands]
        return self.latency if name == nodes[-1].name else max(takers)

    @staticmethod
    def _apply(m: Module, node: Apply, value: Value, move: Value) -> Value:
        inner: UnitComponent = component(node.unit)
        m.submodules[f"{node.name}_unit"] = EnableInserter(move)(inner)
        (taken,), (result,) = inner.input_beat.data, inner.output_beat.data
        m.d.comb += [inner.i.valid.eq(1), inner.o.ready.eq(1), inner.i.payload[taken.name].eq(value)]
        return inner.o.payload[result.name]


def _amount(value: Value, span: Span) -> int | Value:
    return span[0] if span[0] == span[1] else value


@singledispatch
def _compute(node: Node, m: Module, spans: list[Span], *values: Value) -> Value:
    """The result of `node`, wide enough; `spans` are those of its operands."""
    raise ValueError(f"Program node {node.name!r} cannot become hardware")


@_compute.register
def _(node: Constant, m: Module, spans: list[Span]) -> Value:
    return Const(node.value)


@_compute.register
def _(node: Add, m: Module, spans: list[Span], a: Value, b: Value) -> Value:
    return a + b


@_compute.register
def _(node: Subtract, m: Module, spans: list[Span], a: Value, b: Value) -> Value:
    return a - b


@_compute.register
def _(node: Less, m: Module, spans: list[Span], a: Value, b: Value) -> Value:
    return a < b


@_compute.register
def _(node: Equal, m: Module, spans: list[Span], a: Value, b: Value) -> Value:
    return a == b


@_compute.register
def _(node: Select, m: Module, spans: list[Span], condition: Value, a: Value, b: Value) -> Value:
    return Mux(condition, a, b)


@_compute.register
def _(node: Clamp, m: Module, spans: list[Span], value: Value) -> Value:
    result: Value = value
    if spans[0][0] < node.low:
        result = Mux(value < node.low, node.low, result)
    if spans[0][1] > node.high:
        result = Mux(value > node.high, node.high, result)
    return result


@_compute.register
def _(node: Bits, m: Module, spans: list[Span], value: Value) -> Value:
    return value.shift_right(node.low) & ((1 << node.count) - 1)


@_compute.register
def _(node: LeadingOne, m: Module, spans: list[Span], value: Value) -> Value:
    position = Signal(range(len(value)), name=f"{node.name}_position")
    with m.Switch(value):
        for place in range(1, len(value)):
            with m.Case("0" * (len(value) - 1 - place) + "1" + "-" * place):
                m.d.comb += position.eq(place)
    return position


@_compute.register
def _(node: ShiftLeft, m: Module, spans: list[Span], value: Value, by: Value) -> Value:
    return shift_left(value, _amount(by, spans[1]))


@_compute.register
def _(node: ShiftRight, m: Module, spans: list[Span], value: Value, by: Value) -> Value:
    return round_shift(value, _amount(by, spans[1]), node.rounding)


@component.register(Program)
def _component(unit: Program, *, scale: int | None = None, stages: int | None = None) -> ProgramComponent:
    unit.chosen_scale(scale)
    return ProgramComponent(unit, unit.schedule() if stages is None else unit.staged(stages))
