"""Multipliers and weights as the kernels of matrix products take them: made once, kept."""

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from hwlut.ops.approx_cost import cost
from hwlut.ops.approx_factors import factor_bytes, pack
from hwlut.ops.approx_table import CODES
from hwlut.ops.approx_terms import Group, groups
from hwlut.ops.launch import INTEGERS
from hwlut.ops.lookup import lookup
from hwlut.units.multiplier import Multiplier

__all__ = ["ExpandedWeights", "check_codes", "chunks", "expand_weights", "factors_of", "matrices", "result", "table_of"]

INT32 = (1 << 31) - 1
_WIDE = 1 << 22  # size of a term's products where the sums are int64: int32 holds 512 of them


class Plane(NamedTuple):
    """16 bits of every product, which is the sum over the planes of weight * (entry + offset)."""

    weight: int
    entries: torch.Tensor  # int16 [rows, columns]
    offset: int

    @property
    def depth(self) -> int:
        """Entries with their offset whose sum fits int32; one always does, whatever the bound says."""
        return max(1, INT32 // max(abs(self.offset - (1 << 15)), abs(self.offset + (1 << 15))))


class _Group(NamedTuple):
    """``weight * sum over t of u[a, t] * v[t, b]``; its sums over up to `depth` values of k fit int32."""

    weight: int
    u: torch.Tensor
    v: torch.Tensor
    depth: int


class Factors(NamedTuple):
    """Each product is ``p[a] + q[b]`` and the groups. The first group's weight is 1."""

    groups: tuple[_Group, ...]
    p: torch.Tensor  # int64, one a row code; empty where all are zero
    q: torch.Tensor  # int64, one a column code

    @property
    def terms(self) -> int:
        return sum(group.u.shape[1] for group in self.groups)


class _Part(NamedTuple):
    """A call of `approx_factors`: k from `start` to `stop`, and the weight of its sums."""

    weight: int
    start: int
    stop: int
    u: torch.Tensor
    v: torch.Tensor


@dataclass(frozen=True, eq=False)
class ExpandedWeights:
    """Second operands of matrix products made ready for one multiplier, by `expand_weights`.

    codes: integers [..., K, N]. The other fields are the kernels' own.
    """

    codes: torch.Tensor
    multiplier: Multiplier
    parts: tuple[_Part, ...]  # empty where no shape of the other operand makes factors the faster way
    p: torch.Tensor  # of `Factors`
    q: torch.Tensor  # int64 [batch, N]: sums over k

    @property
    def shape(self) -> torch.Size:
        """[..., K, N] of the codes."""
        return self.codes.shape

    def to(self, device: torch.device | str) -> "ExpandedWeights":
        """The same weights on `device`, expanded as its kernels take them."""
        return expand_weights(self.codes.to(device), self.multiplier)

    def __reduce__(self) -> tuple[Callable[..., "ExpandedWeights"], tuple[torch.Tensor, Multiplier]]:
        return expand_weights, (self.codes, self.multiplier)


def expand_weights(b: torch.Tensor, multiplier: Multiplier) -> ExpandedWeights:
    """The codes `b` [..., K, N] expanded once, to be given to `approx_matmul` in their place.

    A multiplier of few factors takes two bytes a term and code, on GPUs one. Copying to another device and unpickling
    expand the codes anew. Raises what `approx_matmul` raises for `b` and `multiplier`.
    """
    check_codes("b", b, multiplier)
    depth = b.shape[-2]
    wide = result(multiplier, depth) == torch.int64
    factors = factors_of(multiplier, wide, b.device)
    if factors is None:
        none = torch.empty(0, dtype=torch.int64, device=b.device)
        return ExpandedWeights(b, multiplier, (), none, none)
    codes, low = matrices(b), multiplier.b.min
    parts = []
    for group in factors.groups:
        v = torch.stack([lookup(codes, column, low) for column in group.v], dim=2)
        for start, stop in chunks(depth, group.depth if wide else depth):
            parts.append(_Part(group.weight, start, stop, group.u, pack(v[:, start:stop])))
    return ExpandedWeights(b, multiplier, tuple(parts), factors.p, lookup(codes, factors.q, low).sum(1))


def matrices(codes: torch.Tensor) -> torch.Tensor:
    """[..., K, N] with one dimension of the batch."""
    return codes.reshape(math.prod(codes.shape[:-2]), *codes.shape[-2:])


def chunks(depth: int, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most `most` that make up [0, depth): one at least."""
    for start in range(0, max(depth, 1), max(most, 1)):
        yield start, min(start + most, depth)


@functools.lru_cache(maxsize=1024)
def result(multiplier: Multiplier, k: int) -> torch.dtype:
    """The dtype that is proven to hold the sum of `k` products."""
    return torch.int32 if multiplier.exact_bound(k) <= INT32 else torch.int64


@functools.lru_cache(maxsize=64)
def table_of(multiplier: Multiplier, device: torch.device) -> tuple[Plane, ...]:
    """The products in planes, nearly always one; none where the codes are too many for the kernels."""
    if max(multiplier.a.bits, multiplier.b.bits) > CODES.bit_length() - 1:
        return ()
    products = multiplier.products().long()
    low = int(products.min())
    above = products - low
    half = 1 << 15
    planes = []
    for place in range(0, max(int(above.max()).bit_length(), 1), 16):
        entries = ((above >> place) % (2 * half) - half).to(device, torch.int16)
        planes.append(Plane(1 << place, entries, half if place else half + low))
    return tuple(planes)


@functools.lru_cache(maxsize=64)
def factors_of(multiplier: Multiplier, wide: bool, device: torch.device) -> Factors | None:
    """The factors of the multiplier, for sums in int64 where `wide`; None where a table costs less or none exist."""
    most = cost(device).most_terms * len(table_of(multiplier, device)) or math.inf
    if most < math.inf and _rank(multiplier) > most:
        return None
    try:
        factors = multiplier.factors()
    except ValueError:
        return None
    dtype: type[np.int8] | type[np.int16] = np.int8 if factor_bytes(device) == 1 else np.int16
    found = groups(factors, _WIDE if wide else 1 << 30, dtype)
    if not found or found[0].weight != 1:
        found = (Group(1, *(np.zeros((1, len(x)), dtype) for x in (factors.p, factors.q))), *found)
    held = tuple(
        _Group(
            group.weight,
            torch.from_numpy(group.u.T.copy()).to(device),
            torch.from_numpy(group.v).to(device),
            INT32 // max(1, int(group.bound)),
        )
        for group in found
    )
    if sum(group.u.shape[1] for group in held) > most:
        return None
    p, q = (torch.from_numpy(x.copy()).to(device) for x in (factors.p, factors.q))
    return Factors(held, p if factors.p.any() else p[:0], q)


def _rank(multiplier: Multiplier) -> int:
    """Of the products less a term of the row and one of the column: no decomposition has fewer terms."""
    products = multiplier.products().double()
    products = products - products[:1]
    return int(torch.linalg.matrix_rank(products - products[:, :1]))


def check_codes(label: str, codes: object, multiplier: object) -> None:
    """Refuses what `approx_matmul` cannot take as its operand `label`."""
    if not isinstance(codes, torch.Tensor):
        raise TypeError(f"approx_matmul {label} must be a tensor, not {type(codes).__name__}")
    if codes.dtype not in INTEGERS:
        raise TypeError(f"approx_matmul {label} must be uint8, int8, int16, int32 or int64, not {codes.dtype}")
    if codes.dim() < 2:
        raise ValueError(f"approx_matmul {label} must have at least two dimensions, not shape {tuple(codes.shape)}")
    if not isinstance(multiplier, Multiplier):
        raise TypeError(f"approx_matmul multiplier must be a Multiplier, not {type(multiplier).__name__}")
