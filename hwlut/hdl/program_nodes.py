"""Nodes of a program as hardware, laid out in rows of registers."""

from collections.abc import Mapping, Sequence
from functools import singledispatch

from amaranth.hdl import Const, EnableInserter, Module, Mux, Signal, Value
from amaranth.lib.memory import Memory

from hwlut.hdl.arithmetic import leading_one, named, round_shift, shift_left
from hwlut.hdl.component import UnitComponent, component
from hwlut.hdl.stream import BeatField, Rows, shape_of
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
    Multiply,
    Select,
    ShiftLeft,
    ShiftRight,
    Subtract,
)
from hwlut.units.passes import Section
from hwlut.units.ports import Port
from hwlut.units.reductions import Entries, Maximum, Sum

__all__ = ["fields", "lay"]


def fields(ports: tuple[Port, ...]) -> tuple[BeatField, ...]:
    """The fields of a beat that holds a code of each port."""
    return tuple(BeatField(port.name, port.format.bits, port.format.signed, port.format.frac) for port in ports)


def lay(
    m: Module,
    rows: Rows,
    section: Section,
    spans: Mapping[str, Span],
    values: Mapping[str, Value],
    wanted: Sequence[str],
    *,
    place: Signal | None = None,
    last: Value | None = None,
) -> list[Value]:
    """The `wanted` values of a section behind its rows of registers, and then `last`, where it is given.

    A unit inside is its own component with its default latency: always fed, never stalled, and enabled when the rows
    move, so that its registers are rows of theirs.

    Parameters
    ----------
    m, rows: the module to build in, and its rows so far.
    spans: of all values.
    values: those that are there in the first row, by name.
    place: where in its row this is, the address of entries.
    """
    plan = section.plan
    until = dict.fromkeys(wanted, plan.latency)  # the last row in which a value is taken
    for node in section.nodes:
        for operand in node.operands:
            until[operand] = max(plan.start.get(node.name, 0), until.get(operand, 0))
    beside = next(name for name in map("last{}".format, ("", *range(len(spans)))) if name not in spans)
    known = dict(values)
    arriving: dict[str, Value] = {}
    for row in range(plan.latency + 1):
        # Results of units leave their last register.
        known |= {name: arriving.pop(name) for name in list(arriving) if plan.ready[name] == row}

        # Nodes of this row; those of constants alone have none and come first.
        for node in section.nodes:
            if plan.start.get(node.name, 0) != row:
                continue
            if isinstance(node, Apply):
                arriving[node.name] = _apply(m, node, known[node.of], rows.move)
            elif isinstance(node, Entries):
                arriving[node.name] = _entries(m, node, place, rows.move)
            else:
                operands = [known[name] for name in node.operands]
                result = _compute(node, m, [spans[name] for name in node.operands], *operands)
                known[node.name] = named(m, node.name, result, shape_of(format_of(spans[node.name])))

        # What later rows take, one row later; constants stay.
        if row < plan.latency:
            moving = {name: value for name, value in known.items() if name in plan.ready}
            kept = {name: value for name, value in moving.items() if until.get(name, 0) > row}
            *later, last = rows.register(**kept, **{beside: last})
            known = {name: value for name, value in known.items() if name not in moving} | dict(zip(kept, later))
    found = [known[name] for name in wanted]
    return found if last is None else [*found, last]


def _entries(m: Module, node: Entries, place: Signal | None, move: Value) -> Value:
    assert place is not None
    shape = shape_of(format_of(node.span()))
    m.submodules[f"{node.name}_entries"] = held = Memory(
        shape=shape, depth=node.values.size, init=node.values.reshape(-1).tolist()
    )
    port = held.read_port()
    m.d.comb += [port.addr.eq(place), port.en.eq(move)]
    return port.data


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
def _(node: Multiply, m: Module, spans: list[Span], a: Value, b: Value) -> Value:
    return a * b


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
    return leading_one(m, node.name, value)


@_compute.register
def _(node: ShiftLeft, m: Module, spans: list[Span], value: Value, by: Value) -> Value:
    return shift_left(value, _amount(by, spans[1]))


@_compute.register
def _(node: ShiftRight, m: Module, spans: list[Span], value: Value, by: Value) -> Value:
    return round_shift(value, _amount(by, spans[1]), node.rounding)


@_compute.register(Sum)
@_compute.register(Maximum)
def _(node: Sum | Maximum, m: Module, spans: list[Span], value: Value) -> Value:
    return value  # of a row of one; all others are folds between passes
