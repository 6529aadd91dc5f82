"""The smaller model: removed groups are really gone, and it computes what the masked one does."""

import copy
from typing import Any

from torch import nn

from hwlut.prune.coupling import Groups, Removed
from hwlut.prune.equality import TOLERANCE, difference, first_difference
from hwlut.prune.known_attributes import settle_sizes
from hwlut.prune.masks import mask_
from hwlut.prune.places import checked, kept_tensors, shapes
from hwlut.prune.slicing import slice_tensors
from hwlut.prune.tried_attributes import settle_attributes

__all__ = ["shrink"]


def shrink(model: nn.Module, groups: Groups, removed: Removed, sample: Any) -> nn.Module:
    """A copy of `model` without groups: equal to the model with all their elements zero, and really smaller.

    groups: of this model, by `hwlut.prune.groups`. removed: numbers of the groups to remove, by the name of their
    coupling. sample: what the model is called with.

    Parameters and buffers of the copy are new, tied ones tied as before, and without gradients; layers of torch have
    the sizes of their weights, quantizers the steps of the channels that stay. Other modules keep in their attributes
    the sizes that they compute with, as numbers of heads; these are found by running the copy, see
    `hwlut.prune.tried_attributes`. `model` stays as it is, so that an error leaves nothing half done.

    Then the outputs are compared, without quantizers and in float64, with those of a masked copy. Raises ValueError for
    groups that there are not, for a module that keeps no size where one must change, with the operation and its line,
    and for a difference of more than 1e-10, with the first operation that differs.
    """
    removed = checked(model, groups, removed)
    smaller = copy.deepcopy(model)
    for parameter in smaller.parameters():
        parameter.grad = None
    if not removed:
        return smaller
    slice_tensors(smaller, kept_tensors(groups, removed))
    settle_sizes(smaller, groups.graph, shapes(groups, removed))
    settle_attributes(smaller, groups, removed, sample)
    masked = copy.deepcopy(model)
    mask_(masked, groups, removed)
    gap = difference(masked, smaller, sample)
    if not gap <= TOLERANCE:
        where = first_difference(masked, smaller, sample, groups, removed)
        raise ValueError(f"shrink result must be equal to the masked model, but differs by {gap:.1e}, first in {where}")
    return smaller
