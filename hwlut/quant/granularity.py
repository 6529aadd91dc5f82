"""Which values of a tensor share a step: all, those of a channel, those of a token."""

from dataclasses import dataclass

import torch

from hwlut.fields import shorten

__all__ = ["Granularity", "check_tensor"]

_KINDS = ("tensor", "channel", "token")
_LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True)
class Granularity:
    """Groups of values with one step each.

    What belongs to groups has their shape: () for a tensor, [channels] for channels, x.shape[:-1] for tokens.

    Parameters
    ----------
    kind: "tensor", one group; "channel", a group for each place along `axis`; "token", one for each vector along
        the last dimension.
    axis: the dimension of channels, negative ones from the end.
    """

    kind: str = "tensor"
    axis: int = 0

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"Quantizer granularity must be one of {', '.join(_KINDS)}, not {shorten(self.kind)}")
        if isinstance(self.axis, bool) or not isinstance(self.axis, int):
            raise TypeError(f"Quantizer axis must be an integer, not {shorten(self.axis)}")

    def words(self) -> list[str]:
        """What to say of it: nothing of a tensor."""
        axis = f" of axis {self.axis}" if self.kind == "channel" else ""
        return [] if self.kind == "tensor" else [f"per {self.kind}{axis}"]

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """`x` as [groups, values of each]."""
        if self.kind == "tensor":
            return x.reshape(1, -1)
        if self.kind == "token":
            return x.reshape(-1, x.shape[-1])
        return x.movedim(self._place(x), 0).flatten(1) if x.dim() > 1 else x.reshape(-1, 1)

    def shape(self, x: torch.Tensor) -> torch.Size:
        """That of the groups of `x`. ValueError where it has not the dimension."""
        if self.kind == "tensor":
            return torch.Size()
        if self.kind == "token":
            if not x.dim():
                raise ValueError("Quantizer input must have at least one dimension for tokens, not 0")
            return x.shape[:-1]
        return torch.Size((x.shape[self._place(x)],))

    def bounds(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Least and greatest finite value of each group, float32, zero always between them."""
        shape = self.shape(x)
        if not x.numel():
            none = torch.zeros(shape, device=x.device)
            return none, none
        finite = x.detach().nan_to_num(0.0, 0.0, 0.0)
        if x.dtype == torch.float64:
            finite = finite.clamp(-_LARGEST, _LARGEST)
        if self.kind == "tensor":
            low, high = finite.aminmax()
        elif self.kind == "token":
            low, high = finite.aminmax(dim=-1)
        else:
            place = self._place(x)
            others = [d for d in range(x.dim()) if d != place]
            low, high = (finite.amin(others), finite.amax(others)) if others else (finite, finite)
        return low.float().clamp(max=0), high.float().clamp(min=0)

    def spread(self, values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """One value a group, shaped to broadcast against `x`. ValueError for another number of groups."""
        if self.kind == "tensor":
            return values
        if self.kind == "token":
            return values.unsqueeze(-1)
        place = self._place(x)
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
