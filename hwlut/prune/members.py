"""Where groups lie in the parameters of a model: to sum over each group, and to put groups to zero."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from hwlut.prune.coupling import Groups
from hwlut.quant.state import WithState

__all__ = ["Member", "Members"]


class Member:
    """A parameter in which groups lie, and along which dimensions.

    groups: by dimension, int64 [size of the dimension] on the CPU, the number of the group at each place, counted over
    all couplings, and the number of all groups where there is none.
    """

    def __init__(self, name: str, parameter: nn.Parameter):
        self.name, self.parameter = name, parameter
        self.groups: dict[int, torch.Tensor] = {}

    def where(self, chosen: torch.Tensor) -> torch.Tensor:
        """The elements of `chosen` groups, bool [groups] on the CPU: bool, in the shape of the parameter."""
        extended = torch.cat((chosen, chosen.new_zeros(1)))
        found = torch.zeros_like(self.parameter, dtype=torch.bool)
        for dim, groups in self.groups.items():
            shape = [1] * self.parameter.dim()
            shape[dim] = -1
            found |= extended[groups].to(found.device).view(shape)
        return found


class Members:
    """The groups of all couplings in one row, and all parameters in which they lie.

    model: the model that `groups` are of; quantizers may have come in since. Quantizers' parameters and buffers, such
    as running means, hold no group. ValueError for a tensor that the model does not have, or not of that size.
    """

    def __init__(self, model: nn.Module, groups: Groups | None):
        self.names: list[str] = []
        self.sizes: list[int] = []
        self._members: dict[int, Member] = {}
        parameters = dict(model.named_parameters(remove_duplicate=False))
        buffers = dict(model.named_buffers(remove_duplicate=False))
        states = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, WithState))
        for coupling in groups or ():
            first = self.total
            self.names.append(coupling.name)
            self.sizes.append(coupling.size)
            for part in coupling.parts:
                if part.tensor in buffers or part.tensor.startswith(states):
                    continue
                if part.tensor not in parameters:
                    raise ValueError(f"Groups of {coupling.name} must be of this model, which has no {part.tensor}")
                parameter = parameters[part.tensor]
                if part.dim >= parameter.dim() or len(part.groups) != parameter.shape[part.dim]:
                    raise ValueError(
                        f"Groups of {coupling.name} must have a place along dimension {part.dim} of {part.tensor} for"
                        f" each of {tuple(parameter.shape)}, not {len(part.groups)}"
                    )
                member = self._members.setdefault(id(parameter), Member(part.tensor, parameter))
                numbers = part.groups.to("cpu", torch.int64)
                member.groups.setdefault(part.dim, torch.full_like(numbers, -1))
                along = member.groups[part.dim]
                along[numbers >= 0] = numbers[numbers >= 0] + first
        for member in self._members.values():
            for groups_along in member.groups.values():
                groups_along[groups_along < 0] = self.total

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    @property
    def total(self) -> int:
        """Number of groups."""
        return sum(self.sizes)

    @property
    def most(self) -> int:
        """How many groups can go, one of each coupling staying."""
        return sum(max(size - 1, 0) for size in self.sizes)

    def numbers(self, chosen: torch.Tensor) -> dict[str, tuple[int, ...]]:
        """`chosen`, bool [groups], as the numbers of the groups in each coupling that has any."""
        split: Sequence[torch.Tensor] = chosen.split(self.sizes) if self.sizes else ()
        found = {name: tuple(each.nonzero().flatten().tolist()) for name, each in zip(self.names, split)}
        return {name: each for name, each in found.items() if each}
