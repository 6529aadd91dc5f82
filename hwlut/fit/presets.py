"""Settings of published fits, as arguments of `fit`."""

from dataclasses import dataclass
from typing import Any

from hwlut.fit.genetic import Genetic
from hwlut.functions import function as function_of

__all__ = ["PUBLISHED", "published"]


@dataclass(frozen=True)
class _Target:
    """One function's settings: `search` where 16 segments have their own."""

    x_range: tuple[float, float]
    anchors: tuple[float, float]
    search: dict[int, tuple[float, float]]
    decimal_bits: tuple[int, int] = (0, 6)
    rounding: bool = True
    scales: tuple[int, ...] = tuple(range(7))
    bits: int = 8


_WIDE = _Target((-4.0, 4.0), (-10000.0, 10000.0), {8: (-4.0, 4.0), 16: (-4.0, 4.0)})

_TARGETS = {
    "gelu": _WIDE,
    "hswish": _WIDE,
    "silu": _WIDE,
    "exp": _Target((-8.0, 0.0), (-16.0, 0.0), {8: (-8.0, 0.0), 16: (-6.5, 0.0)}),
    "reciprocal": _Target(
        (0.5, 4.0), (0.5, 4.0), {8: (0.625, 3.875), 16: (0.625, 3.875)}, (5, 5), rounding=False, scales=(5,), bits=10
    ),
    "rsqrt": _Target(
        (0.25, 4.0),
        (0.25, 4.0),
        {8: (0.25, 3.875), 16: (0.25, 3.875)},
        (0, 5),
        rounding=False,
        scales=tuple(range(6)),
        bits=10,
    ),
}

PUBLISHED = tuple((function, segments) for function in _TARGETS for segments in (8, 16))
"""Function and segments of each table published with GQA-LUT (DAC 2024, arXiv 2403.19591)."""


def published(function: str, segments: int = 8) -> dict[str, Any]:
    """GQA-LUT's settings for one of its tables: ``fit(**published("gelu", 8), seed=0)``.

    function, segments: one of its six, with 8 or 16. int8 codes; slopes and intercepts in 1/64 of 8 bits, or of the 10
    that hold those of reciprocal and rsqrt. Raises ValueError for a table that was not published.
    """
    name = function_of(function).name
    if name not in _TARGETS:
        raise ValueError(f"published function must be one of {', '.join(_TARGETS)}, not {function!r}")
    target = _TARGETS[name]
    if segments not in target.search:
        raise ValueError(f"published segments must be one of 8, 16, not {segments!r}")
    return {
        "function": name,
        "segments": segments,
        "scales": target.scales,
        "domain": target.x_range,
        "slope_bits": target.bits,
        "slope_frac": 6,
        "intercept_bits": target.bits,
        "intercept_frac": 6,
        "method": Genetic(
            search=target.search[segments],
            anchors=target.anchors,
            x_range=target.x_range,
            decimal_bits=target.decimal_bits,
            mutation_mode="rounding" if target.rounding else "gaussian",
            elite=0,
        ),
    }
