"""Multi-head attention."""

from typing import Any

import torch
from torch import nn

from hwlut.nn.approx.linear import ApproxLinear
from hwlut.nn.approx.matmul import ApproxMatmul
from hwlut.nn.approx.spec import Approximate
from hwlut.nn.approx.sums import Engine
from hwlut.nn.attention import SplitAttention, dense_linear
from hwlut.quant import Quantizer
from hwlut.units import Multiplier

__all__ = ["ApproxMultiheadAttention"]

_INPUTS = "q_proj", "k_proj", "v_proj"


class ApproxMultiheadAttention(SplitAttention):
    """``nn.MultiheadAttention`` by an approximate multiplier: its arguments, and those of `Approximate` by name.

    The four projections are `ApproxLinear`; `scores` (queries times keys) and `context` (attention times values) are
    `ApproxMatmul`, with keys and values as second operands: quantized like activations, in the format of b. Masks,
    softmax and dropout are torch's.
    """

    def __init__(
        self,
        *arguments: Any,
        multiplier: Multiplier,
        activations: Quantizer | None = None,
        weights: Quantizer | None = None,
        gradient: Any = "ste",
        engine: Engine | None = None,
        **options: Any,
    ):
        super().__init__()
        spec = Approximate(multiplier, activations, weights, gradient, engine)
        self._make(nn.MultiheadAttention(*arguments, **options), spec)

    @classmethod
    def of(cls, layer: Any, spec: Approximate) -> "ApproxMultiheadAttention":
        """The approximate layer in the place of `layer`, of torch or approximate, whose parameters it takes over, or
        copies where torch holds three projections in one: those an optimizer made before does not know."""
        new = cls.__new__(cls)
        nn.Module.__init__(new)
        new._make(layer, spec)
        return new

    def _make(self, layer: Any, spec: Approximate) -> None:
        self._take(layer, lambda weight, bias: ApproxLinear.of(dense_linear(weight, bias), spec))
        options = {"activations": spec.activations, "gradient": spec.gradient, "engine": spec.engine}
        self.scores = ApproxMatmul(multiplier=spec.multiplier, **options)
        self.context = ApproxMatmul(multiplier=spec.multiplier, **options)
        self.to(self.out_proj.weight.device)

    def _scores(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return self.scores(q, k)

    def _context(self, attention: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return self.context(attention, v)

    def restored(self) -> nn.MultiheadAttention:
        """The layer of torch with this one's parameters, or copies where it holds three projections in one."""
        projections = self.q_proj, self.k_proj, self.v_proj
        old = nn.MultiheadAttention(
            self.embed_dim,
            self.num_heads,
            self.dropout,
            self.q_proj.bias is not None,
            self.bias_k is not None,
            self.add_zero_attn,
            self.kdim,
            self.vdim,
            self.batch_first,
            device="meta",
        )
        if old._qkv_same_embed_dim:
            old.in_proj_weight = _joined([p.weight for p in projections])
        else:
            for name, projection in zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), projections):
                setattr(old, name, projection.weight)
        if old.in_proj_bias is not None:
            old.in_proj_bias = _joined([p.bias for p in projections])
        old.out_proj.weight, old.out_proj.bias = self.out_proj.weight, self.out_proj.bias
        old.bias_k, old.bias_v = self.bias_k, self.bias_v
        return old.train(self.training)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Also of a state of ``nn.MultiheadAttention``, of either form."""
        for kind in ("weight", "bias"):
            joined = state_dict.pop(f"{prefix}in_proj_{kind}", None)
            parts = [] if joined is None else joined.chunk(3)
            state_dict.update({f"{prefix}{name}.{kind}": part for name, part in zip(_INPUTS, parts)})
        for name in _INPUTS:
            if f"{prefix}{name}_weight" in state_dict:
                state_dict[f"{prefix}{name}.weight"] = state_dict.pop(f"{prefix}{name}_weight")
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def _joined(parts: list[torch.Tensor]) -> nn.Parameter:
    return nn.Parameter(torch.cat([part.detach() for part in parts]), any(part.requires_grad for part in parts))
