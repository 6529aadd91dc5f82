"""What the ways to a matrix product by a multiplier cost, as measured: by these figures `approx_matmul` chooses.

How the kernel of tables goes about a product, it chooses by figures of its own loops, which stand in its source.

ns a product, of one thread and 8-bit codes. AVX2: measured on an AMD EPYC (Zen 3), from 256 x 512 x 512 to 1024^3 and
at the convolutions of ResNet-18, as the headers of kernels/approx_table.cpp and approx_factors.cpp tell. AVX512 and
cuda: reckoned, from the width of the registers and from published rates, until they are measured; 0.066 is what
look-ups by VBMI permutes took on a Sapphire Rapids core.
"""

from typing import NamedTuple

import torch

__all__ = ["Cost", "cost"]


class Cost(NamedTuple):
    """ns a product, by factors or by a table."""

    term: float  # of each term as `approx_factors` takes it
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
        """Above it, a table costs less at 256 x 256: no factors are looked for, which takes seconds to minutes."""
        return int(self.table(256, 256) / self.term)


_COSTS = {
    "AVX2": Cost(term=0.016, expansion=0.6, added=0.065, built=23, plain=0.6),
    "AVX512": Cost(term=0.005, expansion=0.6, added=0.035, built=23, plain=0.066),
    "cuda": Cost(term=2.5e-6, expansion=1e-3, added=5e-4, built=0, plain=5e-4),
}
_OTHERS = Cost(term=0.6, expansion=1, added=0.6, built=0, plain=0.6)


def cost(device: torch.device) -> Cost:
    """The figures of `device`: of this processor's instruction set, or of GPUs."""
    name = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else device.type
    return _COSTS.get(name, _OTHERS)
