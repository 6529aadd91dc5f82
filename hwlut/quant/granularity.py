"""Which values of a tensor share a step: all, those of a channel, of a token, of a block."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hwlut.fields import shorten
from hwlut.ops.group_bounds import group_bounds

__all__ = ["Granularity", "check_tensor"]

_KINDS = ("tensor", "channel", "token", "block")
_AXES = {"channel": 0, "block": -1}
_BLOCK = 32


@dataclass(frozen=True)
class Granularity:
    """Groups of values with one step each.

    What belongs to groups has their shape: () for a tensor, [channels] for channels, x.shape[:-1] for tokens, and that
    of x with the number of blocks along `axis` for blocks.

    Parameters
    ----------
    kind: "tensor", one group; "channel", a group for each place along `axis`; "token", one for each vector along
        the last dimension; "block", one for each `block` values along `axis`, and one for those that are left over.
    axis: the dimension of channels, by default the first, or of blocks, by default the last; negative ones from the
        end.
    block: at least 1, by default 32; None but for blocks.
    """

    kind: str = "tensor"
    axis: Any = None  # int | None: it is an int afterwards
    block: Any = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"Quantizer granularity must be one of {', '.join(_KINDS)}, not {shorten(self.kind)}")
        if self.axis is None:
            object.__setattr__(self, "axis", _AXES.get(self.kind, 0))
        if isinstance(self.axis, bool) or not isinstance(self.axis, int):
            raise TypeError(f"Quantizer axis must be an integer, not {shorten(self.axis)}")
        if self.kind != "block":
            if self.block is not None:
                raise ValueError(
                    f"Quantizer block must be left out where the granularity is {self.kind}, not {shorten(self.block)}"
                )
            return
        if self.block is None:
            object.__setattr__(self, "block", _BLOCK)
        if isinstance(self.block, bool) or not isinstance(self.block, int):
            raise TypeError(f"Quantizer block must be an integer, not {shorten(self.block)}")
        if self.block < 1:
            raise ValueError(f"Quantizer block must be at least 1, not {self.block}")

    def words(self) -> list[str]:
        """What to say of it: nothing of a tensor."""
        axis = f" of axis {self.axis}" if self.kind in _AXES else ""
        size = f" of {self.block}" if self.block else ""
        return [] if self.kind == "tensor" else [f"per {self.kind}{size}{axis}"]

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """`x` as [groups, values of each]."""
        if self.kind == "tensor":
            return x.reshape(1, -1)
        if self.kind == "token":
            return x.reshape(-1, x.shape[-1])
        if self.kind == "block":
            return self.cut(x).flatten(0, -2)
        return x.movedim(self._place(x), 0).flatten(1) if x.dim() > 1 else x.reshape(-1, 1)

    def shape(self, x: torch.Tensor) -> torch.Size:
        """That of the groups of `x`. ValueError where it has not the dimension."""
        if self.kind == "tensor":
            return torch.Size()
        if self.kind == "token":
            if not x.dim():
                raise ValueError("Quantizer input must have at least one dimension for tokens, not 0")
            return x.shape[:-1]
        place = self._place(x)
        if self.kind == "block":
            return torch.Size((*x.shape[:place], -(-x.shape[place] // self.block), *x.shape[place + 1 :]))
        return torch.Size((x.shape[place],))

    def cut(self, x: torch.Tensor) -> torch.Tensor:
        """Blocks as vectors along a new last dimension, the `axis` before it; the last block is filled up with 0."""
        last = x.movedim(self._place(x), -1)
        missing = -last.shape[-1] % self.block
        return (nn.functional.pad(last, (0, missing)) if missing else last).unflatten(-1, (-1, self.block))

    def joined(self, blocks: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """What `cut` made of `x`, or of values like those of x, in the shape of x again."""
        place = self._place(x)
        return blocks.flatten(-2).narrow(-1, 0, x.shape[place]).movedim(-1, place)

    def bounds(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Least and greatest finite value of each group, float32, zero always between them."""
        if self.kind == "tensor":
            return group_bounds(x)
        if self.kind == "token":
            return group_bounds(x, range(len(self.shape(x))))
        place = self._place(x)
        if self.kind == "channel":
            return group_bounds(x, (place,))
        cut = self.cut(x.detach())
        low, high = group_bounds(cut, range(cut.dim() - 1))
        return low.movedim(-1, place), high.movedim(-1, place)

    def spread(self, values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """One value a group, shaped to broadcast against `x`. ValueError for another number of groups."""
        if self.kind == "tensor":
            return values
        if self.kind == "token":
            return values.unsqueeze(-1)
        place = self._place(x)
        if self.kind == "block":
            each = values.unsqueeze(place + 1).expand(
                *values.shape[: place + 1], self.block, *values.shape[place + 1 :]
            )
            return each.flatten(place, place + 1).narrow(place, 0, x.shape[place])
        if x.shape[place] != values.shape[0]:
            raise ValueError(
                f"Quantizer input must have {values.shape[0]} channels along axis {self.axis}, not {x.shape[place]}"
            )
        return values.view([-1 if d == place else 1 for d in range(x.dim())])

    def _place(self, x: torch.Tensor) -> int:
        if not -x.dim() <= self.axis < x.dim():
            raise ValueError(f"Quantizer input must have the axis {self.axis}, not shape {tuple(x.shape)}")
        return self.axis % x.dim()


def check_tensor(x: object) -> None:
    """Refuse what is no input of a quantizer."""
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"Quantizer input must be a tensor, not {type(x).__name__}")
