"""Stages of what takes parts of tensors, in other places: slices, splits, windows, rolls, constant indices."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from hwlut.lowering.movement import Move, Movement
from hwlut.lowering.stage import Place, for_kinds
from hwlut.units.movement import Concatenate, Permute, Reshape, Slice

__all__: list[str] = []

_RUNS = 4096
"""The most slices that constant indices are taken by."""


def _picked(move: Move, x: Any, axis: int, places: Iterable[int]) -> Any:
    """The places of an axis, by slices of those that lie one after the other; ValueError for too many."""
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([place, place + 1])
    if not 1 <= len(runs) <= _RUNS:
        raise ValueError(f"must have from 1 to {_RUNS} runs of indices, not {len(runs)}")
    parts = tuple(move(Slice, x, axis=axis, start=start, stop=stop, step=1) for start, stop in runs)
    return parts[0] if len(parts) == 1 else move(Concatenate, parts, axis=axis)


@for_kinds("slice", "select", "narrow")
class Sliced(Movement):
    """A part of an axis."""

    def moved(self, move: Move, x: Any) -> Any:
        axis = self.argument("dim") % len(self._shape)
        size = self._shape[axis]
        if size % self.batch == 0:
            if self.operation.shape == self._shape:
                return x
            raise ValueError("must not cut the batch")
        if self.operation.kind == "select":
            index = self.argument("index") % size
            x = move(Slice, x, axis=axis, start=index, stop=index + 1, step=1)
            return move(Reshape, x, shape=self.free(self.operation.shape))
        if self.operation.kind == "narrow":
            start = self.argument("start") % size
            return move(Slice, x, axis=axis, start=start, stop=start + self.argument("length"), step=1)
        start, stop, step = slice(self.argument("start"), self.argument("end"), self.argument("step")).indices(size)
        return move(Slice, x, axis=axis, start=start, stop=stop, step=step)


@for_kinds("split", "chunk", "unbind", "split_with_sizes", "unsafe_split", "unsafe_chunk")
class Split(Movement):
    """Parts of an axis, one after the other."""

    def moved(self, move: Move, x: Any) -> Any:
        axis = self.argument("dim") % len(self._shape)
        if self._shape[axis] % self.batch == 0:
            raise ValueError("must not cut the batch")
        parts, start, single = [], 0, self.operation.kind == "unbind"
        for shape in self.operation.shapes:
            assert shape is not None
            width = 1 if single else shape[axis]
            part = move(Slice, x, axis=axis, start=start, stop=start + width, step=1)
            parts.append(move(Reshape, part, shape=self.free(shape)) if single else part)
            start += width
        return tuple(parts)


@for_kinds("unfold")
class Unfolded(Movement):
    """Windows of an axis that do not overlap, along a new last one."""

    def moved(self, move: Move, x: Any) -> Any:
        axis, size, step = self.argument("dimension") % len(self._shape), self.argument("size"), self.argument("step")
        whole = self._shape[axis]
        if size != step or whole % size:
            raise ValueError(f"must have windows that lie side by side, not of {size} every {step} of {whole}")
        cut = (*self._shape[:axis], whole // size, size, *self._shape[axis + 1 :])
        order = [place for place in range(len(cut)) if place != axis + 1]
        return move(Permute, move(Reshape, x, shape=self.free(cut)), order=(*order, axis + 1))


@for_kinds("roll", "flip")
class Rolled(Movement):
    """Places moved around the ends of axes, or in reverse order."""

    def moved(self, move: Move, x: Any) -> Any:
        axes = self.argument("dims")
        if not axes:
            raise ValueError("must name its axes")
        shifts = self.argument("shifts") if self.operation.kind == "roll" else axes
        for axis, shift in zip(axes, shifts):
            size = self._shape[axis]
            if size % self.batch == 0:
                raise ValueError("must not move the batch")
            places = range(size)[::-1] if self.operation.kind == "flip" else np.roll(np.arange(size), shift).tolist()
            x = _picked(move, x, axis % len(self._shape), places)
        return x


@for_kinds("index", "index_select", "repeat_interleave")
class Indexed(Movement):
    """The places of one axis that constant indices name."""

    def moved(self, move: Move, x: Any) -> Any:
        axis, index = self._taken()
        size = self._shape[axis]
        x = _picked(move, x, axis, (int(each) % size for each in index.flatten()))
        return move(Reshape, x, shape=self.free(self.operation.shape))

    def _taken(self) -> tuple[int, torch.Tensor]:
        """The axis, and the indices on it."""
        dims = len(self._shape)
        if self.operation.kind == "index_select":
            return self._checked(self.argument("dim") % dims, self.argument("index"))
        if self.operation.kind == "repeat_interleave":
            axis, repeats = self.operation.arguments.get("dim"), self.argument("repeats")
            if axis is None or not isinstance(repeats, int):
                raise ValueError("must be one number of times along an axis")
            axis %= dims
            return self._checked(axis, torch.arange(self._shape[axis]).repeat_interleave(repeats))
        given = {}
        for axis, source in enumerate(self.operation.arguments["indices"]):
            if source is not None:
                if source in self.sources:
                    raise ValueError("must be by indices that follow from the model alone")
                given[axis] = self.constants[source]()
        if len(given) == 2 and 0 in given and self._shape[0] % self.batch == 0:
            # Every sample at its own place: the batch is left as it is.
            samples, *others = torch.broadcast_tensors(*given.values())
            own = torch.arange(self.batch, device=samples.device).reshape(-1, *(1,) * (samples.dim() - 1))
            if len(samples) == self.batch and bool((samples == own).all()):
                (axis,) = given.keys() - {0}
                if axis == 1 and bool((others[0] == others[0][:1]).all()):
                    return self._checked(1, others[0][0])
        if len(given) != 1:
            raise ValueError("must be along one axis")
        return self._checked(*next(iter(given.items())))

    def _checked(self, axis: int, index: Any) -> tuple[int, torch.Tensor]:
        if isinstance(index, Place):
            raise ValueError("must be by indices that follow from the model alone")
        if self._shape[axis] % self.batch == 0:
            raise ValueError("must not cut the batch")
        return axis, (index.nonzero().flatten() if index.dtype == torch.bool else index)
