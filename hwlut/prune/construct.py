"""The model that is left once the training is over, and how large it is."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from hwlut.nn.quantized import quantized_operations, ranged_quantizers, settle_ranges
from hwlut.prune.coupling import Groups, Removed
from hwlut.prune.equality import difference, mismatches
from hwlut.prune.groups import groups as found_groups
from hwlut.prune.masks import mask_
from hwlut.prune.shrink import shrink
from hwlut.prune.size import Size, precision_of, size_of
from hwlut.prune.unquantized import unquantized
from hwlut.quant.precision import Precision

__all__ = ["Constructed", "construct", "renewed"]


@dataclass(frozen=True, kw_only=True)
class Constructed:
    """A smaller model, in evaluation mode, with ordinary quantizers.

    before, after: sizes of the dense model with 32 bits everywhere, and of this one. precisions: of every quantized
    operation, by module path. difference: the greatest from the masked model, relative, in float64 without quantizers.
    mismatches: share of codes of activations in which both differ with quantizers.
    """

    model: nn.Module = field(repr=False)
    before: Size
    after: Size
    precisions: Mapping[str, Precision]
    difference: float
    mismatches: float

    def __str__(self) -> str:
        rows = [("", "dense", "compressed", "relative")]
        for name, was in self.before.plain().items():
            now = self.after.plain()[name]
            rows.append((name.replace("_", " "), f"{was:,}", f"{now:,}", f"{100 * now / was:.2f} %" if was else ""))
        label, *widths = (max(map(len, column)) for column in zip(*rows))
        lines = [" ".join([f"{row[0]:{label}}", *(f"{each:>{w}}" for each, w in zip(row[1:], widths))]) for row in rows]
        return "\n".join([*lines, *(f"{name}: {precision}" for name, precision in self.precisions.items())])


def construct(model: nn.Module, groups: Groups | None, removed: Removed, sample: Any) -> Constructed:
    """The smaller model, equal to `model`, which stays as it is, with all elements of the removed groups zero.

    groups: of the model, quantized since or not; None where nothing is removed. sample: what it is called with. Raises
    as `hwlut.prune.shrink`, and ValueError for quantizers whose bits are not fixed yet.
    """
    masked = deepcopy(model).eval()
    if ranged_quantizers(masked):
        settle_ranges(masked)
    with unquantized(masked):
        before = size_of(masked, sample)
    smaller, apart, mismatched = masked, 0.0, 0.0
    if groups is not None and removed:
        if quantized_operations(masked):
            groups = renewed(groups, masked, sample)
        mask_(masked, groups, removed)
        smaller = shrink(masked, groups, removed, sample)
        apart = difference(masked, smaller, sample)
        mismatched = mismatches(masked, smaller, sample, groups, removed)
    return Constructed(
        model=smaller,
        before=before,
        after=size_of(smaller, sample),
        precisions={name: precision_of(operation) for name, operation in quantized_operations(smaller).items()},
        difference=apart,
        mismatches=mismatched,
    )


def renewed(groups: Groups, model: nn.Module, sample: Any) -> Groups:
    """The same groups by the operations that the model has now: products are operations of their own since."""
    now = found_groups(model, sample, allow_unknown=True)
    for name, coupling in groups.couplings.items():
        if name not in now.couplings or now.couplings[name].size != coupling.size:
            raise ValueError(f"construct groups must be those of the model, which has no {name} of {coupling.size}")
    return replace(now, couplings={name: now.couplings[name] for name in groups.couplings})
