"""What happens to one code of a piecewise-linear unit, step by step."""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed

from hwlut.hdl.arithmetic import choose, named, round_shift, saturate, shift_left
from hwlut.hdl.reload import ReloadableTable
from hwlut.hdl.segment import Comparison, find_segment, select_line
from hwlut.hdl.slope import Multiplication, slope_multiplier
from hwlut.hdl.stream import shape_of
from hwlut.units.pwl import Pwl, Symmetry

__all__ = ["Datapath", "Lane"]

Lane = dict[str, Any]
"""What a lane carries from one step to the next, by name: values, or None for what is constant."""


class Datapath:
    """The steps of a `Pwl`, each from what a lane carries to what it carries then.

    `suffix` tells the wires of one lane from those of the others. What only the scale decides has
    one wire for all lanes.

    Parameters
    ----------
    m: the module to build in.
    unit: what is computed; its numbers are constants unless there is a `table`.
    accumulator_bits: width of the accumulator.
    """

    def __init__(
        self,
        m: Module,
        unit: Pwl,
        table: ReloadableTable | None,
        comparison: Comparison,
        multiplication: Multiplication,
        accumulator_bits: int,
    ):
        self._m = m
        self._unit = unit
        self._comparison = comparison
        self._accumulator = signed(accumulator_bits)
        lowest, highest = unit.table_codes
        self._multiplier = slope_multiplier(multiplication, unit.slope, unit.slopes, max(-lowest, highest).bit_length())
        span = range(unit.scales[0], unit.scales[-1] + 1)
        self._scales = [max(s for s in unit.scales if s <= number) for number in span]
        self._points = [unit.point(s) for s in self._scales]
        self._breakpoints: list[Any]
        self._lines: list[tuple[Any, Any]]
        if table is not None:
            self._breakpoints, self._lines = list(table.breakpoints), list(table.lines)
        else:
            self._breakpoints = list(unit.breakpoints if len(span) > 1 else unit.breakpoint_codes(unit.scales[0]))
            self._lines = [(self._multiplier.encode(k), b) for k, b in zip(unit.slopes, unit.intercepts)]
        self._chosen: dict[str, int | Signal] = {}

    def compare(self, suffix: str, lane: Lane) -> Lane:
        """The segment that the code lies in."""
        m, unit = self._m, self._unit
        q, index = lane["q"], lane["scale"]
        if not self._breakpoints:
            return lane | {"segment": None}
        code = named(m, f"code{suffix}", self._magnitude(q))
        if index is None:
            reach = code
        else:
            # q >= round_half_even(p / 2^d) is p <= (q << d) + 2^(d-1) - (q & 1), or p <= q at d = 0.
            drop = self._choose("drop", index, [unit.breakpoint_frac - s for s in self._scales])
            half = shift_left(Const(1), drop) >> 1
            lifted = shift_left(code, drop) + half - (code[0] & half.any())
            reach = named(m, f"reach{suffix}", lifted, signed(unit.comparator_bits))
        segment = find_segment(m, self._comparison, suffix, reach, self._breakpoints, unit.comparator_range)
        return lane | {"segment": segment}

    def select(self, suffix: str, lane: Lane) -> Lane:
        """The line of that segment."""
        slope = Signal(self._multiplier.shape, name=f"slope{suffix}")
        intercept = Signal(shape_of(self._unit.intercept), name=f"intercept{suffix}")
        select_line(self._m, self._comparison, lane["segment"], (slope, intercept), self._lines)
        return {"q": lane["q"], "scale": lane["scale"], "slope": slope, "intercept": intercept}

    def multiply(self, suffix: str, lane: Lane) -> Lane:
        """Slope times code."""
        product = self._multiplier.multiply(self._m, suffix, lane["slope"], self._magnitude(lane["q"]))
        return {"q": lane["q"], "scale": lane["scale"], "product": product, "intercept": lane["intercept"]}

    def add(self, suffix: str, lane: Lane) -> Lane:
        """The accumulator, with what the symmetry asks for where q is negative."""
        unit, q, index, scales, points = self._unit, lane["q"], lane["scale"], self._scales, self._points
        product_shift = self._choose("product_shift", index, [a - unit.slope.frac - s for a, s in zip(points, scales)])
        intercept_shift = self._choose("intercept_shift", index, [a - unit.intercept.frac for a in points])
        acc = shift_left(lane["product"], product_shift) + shift_left(lane["intercept"], intercept_shift)
        negative = q < 0
        if unit.symmetry is Symmetry.IDENTITY:
            x_shift = self._choose("x_shift", index, [a - s for a, s in zip(points, scales)])
            acc = acc + Mux(negative, shift_left(q, x_shift), 0)
        elif unit.symmetry is Symmetry.ODD:
            acc = Mux(negative, -acc, acc)
        elif unit.symmetry is Symmetry.COMPLEMENT:
            acc = Mux(negative, shift_left(Const(1), self._choose("point", index, points)) - acc, acc)
        return {"scale": index, "acc": named(self._m, f"acc{suffix}", acc, self._accumulator)}

    def round(self, suffix: str, lane: Lane) -> Lane:
        """The output code: the accumulator itself, or rounded and saturated."""
        m, unit, index = self._m, self._unit, lane["scale"]
        if unit.output is None:
            return {"y": lane["acc"]}
        drops = [a - (unit.output_format(s).frac or 0) for a, s in zip(self._points, self._scales)]
        raised = shift_left(lane["acc"], self._choose("output_raise", index, [max(0, -drop) for drop in drops]))
        output_drop = self._choose("output_drop", index, [max(0, drop) for drop in drops])
        rounded = named(m, f"rounded{suffix}", round_shift(raised, output_drop, unit.rounding))
        return {"y": named(m, f"result{suffix}", saturate(rounded, unit.output), shape_of(unit.output))}

    def _magnitude(self, q: Value) -> Value:
        """The code the table is read at: q, or |q| under symmetry."""
        if self._unit.symmetry is Symmetry.NONE:
            return q
        return Mux(q < 0, -q, q)[: self._unit.input.bits].as_unsigned()

    def _choose(self, name: str, index: Value | None, constants: list[int]) -> int | Signal:
        if name not in self._chosen:
            self._chosen[name] = choose(self._m, name, index, constants)
        return self._chosen[name]
