"""A pre-norm transformer encoder of modules that can be replaced by name, and a model for series built of it."""

import torch
from torch import Tensor, nn

__all__ = ["Attention", "Block", "SeriesTransformer"]


class Attention(nn.Module):
    """Multi-head self-attention over tokens [batch, count, width].

    mask: bool [batch, count], true for the tokens that are attended to; by default all.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"Attention width must be a multiple of the {heads} heads, not {width}")
        self.heads = heads
        self.inputs = nn.Linear(width, 3 * width)
        self.softmax = nn.Softmax(dim=-1)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        query, key, value = self.inputs(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = query @ key.mT * query.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None], -torch.inf)
        weights = self.softmax(scores)
        return self.output((weights @ value).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One pre-norm encoder layer."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))


class SeriesTransformer(nn.Module):
    """A transformer for series [batch, channels, length] of unequal lengths: a token a step, averaged for the classes.

    Called with a mask [batch, length] (bool), true at the steps of each series; what stands at others changes nothing.
    """

    def __init__(self, channels: int, length: int, classes: int, *, width: int = 64, depth: int = 2, heads: int = 4):
        super().__init__()
        self.embed = nn.Linear(channels, width)
        self.positions = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, series: Tensor, mask: Tensor) -> Tensor:
        x = self.embed(series.mT) + self.positions
        for block in self.blocks:
            x = block(x, mask)
        there = mask[..., None].to(x.dtype)
        return self.head((self.norm(x) * there).sum(dim=1) / there.sum(dim=1))
