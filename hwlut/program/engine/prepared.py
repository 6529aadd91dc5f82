"""How an engine prepares each kind of node."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from hwlut.ops.evaluate import narrowest
from hwlut.program.engine.exactly import FLOAT32
from hwlut.units.nodes import Node, Span, format_of

__all__ = [
    "Compute",
    "Place",
    "as_integers",
    "by_definition",
    "fits_float32",
    "prefers_real",
    "prepared",
    "tensor_of",
    "within",
]

Compute = Callable[..., torch.Tensor]
"""A node's result from its operands, which are integers, of integer dtypes or held by float32."""


@dataclass(frozen=True)
class Place:
    """Where in a program a node stands.

    spans: of its operands. span: of its result. real: whether what takes its result would have it in float32; None
        where it takes integers as well. compiled: whether programs in it may be compiled.
    """

    spans: tuple[Span, ...]
    span: Span
    real: bool | None
    device: torch.device
    compiled: bool

    def given(self, result: torch.Tensor) -> torch.Tensor:
        """`result` as it is taken next: float32 where that is best, else in an integer dtype, or as it is."""
        if self.real:
            return result.float()
        return result.to(self.dtype) if self.real is False and result.is_floating_point() else result

    @property
    def dtype(self) -> torch.dtype:
        """The narrowest that holds the result: float32 where that is wanted."""
        return torch.float32 if self.real else narrowest(format_of(self.span))


def within(bound: int, *spans: Span) -> bool:
    """Whether no number of the spans is greater than `bound`, signs aside."""
    return all(-bound <= low and high <= bound for low, high in spans)


def as_integers(value: torch.Tensor) -> torch.Tensor:
    """`value` in an integer dtype."""
    return value.to(torch.int32) if value.is_floating_point() else value


@functools.singledispatch
def prefers_real(node: Node, place: Place) -> bool | None:
    """Whether a node would have its operands in float32, None for either, given how its result is taken."""
    return False


def by_definition(node: Node, place: Place) -> Compute:
    """The node itself, on int64."""

    def run(*values: torch.Tensor) -> torch.Tensor:
        result = torch.as_tensor(node(*(value.long() for value in values)), device=place.device)
        return result.to(place.dtype)

    return run


@functools.singledispatch
def prepared(node: Node, place: Place) -> Compute:
    """What computes the node; by default its definition."""
    return by_definition(node, place)


def fits_float32(*spans: Span) -> bool:
    """Whether float32 holds every number of the spans."""
    return within(FLOAT32, *spans)


def tensor_of(values: np.ndarray | tuple[int, ...], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Integers of a unit or node on `device`; the array may be read-only, and is copied."""
    return torch.tensor(values, device=device).to(dtype)
