"""Matrix products in RTL: a multiplier's hardware between two activations."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwlut.nn.approx import ApproxMatmul
from hwlut.nn.rtl.layer import RtlLayer, kind_of
from hwlut.nn.rtl.sums import RtlSums
from hwlut.quant import Quantizer
from hwlut.units import Multiplier

if TYPE_CHECKING:
    from hwlut.hdl import Rtl

__all__ = ["RtlMatmul"]


class RtlMatmul(RtlLayer, ApproxMatmul):
    """``x @ w`` in RTL: `ApproxMatmul`, whose integer sums of products are the design's (`RtlSums`).

    Real x [..., M, K] and w [..., K, N] to [..., M, N]; quantizers, gradients and state are those of `ApproxMatmul`.

    Parameters
    ----------
    unit: a Multiplier.
    rtl: as for `RtlSums`.
    activations, weights, gradient: as for `ApproxMatmul`.
    """

    def __init__(
        self,
        unit: Multiplier,
        rtl: "Rtl | str | Path | None" = None,
        *,
        activations: Quantizer | None = None,
        weights: Quantizer | None = None,
        gradient: Any = "ste",
    ):
        options = {"activations": activations, "weights": weights, "gradient": gradient}
        ApproxMatmul.__init__(self, multiplier=unit, engine=RtlSums(unit, rtl), **options)

    @property
    def unit(self) -> Multiplier:
        """What multiplies."""
        return self.multiplier

    @property
    def rtl(self) -> "Rtl":
        assert isinstance(self.engine, RtlSums)
        return self.engine.rtl


kind_of.register(Multiplier, lambda unit: RtlMatmul)
