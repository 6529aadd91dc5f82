"""Derivatives that stand for those of a multiplier, as few products of a function of a and one of b."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from hwlut.fields import shorten
from hwlut.fixed import Fixed
from hwlut.units import Multiplier

__all__ = ["Date", "Gradient", "Table", "Term", "checked_gradient", "gradient_of"]

_NAMES = ("ste", "lre", "date")
_DECOMPOSED_PAIRS = 1 << 16  # above, a multiplier's factors serve in the place of its table
_GIVEN_PAIRS = 1 << 20
_RANK_LIMIT = 256
_PRECISION = 2.0**-24


@dataclasses.dataclass(frozen=True)
class Date:
    """The gradient "date" with a given window: moving averages of 2 * half_window + 1 products.

    Meng, Burleson, Qian and De Micheli, "Gradient Approximation of Approximate Multipliers for High-Accuracy Deep
    Neural Network Retraining" (DATE 2025): the central difference of the average where both its windows lie in the
    codes, else the mean slope from the lowest code to the highest. Without `half_window`, an eighth of the codes.
    """

    half_window: int | None = None

    def __post_init__(self) -> None:
        given = self.half_window
        if given is not None and (isinstance(given, bool) or not isinstance(given, int)):
            raise TypeError(f"Date half_window must be an integer, not {shorten(given)}")
        if given is not None and given < 0:
            raise ValueError(f"Date half_window must be at least 0, not {given}")


class Table(NamedTuple):
    """A function of codes: values [codes] in ascending order, from the lowest code; without values, the code itself."""

    values: torch.Tensor | None
    low: int

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        """float32, of the shape of the codes."""
        return codes.float() if self.values is None else self.values[codes.long() - self.low]

    def to(self, device: torch.device) -> "Table":
        return self if self.values is None else Table(self.values.to(device), self.low)


class Term(NamedTuple):
    """A function of a times one of b; None stands for 1."""

    a: Table | None
    b: Table | None

    def to(self, device: torch.device) -> "Term":
        return Term(*(side if side is None else side.to(device) for side in self))


class Gradient(NamedTuple):
    """The derivatives of the product by a and by b, each a sum of terms."""

    by_a: tuple[Term, ...]
    by_b: tuple[Term, ...]

    def to(self, device: torch.device) -> "Gradient":
        return Gradient(*(tuple(term.to(device) for term in terms) for terms in self))


def checked_gradient(gradient: Any, multiplier: Multiplier) -> Any:
    """The gradient as it is named, or its arrays as float64. Refuses what `gradient_of` does not take."""
    if isinstance(gradient, Date) or (isinstance(gradient, str) and gradient in _NAMES):
        return gradient
    if not isinstance(gradient, (tuple, list)) or len(gradient) != 2:
        raise ValueError(
            f"Approximate gradient must be one of {', '.join(_NAMES)}, a Date or two arrays, not {shorten(gradient)}"
        )
    return tuple(_given(label, table, multiplier) for label, table in zip("ab", gradient))


def gradient_of(gradient: Any, multiplier: Multiplier) -> Gradient:
    """The gradient that `Approximate` names.

    Above 2^16 pairs, "lre" and "date" come from the factors of the multiplier. ValueError where it has none.
    """
    with torch.device("cpu"):
        if isinstance(gradient, str) or isinstance(gradient, Date):
            chosen = Date() if gradient == "date" else gradient
            return _named(chosen, multiplier.replace(name="", function=None, meta={}))
        by_a, by_b = (_given(label, table, multiplier) for label, table in zip("ab", gradient))
        return Gradient(_terms(by_a, multiplier), _terms(by_b, multiplier))


@functools.lru_cache(maxsize=32)
def _named(gradient: str | Date, multiplier: Multiplier) -> Gradient:
    a, b = multiplier.a, multiplier.b
    if gradient == "ste":
        return Gradient((Term(None, Table(None, b.min)),), (Term(Table(None, a.min), None),))
    if gradient == "lre":
        by_a, by_b = _linear(_slope, multiplier)
        return Gradient((Term(None, _table(by_a[0], b)),), (Term(_table(by_b[0], a), None),))
    assert isinstance(gradient, Date)
    derivative = functools.partial(_difference, half=gradient.half_window)
    if multiplier.pairs <= _DECOMPOSED_PAIRS:
        by_a, by_b = _linear(derivative, multiplier)
        return Gradient(_terms(by_a, multiplier), _terms(by_b.T, multiplier))
    return _from_factors(derivative, multiplier)


def _linear(along: Callable[[np.ndarray], np.ndarray], multiplier: Multiplier) -> tuple[np.ndarray, np.ndarray]:
    """`along`, linear and 0 for constants, applied to the products along a, [.., B], and along b, [.., A]."""
    if multiplier.pairs <= _DECOMPOSED_PAIRS:
        products = multiplier.products().numpy().astype(np.float64)
        return along(products), along(products.T)
    f = multiplier.factors()
    weighted = f.weights[:, None].astype(np.float64)
    u, v = f.u.astype(np.float64), f.v.astype(np.float64)
    by_a = along(f.p[:, None].astype(np.float64)) + along(u.T) @ (weighted * v)
    by_b = along(f.q[:, None].astype(np.float64)) + along(v.T) @ (weighted * u)
    return by_a, by_b


def _from_factors(along: Callable[[np.ndarray], np.ndarray], multiplier: Multiplier) -> Gradient:
    """`along` applied to the factors of each operand, beside the other operand's own."""
    f, a, b = multiplier.factors(), multiplier.a, multiplier.b
    u, v = f.u.astype(np.float64), f.v.astype(np.float64)
    by_a, by_b = along(u.T).T * f.weights[:, None], along(v.T).T * f.weights[:, None]
    alone_a, alone_b = along(f.p[:, None].astype(np.float64))[:, 0], along(f.q[:, None].astype(np.float64))[:, 0]
    return Gradient(
        (Term(_table(alone_a, a), None), *(Term(_table(x, a), _table(y, b)) for x, y in zip(by_a, v))),
        (Term(None, _table(alone_b, b)), *(Term(_table(x, a), _table(y, b)) for x, y in zip(u, by_b))),
    )


def _slope(values: np.ndarray) -> np.ndarray:
    """Least-squares slopes along the first axis, [1, ...]."""
    places = np.arange(len(values)) - (len(values) - 1) / 2
    return (places @ values / (places @ places))[None]


def _difference(values: np.ndarray, half: int | None) -> np.ndarray:
    """The derivative that `Date` describes, along the first axis; of the shape of the values."""
    count = len(values)
    half = count // 8 if half is None else half
    whole = (values[-1] - values[0]) / (count - 1)
    result = np.broadcast_to(whole, values.shape).copy()
    if count > 2 * half + 2:
        # Neighbouring averages share all but two products at each end.
        last, first = 2 * half + 1, count - 2 * half - 2
        inner = values[last + 1 :] + values[last : count - 1] - values[1 : first + 1] - values[:first]
        result[half + 1 : count - half - 1] = inner / (2 * (2 * half + 1))
    return result


def _given(label: str, table: Any, multiplier: Multiplier) -> np.ndarray:
    """A derivative that the user gives, checked, as float64."""
    wanted = (1 << multiplier.a.bits, 1 << multiplier.b.bits)
    if isinstance(table, torch.Tensor):
        table = table.detach().cpu().double().numpy()
    try:
        held = np.array(table, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"Approximate gradient by {label} must be an array of numbers, not {shorten(table)}") from None
    if held.shape != wanted:
        raise ValueError(f"Approximate gradient by {label} must be of shape {wanted}, not {held.shape}")
    if held.size > _GIVEN_PAIRS:
        raise ValueError(f"Approximate gradient by {label} must be of at most 2^20 pairs, not {held.size}")
    if not np.isfinite(held).all():
        raise ValueError(f"Approximate gradient by {label} must be finite")
    return held


def _terms(table: np.ndarray, multiplier: Multiplier) -> tuple[Term, ...]:
    """A table [A, B] by its singular values, as many as leave an error below float32's.

    ValueError for more than 256 of them.
    """
    u, sizes, v = np.linalg.svd(table, full_matrices=False)
    left_out = np.sqrt(np.cumsum(np.square(sizes)[::-1])[::-1])  # of a sum that ends before each
    rank = int((left_out > _PRECISION * left_out[0]).sum())
    if rank > _RANK_LIMIT:
        raise ValueError(f"Approximate gradient must have at most rank {_RANK_LIMIT} in float32, not {rank}")
    roots = np.sqrt(sizes[:rank])
    return tuple(
        Term(_table(x, multiplier.a), _table(y, multiplier.b))
        for x, y in zip((u[:, :rank] * roots).T, v[:rank] * roots[:, None])
    )


def _table(values: np.ndarray, format: Fixed) -> Table:
    return Table(torch.from_numpy(values.astype(np.float32)), format.min)
