"""A unit beside what could stand in its place: truth tables, and other numbers of segments."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwlut.accuracy import Samples, approximating, samples
from hwlut.fit import fit
from hwlut.fixed import Fixed
from hwlut.functions import function
from hwlut.units import Direct, Pwl, Unit
from hwlut.units.direct import INPUT_LIMIT
from hwlut.verify.synthesis.synthesize import Synthesis, synthesize

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Candidate", "Comparison", "compare", "picture"]

_SEGMENTS = (4, 8, 16)
_TABLE_BITS = 10  # hls4ml's activation tables have 1,024 entries


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to compute the function. mse, max_error: over the input codes of the unit compared."""

    label: str
    mse: float
    max_error: float
    synthesis: Synthesis

    @property
    def size(self) -> float:
        """um^2, or LUTs."""
        netlist = self.synthesis.netlist
        return netlist.luts if netlist.area is None else netlist.area


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Every candidate, the unit itself first. left_out: which have no place beside it, and why."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[str, ...]

    @property
    def smallest(self) -> Candidate:
        """The smallest of those whose mean squared error is at most the unit's."""
        fit = [candidate for candidate in self.candidates if candidate.mse <= self.candidates[0].mse]
        return min(fit, key=lambda candidate: candidate.size)

    @property
    def ok(self) -> bool:
        """False where a netlist was re-checked and differs."""
        return all(candidate.synthesis.ok for candidate in self.candidates)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able content."""
        rows = [asdict(c) | {"synthesis": c.synthesis.to_dict()} for c in self.candidates]
        return {"candidates": rows, "smallest": self.smallest.label, "left_out": list(self.left_out)}


def compare(
    unit: Unit,
    *,
    scale: int | None = None,
    target: str = "liberty",
    liberty: str | Path | None = None,
    step: Callable[[int, int, str], None] = lambda done, total, label: None,
) -> Comparison:
    """Synthesize `unit` and its alternatives at one scale, each with the same input range and output format.

    The alternatives are the function's own truth table, one of 1,024 entries read with the top bits of the code
    (as hls4ml's activation tables are), and 4, 8 and 16 segments fitted with the unit's settings.

    Parameters
    ----------
    unit: a Pwl or a Direct that names its function.
    scale, target, liberty: as for `synthesize`; a unit of several scales needs one.
    step: called after each synthesis with the number done, of how many, and the label.

    Raises ValueError for a unit without a function.
    """
    if not isinstance(unit, (Pwl, Direct)):
        raise ValueError(f"compare needs a Pwl or Direct table, not {type(unit).__name__} {unit.name!r}")
    approximating(unit)
    s = unit.chosen_scale(scale)
    points = samples(unit, s)
    drafts, left_out = [], []
    for label, make in _alternatives(unit, s):
        try:
            drafts.append((label, *make()))
        except ValueError as error:
            left_out.append(f"{label}: {error}")
    candidates = []
    for label, draft, shift in drafts:
        mse, max_error = _errors(draft, s, shift, points)
        at = draft.scales[0] if isinstance(draft, Direct) else s
        found = synthesize(draft, scale=at, target=target, liberty=liberty)
        candidates.append(Candidate(label=label, mse=mse, max_error=max_error, synthesis=found))
        step(len(candidates), len(drafts), label)
    return Comparison(candidates=tuple(candidates), left_out=tuple(left_out))


_Draft = tuple[Pwl | Direct, int]


def _alternatives(unit: Pwl | Direct, scale: int) -> Iterator[tuple[str, Callable[[], _Draft]]]:
    """Label and maker of each candidate; a maker gives it and by how many bits its input codes are shifted left."""
    target = function(unit.function or "")
    input, output = unit.input_format(scale), unit.at_scale(scale).output_format(scale)
    yield unit.name, lambda: (unit, 0)

    def direct() -> _Draft:
        if input.bits > INPUT_LIMIT:
            raise ValueError(f"a truth table has at most {INPUT_LIMIT} input bits, not {input.bits}")
        return Direct.sample(target, input=input, output=output), 0

    def table_1024() -> _Draft:
        shift = _TABLE_BITS - input.bits
        if scale + shift < 0:
            raise ValueError(f"its entries would be {1 << -(scale + shift)} apart")
        coarse = Fixed(_TABLE_BITS, scale + shift, input.signed)
        return Direct.sample(target, input=coarse, output=output, name=f"{target.name}_1024"), shift

    yield "direct table", direct
    yield "1024-entry table", table_1024
    for segments in _SEGMENTS:
        if not (isinstance(unit, Pwl) and unit.segments == segments):
            yield f"{segments} segments", partial(_fitted, unit, segments)


def _fitted(unit: Pwl | Direct, segments: int) -> _Draft:
    """The fit of least error with the formats of `unit`, or, of a truth table, with its input and output."""
    settings: dict[str, Any] = {"scales": unit.scales, "output": unit.output}
    if isinstance(unit, Pwl):
        settings |= {
            "slope_bits": unit.slope.bits,
            "slope_frac": unit.slope.frac,
            "intercept_bits": unit.intercept.bits,
            "intercept_frac": unit.intercept.frac,
            "breakpoint_frac": unit.breakpoint_frac,
            "symmetry": unit.symmetry.value,
            "rounding": unit.rounding.value,
        }
        if _is_interval(domain := unit.meta.get("domain")):
            settings["domain"] = domain
    return fit(unit.function or "", segments, input=Fixed(unit.input.bits, None, unit.input.signed), **settings), 0


def _is_interval(given: object) -> bool:
    """Whether JSON content is two ascending numbers that float64 holds."""
    if not isinstance(given, list) or len(given) != 2 or any(type(end) not in (int, float) for end in given):
        return False
    return -sys.float_info.max <= given[0] < given[1] <= sys.float_info.max


def _errors(unit: Pwl | Direct, scale: int, shift: int, points: Samples) -> tuple[float, float]:
    """Mean squared and largest absolute error at the codes of `points`, which `unit` reads shifted."""
    import torch

    codes = torch.from_numpy(points.codes << shift if shift >= 0 else points.codes >> -shift)
    at = scale + shift
    got = np.ldexp(unit(codes, scale=at).numpy().astype(np.float64), -unit.output_format(at).frac)
    error = np.abs(got - points.target)
    return float(np.mean(error**2)), float(error.max())


def picture(comparison: Comparison) -> "Figure":
    """Root mean squared error against area, one point a candidate."""
    from matplotlib.figure import Figure

    first = comparison.candidates[0].synthesis
    figure = Figure(figsize=(8, 5.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for number, candidate in enumerate(comparison.candidates):
        rms = candidate.mse**0.5
        axes.plot(candidate.size, rms, "s" if number == 0 else "o", color="C1" if number == 0 else "C0")
        axes.annotate(candidate.label, (candidate.size, rms), xytext=(6, 4), textcoords="offset points")
    axes.axhline(comparison.candidates[0].mse ** 0.5, color="gray", linewidth=0.7, linestyle=":")
    size = f"area, um^2 ({first.liberty}), pre-layout" if first.liberty else f"LUTs ({first.netlist.target}), estimate"
    axes.set(title=f"{first.unit}, scale {first.scale}", xlabel=size, ylabel="root mean squared error")
    axes.set(xlim=(0, 1.25 * max(candidate.size for candidate in comparison.candidates)))
    axes.set_yscale("log") if all(candidate.mse > 0 for candidate in comparison.candidates) else axes.set_ylim(bottom=0)
    return figure
