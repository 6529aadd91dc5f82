"""Arithmetic of lanes that is drawn: operations of one or two numbers, selections, reductions and pooling."""

from hwlut.accel.programs.sketch import Sketch
from hwlut.fixed import Rounding
from hwlut.units import operations as op
from hwlut.units.patches import MaximumPool, SumPool
from hwlut.units.reductions import Entries, Maximum, Sum
from hwlut.units.tile import Operation

__all__ = ["clamp", "of_one", "of_two", "pool", "reduction", "selection", "shift"]

_TWO = {
    op.Add: Operation.ADD,
    op.Subtract: Operation.SUBTRACT,
    op.Multiply: Operation.MULTIPLY,
    op.Less: Operation.LESS,
    op.Equal: Operation.EQUAL,
}


def _partner(sketch: Sketch, name: str) -> str:
    """What goes with a value: another one of as many axes, or constants."""
    kind = sketch.integer(0, 4)
    if kind == 0:
        return sketch.add(op.Constant, sketch.signed(8))
    if kind == 1:
        shape = sketch.shape(name)[sketch.integer(0, len(sketch.shape(name))) :]
        return sketch.add(
            Entries, sketch.rng.integers(-100, 101, [size if sketch.chance(0.7) else 1 for size in shape])
        )
    axes = len(sketch.shape(name))
    return sketch.pick(
        lambda each: len(sketch.shape(each)) == axes and _broadcast(sketch.shape(each), sketch.shape(name))
    )


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(1 in pair or pair[0] == pair[1] for pair in zip(a, b))


def of_two(sketch: Sketch) -> None:
    """A sum, a difference, a product or a comparison."""
    kind = sketch.one(list(_TWO))
    sketch.need(sketch.has(_TWO[kind]))
    pair = [sketch.pick()]
    pair.append(_partner(sketch, pair[0]))
    sketch.add(kind, *(pair if sketch.chance(0.5) else reversed(pair)))


def of_one(sketch: Sketch) -> None:
    """The place of the highest one, or some bits."""
    if sketch.chance(0.5):
        sketch.need(sketch.has(Operation.BITS))
        sketch.add(op.Bits, sketch.pick(), sketch.integer(0, 9), sketch.integer(1, 13))
    else:
        sketch.need(sketch.has(Operation.LEADING_ONE))
        sketch.add(op.LeadingOne, sketch.pick(lambda each: sketch.spans[each][0] >= 0))


def shift(sketch: Sketch) -> None:
    """To the left or to the right, by a constant or by a value."""
    left = sketch.chance(0.4)
    sketch.need(sketch.has(Operation.SHIFT_LEFT if left else Operation.SHIFT_RIGHT))
    name = sketch.pick()
    if sketch.chance(0.5):
        by = sketch.add(op.Constant, sketch.integer(0, 8 if left else 40))
    else:
        by = sketch.add(op.Clamp, _partner(sketch, name), 0, sketch.integer(1, 6 if left else 40))
    if left:
        sketch.add(op.ShiftLeft, name, by)
    else:
        sketch.add(op.ShiftRight, name, by, sketch.one(list(Rounding)))


def clamp(sketch: Sketch) -> None:
    """Into what often is no more than codes."""
    name = sketch.pick()
    low, high = sketch.spans[name]
    ends = sorted(sketch.integer(low, high + 1) for _ in range(2))
    if sketch.chance(0.5):
        ends = [max(low, -128), min(high, 127)]
    sketch.need(ends[0] <= ends[1])
    sketch.add(op.Clamp, name, *ends)


def selection(sketch: Sketch) -> None:
    """One of two numbers."""
    condition = sketch.pick()
    sketch.add(op.Select, condition, _partner(sketch, condition), _partner(sketch, condition))


def reduction(sketch: Sketch) -> None:
    """The sum or the maximum of each row."""
    name = sketch.pick()
    if sketch.chance(0.5):
        sketch.add(Sum, name, sketch.shape(name)[-1] + sketch.integer(0, 3))
    else:
        sketch.add(Maximum, name)


def pool(sketch: Sketch) -> None:
    """The sum or the maximum of each patch."""
    name = sketch.pick(lambda each: 2 <= len(sketch.shape(each)) <= 4)
    sizes = sketch.shape(name)[1:]
    fields = {
        "kernel": tuple(sketch.integer(1, min(4, size + 1) + 1) for size in sizes),
        "stride": sketch.steps(sizes),
        "padding": sketch.widths(sizes),
    }
    if sketch.chance(0.5):
        sketch.add(MaximumPool, name, **fields, dilation=sketch.steps(sizes))
    else:
        sketch.add(SumPool, name, **fields, fill=sketch.signed(7) if sketch.chance(0.5) else 0)
