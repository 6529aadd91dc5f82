"""Piecewise-linear units: breakpoints, slopes and intercepts over a power-of-two scaled input."""

import enum
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hwlut.fields import choice, fixed, integer, integers, shorten
from hwlut.fixed import Fixed, Rounding, round_shift, saturate, signed_bits
from hwlut.unit import Resources, Unit
from hwlut.units.codes import checked_codes

if TYPE_CHECKING:
    import torch

__all__ = ["Pwl", "Symmetry", "STAGES"]

STAGES = 3
"""Pipeline registers of the component's default form."""

_WORD = 62  # every intermediate stays below 2^62, so int64 holds it and its rounding


class Symmetry(str, enum.Enum):
    """How f(-x) follows from f(x), so that the table need only cover |x|."""

    NONE = "none"
    IDENTITY = "identity"  # f(-x) = f(x) - x
    ODD = "odd"  # f(-x) = -f(x)
    EVEN = "even"  # f(-x) = f(x)
    COMPLEMENT = "complement"  # f(-x) = 1 - f(x)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pwl(Unit, schema="hwlut.pwl/1"):
    """A piecewise-linear function of an integer code.

    At scale s, input code q stands for q * 2^-s. Segment i is the number of breakpoint codes
    <= q, and the result is slopes[i] * q + intercepts[i], exact or rounded to `output`.

    Parameters
    ----------
    input: bits (2 to 32) and sign of the input code.
    scales: the scales the unit may run at, ascending.
    breakpoint_frac: fraction bits of `breakpoints`, at least max(scales).
    breakpoints: N - 1 non-decreasing integers.
    slope, slopes: format and N codes. intercept, intercepts: likewise.
    symmetry: with any but "none" the table is on |q| and the input must be signed.
    output: None returns the exact accumulator; else its format, where a frac of None (in files
        "input") means the input's scale.
    rounding: how the accumulator becomes an output code.
    """

    input: Fixed = fixed("bits", "signed")
    scales: tuple[int, ...] = integers(0, 62)
    breakpoint_frac: int = integer(0, 62)
    breakpoints: tuple[int, ...] = integers(-(1 << 62), 1 << 62)
    slope: Fixed = fixed("bits", "frac")
    slopes: tuple[int, ...] = integers(-(1 << 63), (1 << 63) - 1)
    intercept: Fixed = fixed("bits", "frac")
    intercepts: tuple[int, ...] = integers(-(1 << 63), (1 << 63) - 1)
    symmetry: Symmetry = choice(Symmetry, default=Symmetry.NONE)
    output: Fixed | None = fixed("bits", "signed", "frac", free="input", nullable=True, default=None)
    rounding: Rounding = choice(Rounding, default=Rounding.HALF_UP)

    def validate(self) -> None:
        if not 2 <= self.input.bits <= 32:
            raise ValueError(f"Pwl input bits must be from 2 to 32, not {self.input.bits}")
        if not self.scales or any(a >= b for a, b in zip(self.scales, self.scales[1:])):
            raise ValueError(f"Pwl scales must be ascending and at least one, not {shorten(self.scales)}")
        if self.scales[-1] > self.breakpoint_frac:
            raise ValueError(
                f"Pwl scales must not exceed breakpoint_frac {self.breakpoint_frac}, not {self.scales[-1]}"
            )
        if not self.slopes:
            raise ValueError("Pwl slopes must be at least one, not ()")
        if len(self.intercepts) != len(self.slopes):
            raise ValueError(f"Pwl intercepts must be {len(self.slopes)}, one a slope, not {len(self.intercepts)}")
        if len(self.breakpoints) != len(self.slopes) - 1:
            raise ValueError(
                f"Pwl breakpoints must be {len(self.slopes) - 1}, one fewer than slopes, not {len(self.breakpoints)}"
            )
        if any(a > b for a, b in zip(self.breakpoints, self.breakpoints[1:])):
            raise ValueError(f"Pwl breakpoints must be non-decreasing, not {shorten(self.breakpoints)}")
        for label, format, values in (
            ("slopes", self.slope, self.slopes),
            ("intercepts", self.intercept, self.intercepts),
        ):
            for value in values:
                if not format.min <= value <= format.max:
                    raise ValueError(f"Pwl {label} must fit in {format.bits} bits, not {value}")
        if self.symmetry is not Symmetry.NONE and not self.input.signed:
            raise ValueError(f"Pwl symmetry {self.symmetry.value!r} needs a signed input")
        if self.output is not None and self.output.bits > 63:
            raise ValueError(f"Pwl output bits must be from 1 to 63, not {self.output.bits}")
        if (point := self.point(self.scales[-1])) > _WORD:
            raise ValueError(f"Pwl slope frac plus scale must be at most {_WORD}, not {point}")
        self._prove_word()

    def _prove_word(self) -> None:
        """Refuse a table whose arithmetic could leave int64."""
        magnitude = max(-self.input.min, self.input.max)
        for s in self.scales:
            point = self.point(s)
            product = max(map(abs, self.slopes)) * magnitude << (point - self.slope.frac - s)
            total = product + (max(map(abs, self.intercepts)) << (point - self.intercept.frac))
            total += max(magnitude << (point - s), 1 << point) if self.symmetry is not Symmetry.NONE else 0
            if (total << max(0, self.output_format(s).frac - point) if self.output else total) >= 1 << _WORD:
                raise ValueError(f"Pwl accumulator must stay below {_WORD + 1} bits; at scale {s} it does not")

    @property
    def segments(self) -> int:
        """Number of segments, N."""
        return len(self.slopes)

    @property
    def table_codes(self) -> tuple[int, int]:
        """The lowest and highest code the table is read at: of q, or of |q| under symmetry."""
        if self.symmetry is Symmetry.NONE:
            return self.input.min, self.input.max
        return 0, -self.input.min

    def point(self, scale: int) -> int:
        """Fraction bits A of the accumulator at `scale`: max(slope.frac + s, intercept.frac)."""
        return max(self.slope.frac + scale, self.intercept.frac)

    def breakpoint_codes(self, scale: int) -> tuple[int, ...]:
        """The breakpoints in units of the input code at `scale`, rounded half to even, not clipped."""
        return tuple(round_shift(p, self.breakpoint_frac - scale, Rounding.HALF_EVEN) for p in self.breakpoints)

    @cached_property
    def accumulator_bits(self) -> int:
        """Width of the smallest signed accumulator that holds every code's result at every scale."""
        low = high = 0
        for s in self.scales:
            for segment, (first, last) in self._live_segments(s):
                # Straight on either side of zero, so its ends are its extremes.
                ends: tuple[int, ...] = (first, last)
                if self.symmetry is not Symmetry.NONE:
                    ends = (first, min(last, self.input.max), -max(first, 1), -last)
                for q in ends:
                    magnitude = q if self.symmetry is Symmetry.NONE else abs(q)
                    if first <= magnitude <= last and q <= self.input.max:
                        acc = self.accumulate(self.slopes[segment], self.intercepts[segment], magnitude, q, s)
                        low, high = min(low, acc), max(high, acc)
        return signed_bits(low, high)

    def _live_segments(self, scale: int) -> list[tuple[int, tuple[int, int]]]:
        """Every segment that some table code falls into, with its first and last code."""
        lowest, highest = self.table_codes
        edges = (lowest, *self.breakpoint_codes(scale), highest + 1)
        spans = ((max(lowest, a), min(highest, b - 1)) for a, b in zip(edges, edges[1:]))
        return [(segment, span) for segment, span in enumerate(spans) if span[0] <= span[1]]

    def accumulate(self, slope: Any, intercept: Any, magnitude: Any, q: Any, scale: int) -> Any:
        """The accumulator of ints, arrays or tensors: the line at `magnitude`, corrected where q < 0."""
        point = self.point(scale)
        acc = (slope * magnitude << (point - self.slope.frac - scale)) + (intercept << (point - self.intercept.frac))
        negative = (q < 0) * 1
        if self.symmetry is Symmetry.IDENTITY:
            acc = acc + negative * (q << (point - scale))
        elif self.symmetry is Symmetry.ODD:
            acc = acc - 2 * negative * acc
        elif self.symmetry is Symmetry.COMPLEMENT:
            acc = acc + negative * ((1 << point) - 2 * acc)
        return acc

    def rounded(self, acc: Any, scale: int) -> Any:
        """The result code of accumulators at `scale`: ints, arrays or tensors."""
        if self.output is None:
            return acc
        format = self.output_format(scale)
        return saturate(round_shift(acc, self.point(scale) - format.frac, self.rounding), format)

    def input_format(self, scale: int) -> Fixed:
        """Format of the input codes at `scale`."""
        return Fixed(self.input.bits, scale, self.input.signed)

    def output_format(self, scale: int) -> Fixed:
        """Format of the result at `scale`: the accumulator's, or the output's."""
        if self.output is None:
            return Fixed(self.accumulator_bits, self.point(scale), True)
        return Fixed(self.output.bits, scale if self.output.frac is None else self.output.frac, self.output.signed)

    def chosen_scale(self, scale: int | None) -> int:
        """`scale` when it is one of the unit's; None stands for the only one."""
        if scale is None:
            if len(self.scales) > 1:
                raise ValueError(f"Pwl {self.name!r} has scales {self.scales}: one must be given")
            return self.scales[0]
        if isinstance(scale, bool) or not isinstance(scale, int):
            raise TypeError(f"Pwl scale must be an integer, not {scale!r}")
        if scale not in self.scales:
            raise ValueError(f"Pwl scale must be one of {self.scales}, not {scale}")
        return scale

    def at_scale(self, scale: int) -> "Pwl":
        """The same unit with one scale only."""
        return self.replace(scales=(self.chosen_scale(scale),))

    def __call__(self, codes: "torch.Tensor", scale: int | None = None) -> "torch.Tensor":
        """Result codes of input `codes` (any integer dtype and shape) in `output_format(scale)`.

        int32 where the result's width allows, else int64. Raises ValueError for a code outside the
        input format or a scale the unit does not have.
        """
        import torch

        s = self.chosen_scale(scale)
        q = checked_codes(codes, self.input, "Pwl")

        def constant(values: tuple[int, ...]) -> "torch.Tensor":
            return torch.tensor(values, dtype=torch.int64, device=q.device)

        magnitude = q if self.symmetry is Symmetry.NONE else q.abs()
        segment = torch.bucketize(magnitude.contiguous(), constant(self.breakpoint_codes(s)), right=True)
        result = self.accumulate(constant(self.slopes)[segment], constant(self.intercepts)[segment], magnitude, q, s)
        format = self.output_format(s)
        result = self.rounded(result, s)
        return result.to(torch.int32 if format.bits + (not format.signed) <= 32 else torch.int64)

    @property
    def comparator_range(self) -> tuple[int, int]:
        """Lowest and highest number that the component compares with breakpoints.

        The table codes themselves at a single scale; else the codes in units of the breakpoints,
        with the rounding of the breakpoints moved over to them.
        """
        lowest, highest = self.table_codes
        drop = self.breakpoint_frac - self.scales[0]
        if len(self.scales) == 1 or drop == 0:
            return lowest, highest
        return lowest << drop, (highest << drop) + (1 << (drop - 1))

    @property
    def comparator_bits(self) -> int:
        """Width in which breakpoints are held: they saturate to [lowest, highest + 1], which changes no comparison."""
        lowest, highest = self.comparator_range
        return signed_bits(lowest, highest + 1)

    def cost(self) -> Resources:
        comparisons = (self.segments - 1) * self.comparator_bits
        storage = self.segments * (self.slope.bits + self.intercept.bits) + comparisons
        corrections = 0 if self.symmetry is Symmetry.NONE else self.input.bits + self.accumulator_bits
        return Resources(
            storage_bits=storage,
            multiplier_bits=self.slope.bits * self.input.bits,
            adder_bits=comparisons + self.accumulator_bits + corrections,
            latency=STAGES,
        )
