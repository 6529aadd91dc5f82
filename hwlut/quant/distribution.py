"""The values seen so far, as distinct numbers and their counts: exact at first, in buckets when they are many."""

from fractions import Fraction

import torch

__all__ = ["Distribution"]

_ENTRIES = 1 << 16
_ENTRIES_PER_GROUP = 1 << 11
_MANTISSA_BITS = 23


class Distribution:
    """Counts of float32 values, group by group.

    Each distinct value is kept with its count, until there are more than 65,536 of them (or 2,048 a group, if that
    is more). Then values that agree but for their lowest mantissa bit are put together, as often as it takes. A value
    is so known to a relative error of at most `error`: 0 while everything is kept, 2^(dropped bits - 24) after.

    Attributes
    ----------
    values: float32 [entries], ascending within each group, the middles of their buckets.
    counts: int64 [entries]. groups: int64 [entries], ascending.
    """

    def __init__(self, groups: int, device: torch.device):
        self.size = groups
        self.limit = max(_ENTRIES, _ENTRIES_PER_GROUP * groups)
        self.dropped = 0
        self._keys = torch.empty(0, dtype=torch.int64, device=device)
        self.counts = self.groups = self._keys

    def add(self, rows: torch.Tensor) -> None:
        """Take in finite values [groups, any number]."""
        bits = (rows.float() + 0.0).view(torch.int32)  # zero has one sign
        places = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long() >> self.dropped  # integers in the order of the values
        keys = places + (torch.arange(self.size, device=rows.device).view(-1, 1) << 32)
        distinct, counts = keys.flatten().sort().values.unique_consecutive(return_counts=True)
        keys, order = torch.cat((self._keys, distinct)).sort()
        self._merge(keys, torch.cat((self.counts, counts))[order])
        while len(self._keys) > self.limit and self.dropped < _MANTISSA_BITS:
            self.dropped += 1
            self._merge((self.groups << 32) + (self._places >> 1), self.counts)

    def _merge(self, ascending: torch.Tensor, counts: torch.Tensor) -> None:
        self._keys, places = ascending.unique_consecutive(return_inverse=True)
        self.counts = torch.zeros_like(self._keys).index_add_(0, places, counts)
        self.groups = (self._keys + (1 << 31)) >> 32  # places reach from -2^31 to 2^31 - 1

    @property
    def _places(self) -> torch.Tensor:
        return self._keys - (self.groups << 32)

    @property
    def values(self) -> torch.Tensor:
        middle = (1 << self.dropped) >> 1
        places = ((self._places << self.dropped) + middle).to(torch.int32)
        return (places ^ ((places >> 31) & 0x7FFFFFFF)).view(torch.float32)

    @property
    def error(self) -> float:
        """The largest relative error of a value, of normal float32 size."""
        return 2.0 ** (self.dropped - _MANTISSA_BITS - 1) if self.dropped else 0.0

    def sums(self, entries: torch.Tensor) -> torch.Tensor:
        """Sums of float64 [..., entries] over each group, times the counts: [..., groups]."""
        if self.size == 1:
            return torch.inner(entries, self.counts.double()).unsqueeze(-1)
        zeros = torch.zeros(*entries.shape[:-1], self.size, dtype=torch.float64, device=entries.device)
        return zeros.index_add_(-1, self.groups, entries * self.counts)

    def percentile(self, values: torch.Tensor, percent: Fraction) -> torch.Tensor:
        """The smallest of `values` (one for each entry) that at least `percent` of a group do not exceed: [groups]."""
        order = values.argsort(stable=True)
        order = order[self.groups[order].argsort(stable=True)]
        totals = torch.zeros(self.size, dtype=torch.int64, device=values.device).index_add_(0, self.groups, self.counts)
        needed = [max(1, -(-total * percent.numerator // (100 * percent.denominator))) for total in totals.tolist()]
        reached = self.counts[order].cumsum(0)
        before = totals.cumsum(0) - totals
        places = torch.searchsorted(reached, before + torch.tensor(needed, device=values.device))
        return values[order][places]
