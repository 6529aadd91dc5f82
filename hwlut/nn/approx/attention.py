"""Multi-head attention."""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from hwlut.nn.approx.layer import check_real
from hwlut.nn.approx.linear import ApproxLinear
from hwlut.nn.approx.matmul import ApproxMatmul
from hwlut.nn.approx.spec import Approximate
from hwlut.quant import Quantizer
from hwlut.units import Multiplier

__all__ = ["ApproxMultiheadAttention"]

_INPUTS = "q_proj", "k_proj", "v_proj"


class ApproxMultiheadAttention(nn.Module):
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
        **options: Any,
    ):
        super().__init__()
        spec = Approximate(multiplier, activations, weights, gradient)
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
        self.embed_dim, self.kdim, self.vdim = layer.embed_dim, layer.kdim, layer.vdim
        self.num_heads, self.dropout = layer.num_heads, layer.dropout
        self.batch_first, self.add_zero_attn = layer.batch_first, layer.add_zero_attn
        projections = _projections(layer)
        self.q_proj, self.k_proj, self.v_proj = (_linear(weight, bias, spec) for weight, bias in projections)
        self.out_proj = _linear(layer.out_proj.weight, layer.out_proj.bias, spec)
        self.bias_k, self.bias_v = layer.bias_k, layer.bias_v
        options = {"activations": spec.activations, "gradient": spec.gradient}
        self.scores = ApproxMatmul(multiplier=spec.multiplier, **options)
        self.context = ApproxMatmul(multiplier=spec.multiplier, **options)
        self.to(self.out_proj.weight.device)

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

    @property
    def exact(self) -> bool:
        """Whether the forward, in training too, is the layers' integer definition bit for bit: it always is."""
        return True

    @property
    def in_proj_bias(self) -> None:
        """None: so ``nn.TransformerEncoderLayer`` does not compute with its own kernel past this module."""

    @property
    def _qkv_same_embed_dim(self) -> bool:
        return False

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What nn.MultiheadAttention returns for the same arguments; `is_causal` needs the mask, as there."""
        if is_causal and attn_mask is None:
            raise ValueError("ApproxMultiheadAttention attn_mask must be given beside is_causal")
        self._check(query, key, value, key_padding_mask, attn_mask)
        batched = query.dim() == 3
        inputs = [query, key, value]
        if not batched:
            inputs = [x.unsqueeze(0) for x in inputs]
        elif not self.batch_first:
            inputs = [x.transpose(0, 1) for x in inputs]
        q, k, v = (project(x) for project, x in zip((self.q_proj, self.k_proj, self.v_proj), inputs))
        mask = self._mask(attn_mask, key_padding_mask, len(q), q)
        k, v, mask = self._extended(k, v, mask)
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
        scores = self.scores(q / math.sqrt(q.shape[-1]), k.transpose(-1, -2))
        attention = F.softmax(scores if mask is None else scores + mask, dim=-1)
        attention = F.dropout(attention, self.dropout, self.training)
        result = self.out_proj(self.context(attention, v).transpose(1, 2).flatten(2))
        if not batched:
            result = result.squeeze(0)
        elif not self.batch_first:
            result = result.transpose(0, 1)
        if not need_weights:
            return result, None
        shown = attention.mean(1) if average_attn_weights else attention
        return result, shown if batched else shown.squeeze(0)

    def _check(self, query: Any, key: Any, value: Any, padding: Any, mask: Any) -> None:
        """Refuse what torch's layer does, and what would be repeated along a dimension."""
        name = type(self).__name__
        for label, given in (("query", query), ("key", key), ("value", value)):
            check_real(f"{name} {label}", given)
        if query.dim() not in (2, 3):
            raise ValueError(f"{name} query must have two dimensions, or three with a batch, not {list(query.shape)}")
        if key.dim() != query.dim():
            raise ValueError(f"{name} key must have {query.dim()} dimensions like query, not {list(key.shape)}")
        batched, first = query.dim() == 3, int(self.batch_first)
        place = first if batched else 0
        targets, sources = query.shape[place], key.shape[place]
        batch = [query.shape[1 - first]] if batched else []

        def sizes(length: int, features: int) -> list[int]:
            return [*batch, length, features] if first else [length, *batch, features]

        every = math.prod(batch) * self.num_heads
        for label, given, wanted in (
            ("query", query, [sizes(targets, self.embed_dim)]),
            ("key", key, [sizes(sources, self.kdim)]),
            ("value", value, [sizes(sources, self.vdim)]),
            ("key_padding_mask", padding, [[*batch, sources]]),
            ("attn_mask", mask, [[targets, sources], [every, targets, sources]]),
        ):
            if given is None:
                continue
            if not isinstance(given, torch.Tensor):
                raise TypeError(f"{name} {label} must be a tensor, not {type(given).__name__}")
            if list(given.shape) not in wanted:
                shown = " or ".join(map(str, wanted))
                raise ValueError(f"{name} {label} must be of shape {shown}, not {list(given.shape)}")

    def _mask(
        self, attn_mask: torch.Tensor | None, padding: torch.Tensor | None, batch: int, like: torch.Tensor
    ) -> torch.Tensor | None:
        """Both masks as one to be added to scores [batch, heads, L, S]."""
        total = None
        if attn_mask is not None:
            total = _added(attn_mask, like)
            total = total.unflatten(0, (batch, self.num_heads)) if total.dim() == 3 else total[None, None]
        if padding is not None:
            hidden = _added(padding, like).reshape(-1, 1, 1, padding.shape[-1])
            total = hidden if total is None else total + hidden
        return total

    def _extended(
        self, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Keys and values with the positions that `add_bias_kv` and `add_zero_attn` ask for, which no mask hides."""
        length = k.shape[1]
        if self.bias_k is not None:
            assert self.bias_v is not None
            k, v = (torch.cat([x, bias.expand(len(x), 1, -1)], 1) for x, bias in ((k, self.bias_k), (v, self.bias_v)))
        if self.add_zero_attn:
            k, v = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
        return k, v, mask if mask is None else F.pad(mask, (0, k.shape[1] - length))

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, batch_first={self.batch_first}"


def _added(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A mask to be added: where a mask of bools is true, -inf."""
    if mask.dtype != torch.bool:
        if not mask.is_floating_point():
            raise TypeError(f"ApproxMultiheadAttention masks must be of bools or floats, not {mask.dtype}")
        return mask.to(like.dtype)
    return torch.zeros(mask.shape, dtype=like.dtype, device=mask.device).masked_fill(mask, -math.inf)


def _projections(layer: Any) -> list[tuple[Any, Any]]:
    """Weight and bias of each of the first three projections."""
    if isinstance(layer, ApproxMultiheadAttention):
        return [(part.weight, part.bias) for part in (layer.q_proj, layer.k_proj, layer.v_proj)]
    weights: list[Any] = [layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight]
    if layer._qkv_same_embed_dim:
        weights = _copies(layer.in_proj_weight)
    return list(zip(weights, [None] * 3 if layer.in_proj_bias is None else _copies(layer.in_proj_bias)))


def _linear(weight: Any, bias: Any, spec: Approximate) -> ApproxLinear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    linear.weight = weight
    if bias is not None:
        linear.bias = bias
    return ApproxLinear.of(linear, spec)


def _copies(joined: torch.Tensor) -> list[nn.Parameter]:
    return [nn.Parameter(part.detach().clone(), joined.requires_grad) for part in joined.chunk(3)]


def _joined(parts: list[torch.Tensor]) -> nn.Parameter:
    return nn.Parameter(torch.cat([part.detach() for part in parts]), any(part.requires_grad for part in parts))
