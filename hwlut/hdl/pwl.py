"""Hardware of a piecewise-linear unit: compare, select, multiply, add."""

from collections.abc import Callable

from amaranth.hdl import Module

from hwlut.fixed import Fixed
from hwlut.hdl.component import UnitComponent, checked_choice, checked_count, checked_stages, component
from hwlut.hdl.datapath import Datapath, Lane
from hwlut.hdl.reload import ReloadableTable, load_beat, loadable_bits
from hwlut.hdl.segment import Comparison
from hwlut.hdl.slope import Multiplication
from hwlut.hdl.stream import Beat, BeatField, Pipeline
from hwlut.units.pwl import STAGES, Pwl

__all__ = ["PwlComponent"]

_MOST_LANES = 64

# After which of its four steps the datapath has registers, by the number of rows.
_CUTS = {
    1: (),
    2: ("select",),
    3: ("select", "multiply"),
    4: ("compare", "select", "multiply"),
    5: ("compare", "select", "multiply", "add"),
}


class PwlComponent(UnitComponent):
    """A `Pwl` as hardware.

    With a single scale the breakpoint codes and shifts are constants. Otherwise each beat names its
    scale in the field ``scale`` = s - min(scales); a number that names none of the unit's scales
    stands for the next lower one that does.

    Parameters
    ----------
    unit: the table.
    stages: 1 to 5 rows of registers.
    lanes: codes a beat, 1 to 64. More than one are the fields q0, q1, ... and y0, y1, ...; a scale
        that comes with the beat is that of all.
    reloadable: a stream ``load`` replaces breakpoints, slopes and intercepts (`ReloadableTable`).
        The accumulator then holds the results of every table of the unit's formats.
    comparison, multiplier: `Comparison` and `Multiplication`.
    """

    unit: Pwl

    def __init__(
        self,
        unit: Pwl,
        stages: int,
        *,
        lanes: int = 1,
        reloadable: bool = False,
        comparison: Comparison = Comparison.PARALLEL,
        multiplier: Multiplication = Multiplication.ARRAY,
    ):
        scales = unit.scales
        self._comparison, self._multiplication = comparison, multiplier
        self._suffixes = [""] if lanes == 1 else [str(lane) for lane in range(lanes)]
        self._accumulator_bits = loadable_bits(unit) if reloadable else unit.accumulator_bits
        frac = tuple(unit.output_format(s).frac or 0 for s in scales)
        result = unit.output or Fixed(self._accumulator_bits)
        user = None
        if len(scales) > 1:
            user = BeatField("scale", (scales[-1] - scales[0]).bit_length(), False)

        def fields(name: str, format: Fixed, frac: tuple[int, ...]) -> tuple[BeatField, ...]:
            return tuple(BeatField(name + x, format.bits, format.signed, _folded(frac)) for x in self._suffixes)

        super().__init__(
            unit,
            Beat(fields("q", unit.input, scales), user),
            Beat(fields("y", result, frac)),
            scale=scales[0] if len(scales) == 1 else None,
            latency=stages,
            load_beat=load_beat(unit) if reloadable else None,
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cuts = _CUTS[self.latency]
        table = None if self.load_beat is None else ReloadableTable(m, self.unit, self.load)
        pipeline = Pipeline(m, self.i, self.o, None if table is None else table.swapping)
        datapath = Datapath(m, self.unit, table, self._comparison, self._multiplication, self._accumulator_bits)
        index = None if self.scale is not None else pipeline.payload.scale
        lanes: list[Lane] = [{"q": pipeline.payload["q" + x], "scale": index} for x in self._suffixes]

        def step(action: Callable[[str, Lane], Lane], registers: bool) -> None:
            """Every lane through `action`, then a row of registers; the lanes share their scale."""
            nonlocal lanes
            lanes = [action(x, lane) for x, lane in zip(self._suffixes, lanes)]
            if registers:
                names = [{key: key if key == "scale" else key + x for key in lanes[0]} for x in self._suffixes]
                row = {name[key]: lane[key] for name, lane in zip(names, lanes) for key in lane}
                later = dict(zip(row, pipeline.register(**row)))
                lanes = [{key: later[name[key]] for key in name} for name in names]

        step(datapath.compare, "compare" in cuts)
        if table is not None:
            table.swap_unless(pipeline.held)
        step(datapath.select, "select" in cuts)
        step(datapath.multiply, "multiply" in cuts)
        step(datapath.add, "add" in cuts)
        step(datapath.round, True)
        pipeline.finish(**{"y" + x: lane["y"] for x, lane in zip(self._suffixes, lanes)})
        return m


@component.register(Pwl)
def _component(
    unit: Pwl,
    *,
    scale: int | None = None,
    stages: int | None = None,
    lanes: int = 1,
    reloadable: bool = False,
    comparison: str = "parallel",
    multiplier: str = "array",
) -> PwlComponent:
    multiplication = checked_choice(multiplier, Multiplication, "Pwl multiplier")
    if not isinstance(reloadable, bool):
        raise TypeError(f"Pwl reloadable must be true or false, not {reloadable!r}")
    if reloadable and multiplication is Multiplication.SHIFT_ADD:
        raise ValueError("Pwl multiplier must be array in a reloadable component, whose slopes change, not shift_add")
    return PwlComponent(
        unit if scale is None else unit.at_scale(scale),
        checked_stages(stages, STAGES, max(_CUTS), "Pwl"),
        lanes=checked_count(lanes, _MOST_LANES, "Pwl lanes"),
        reloadable=reloadable,
        comparison=checked_choice(comparison, Comparison, "Pwl comparison"),
        multiplier=multiplication,
    )


def _folded(fracs: tuple[int, ...]) -> int | tuple[int, ...]:
    """One number where all are equal."""
    return fracs[0] if len(set(fracs)) == 1 else fracs
