"""Tables of lines: constants, or registers that a load stream fills while the old table is in use."""

from typing import Any

from amaranth.hdl import Module, Mux, Shape, Signal, Value, ValueLike

from hwlut.hdl.stream import Beat, BeatField
from hwlut.units.pwl import Pwl

__all__ = ["ReloadableTable", "load_beat", "load_entries", "loadable_bits"]


def loadable_bits(unit: Pwl) -> int:
    """Width of an accumulator that holds the result of every table of the formats of `unit`.

    Raises ValueError where one of them would be no legal unit.
    """
    # Linear in slope, intercept and code: the extremes lie at the corners.
    corners = [
        unit.replace(breakpoints=(), slopes=(slope,), intercepts=(intercept,))
        for slope in (unit.slope.min, unit.slope.max)
        for intercept in (unit.intercept.min, unit.intercept.max)
    ]
    return max(corner.accumulator_bits for corner in corners)


def load_entries(unit: Pwl, scale: int | None = None) -> list[tuple[int, int, int]]:
    """What the load stream takes, entry by entry, to compute `unit`: (breakpoint, slope, intercept).

    Parameters
    ----------
    unit: a table of the formats, scales, symmetry and number of segments of the component's own.
    scale: the component's hard-wired scale: breakpoints are input codes at it. None, for a component
        that takes the scale with each beat: they have the unit's breakpoint_frac.

    Breakpoints beyond what a code can reach are held just beyond it; that of the last entry is 0.
    """
    unit = unit if scale is None else unit.at_scale(scale)
    lowest, highest = unit.comparator_range
    points = unit.breakpoint_codes(unit.scales[0]) if len(unit.scales) == 1 else unit.breakpoints
    held = [min(max(point, lowest), highest + 1) for point in points]
    return list(zip([*held, 0], unit.slopes, unit.intercepts))


def load_beat(unit: Pwl) -> Beat:
    """A beat of the load stream: one entry, and whether it is the table's last."""
    point = unit.breakpoint_frac if len(unit.scales) > 1 else unit.scales[0]
    return Beat(
        (
            BeatField("breakpoint", unit.comparator_bits, True, point),
            BeatField("slope", unit.slope.bits, True, unit.slope.frac),
            BeatField("intercept", unit.intercept.bits, True, unit.intercept.frac),
        ),
        last=True,
    )


class ReloadableTable:
    """The lines in use, the lines being loaded, and when the one becomes the other.

    A load of as many entries as there are segments takes the place of the table in use, after its
    last beat and before any beat that is accepted later. In between, `swapping` is high: neither
    stream is ready, until what was accepted before has left the steps that read the table. A load
    of any other length is dropped as a whole. Reset brings back the table the component was built
    with.

    Parameters
    ----------
    m: the module to build in.
    unit: the table after reset.
    load: the load stream, its payload as `load_beat`.

    Members: breakpoints and lines (slope, intercept), as wires.
    """

    def __init__(self, m: Module, unit: Pwl, load: Any):
        self._m = m
        entries = load_entries(unit)
        beat = load_beat(unit)
        self._used: list[Signal] = []
        self._next: list[Signal] = []
        self.breakpoints: list[Signal] = []
        self.lines: list[tuple[Signal, Signal]] = []
        self.swapping = Signal()
        count = Signal(range(len(entries) + 1), name="loaded")
        arrives = load.valid & load.ready
        m.d.comb += load.ready.eq(~self.swapping)
        for number, entry in enumerate(entries):
            # Behind the last line there is no breakpoint.
            kept = beat.data[1:] if number == len(entries) - 1 else beat.data
            values = entry[-len(kept) :]
            used = [
                Signal(Shape(f.bits, f.signed), name=f"table_{f.name}_{number}", init=v) for f, v in zip(kept, values)
            ]
            coming = [Signal(Shape(f.bits, f.signed), name=f"next_{f.name}_{number}", reset_less=True) for f in kept]
            with m.If(arrives & (count == number)):
                m.d.sync += [register.eq(load.payload[f.name]) for f, register in zip(kept, coming)]
            self.breakpoints += used[:-2]
            self.lines.append((used[-2], used[-1]))
            self._used += used
            self._next += coming
        with m.If(arrives):
            m.d.sync += count.eq(Mux(load.payload.last, 0, Mux(count == len(entries), count, count + 1)))
            with m.If(load.payload.last & (count == len(entries) - 1)):
                m.d.sync += self.swapping.eq(1)

    def swap_unless(self, busy: ValueLike) -> None:
        """Say when beats accepted earlier still need the table in use."""
        m = self._m
        with m.If(self.swapping & ~Value.cast(busy)):
            m.d.sync += [used.eq(coming) for used, coming in zip(self._used, self._next)]
            m.d.sync += self.swapping.eq(0)
