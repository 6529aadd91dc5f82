"""Hardware of a program of rows: a pipeline for each pass, and what waits between them."""

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered

from hwlut.hdl.arithmetic import named
from hwlut.hdl.component import UnitComponent
from hwlut.hdl.program_nodes import fields, lay
from hwlut.hdl.stream import Beat, Fold, Pipeline, Rows, shape_of
from hwlut.units.nodes import format_of
from hwlut.units.passes import RowPass, RowPasses
from hwlut.units.program import Program
from hwlut.units.reductions import Entries, Maximum, Sum

__all__ = ["RowsComponent"]

_QUEUE = 4  # rows whose values wait for a pass
_SLACK = 2  # places on their way into a buffer and out of it, with which a row takes no more cycles than places
_MOST_BITS = 1 << 24  # of all buffers


class RowsComponent(UnitComponent):
    """A `Program` of rows as hardware: each beat has the codes of one place, and ``last`` where its row ends; for each
    there is one beat of results, with ``last`` likewise.

    A row ends at its place number `most`, too. Between two passes the places of a row wait in a memory until what is
    computed once a row is there, and that waits for the pass in a queue of four rows.

    Parameters
    ----------
    unit: the program.
    plan: its passes.
    """

    unit: Program

    def __init__(self, unit: Program, plan: RowPasses):
        for port in (*unit.inputs, *unit.outputs):
            if port.name == "last":
                raise ValueError(f"Program {unit.name!r} cannot become one stream of rows; it has a port named 'last'")
        self._plan, self._spans = plan, unit.spans
        buffers = zip(plan.passes, plan.passes[1:])
        bits = sum(self._depth(each) * (1 + self._bits(later.places)) for each, later in buffers)
        if bits > _MOST_BITS:
            raise ValueError(f"Program {unit.name!r} buffers must hold at most 2^24 bits in hardware, not {bits}")
        super().__init__(
            unit,
            Beat(fields(unit.inputs), last=True),
            Beat(fields(unit.outputs), last=True),
            scale=unit.chosen_scale(None),
            latency=plan.latency,
            stream_rows={"least": plan.least, "most": plan.most, "passes": len(plan.passes)},
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        waiting: Any = None
        for number, each in enumerate(self._plan.passes):
            m.submodules[f"pass_{number}"] = inner = Module()
            ends = _ends(each)
            results = self.o if each.between is None else _stream("results", self._bits(ends))
            if waiting is None:
                rows: Rows = (first := Pipeline(inner, self.i, results))
                values: dict[str, Value] = {name: first.payload[name] for name in each.places}
                last: Value = first.payload.last
            else:
                rows = Rows(inner, waiting.valid, results)
                inner.d.comb += waiting.ready.eq(rows.move)
                values = self._parted(waiting.payload.results, (*each.places, *each.rows))
                last = waiting.payload.last
            place = None
            if self._plan.most > 1 and (number == 0 or any(isinstance(node, Entries) for node in each.each.nodes)):
                place = Signal(range(self._plan.most), name="place")
                last = named(inner, "row_last", last | (place == self._plan.most - 1))
                with inner.If(rows.enters):
                    inner.d.sync += place.eq(Mux(last, 0, place + 1))
            elif number == 0:
                last = named(inner, "row_last", 1)
            *found, last = lay(inner, rows, each.each, self._spans, values, ends, place=place, last=last)
            if each.between is None:
                rows.finish(**dict(zip(ends, found)), last=last)
            else:
                rows.finish(results=Cat(*found), last=last)
                m.submodules[f"between_{number}"] = inner = Module()
                waiting = self._between(inner, each, self._plan.passes[number + 1], results)
        return m

    def _between(self, m: Module, each: RowPass, later: RowPass, results: Any) -> Any:
        """The stream of what the pass `later` takes of the `results` of `each`: of places, and of their rows."""
        section, spans = each.between, self._spans
        assert section is not None
        values, last = self._parted(results.payload.results, _ends(each)), results.payload.last
        m.submodules.places = places = SyncFIFOBuffered(width=self._bits(later.places) + 1, depth=self._depth(each))
        m.submodules.queue = queue = SyncFIFO(width=self._bits(later.rows), depth=_QUEUE)

        # Once a row.
        once = _stream("once", self._bits(later.rows))
        rows = Rows(m, results.valid & places.w_rdy, once)
        reduced = [node.name for node in each.reductions]
        held = {name: values[name] for name in section.taken if name not in reduced}
        totals, *kept = rows.fold([self._fold(node, values[node.of]) for node in each.reductions], last, **held)
        start = dict(zip((*reduced, *held), (*totals, *kept)))
        rows.finish(results=Cat(*lay(m, rows, section, spans, start, section.given)), last=1)
        m.d.comb += [queue.w_data.eq(once.payload.results), queue.w_en.eq(once.valid), once.ready.eq(queue.w_rdy)]

        # Each place, which waits for that.
        waiting = _stream("waiting", self._bits((*later.places, *later.rows)))
        leaves = named(m, "leaves", waiting.valid & waiting.ready)
        m.d.comb += [
            results.ready.eq(rows.move & places.w_rdy),
            places.w_data.eq(Cat(last, *(values[name] for name in later.places))),
            places.w_en.eq(results.valid & rows.move),
            waiting.valid.eq(places.r_rdy & queue.r_rdy),
            Cat(waiting.payload.last, waiting.payload.results).eq(Cat(places.r_data, queue.r_data)),
            places.r_en.eq(leaves),
            queue.r_en.eq(leaves & waiting.payload.last),
        ]
        return waiting

    def _fold(self, node: Sum | Maximum, value: Value) -> Fold:
        def step(first: Value, total: Value) -> Value:
            if isinstance(node, Sum):
                return Mux(first, 0, total) + value
            return Mux(first | (value > total), value, total)

        return Fold(node.name, shape_of(format_of(self._spans[node.name])), step)

    def _depth(self, each: RowPass) -> int:
        """Places that wait while a row of the most is reduced, and what follows until that is known."""
        assert each.between is not None
        return self._plan.most + each.between.plan.latency + _SLACK

    def _bits(self, names: Iterable[str]) -> int:
        return sum(format_of(self._spans[name]).bits for name in names)

    def _parted(self, value: Value, names: Iterable[str]) -> dict[str, Value]:
        """The values by name that `value` holds after each other."""
        found, low = {}, 0
        for name in names:
            format = format_of(self._spans[name])
            part = value[low : low + format.bits]
            found[name] = part.as_signed() if format.signed else part
            low += format.bits
        return found


def _ends(each: RowPass) -> tuple[str, ...]:
    """What leaves a pass."""
    return tuple(dict.fromkeys((*each.each.given, *(node.of for node in each.reductions))))


def _stream(name: str, bits: int) -> Any:
    return stream.Signature(data.StructLayout({"results": unsigned(bits), "last": 1})).create(path=(name,))
