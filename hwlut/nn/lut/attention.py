"""Multi-head attention."""

from typing import Any

from torch import nn

from hwlut.nn.attention import SplitAttention, dense_linear
from hwlut.nn.lut.linear import LutLinear
from hwlut.nn.lut.spec import Lookup

__all__ = ["LutMultiheadAttention"]


class LutMultiheadAttention(SplitAttention):
    """``nn.MultiheadAttention`` with projections by look-ups, four `LutLinear`: its arguments, and `lookup`.

    Products of queries with keys and of attention with values, masks, softmax and dropout are torch's.
    """

    def __init__(self, *arguments: Any, lookup: Lookup, **options: Any):
        super().__init__()
        like = nn.MultiheadAttention(*arguments, **options)
        self._take(like, lambda weight, bias: LutLinear.like(dense_linear(weight, bias), lookup))

    @classmethod
    def of(cls, layer: nn.MultiheadAttention, lookup: Lookup) -> "LutMultiheadAttention":
        """The layer in the place of `layer`, whose projections calibration learns from."""
        new = cls.__new__(cls)
        nn.Module.__init__(new)
        new._take(layer, lambda weight, bias: LutLinear.of(dense_linear(weight, bias), lookup))
        return new

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self.out_proj.lookup.words()}"
