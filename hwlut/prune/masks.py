"""Masked models: the elements of removed groups are zero, as if they were not there."""

import torch
from torch import nn

from hwlut.prune.coupling import Groups, Removed
from hwlut.prune.places import checked
from hwlut.quant.state import WithState

__all__ = ["Mask", "mask_"]

_ZEROED = "running_mean"


class Mask:
    """The elements of removed groups, found once; `zero_` makes them zero, after every step of an optimizer if need be.

    These are all elements of parameters at places of removed groups, along every part of their couplings: rows of what
    makes the channels, weights and biases of normalization, and columns of what reads them, whose results then do not
    depend on what is there. Of buffers only the running means are among them: a variance of zero, or a step, would be
    divided by, and what it is of is zero anyway. The state of quantizers stays for the same reason.

    The parameters are held: a mask is for the model as long as it has these. Raises ValueError for groups that there
    are not, or where a coupling would be left without any.
    """

    def __init__(self, model: nn.Module, groups: Groups, removed: Removed):
        held = _masked_tensors(model)
        self._places: list[tuple[torch.Tensor, int, torch.Tensor]] = []
        for name, numbers in checked(model, groups, removed).items():
            gone = torch.tensor(numbers, dtype=torch.int64)
            for part in groups.couplings[name].parts:
                if part.tensor in held:
                    tensor = held[part.tensor]
                    places = torch.isin(part.groups, gone).nonzero().flatten()
                    if len(places):
                        self._places.append((tensor, part.dim, places.to(tensor.device)))

    @torch.no_grad()
    def zero_(self) -> None:
        """Make these elements zero."""
        for tensor, dim, places in self._places:
            tensor.index_fill_(dim, places, 0)


def mask_(model: nn.Module, groups: Groups, removed: Removed) -> None:
    """Make all elements of removed groups zero in `model`, in place, as `Mask` does."""
    Mask(model, groups, removed).zero_()


def _masked_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    state = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, WithState))
    tensors: dict[str, torch.Tensor] = dict(model.named_parameters())
    tensors |= {name: each for name, each in model.named_buffers() if name.rpartition(".")[2] == _ZEROED}
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(state)}
