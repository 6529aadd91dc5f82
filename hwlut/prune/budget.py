"""Bits within a budget: what each number of bits alone does to the loss, and the choice that does least."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

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
from hwlut.quant import calibrate
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
    data: batches that the model is called with, by which steps are chosen for each number of bits; read once for each.
    target, target_bits: one of them: the most that all may cost, or what so many bits everywhere would.
    cost: makes the `Cost` of operations from their shapes, by path.

    Called when all removed groups are zero. Ranges and steps are those of least squared error at their bits, not those
    that were learned at more. The harm of a number of bits of an operand is what the loss rises by, when all others
    have the most bits there are for them; a knapsack adds harms up (`hwlut.search.assign`).
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Groups | None,
        sample: Any,
        loss: Callable[[], float],
        data: Iterable[Any],
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
        self._data, self._target, self._bits, self._cost = data, target, target_bits, cost

    @torch.no_grad()
    def __call__(self, quantizers: tuple[Bounded, ...], removed: Removed) -> None:
        """Hold each quantizer at a number of bits; ValueError where none in their ranges meets the target."""
        space = _space(quantizers, self._shapes(removed))
        cost = self._cost(space.shapes)
        target = self._target
        if target is None:
            assert self._bits is not None
            target = sum(cost(name, _even(name, quantizers, self._bits)) for name in space.shapes)
        fits = self._fits(quantizers)
        harms = self._harms(quantizers, fits)
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
            fits[format.bits].take(each)

    def _shapes(self, removed: Removed) -> dict[str, LayerShape]:
        """Of the operations of the model without the removed groups."""
        smaller = self._model
        if self._groups is not None and removed:
            smaller = shrink(self._model, renewed(self._groups, self._model, self._sample), removed, self._sample)
        with unquantized(smaller):
            return shapes_of(trace(smaller, self._sample))

    def _fits(self, quantizers: tuple[Bounded, ...]) -> dict[int, "_Fit"]:
        """By bits, the ranges and steps of least squared error; where a power is learned, its range stays."""
        free = [each.quantizer for each in quantizers if not each.quantizer.powers]
        fits = {}
        for bits in range(min(each.low for each in quantizers), max(each.high for each in quantizers) + 1):
            for quantizer in free:
                quantizer.aim(bits)
            if free:
                calibrate(self._model, self._data, free)
            for each in quantizers:
                if each.quantizer.powers:
                    each.quantizer.hold(bits, bits)
            fits[bits] = _Fit({id(q): (q.top.clone(), q.step.clone()) for q in (each.quantizer for each in quantizers)})
        return fits

    def _harms(self, quantizers: tuple[Bounded, ...], fits: Mapping[int, "_Fit"]) -> dict[tuple[str, str, int], float]:
        """By path, operand and bits, how much the loss is above that of the most bits everywhere."""
        for each in quantizers:
            fits[each.high].take(each)
        least = self._loss()
        found = {}
        for each in quantizers:
            found[each.path, each.operand, each.high] = 0.0
            for bits in range(each.low, each.high):
                fits[bits].take(each)
                found[each.path, each.operand, bits] = self._loss() - least
            fits[each.high].take(each)
        return found


class _Fit(NamedTuple):
    """Range and step of each quantizer, by its id, at one number of bits."""

    found: Mapping[int, tuple[torch.Tensor, torch.Tensor]]

    def take(self, bounded: Bounded) -> None:
        top, step = self.found[id(bounded.quantizer)]
        bounded.quantizer.top.copy_(top)
        bounded.quantizer.step.copy_(step)


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
