"""Valid/ready streams: what a beat holds, and the pipeline skeleton every component is built on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Const, Module, Mux, Shape, Signal, Value, ValueLike
from amaranth.lib import data, stream

from hwlut.fixed import Fixed

__all__ = ["Beat", "BeatField", "Fold", "Pipeline", "Rows", "registers", "shape_of"]


def shape_of(format: Fixed) -> Shape:
    """Amaranth shape of a code in `format`."""
    return Shape(format.bits, format.signed)


@dataclass(frozen=True)
class BeatField:
    """One number of a beat.

    Parameters
    ----------
    name: its name in the payload and in the ``.rtl.json``.
    bits, signed: its width and sign.
    frac: fraction bits; a tuple, one a scale, where they vary with the scale of the beat; None
        where the unit does not say.
    """

    name: str
    bits: int
    signed: bool
    frac: int | tuple[int, ...] | None = 0


@dataclass(frozen=True)
class Beat:
    """What one transfer of a stream carries.

    Parameters
    ----------
    data: fields of ``tdata``, first at the low end.
    user: the field of ``tuser``, unsigned: an index that selects among constants; or None.
    last: true where ``tlast`` marks the last of a group of beats: the payload's member ``last``.
    """

    data: tuple[BeatField, ...]
    user: BeatField | None = None
    last: bool = False

    def signature(self) -> stream.Signature:
        """Stream whose payload has one member a field."""
        fields = self.data if self.user is None else (*self.data, self.user)
        members = {field.name: Shape(field.bits, field.signed) for field in fields}
        if self.last:
            members["last"] = Shape(1)
        return stream.Signature(data.StructLayout(members))


def registers(m: Module, row: int, values: Mapping[str, ValueLike | None]) -> tuple[Any, ...]:
    """A register for each of the values, in their order, loaded under the conditions open in `m`; None stays None."""
    later: list[Signal | None] = []
    for name, value in values.items():
        if value is None:
            later.append(None)
            continue
        value = Value.cast(value)
        copy = Signal(value.shape(), name=f"{name}_{row}", reset_less=True)
        m.d.sync += copy.eq(value)
        later.append(copy)
    return tuple(later)


@dataclass(frozen=True)
class Fold:
    """What becomes one number over several beats.

    name, shape: of its register. step: what that is after a beat, by whether it is the first one and by what it was.
    """

    name: str
    shape: Shape
    step: Callable[[Value, Value], Value]


class Rows:
    """Rows of registers, written from top to bottom inside an ``elaborate``.

    `register` puts a row of registers under the values it is given; `finish` drives the output from the last row. All
    rows move together whenever the last one is empty or taken: latency = rows.

    Parameters
    ----------
    m: the module to build in.
    valid: whether there is something for the first row; it goes in when the rows `move`.
    o: output stream interface (``amaranth.lib.stream``).
    """

    def __init__(self, m: Module, valid: Value, o: Any):
        self._m = m
        self._o = o
        self.move = Signal(name="move")
        """Whether the rows move in this cycle."""
        self._row = 0
        self._valid = valid
        self.enters: Value = valid & self.move
        """Whether something goes into the first row in this cycle."""
        self.held: Value = Const(0, 1)
        """Whether a beat stands in the rows so far."""

    def register(self, /, **values: ValueLike | None) -> tuple[Any, ...]:
        """One row of registers: the given values one row later, in the order given; None stays None."""
        m, row = self._m, self._row
        self._row += 1
        valid = Signal(name=f"valid_{row}")
        with m.If(self.move):
            m.d.sync += valid.eq(self._valid)
            later = registers(m, row, values)
        self._valid = valid
        self.held = self.held | valid
        return later

    def register_if(self, here: bool, /, **values: ValueLike | None) -> tuple[Any, ...]:
        """`register` where `here` is true, else the values as they are."""
        return self.register(**values) if here else tuple(values.values())

    def accumulate(
        self, shape: Shape, terms: Sequence[tuple[ValueLike, Value]], last: Value, /, **values: ValueLike | None
    ) -> tuple[Any, ...]:
        """One row that adds up, for each of the `terms` (start, value): the start and the values of the beats from
        behind the one before with `last` up to the next one.

        Behind this row only that one counts, with the given `values` as they were in it: (sums, *values). The sums are
        taken modulo 2^width of `shape`.
        """
        names = ["acc"] if len(terms) == 1 else [f"acc{number}" for number in range(len(terms))]

        def added(start: ValueLike, value: Value) -> Callable[[Value, Value], Value]:
            return lambda first, total: Mux(first, start, total) + value

        return self.fold([Fold(name, shape, added(*term)) for name, term in zip(names, terms)], last, **values)

    def fold(self, folds: Sequence[Fold], last: Value, /, **values: ValueLike | None) -> tuple[Any, ...]:
        """`accumulate` of anything that becomes one number, beat by beat."""
        m = self._m
        first = Signal(init=1, name="first")
        totals = [Signal(fold.shape, name=fold.name, reset_less=True) for fold in folds]
        with m.If(self.move & self._valid):
            m.d.sync += [total.eq(fold.step(first, total)) for fold, total in zip(folds, totals)]
            m.d.sync += first.eq(last)
        self._valid = self._valid & last
        return (totals, *self.register(**values))

    def finish(self, **fields: ValueLike) -> None:
        """Drive the output stream; its payload's members are the `fields`."""
        self._m.d.comb += [
            self._o.valid.eq(self._valid),
            self.move.eq(~self._valid | self._o.ready),
            *(self._o.payload[name].eq(value) for name, value in fields.items()),
        ]


class Pipeline(Rows):
    """A valid/ready pipeline: `Rows` behind a skid buffer, so that ``i.ready`` is a register. One beat a cycle.

    Parameters
    ----------
    m: the module to build in.
    i, o: input and output stream interfaces (``amaranth.lib.stream``).
    pause: a register; while it is high no beat is accepted.
    """

    def __init__(self, m: Module, i: Any, o: Any, pause: Signal | None = None):
        layout = i.payload.shape()
        held = Signal(layout, name="skid_payload", reset_less=True)
        full = Signal(name="skid_full")
        super().__init__(m, full | (i.valid if pause is None else i.valid & ~pause), o)
        m.d.comb += i.ready.eq(~full if pause is None else ~(full | pause))
        with m.If(self.move):
            m.d.sync += full.eq(0)
        with m.Elif(i.valid & i.ready):
            m.d.sync += [held.eq(i.payload), full.eq(1)]

        payload = Signal(layout, name="beat")
        m.d.comb += payload.eq(Mux(full, held, i.payload))
        self.payload = payload
        """The beat that enters the first row."""
        self.held = full
