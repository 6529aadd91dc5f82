"""A stage: an operation of a model as it trains, and what it becomes in a program."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from hwlut.fixed import Fixed
from hwlut.graph import Operation, Source
from hwlut.lowering.builder import Builder
from hwlut.lowering.numbers import Grid

__all__ = ["Context", "Place", "Ranges", "Stage", "for_kinds", "for_modules", "kind_of", "module_kind_of"]


class Place(int):
    """Which of the inputs an argument is."""


Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One operation, or one call of a layer.

    name: of its first result; others are ``<name>_<place>``. path: of the module. operation: of the graph, the last one
    of a layer's call. module: the layer. inputs: names of what feeds it, `sources` what these are in the graph, and
    `sizes` their shapes there. batch: samples that the model was traced with; what is a multiple of it grows with
    the batch. constants: what it takes that follows from the model alone, each to be called for its value now.

    A kind is a subclass for operators (`for_kinds`) or for layers (`for_modules`), with so many `operands`.
    """

    moves: ClassVar[bool] = False
    """Whether it moves numbers and changes none, so that what it gives wants to be what it takes."""
    operands: ClassVar[int] = 1

    name: str
    path: str
    operation: Operation
    module: Any = None
    inputs: tuple[str, ...]
    sources: tuple[Source, ...]
    sizes: tuple[tuple[int, ...], ...]
    batch: int
    constants: Mapping[Source, Callable[[], torch.Tensor]] = field(default_factory=dict)

    def argument(self, name: str) -> Any:
        """What the operator is called with by that name in its schema: a number, or a tensor that is constant.

        For one of the inputs, its place among them as a `Place`.
        """
        value = self.operation.arguments[name]
        if not isinstance(value, Source):
            return value
        return Place(self.sources.index(value)) if value in self.sources else self.constants[value]()

    def free(self, shape: Sequence[int]) -> tuple[int, ...]:
        """A shape of the traced batch as one of any: -1 where it is. ValueError where that is not one place."""
        places = [place for place, size in enumerate(shape) if size % self.batch == 0]
        if len(places) != 1:
            raise ValueError(f"shape must have the batch in one place, not {tuple(shape)} of a batch of {self.batch}")
        return tuple(-1 if place == places[0] else size for place, size in enumerate(shape))

    @staticmethod
    def traced(module: Any) -> Callable[..., torch.Tensor] | None:
        """What stands in for a layer's forward, with results of the same shape, while the model is traced.

        None where torch.export captures the layer as it is.
        """
        return None

    def check(self) -> None:
        """Refuse, by a ValueError, what no program can express."""

    def wanted(self, place: int) -> Grid | None:
        """The grid that it takes its input at `place` on; None where any will do."""
        return None

    def counted(self, value: torch.Tensor) -> torch.Tensor:
        """Those numbers of its input that decide the format that it is taken in."""
        return value

    @property
    def rows(self) -> Any:
        """What it computes of whole rows, where the input decides the format: alike in stages that are to share one
        format, and so a program. None of others."""
        return None

    @property
    def results(self) -> tuple[str, ...]:
        """Names of its results."""
        return tuple(f"{self.name}_{place}" if place else self.name for place in range(len(self.operation.shapes)))

    def real(self, *inputs: torch.Tensor) -> Any:
        """What it computes as the model trains, by default the layer: a tensor, or a tuple of them."""
        return self.module(*inputs)

    def lower(self, context: "Context", *inputs: Any, **_: Any) -> Any:
        """The number, or a tuple of them, that it computes in a program."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Context:
    """What stages are lowered into.

    builder: takes the nodes. ranges: the lowest and the highest real number of each value, by name of the stage's
    result, as calibration saw them. wishes: for each value the grid that all that take it want, where they want one.
    value_bits: of the values that the ranges decide.
    """

    builder: Builder
    ranges: Ranges
    wishes: Mapping[str, Grid]
    value_bits: int

    def grid(self, name: str) -> Grid:
        """The grid for a value of that name: the one that is wanted, else one that holds its range."""
        return self.wishes.get(name) or self.holding(name)

    def holding(self, name: str, most: int | None = None) -> Grid:
        """A grid of `value_bits`, or of `most` where that is fewer, with a power of two as its step, that holds what
        was seen of a value."""
        return self.spanning(*self.ranges[name], most)

    def spanning(self, low: float, high: float, most: int | None = None) -> Grid:
        """The same for numbers from `low` to `high`."""
        return Grid.holding(low, high, self.value_bits if most is None else min(most, self.value_bits))

    @property
    def shares(self) -> Fixed:
        """What a softmax gives: `value_bits` of numbers from 0 to below 2, so that 1 is one of them."""
        return Fixed(self.value_bits, self.value_bits - 1, False)


_KINDS: dict[str, type[Stage]] = {}
_MODULES: dict[type[nn.Module], type[Stage]] = {}


def for_kinds(*kinds: str) -> Callable[[type[Stage]], type[Stage]]:
    """The class is that of operators of these kinds (`Operation.kind`)."""

    def registered(stage: type[Stage]) -> type[Stage]:
        _KINDS.update(dict.fromkeys(kinds, stage))
        return stage

    return registered


def for_modules(*modules: type[nn.Module]) -> Callable[[type[Stage]], type[Stage]]:
    """The class is that of calls of these layers."""

    def registered(stage: type[Stage]) -> type[Stage]:
        _MODULES.update(dict.fromkeys(modules, stage))
        return stage

    return registered


def kind_of(kind: str) -> type[Stage] | None:
    """The stage of operators of a kind, if there is one."""
    return _KINDS.get(kind)


def module_kind_of(module: nn.Module) -> type[Stage] | None:
    """The stage of a layer's calls, if there is one."""
    found: Sequence[type] = type(module).__mro__
    return next((_MODULES[each] for each in found if each in _MODULES), None)
