"""Layer normalization and RMS normalization as programs of rows."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwlut import __version__
from hwlut.fields import shorten
from hwlut.fixed import Fixed
from hwlut.functions import Function
from hwlut.program.draft import CORE, Draft, Fitting
from hwlut.program.formats import building, check_format, check_size
from hwlut.program.octaves import octaves
from hwlut.units import Port, Program
from hwlut.units.nodes import WORD
from hwlut.units.operations import Add, Clamp, Multiply, ShiftLeft, Subtract
from hwlut.units.program import INPUT
from hwlut.units.reductions import Entries, Sum

__all__ = ["layer_norm", "rms_norm", "with_affine"]

_MOST = 1 << 16
_GUARD = 8
"""Fraction bits of an input step that centred codes keep."""

_SQUARES = WORD - 2
"""Most bits of the sum of squares."""

_MANTISSA = 16
_POINT = 14
"""Fraction bits of the normalized codes."""

_ENTRY = Fixed(16)
_MOST_FRAC = 30


def layer_norm(
    *,
    input: Fixed,
    output: Fixed,
    size: int,
    eps: float,
    weight: "np.ndarray | None" = None,
    bias: "np.ndarray | None" = None,
    weight_frac: int | None = None,
    bias_frac: int | None = None,
    segments: int = 8,
    slope_bits: int = 8,
    intercept_bits: int = 16,
    name: str = "layer_norm",
) -> Program:
    """The program of ``(x - mean(x)) / sqrt(var(x) + eps) * weight + bias`` along rows of `size` = n places.

    With c = n q - sum(q), which is exact, and V = sum(c^2) + eps n^3, all in steps of the input, the normalized code is
    c sqrt(n) / sqrt(V). V is m 4^e with 1 <= m < 4: a table of sqrt(n) / sqrt(m), scaled into [1, 2) at 1, and a shift.
    Neither a mean nor a variance is divided.

    Up to 256 places c is exact. Of longer rows c is rounded to 2^-k of itself, so that c and V stay within 62 bits; it
    is then off by at most 1/256 of an input step (1/64 of one of 15 or 16 bits on more than 4096 places), which is less
    than the half step that rounded the input. eps is rounded to within 1/512 of itself where the width allows.
    Normalized codes have 14 fraction bits and are held to -sqrt(n) to sqrt(n), rounded up to powers of two, beyond
    which there are none; times weight and plus bias is exact; then there is one rounding, half up, to the output,
    which saturates. A row of equal codes gives the bias, also where eps is 0.

    Parameters
    ----------
    input: format of the input codes, 4 to 16 bits, with a frac.
    output: format of the result, 2 to 32 bits, with a frac.
    size: places of every row, 1 to 65536.
    eps: added to the variance of the real values, from 0.
    weight, bias: float64 [size], or None for 1 and 0; they become codes of 16 bits, ties to even.
    weight_frac, bias_frac: fraction bits of these, 0 to 30; by default the most at which the largest value fits. Nodes
        depend on weight and bias in these and in their `Entries` alone.
    segments, slope_bits, intercept_bits: of the table, as for `hwlut.fit`.
    name: of the program.

    Raises TypeError or ValueError for what cannot be built.
    """
    row = _Row("layer_norm", input, output, size, eps)
    with building(row.title):
        draft = Draft({INPUT: input}, Fitting(segments, slope_bits, intercept_bits))
        total = draft(Sum, "total", INPUT, row.size)
        centred = draft(Subtract, "difference", draft(Multiply, "times_size", INPUT, row.size), total)
        length = (row.size - 1).bit_length()
        drop = max(0, length - _GUARD, math.ceil((2 * (input.bits + length) + length - _SQUARES) / 2))
        centred = draft.scaled("centred", centred, -drop)
        scaled_eps = math.ldexp(row.eps * row.size**3, 2 * (input.frac - drop))
        normalized = _normalized(draft, row, centred, scaled_eps)
        frac = _affine(draft, row, normalized, weight, weight_frac, bias, bias_frac)
        return _program(draft, row, name, frac)


def rms_norm(
    *,
    input: Fixed,
    output: Fixed,
    size: int,
    eps: float,
    weight: "np.ndarray | None" = None,
    weight_frac: int | None = None,
    segments: int = 8,
    slope_bits: int = 8,
    intercept_bits: int = 16,
    name: str = "rms_norm",
) -> Program:
    """The program of ``x / sqrt(mean(x^2) + eps) * weight`` along rows of `size` places.

    As `layer_norm`, of V = sum(q^2) + eps n and q in the place of c; the arguments are those of it.
    """
    row = _Row("rms_norm", input, output, size, eps)
    with building(row.title):
        draft = Draft({INPUT: input}, Fitting(segments, slope_bits, intercept_bits))
        normalized = _normalized(draft, row, INPUT, math.ldexp(row.eps * row.size, 2 * input.frac))
        frac = _affine(draft, row, normalized, weight, weight_frac, None, None)
        return _program(draft, row, name, frac)


def with_affine(program: Program, weight: "np.ndarray | None", bias: "np.ndarray | None" = None) -> Program:
    """The normalization that `layer_norm` or `rms_norm` made, with another weight and bias, as these take them; a
    `rms_norm` has no bias.

    Raises ValueError for another program.
    """
    make: Any = {"layer_norm": layer_norm, "rms_norm": rms_norm}.get(str(program.meta.get("method")))
    kept = ("size", "eps", *(field.name for field in dataclasses.fields(Fitting)))
    if make is None or not set(kept) <= set(program.meta):
        raise ValueError(f"program must be one that layer_norm or rms_norm made, which {program.name!r} is not")
    affine = {"weight": weight} if make is rms_norm else {"weight": weight, "bias": bias}
    options = {name: program.meta[name] for name in kept}
    return make(input=program.input, output=program.output, name=program.name, **options, **affine)


@dataclass(frozen=True)
class _Row:
    """What every normalization is given, checked."""

    label: str
    input: Fixed
    output: Fixed
    size: int
    eps: float

    @property
    def title(self) -> str:
        return f"{self.label} of {self.size} places from {self.input} to {self.output}"

    def __post_init__(self) -> None:
        check_format(f"{self.label} input", self.input, 4, 16)
        check_format(f"{self.label} output", self.output, 2, 32)
        check_size(f"{self.label} size", self.size, _MOST)
        if isinstance(self.eps, bool) or not isinstance(self.eps, (int, float)):
            raise TypeError(f"{self.label} eps must be a number, not {shorten(self.eps)}")
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise ValueError(f"{self.label} eps must be a number from 0, not {self.eps}")


@dataclass(frozen=True)
class _InverseRoot:
    """``factor / sqrt(x)``; equal where the factor is, so that its fits are found again."""

    factor: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.factor / np.sqrt(x)


def _normalized(draft: Draft, row: _Row, value: str, eps: float) -> str:
    """``value * sqrt(size) / sqrt(sum(value^2) + eps)`` with _POINT fraction bits."""
    squares = draft(Sum, "squares", draft(Multiply, "square", value, value), row.size)
    # Twice as many fraction bits as make eps a number of 9 bits, where there are as many to spare.
    spare = (_SQUARES - draft.spans[squares][1].bit_length()) // 2
    guard = min(max(0, math.ceil((_GUARD + 1 - math.frexp(eps)[1]) / 2)), spare) if eps else 0
    if guard:
        squares = draft(ShiftLeft, "finer", squares, 2 * guard)
    added = math.ldexp(eps, 2 * guard)
    if added + draft.spans[squares][1] >= 1 << _SQUARES + 1:
        raise ValueError(f"eps must be less, not {row.eps}")
    exponent, mantissa = octaves(draft, draft(Add, "variance", squares, round(added)), 2, _MANTISSA)
    root, shift = math.frexp(math.sqrt(row.size))
    core = Function("rsqrt", _InverseRoot(2 * root), (1.0, 4.0))
    inverse = draft.core("core", core, _MANTISSA - 2, mantissa)
    product = draft(Multiply, "product", value, inverse)
    fine = draft.scaled("fine", product, _POINT - CORE.frac + guard + shift - 1, exponent)
    bound = 1 << _POINT + ((row.size - 1).bit_length() + 1) // 2
    return draft(Clamp, "normalized", fine, -bound, bound)


def _affine(
    draft: Draft,
    row: _Row,
    value: str,
    weight: Any,
    weight_frac: int | None,
    bias: Any,
    bias_frac: int | None,
) -> dict[str, int]:
    """Draft the result from the normalized `value`; return the fraction bits of weight and bias."""
    point, fracs = _POINT, {}
    if weight is not None:
        codes, frac = _entries(f"{row.label} weight", weight, row.size, weight_frac, _MOST_FRAC)
        value = draft(Multiply, "weighted", value, draft(Entries, "weight", codes))
        point, fracs = point + frac, {"weight_frac": frac}
    if bias is not None:
        codes, frac = _entries(f"{row.label} bias", bias, row.size, bias_frac, min(_MOST_FRAC, point))
        raised = draft.scaled("bias_raised", draft(Entries, "bias", codes), point - frac)
        value = draft(Add, "biased", value, raised)
        fracs["bias_frac"] = frac
    rounded = draft.scaled("rounded", value, row.output.frac - point)
    draft(Clamp, "y", rounded, row.output.min, row.output.max)
    return fracs


def _entries(label: str, values: Any, size: int, frac: int | None, most: int) -> tuple[np.ndarray, int]:
    """Codes of 16 bits, and their fraction bits."""
    given = np.asarray(values)
    if given.dtype.kind != "f":
        raise TypeError(f"{label} must be an array of real numbers, not of {given.dtype}")
    if given.shape != (size,):
        raise ValueError(f"{label} must be of shape ({size},), not {given.shape}")
    reach = float(np.abs(given).max())
    if not math.isfinite(reach):
        raise ValueError(f"{label} must be finite")
    if frac is None:
        fitting = (each for each in range(most, 0, -1) if round(math.ldexp(reach, each)) <= _ENTRY.max)
        frac = next(fitting, 0)
    elif isinstance(frac, bool) or not isinstance(frac, int):
        raise TypeError(f"{label}_frac must be an integer, not {shorten(frac)}")
    elif not 0 <= frac <= most:
        raise ValueError(f"{label}_frac must be from 0 to {most}, not {frac}")
    codes = np.rint(np.ldexp(given.astype(np.float64), frac))
    if codes.min() < _ENTRY.min or codes.max() > _ENTRY.max:
        raise ValueError(f"{label} must be within 16 bits with {frac} of them fraction, not reach {reach:g}")
    return codes.astype(np.int64), frac


def _program(draft: Draft, row: _Row, name: str, fracs: dict[str, int]) -> Program:
    return Program(
        name=name,
        inputs=(Port(INPUT, row.input, (row.size,)),),
        nodes=tuple(draft.nodes),
        outputs=(Port("y", row.output, (row.size,)),),
        meta={
            "method": row.label,
            "hwlut": __version__,
            "size": row.size,
            "eps": row.eps,
            **dataclasses.asdict(draft.fitting),
            **fracs,
        },
    )
