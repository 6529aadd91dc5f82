"""GQA-LUT's parameter files (Dong et al., DAC 2024, arXiv 2403.19591) as Pwl units.

``{"<function>": {"<s>": {"breakpoints": [N - 1], "slopes": [N], "intercepts": [N]}}}``, in real
units: the lines of one function, and its breakpoints rounded to the input scale 2^-s, for each s.
"""

import re
from collections.abc import Iterable
from fractions import Fraction
from math import isfinite
from pathlib import Path
from typing import Any

from hwlut import __version__
from hwlut.fields import INLINE_LIMIT, shorten
from hwlut.fixed import Fixed, signed_bits
from hwlut.functions import function as function_of
from hwlut.unit import read_content
from hwlut.units.pwl import Pwl

__all__ = ["TIES", "read", "recognises"]

TIES = ("ge", "gt")
"""Where an input x that equals breakpoint p belongs: x >= p to the segment after p, x > p to the one before."""

_INT8 = Fixed(8)
_STORED = Fixed(8, 6)
"""How GQA-LUT stores slopes and intercepts: multiples of 1/64."""

_KEYS = ("breakpoints", "slopes", "intercepts")
_FRAC_LIMIT = 24

_Row = dict[str, tuple[Fraction, ...]]


def recognises(path: str | Path) -> bool:
    """Whether the JSON file at `path` looks like GQA-LUT's: an object of objects, without a schema."""
    return _looks_right(read_content(Path(path)))


def read(path: str | Path, tie: str = "ge", function: str | None = None, input: Fixed = _INT8) -> list[Pwl]:
    """The units in the file at `path`, called <function>_<segments>.

    Parameters
    ----------
    tie: one of TIES. GQA-LUT's trainer computes x >= p; then one unit holds all scales, with the
        fewest fraction bits (at most 24) of which the breakpoints give the file's at each scale.
        Its operator computes x > p, which for codes is q >= p + 1 and differs with the scale; then
        there is one unit for each scale s, called <function>_<segments>_s<s>.
    function: which one of a file that holds several. input: bits and sign of the input code.

    Raises ValueError, naming the file, for anything that no such unit reproduces exactly.
    """
    if tie not in TIES:
        raise ValueError(f"tie must be one of {', '.join(TIES)}, not {shorten(tie)}")
    path = Path(path)
    content = read_content(path)
    try:
        if not _looks_right(content):
            raise ValueError("not a file of GQA-LUT: expected an object of functions, each an object of scales")
        key = _chosen(content, function)
        rows = _rows(key, content[key])
        meta = {"method": "import", "format": "GQA-LUT", "file": path.name, "tie": tie, "hwlut": __version__}
        fields = {"function": _own_name(key), "input": input, "meta": meta}
        if tie == "ge":
            return [_joint(rows, fields)]
        return [_single(scale, row, fields) for scale, row in rows.items()]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _looks_right(content: dict[str, Any]) -> bool:
    return bool(content) and "schema" not in content and all(isinstance(value, dict) for value in content.values())


def _chosen(content: dict[str, Any], function: str | None) -> str:
    if function is None and len(content) == 1:
        return next(iter(content))
    if function is None or function not in content:
        given = "one must be given" if function is None else f"not {shorten(function)}"
        raise ValueError(f"function must be one of {shorten(list(content))}: {given}")
    return function


def _own_name(key: str) -> str:
    """hwlut's name of the function that the file calls `key`."""
    try:
        return function_of(key).name
    except ValueError:
        return key


def _rows(key: str, table: dict[str, Any]) -> dict[int, _Row]:
    """The numbers of each scale, scales ascending."""
    if not table:
        raise ValueError(f"{shorten(key)} must have at least one scale")
    rows = {}
    for scale, row in table.items():
        if not re.fullmatch(r"0|[1-9][0-9]?", scale) or int(scale) > _FRAC_LIMIT:
            raise ValueError(f"scale must be from 0 to {_FRAC_LIMIT}, not {shorten(scale)}")
        if not isinstance(row, dict) or set(row) != set(_KEYS):
            raise ValueError(f"scale {scale} must be an object of {', '.join(_KEYS)}, not {shorten(row)}")
        rows[int(scale)] = {name: _numbers(f"scale {scale} {name}", row[name]) for name in _KEYS}
        counts = [len(row[name]) for name in _KEYS]
        if counts != [counts[1] - 1, counts[1], counts[1]]:
            raise ValueError(
                f"scale {scale} must have one breakpoint fewer than slopes, and an intercept a slope, "
                f"not {counts[0]}, {counts[1]} and {counts[2]}"
            )
    return dict(sorted(rows.items()))


def _numbers(label: str, values: object) -> tuple[Fraction, ...]:
    """A list of JSON numbers, exactly."""
    if not isinstance(values, list):
        raise TypeError(f"{label} must be a list of numbers, not {shorten(values)}")
    if len(values) > INLINE_LIMIT:
        raise ValueError(f"{label} must be at most {INLINE_LIMIT} numbers, not {len(values)}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{label} must be numbers, not {shorten(value)}")
        if isinstance(value, float) and not isfinite(value):
            raise ValueError(f"{label} must be finite, not {value}")
    return tuple(map(Fraction, values))


def _joint(rows: dict[int, _Row], fields: dict[str, Any]) -> Pwl:
    """One unit with every scale, under x >= p."""
    first, *others = rows
    for scale in others:
        for name in ("slopes", "intercepts"):
            if rows[scale][name] != rows[first][name]:
                raise ValueError(f"scale {scale} {name} must be those of scale {first}: one table has one set of lines")
    codes = {scale: _codes(scale, row["breakpoints"]) for scale, row in rows.items()}
    columns = [dict(zip(codes, column)) for column in zip(*codes.values())]
    frac, breakpoints = _common(columns, max(rows))
    return _unit(rows[first], tuple(rows), frac, breakpoints, fields, suffix="")


def _single(scale: int, row: _Row, fields: dict[str, Any]) -> Pwl:
    """The unit of one scale, under x > p."""
    breakpoints = [code + 1 for code in _codes(scale, row["breakpoints"])]
    return _unit(row, (scale,), scale, breakpoints, fields, suffix=f"_s{scale}")


def _unit(
    row: _Row, scales: tuple[int, ...], frac: int, breakpoints: list[int], fields: dict[str, Any], suffix: str
) -> Pwl:
    slope, slopes = _stored("slopes", row["slopes"])
    intercept, intercepts = _stored("intercepts", row["intercepts"])
    return Pwl(
        name=f"{fields['function']}_{len(slopes)}{suffix}",
        scales=scales,
        breakpoint_frac=frac,
        breakpoints=tuple(breakpoints),
        slope=slope,
        slopes=slopes,
        intercept=intercept,
        intercepts=intercepts,
        **fields,
    )


def _codes(scale: int, breakpoints: Iterable[Fraction]) -> list[int]:
    """Breakpoints in units of the input code."""
    codes = []
    for index, value in enumerate(breakpoints):
        code = value * (1 << scale)
        if code.denominator != 1:
            raise ValueError(f"scale {scale} breakpoints[{index}] must be a multiple of 2^-{scale}, not {_real(value)}")
        codes.append(code.numerator)
    return codes


def _common(columns: list[dict[int, int]], finest: int) -> tuple[int, list[int]]:
    """The fewest fraction bits and, of each column, a breakpoint that rounds to its code at every scale."""
    for frac in range(finest, _FRAC_LIMIT + 1):
        spans = [_span(column, frac) for column in columns]
        if all(low <= high for low, high in spans):
            return frac, [(low + high) // 2 for low, high in spans]
    index = next(index for index, (low, high) in enumerate(spans) if low > high)
    known: dict[int, int] = {}
    for scale, code in sorted(columns[index].items(), reverse=True):
        known[scale] = code
        low, high = _span(known, _FRAC_LIMIT)
        if low > high:
            break
    raise ValueError(
        f"scale {scale} breakpoints[{index}] must round from one number with those of the finer scales, "
        f"in at most {_FRAC_LIMIT} fraction bits, not {_real(Fraction(code, 1 << scale))}"
    )


def _span(column: dict[int, int], frac: int) -> tuple[int, int]:
    """The lowest and highest p for which round_half_even(p * 2^(s - frac)) is the code of each scale s."""
    lows, highs = [], []
    for scale, code in column.items():
        drop = frac - scale
        reach = ((1 << drop) >> 1) - (code & 1) if drop else 0  # a tie goes to the even code
        lows.append((code << drop) - reach)
        highs.append((code << drop) + reach)
    return max(lows), min(highs)


def _stored(label: str, values: tuple[Fraction, ...]) -> tuple[Fixed, tuple[int, ...]]:
    """Format and codes of `values`: GQA-LUT's own where it holds them, else the smallest that does."""
    stored = [value * (1 << _STORED.frac) for value in values]
    if all(code.denominator == 1 and _STORED.min <= code <= _STORED.max for code in stored):
        return _STORED, tuple(code.numerator for code in stored)
    frac = max(value.denominator.bit_length() - 1 for value in values)
    codes = tuple((value * (1 << frac)).numerator for value in values)
    bits = signed_bits(min(codes), max(codes))
    if frac > 62 or bits > 64:
        raise ValueError(f"{label} must fit in 64 bits, at most 62 of them fraction; they need {bits} and {frac}")
    return Fixed(bits, frac), codes


def _real(value: Fraction) -> str:
    """`value` as a decimal, short enough for a message."""
    try:
        return f"{float(value):g}"
    except OverflowError:
        return shorten(int(value))
