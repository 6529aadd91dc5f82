"""Multi-head attention of modules that project, and of products that can be replaced."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from hwlut.nn.real import check_real

__all__ = ["SplitAttention", "dense_linear"]


class SplitAttention(nn.Module):
    """What ``nn.MultiheadAttention`` computes, by four projections of their own: `q_proj`, `k_proj`, `v_proj` and
    `out_proj`. Masks, softmax and dropout are torch's.
    """

    q_proj: Any
    k_proj: Any
    v_proj: Any
    out_proj: Any

    def _take(self, layer: Any, project: Callable[[Any, Any], nn.Module]) -> None:
        """Take over `layer`, of torch or of this kind, with projections that `project` makes of weight and bias."""
        self.embed_dim, self.kdim, self.vdim = layer.embed_dim, layer.kdim, layer.vdim
        self.num_heads, self.dropout = layer.num_heads, layer.dropout
        self.batch_first, self.add_zero_attn = layer.batch_first, layer.add_zero_attn
        self.q_proj, self.k_proj, self.v_proj = (project(weight, bias) for weight, bias in _projections(layer))
        self.out_proj = project(layer.out_proj.weight, layer.out_proj.bias)
        self.bias_k, self.bias_v = layer.bias_k, layer.bias_v

    def _scores(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return q @ k

    def _context(self, attention: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return attention @ v

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
            raise ValueError(f"{type(self).__name__} attn_mask must be given beside is_causal")
        self._check(query, key, value, key_padding_mask, attn_mask)
        batched = query.dim() == 3
        inputs = [query, key, value]
        if not batched:
            inputs = [x.unsqueeze(0) for x in inputs]
        elif not self.batch_first:
            inputs = [x.transpose(0, 1) for x in inputs]
        q, k, v = (project(x) for project, x in zip((self.q_proj, self.k_proj, self.v_proj), inputs))
        mask = self._mask(attn_mask, key_padding_mask, q.shape[0], q)
        k, v, mask = self._extended(k, v, mask)
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
        scores = self._scores(q / math.sqrt(q.shape[-1]), k.transpose(-1, -2))
        attention = F.softmax(scores if mask is None else scores + mask, dim=-1)
        attention = F.dropout(attention, self.dropout, self.training)
        result = self.out_proj(self._context(attention, v).transpose(1, 2).flatten(2))
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
            total = self._added(attn_mask, like)
            total = total.unflatten(0, (batch, self.num_heads)) if total.dim() == 3 else total[None, None]
        if padding is not None:
            hidden = self._added(padding, like).reshape(-1, 1, 1, padding.shape[-1])
            total = hidden if total is None else total + hidden
        return total

    def _extended(
        self, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Keys and values with the positions that `add_bias_kv` and `add_zero_attn` ask for, which no mask hides."""
        length = k.shape[1]
        if self.bias_k is not None:
            assert self.bias_v is not None
            k = torch.cat([k, self.bias_k.expand(k.shape[0], 1, -1)], 1)
            v = torch.cat([v, self.bias_v.expand(v.shape[0], 1, -1)], 1)
        if self.add_zero_attn:
            k, v = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
        return k, v, mask if mask is None else F.pad(mask, (0, k.shape[1] - length))

    def _added(self, mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """A mask to be added: where a mask of bools is true, -inf."""
        if mask.dtype != torch.bool:
            if not mask.is_floating_point():
                raise TypeError(f"{type(self).__name__} masks must be of bools or floats, not {mask.dtype}")
            return mask.to(like.dtype)
        return torch.zeros(mask.shape, dtype=like.dtype, device=mask.device).masked_fill(mask, -math.inf)

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, batch_first={self.batch_first}"


def _projections(layer: Any) -> list[tuple[Any, Any]]:
    """Weight and bias of each of the first three projections."""
    if isinstance(layer, SplitAttention):
        return [(part.weight, part.bias) for part in (layer.q_proj, layer.k_proj, layer.v_proj)]
    weights: list[Any] = [layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight]
    if layer._qkv_same_embed_dim:
        weights = _copies(layer.in_proj_weight)
    return list(zip(weights, [None] * 3 if layer.in_proj_bias is None else _copies(layer.in_proj_bias)))


def _copies(joined: torch.Tensor) -> list[nn.Parameter]:
    return [nn.Parameter(part.detach().clone(), joined.requires_grad) for part in joined.chunk(3)]


def dense_linear(weight: Any, bias: Any) -> nn.Linear:
    """torch's layer with these parameters."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    linear.weight = weight
    if bias is not None:
        linear.bias = bias
    return linear
