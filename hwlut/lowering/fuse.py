"""Operators that are one function, or one normalization, together become one stage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hwlut.lowering.affine import Factor, Sum
from hwlut.lowering.elementwise import Bounded, Relu
from hwlut.lowering.functions import Function, tabled
from hwlut.lowering.numbers import Number
from hwlut.lowering.pooling import Mean
from hwlut.lowering.rows import root_mean_square
from hwlut.lowering.stage import Context, Place, Stage

__all__ = ["fused"]


@dataclass(frozen=True, kw_only=True)
class _Fused(Stage):
    """Stages that are computed one after the other, of one input."""

    parts: tuple[Stage, ...]

    def real(self, *inputs: torch.Tensor) -> torch.Tensor:
        values = {self.inputs[0]: inputs[0]}
        for part in self.parts:
            values[part.name] = part.real(*(values[name] for name in part.inputs))
        return values[self.name]


class _Composed(_Fused):
    """A function of one number, as a truth table."""

    def lower(self, context: Context, x: Number) -> Number:
        return tabled(context, self, x)


class _RootMeanSquare(_Fused):
    """``x / sqrt(mean(x^2) + eps)`` along the last axis."""

    def lower(self, context: Context, x: Number) -> Number:
        return root_mean_square(context, self, x, _number(self.parts[2], "other"))


def fused(stages: Sequence[Stage], outputs: Sequence[str]) -> tuple[Stage, ...]:
    """The stages, with one in the place of those that are a function, or a normalization, of one value together.

    Nothing else takes what they compute between, but for the last one's result.
    """
    takers: dict[str, list[Stage]] = {}
    for stage in stages:
        for name in dict.fromkeys(stage.inputs):
            takers.setdefault(name, []).append(stage)
    made = {stage.name: stage for stage in stages}
    replaced: dict[str, Stage] = {}
    left_out: set[str] = set()
    for last in reversed(stages):
        if last.name in left_out:
            continue
        for kind, parts in ((_RootMeanSquare, _mean_square(last, made)), (_Composed, _function(last, made, takers))):
            inner = {part.name for part in parts[:-1]}
            inside = {part.name for part in parts}
            taken = {each.name for name in inner for each in takers[name]}
            if len(parts) > 1 and taken <= inside and not inner & set(outputs):
                root = _root(parts)
                sizes = next(size for part in parts for name, size in zip(part.inputs, part.sizes) if name == root)
                source = next(each for part in parts for name, each in zip(part.inputs, part.sources) if name == root)
                replaced[last.name] = kind(
                    name=last.name,
                    path=last.path,
                    operation=last.operation,
                    inputs=(root,),
                    sources=(source,),
                    sizes=(sizes,),
                    batch=last.batch,
                    parts=tuple(parts),
                )
                left_out |= inner
                break
    return tuple(replaced.get(stage.name, stage) for stage in stages if stage.name not in left_out)


def _root(parts: Sequence[Stage]) -> str:
    """The one value that the parts take from elsewhere."""
    own = {part.name for part in parts}
    (root,) = {name for part in parts for name in part.inputs} - own
    return root


def _mean_square(last: Stage, made: dict[str, Stage]) -> list[Stage]:
    """The square, mean, sum, inverse root and product that end with `last`, if they do."""
    if last.operation.kind != "mul" or len(set(last.inputs)) != 2:
        return []
    for x, root in (last.inputs, last.inputs[::-1]):
        parts = [last]
        for kinds in (("rsqrt",), ("add",), ("mean",), ("pow", "square", "mul")):
            stage = made.get(root)
            if stage is None or stage.operation.kind not in kinds or len(set(stage.inputs)) != 1:
                break
            parts.insert(0, stage)
            root = stage.inputs[0]
        if len(parts) == 5 and root == x and _squares(parts[0]) and _of_rows(parts[1]) and _number(parts[2], "other"):
            return parts
    return []


def _squares(stage: Stage) -> bool:
    kind = stage.operation.kind
    return kind == "square" or (len(stage.inputs) == 2 if kind == "mul" else stage.argument("exponent") == 2)


def _of_rows(stage: Stage) -> bool:
    """Whether it is the mean of the last axis, which stays."""
    if not isinstance(stage, Mean) or stage.operation.kind != "mean":
        return False
    return stage.along == [len(stage.sizes[0]) - 1] and bool(stage.argument("keepdim"))


def _number(stage: Stage, name: str) -> float:
    """An argument that is a number; 0 where it is none."""
    value: Any = stage.argument(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, (Place, bool)) else 0.0


def _function(last: Stage, made: dict[str, Stage], takers: dict[str, list[Stage]]) -> list[Stage]:
    """All on the way to `last` from the one value that it is a function of; none where it is no single one's."""
    if not _pointwise(last):
        return []
    for root in _before(last, made):
        parts = _between(root, last, made)
        if parts and any(isinstance(part, Function) for part in parts):
            return parts
    return []


def _pointwise(stage: Stage) -> bool:
    """Whether it is a function of single numbers, with numbers alone as its constants."""
    if not isinstance(stage, (Bounded, Factor, Function, Relu, Sum)):
        return False
    return all(size == stage.operation.shape for size in stage.sizes) and all(
        each().numel() == 1 for each in stage.constants.values()
    )


def _before(last: Stage, made: dict[str, Stage]) -> Iterator[str]:
    """Values that `last` follows from by functions of single numbers, the farthest first."""
    found: list[str] = []
    waiting = list(last.inputs)
    while waiting:
        name = waiting.pop(0)
        if name in found:
            found.remove(name)
        found.append(name)
        stage = made.get(name)
        if stage is not None and _pointwise(stage):
            waiting += stage.inputs
    return reversed(found)


def _between(root: str, last: Stage, made: dict[str, Stage]) -> list[Stage]:
    """The stages from a value to `last`, in order; none where another value is needed."""
    parts: list[Stage] = []

    def reach(name: str) -> bool:
        if name == root or any(part.name == name for part in parts):
            return True
        stage = made.get(name)
        if stage is None or not _pointwise(stage) or not all(map(reach, stage.inputs)):
            return False
        parts.append(stage)
        return True

    return parts if reach(last.name) else []
