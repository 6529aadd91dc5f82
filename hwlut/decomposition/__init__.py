"""Integer tables as sums of int8 products, exactly: what turns a look-up into matrix multiplications."""

from hwlut.decomposition.cache import cached
from hwlut.decomposition.factors import Factors
from hwlut.decomposition.table import decompose
from hwlut.decomposition.wide import separable

__all__ = ["Factors", "cached", "decompose", "separable"]
