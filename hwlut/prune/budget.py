"""Bits within a budget: what each number of bits alone does to the loss, and the choice that does least."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from hwlut.fixed import Fixed
from hwlut.graph import trace
from hwlut.prune.bounds import Bounded
from hwlut.prune.construct import renewed
from hwlut.prune.coupling import Groups, Removed
from hwlut.prune.shrink import shrink
from hwlut.prune.size import shapes_of
from hwlut.prune.unquantized import unquantized
from hwlut.quant.precision import FULL_BITS
from hwlut.search.budget import repaired
from hwlut.search.cost import Bits, Cost, LayerShape, bit_operations, memory
from hwlut.search.space import Decision, Space

__all__ = ["Budget"]

_OPERANDS = ("weight", "activation")


class Budget:
    """Chooses a whole number of bits for every quantizer, so that all operations of the smaller model cost at most
    a target.

    Parameters
    ----------
    model, groups: as of `hwlut.prune.Stages`. sample: what the model is called with.
    loss: of the model as it is, on some data; the same in every process.
    target, target_bits: one of them: the most that all may cost, or what so many bits everywhere would.
    cost: makes the `Cost` of operations from their shapes, by path.

    Called when all removed groups are zero. The harm of a number of bits of an operand is what the loss rises by, when
    all others have the most bits there are for them; a knapsack adds harms up (`hwlut.search.assign`).
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Groups | None,
        sample: Any,
        loss: Callable[[], float],
        *,
        target: float | None = None,
        target_bits: float | None = None,
        cost: Callable[[Mapping[Any, LayerShape]], Cost] = bit_operations,
    ):
        if (target is None) == (target_bits is None):
            raise ValueError("Budget must be given target or target_bits, one of them")
        if target_bits is not None and cost not in (bit_operations, memory):
            raise ValueError("Budget target must be given with a cost of one's own, not target_bits")
        self._model, self._groups, self._sample, self._loss = model, groups, sample, loss
        self._target, self._bits, self._cost = target, target_bits, cost

    @torch.no_grad()
    def __call__(self, quantizers: tuple[Bounded, ...], removed: Removed) -> None:
        """Hold each quantizer at a number of bits; ValueError where none in their ranges meets the target."""
        space = _space(quantizers, self._shapes(removed))
        cost = self._cost(space.shapes)
        target = self._target
        if target is None:
            assert self._bits is not None
            target = sum(cost(name, _even(name, quantizers, self._bits)) for name in space.shapes)
        harms = self._harms(quantizers)
        priced = {
            (decision.name, choice): sum(
                harms[name, label, format.bits]
                for name in decision.operations
                for label, format in (("weight", choice.weight), ("activation", choice.activation))
                if format is not None
            )
            for decision in space.decisions
            for choice in decision.choices
        }
        chosen = space.precisions(repaired(space, space.costs(cost), priced, target))
        for each in quantizers:
            format = getattr(chosen[each.path], each.operand)
            each.quantizer.hold(format.bits, format.bits)

    def _shapes(self, removed: Removed) -> dict[str, LayerShape]:
        """Of the operations of the model without the removed groups."""
        smaller = self._model
        if self._groups is not None and removed:
            smaller = shrink(self._model, renewed(self._groups, self._model, self._sample), removed, self._sample)
        with unquantized(smaller):
            return shapes_of(trace(smaller, self._sample))

    def _harms(self, quantizers: tuple[Bounded, ...]) -> dict[tuple[str, str, int], float]:
        """By path, operand and bits, how much the loss is above that of the most bits everywhere."""
        steps = [each.quantizer.step.clone() for each in quantizers]
        for each in quantizers:
            each.quantizer.hold(each.high, each.high)
        least = self._loss()
        found = {}
        for each in quantizers:
            found[each.path, each.operand, each.high] = 0.0
            for bits in range(each.low, each.high):
                each.quantizer.hold(bits, bits)
                found[each.path, each.operand, bits] = self._loss() - least
            each.quantizer.hold(each.high, each.high)
        for each, step in zip(quantizers, steps):
            each.quantizer.step.copy_(step)
        return found


def _even(path: str, quantizers: tuple[Bounded, ...], bits: float) -> Bits:
    """So many bits of the operands that an operation has quantized."""
    own = {each.operand for each in quantizers if each.path == path}
    return Bits(*(bits if operand in own else FULL_BITS for operand in _OPERANDS))


def _space(quantizers: tuple[Bounded, ...], shapes: Mapping[str, LayerShape]) -> Space:
    """A decision for each operation, or for those that share a quantizer."""
    first: dict[int, str] = {}
    operations: dict[str, list[str]] = {}
    formats: dict[str, dict[str, tuple[Fixed | None, ...]]] = {}
    for each in quantizers:
        name = first.setdefault(id(each.quantizer), each.path)
        if each.path not in (path for paths in operations.values() for path in paths):
            operations.setdefault(name, []).append(each.path)
        signed = each.quantizer.format.signed
        found = tuple(Fixed(bits, signed=signed) for bits in range(each.low, each.high + 1))
        formats.setdefault(each.path, dict.fromkeys(_OPERANDS, (None,)))[each.operand] = found
    decisions = tuple(
        Decision(name, tuple(paths), formats[name]["weight"], formats[name]["activation"], False)
        for name, paths in operations.items()
    )
    return Space(decisions, {path: shapes[path] for paths in operations.values() for path in paths}, {}, {})
