"""Hardware of a piecewise-linear unit: compare, select, multiply, add."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from hwlut.hdl.arithmetic import choose, named, round_shift, saturate, shift_left
from hwlut.hdl.component import UnitComponent, checked_stages, component
from hwlut.hdl.stream import Beat, BeatField, Pipeline, shape_of
from hwlut.units.pwl import STAGES, Pwl, Symmetry

__all__ = ["PwlComponent"]

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
    """

    unit: Pwl

    def __init__(self, unit: Pwl, stages: int):
        scales = unit.scales
        frac = tuple(unit.output_format(s).frac or 0 for s in scales)
        result = unit.output_format(scales[0])
        user = None
        if len(scales) > 1:
            user = BeatField("scale", (scales[-1] - scales[0]).bit_length(), False)
        super().__init__(
            unit,
            Beat((BeatField("q", unit.input.bits, unit.input.signed, _folded(scales)),), user),
            Beat((BeatField("y", result.bits, result.signed, _folded(frac)),)),
            scale=scales[0] if len(scales) == 1 else None,
            latency=stages,
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        unit, cuts = self.unit, _CUTS[self.latency]
        pipeline = Pipeline(m, self.i, self.o)
        q = pipeline.payload.q
        index = None if self.scale is not None else pipeline.payload.scale
        span = range(unit.scales[0], unit.scales[-1] + 1)
        scales = [max(s for s in unit.scales if s <= number) for number in span]

        # Compare: bit j says that the code lies at or above breakpoint j.
        above = self._compare(m, q, index, scales)
        q, index, above = pipeline.register_if("compare" in cuts, q=q, scale=index, above=above)

        # Select: the line of the segment that the code lies in.
        slope, intercept = self._select(m, above)
        q, index, slope, intercept = pipeline.register_if(
            "select" in cuts, q=q, scale=index, slope=slope, intercept=intercept
        )

        # Multiply.
        product = named(m, "product", slope * self._magnitude(q))
        q, index, product, intercept = pipeline.register_if(
            "multiply" in cuts, q=q, scale=index, product=product, intercept=intercept
        )

        # Add, with what the symmetry asks for where q is negative.
        acc = self._accumulate(m, product, intercept, q, index, scales)
        index, acc = pipeline.register_if("add" in cuts, scale=index, acc=acc)

        # Round and saturate into the row that holds the output.
        (y,) = pipeline.register(y=self._output(m, acc, index, scales))
        pipeline.finish(y=y)
        return m

    def _magnitude(self, q: Value) -> Value:
        """The code the table is read at: q, or |q| under symmetry."""
        if self.unit.symmetry is Symmetry.NONE:
            return q
        return Mux(q < 0, -q, q)[: self.unit.input.bits].as_unsigned()

    def _compare(self, m: Module, q: Value, index: Value | None, scales: list[int]) -> Signal | None:
        unit = self.unit
        if unit.segments == 1:
            return None
        code = named(m, "code", self._magnitude(q))
        if index is None:
            reach, breakpoints = code, unit.breakpoint_codes(scales[0])
        else:
            # q >= round_half_even(p / 2^d) is p <= (q << d) + 2^(d-1) - (q & 1), or p <= q at d = 0.
            drop = choose(m, "drop", index, [unit.breakpoint_frac - s for s in scales])
            half = shift_left(Const(1), drop) >> 1
            reach = named(
                m, "reach", shift_left(code, drop) + half - (code[0] & half.any()), signed(unit.comparator_bits)
            )
            breakpoints = unit.breakpoints
        lowest, highest = unit.comparator_range
        bits = (reach >= p if lowest < p <= highest else Const(p <= lowest, 1) for p in breakpoints)
        return named(m, "above", Cat(bits))

    def _select(self, m: Module, above: Value | None) -> tuple[Signal, Signal]:
        unit = self.unit
        slope = Signal(shape_of(unit.slope), name="slope")
        intercept = Signal(shape_of(unit.intercept), name="intercept")
        lines = list(zip(unit.slopes, unit.intercepts))
        if above is None:
            m.d.comb += [slope.eq(lines[0][0]), intercept.eq(lines[0][1])]
            return slope, intercept
        # Ascending breakpoints make `above` a thermometer code: its highest one names the segment.
        with m.Switch(above):
            for segment, (k, b) in enumerate(lines):
                zeros = "0" * (len(above) - segment)
                with m.Case(zeros + ("1" + "-" * (segment - 1) if segment else "")):
                    m.d.comb += [slope.eq(k), intercept.eq(b)]
        return slope, intercept

    def _accumulate(
        self, m: Module, product: Value, intercept: Value, q: Value, index: Value | None, scales: list[int]
    ) -> Signal:
        unit = self.unit
        points = [unit.point(s) for s in scales]
        product_shift = choose(m, "product_shift", index, [a - unit.slope.frac - s for a, s in zip(points, scales)])
        intercept_shift = choose(m, "intercept_shift", index, [a - unit.intercept.frac for a in points])
        acc = shift_left(product, product_shift) + shift_left(intercept, intercept_shift)
        negative = q < 0
        if unit.symmetry is Symmetry.IDENTITY:
            x_shift = choose(m, "x_shift", index, [a - s for a, s in zip(points, scales)])
            acc = acc + Mux(negative, shift_left(q, x_shift), 0)
        elif unit.symmetry is Symmetry.ODD:
            acc = Mux(negative, -acc, acc)
        elif unit.symmetry is Symmetry.COMPLEMENT:
            acc = Mux(negative, shift_left(Const(1), choose(m, "point", index, points)) - acc, acc)
        return named(m, "acc", acc, signed(unit.accumulator_bits))

    def _output(self, m: Module, acc: Value, index: Value | None, scales: list[int]) -> Value:
        unit = self.unit
        if unit.output is None:
            return acc
        drops = [unit.point(s) - (unit.output_format(s).frac or 0) for s in scales]
        raised = shift_left(acc, choose(m, "output_raise", index, [max(0, -drop) for drop in drops]))
        output_drop = choose(m, "output_drop", index, [max(0, drop) for drop in drops])
        rounded = named(m, "rounded", round_shift(raised, output_drop, unit.rounding))
        return named(m, "result", saturate(rounded, unit.output), shape_of(unit.output))


@component.register(Pwl)
def _component(unit: Pwl, *, scale: int | None = None, stages: int | None = None) -> PwlComponent:
    unit = unit if scale is None else unit.at_scale(scale)
    return PwlComponent(unit, checked_stages(stages, STAGES, max(_CUTS), "Pwl"))


def _folded(fracs: tuple[int, ...]) -> int | tuple[int, ...]:
    """One number where all are equal."""
    return fracs[0] if len(set(fracs)) == 1 else fracs
