"""How much each group matters, and the choice of those that matter least."""

from collections.abc import Callable, Mapping

import torch

from hwlut.prune.coupling import Groups
from hwlut.prune.members import Members

__all__ = ["CRITERIA", "group_macs", "least", "scores"]

_SUMS = ("count", "xx", "gg", "xg", "xxgg")
_TINY = 1e-30


def _cosine(sums: Mapping[str, torch.Tensor]) -> torch.Tensor:
    lengths = (sums["xx"] * sums["gg"]).sqrt()
    return 1 - torch.where(lengths > _TINY, sums["xg"] / lengths.clamp_min(_TINY), 0.0)


CRITERIA: dict[str, Callable[[Mapping[str, torch.Tensor]], torch.Tensor]] = {
    "magnitude": lambda sums: sums["xx"].sqrt(),
    "average_magnitude": lambda sums: (sums["xx"] / sums["count"].clamp_min(1)).sqrt(),
    "cosine": _cosine,
    "first_taylor": lambda sums: sums["xg"].abs(),
    "second_taylor": lambda sums: sums["xxgg"] / 2,
}
"""What each criterion gives a group of elements x with gradients g, all at least 0; the least matters least.

magnitude: ``|x|``, the Euclidean norm. average_magnitude: ``|x| / sqrt(n)`` of n elements.
cosine: ``1 - <x, g> / (|x| |g|)``: below 1 where moving the group to zero lowers the loss; 1 where x or g is zero.
first_taylor: ``|<x, g>|``, what the loss changes to first order when the group goes.
second_taylor: ``sum((x g)^2) / 2``, the term of second order, the squares of the gradients being the Hessian's diagonal
(the empirical Fisher information).
"""


def scores(members: Members, weights: Mapping[str, float]) -> torch.Tensor:
    """The saliency of each group, float64 [groups] on the CPU: the sum over `weights` of weight times criterion.

    Each criterion is first divided by its sum over all groups, as in GETA (arXiv 2502.16638). An element
    where two groups cross counts for both. A parameter without a gradient, or whose gradient is not finite, has one of
    zero. Sums over groups are computed on the CPU, in the order of the parameters: the same in every process.
    """
    sums = {name: torch.zeros(members.total + 1, dtype=torch.float64) for name in _SUMS}
    for member in members:
        x = member.parameter.detach()
        g = torch.zeros_like(x) if (held := member.parameter.grad) is None else held.to(x.dtype)
        g = g.nan_to_num(0.0, 0.0, 0.0)
        xg = x * g
        products = {"xx": x * x, "gg": g * g, "xg": xg, "xxgg": xg * xg}
        for dim, groups in member.groups.items():
            others = [each for each in range(x.dim()) if each != dim]
            found = (
                torch.stack([values.sum(others) if others else values for values in products.values()]).double().cpu()
            )
            for name, along in zip(products, found):
                sums[name].index_add_(0, groups, along)
            sums["count"].index_add_(0, groups, torch.full(groups.shape, x.numel() / len(groups), dtype=torch.float64))
    total = torch.zeros(members.total, dtype=torch.float64)
    for name, weight in weights.items():
        values = CRITERIA[name]({key: each[:-1] for key, each in sums.items()})
        total += weight * values / values.sum().clamp_min(_TINY)
    return total


def group_macs(groups: Groups) -> torch.Tensor:
    """Multiply-accumulates for one sample that go with each group, float64 [groups], none counted having gone before.

    Of an operation with a weight, its share of the places along each dimension of that; of products of activations, of
    the places along their results.
    """
    found = []
    for coupling in groups:
        total = torch.zeros(coupling.size, dtype=torch.float64)
        for operation in groups.graph:
            held = set(operation.parameters) - {getattr(operation.arguments.get("bias"), "name", None)}
            for part in coupling.parts if operation.weights else coupling.results:
                if operation.macs and part.tensor in (held if operation.weights else {operation.name}):
                    counts = torch.bincount(part.groups[part.groups >= 0], minlength=coupling.size)
                    total += operation.macs * counts / len(part.groups)
        found.append(total)
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)


def least(saliency: torch.Tensor, members: Members, count: int, chosen: torch.Tensor) -> torch.Tensor:
    """The `count` groups that matter least, bool [groups], those already `chosen` among them.

    The group of each coupling that matters most stays, and of equal ones the first goes. `count` is at most
    `members.most`.
    """
    ranked = torch.where(chosen, -torch.inf, saliency)
    first = 0
    for size in members.sizes:
        if size:
            ranked[first + int(ranked[first : first + size].argmax())] = torch.inf
        first += size
    picked = torch.zeros_like(chosen)
    picked[ranked.argsort(stable=True)[:count]] = True
    return picked
