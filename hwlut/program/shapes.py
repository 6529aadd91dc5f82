"""Shapes of the values of a program of tensors, and what its products cost."""

import math
from collections.abc import Mapping

import torch

from hwlut.program.engine import Engine
from hwlut.units import Program
from hwlut.units.nodes import Node
from hwlut.units.products import Convolve, Linear, MatrixProduct

__all__ = ["macs", "shapes"]


def shapes(program: Program) -> dict[str, tuple[int, ...]]:
    """The shape of every value for a batch of one; every input must have a shape, as `hwlut.export` gives it one.

    Raises ValueError where one has none.
    """
    for port in program.inputs:
        if port.shape is None:
            raise ValueError(f"Program input {port.name!r} must have a shape for others to follow from it")
    codes = [torch.full((1, *(port.shape or ())), port.format.min, dtype=torch.int64) for port in program.inputs]
    held = Engine(program).values(*codes, keep=list(program.spans))
    return {name: tuple(held[name].shape) for name in program.spans}


def macs(node: Node, sizes: Mapping[str, tuple[int, ...]]) -> int:
    """Multiply-accumulates of a node for one sample, by the shapes of values; 0 of what is no matrix product."""
    result = math.prod(sizes[node.name])
    if isinstance(node, (Linear, Convolve)):
        return result * math.prod(node.weights.shape[1:])
    return result * sizes[node.a][-1] if isinstance(node, MatrixProduct) else 0
