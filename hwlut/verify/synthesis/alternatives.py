"""A unit of a function beside what could stand in its place: truth tables, and other numbers of segments."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hwlut.accuracy import Samples, approximating, samples
from hwlut.fit import fit
from hwlut.fixed import Fixed
from hwlut.functions import function
from hwlut.units import Direct, Pwl
from hwlut.units.direct import INPUT_LIMIT
from hwlut.verify.synthesis.compare import Candidate, Comparison, Step, compare
from hwlut.verify.synthesis.synthesize import synthesize

__all__ = ["Alternative"]

_SEGMENTS = (4, 8, 16)
_TABLE_BITS = 10  # hls4ml's activation tables have 1,024 entries


@dataclass(frozen=True, kw_only=True)
class Alternative(Candidate):
    """One way to compute a function. mse, max_error: over the input codes of the unit compared."""

    measure: ClassVar[str] = "mse"
    columns: ClassVar[Mapping[str, str]] = {"mse": "mse", "max_error": "max |error|"}
    axis: ClassVar[str] = "root mean squared error"

    mse: float
    max_error: float

    @property
    def errors(self) -> dict[str, float]:
        return {"mse": self.mse, "max_error": self.max_error}

    @property
    def drawn(self) -> float:
        return self.mse**0.5


@compare.register(Pwl)
@compare.register(Direct)
def _compare(
    unit: Pwl | Direct,
    *,
    scale: int | None = None,
    target: str = "liberty",
    liberty: str | Path | None = None,
    step: Step | None = None,
) -> Comparison:
    """The function's own truth table; one of 1,024 entries read with the top bits of the code, as hls4ml's activation
    tables are; 4, 8 and 16 segments fitted with the unit's settings. All at one scale, with the same input range and
    output format.
    """
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
        candidates.append(Alternative(label=label, mse=mse, max_error=max_error, synthesis=found))
        if step is not None:
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
