"""Shapes of a program's values for one item of a batch, found by a run of the definition."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwlut.program.c.steps import Step
from hwlut.units import Program
from hwlut.units.nodes import Extent

if TYPE_CHECKING:
    import torch

__all__ = ["sampled"]

_Shape = tuple[int, ...]


def sampled(program: Program, steps: Sequence[Step], outputs: Sequence[int]) -> tuple[list[_Shape], list[_Shape]]:
    """The shapes of all values and of all outputs, for a batch of one.

    Raises ValueError for inputs without a shape, for shapes that do not go together and for programs that make more of
    two items than what they make of each.
    """
    import torch

    shapes = _item_shapes(program)
    generator = torch.Generator().manual_seed(0)
    codes = [
        torch.randint(port.format.min, port.format.max + 1, (2, *shape), generator=generator)
        for port, shape in zip(program.inputs, shapes)
    ]

    def results(values: Sequence["torch.Tensor"], count: int) -> list["torch.Tensor"]:
        found = [values[n] for n in outputs]
        if program.extent is Extent.TENSORS:
            return found
        whole = torch.broadcast_shapes(*((count, *shape) for shape in shapes))
        return [each.expand(whole) for each in found]

    try:
        values = _values(steps, [each[:1] for each in codes])
        first = results(values, 1)
        second = results(_values(steps, [each[1:] for each in codes]), 1)
        both = results(_values(steps, codes), 2)
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"c_source shapes of inputs must go together: {str(error).splitlines()[0]}") from None
    for port, *parts in zip(program.outputs, first, second, both):
        if parts[0].dim() == 0 or not torch.equal(torch.cat(parts[:2]), parts[2]):
            raise ValueError(f"c_source items of a batch must be apart, which those of output {port.name!r} are not")
    for step, value in zip(steps, values):
        if not value.numel():
            raise ValueError(f"c_source values must not be empty, which {step.name!r} is")
    return [tuple(value.shape) for value in values], [tuple(each.shape) for each in first]


def _item_shapes(program: Program) -> list[_Shape]:
    """Of the inputs; of programs that are not of tensors, as long as each other."""
    for port in program.inputs:
        if port.shape is None and program.extent is not Extent.CODES:
            raise ValueError(f"c_source input {port.name!r} must have a shape")
    shapes = [port.shape or () for port in program.inputs]
    if program.extent is Extent.TENSORS:
        return shapes
    axes = max(map(len, shapes))
    return [(1,) * (axes - len(shape)) + shape for shape in shapes]


def _values(steps: Sequence[Step], codes: Sequence["torch.Tensor"]) -> list["torch.Tensor"]:
    import torch

    values: list[torch.Tensor] = []
    for n, step in enumerate(steps):
        taken = [values[operand] for operand in step.operands]
        if step.node is not None:
            values.append(torch.as_tensor(step.node(*taken), dtype=torch.int64))
        else:
            values.append(taken[0].expand(taken[1].shape) if taken else codes[n])
    return values
