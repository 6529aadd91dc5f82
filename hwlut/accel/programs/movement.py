"""Movements that are drawn."""

import math

from hwlut.accel.programs.sketch import Sketch
from hwlut.units.movement import Concatenate, Pad, Permute, Reshape, Slice
from hwlut.units.patches import Patches

__all__ = ["concatenation", "padding", "patches", "permutation", "reshaping", "slicing"]

_AXES = 4


def reshaping(sketch: Sketch) -> None:
    """Into up to four axes."""
    name = sketch.pick()
    left = math.prod(sketch.shape(name))
    shape: list[int] = []
    for _ in range(sketch.integer(0, _AXES)):
        shape.append(sketch.one([each for each in range(1, left + 1) if left % each == 0]))
        left //= shape[-1]
    sketch.add(Reshape, name, (-1, *shape, left))


def permutation(sketch: Sketch) -> None:
    """Of all axes of a sample."""
    name = sketch.pick(lambda each: len(sketch.shape(each)) >= 2)
    order = 1 + sketch.rng.permutation(len(sketch.shape(name)))
    sketch.add(Permute, name, (0, *order.tolist()))


def slicing(sketch: Sketch) -> None:
    """Some places of an axis."""
    name = sketch.pick(lambda each: max(sketch.shape(each)) > 1)
    axis = sketch.integer(1, sketch.values[name].dim())
    start = sketch.integer(0, size := sketch.values[name].shape[axis])
    sketch.add(Slice, name, axis, start, sketch.integer(start + 1, size + 1), sketch.integer(1, 3))


def concatenation(sketch: Sketch) -> None:
    """Two values, or one twice, along an axis."""
    name = sketch.pick()
    axis = sketch.integer(1, sketch.values[name].dim())

    def fits(other: str) -> bool:
        shapes = [list(sketch.shape(each)) for each in (name, other)]
        for shape in shapes:
            shape[axis - 1 : axis] = []
        return shapes[0] == shapes[1] and len(sketch.shape(other)) == len(sketch.shape(name))

    names = [name, sketch.pick(fits)]
    sketch.add(Concatenate, names if sketch.chance(0.5) else names[::-1], axis)


def padding(sketch: Sketch) -> None:
    """Of the last axes, with any number."""
    name = sketch.pick()
    axes = sketch.integer(1, len(sketch.shape(name)) + 1)
    sketch.add(Pad, name, tuple(sketch.integer(0, 3) for _ in range(2 * axes)), sketch.signed(7))


def patches(sketch: Sketch) -> None:
    """Patches of an image as rows."""
    name = sketch.pick(lambda each: 2 <= len(sketch.shape(each)) <= 4)
    sizes = sketch.shape(name)[1:]
    sketch.add(
        Patches,
        name,
        kernel=tuple(sketch.integer(1, min(4, size + 1) + 1) for size in sizes),
        stride=sketch.steps(sizes),
        padding=sketch.widths(sizes),
        dilation=sketch.steps(sizes),
        fill=sketch.signed(7) if sketch.chance(0.5) else 0,
    )
