"""How far a multiplier is from the exact product."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwlut.fields import shorten
from hwlut.units.multiplier import PAIRS_LIMIT, Multiplier

if TYPE_CHECKING:
    import torch

__all__ = ["Metrics", "measure"]

_CHUNK = 1 << 16
_SAMPLE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Errors e = m(a, b) - a b, all pairs equally likely.

    med: mean error distance, the mean of |e|. nmed: med / the largest |a b|. wce: worst-case error, the largest |e|.
    ep: error probability, the share of pairs with e != 0, 0 to 1. mred: mean relative error distance, the mean of
    |e / (a b)| over pairs with a b != 0. mse: the mean of e^2. bias: the mean of e.
    pairs: how many were evaluated; exhaustive: whether these are all, else a random sample.
    The conventions are those of Liang, Han and Lombardi, "New Metrics for the Reliability of Approximate and
    Probabilistic Adders", IEEE Trans. Computers 2013; EvoApproxLib's MAE is med, its MAE% med / 2^(a.bits + b.bits).
    """

    med: float
    nmed: float
    wce: int
    ep: float
    mred: float
    mse: float
    bias: float
    pairs: int
    exhaustive: bool


def measure(unit: Multiplier, seed: int) -> Metrics:
    """The `Metrics` of `unit`, over every pair up to 2^24, else over 2^20 drawn with `seed`."""
    import torch

    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"Multiplier metrics seed must be an integer, not {shorten(seed)}")
    exhaustive = unit.pairs <= PAIRS_LIMIT
    pairs = wrong = nonzero = wce = total = distance = 0
    square = relative = 0.0
    for a, b in _every_pair(unit) if exhaustive else _drawn(unit, seed):
        exact = a * b
        error = unit(a, b).to(torch.int64) - exact
        size = error.abs()
        pairs += size.numel()
        wrong += int((size != 0).sum())
        wce = max(wce, int(size.max()))
        total += int(error.sum())
        distance += int(size.sum())
        square += float(error.double().square().sum())
        kept = exact != 0
        nonzero += int(kept.sum())
        relative += float((size[kept].double() / exact[kept].abs()).sum())
    largest = max(abs(x * y) for x in (unit.a.min, unit.a.max) for y in (unit.b.min, unit.b.max))
    return Metrics(
        med=distance / pairs,
        nmed=distance / pairs / largest,
        wce=wce,
        ep=wrong / pairs,
        mred=relative / nonzero,
        mse=square / pairs,
        bias=total / pairs,
        pairs=pairs,
        exhaustive=exhaustive,
    )


def _every_pair(unit: Multiplier) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
    import torch

    b = torch.arange(unit.b.min, unit.b.max + 1)
    for rows in torch.arange(unit.a.min, unit.a.max + 1).split(max(1, _CHUNK // len(b))):
        yield rows.repeat_interleave(len(b)), b.repeat(len(rows))


def _drawn(unit: Multiplier, seed: int) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
    import torch

    random = torch.Generator().manual_seed(seed)
    for _ in range(_SAMPLE // _CHUNK):
        a, b = (torch.randint(f.min, f.max + 1, (_CHUNK,), generator=random) for f in (unit.a, unit.b))
        yield a, b
