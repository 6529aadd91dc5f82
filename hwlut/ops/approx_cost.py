"""What the ways to a matrix product by a multiplier cost, as measured: the one place of these figures.

One thread, uint8 codes, several shapes of 2^24 to 2^30 products, in ns a product. AVX2: an AMD EPYC (Zen 3), as the
headers of kernels/approx_table.cpp and approx_factors.cpp tell. AVX512: the table by VBMI permutations on a Sapphire
Rapids core; the factors are reckoned from the AVX2 figure, by the width of the registers. CUDA: reckoned.
"""

from typing import NamedTuple

import torch

__all__ = ["Cost", "cost"]


class Cost(NamedTuple):
    """ns a product: of each 16-bit term, and of a table."""

    term: float
    expansion: float  # of a code of a, shared by the columns of b
    added: float  # by rows of products made for each code
    built: float  # those rows, shared by the rows of the longer side
    plain: float  # by a look-up each

    def factors(self, terms: int, n: int) -> float:
        return terms * self.term + self.expansion / max(n, 1)

    def table(self, m: int, n: int) -> float:
        short, long = sorted((max(m, 1), max(n, 1)))
        wasted = -(-short // 16) * 16 / short
        return min(self.plain, (self.added + self.built / long) * wasted)

    @property
    def most_terms(self) -> int:
        """Above it, factors cost more than any table."""
        return int(self.plain / self.term)


_COSTS = {
    "AVX2": Cost(term=0.016, expansion=0.6, added=0.065, built=23, plain=0.6),
    "AVX512": Cost(term=0.005, expansion=0.6, added=0.066, built=0, plain=0.6),
    "cuda": Cost(term=1e-5, expansion=1e-3, added=5e-4, built=0, plain=1e-3),
}
_OTHERS = Cost(term=0.6, expansion=1, added=0.6, built=0, plain=0.6)


def cost(device: torch.device) -> Cost:
    """The figures of `device`: of this processor's instruction set, or of GPUs."""
    name = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else device.type
    return _COSTS.get(name, _OTHERS)
