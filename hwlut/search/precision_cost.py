"""What precisions cost in hardware: the multiplier of each, as the generator that emits its RTL makes it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwlut.fields import shorten
from hwlut.files import digest_of
from hwlut.fixed import Fixed
from hwlut.quant.formats import Format, integers_of
from hwlut.quant.precision import Precision
from hwlut.search.blocks import CostTable
from hwlut.search.cost import Cost, LayerShape
from hwlut.search.options import Search
from hwlut.search.space import Space
from hwlut.train import Task, sample
from hwlut.units.multiplier import BITS, Multiplier

__all__ = ["block_cost", "file_cost", "multiplier_of", "multipliers_of", "space_for"]


def multiplier_of(precision: Precision) -> Multiplier:
    """The exact multiplier of the codes of a precision: of activations, `a`, and of weights, `b`.

    Minifloats are multiplied as the integers that they are (`integers_of`). Zero points are left to sums: see
    `hwlut.nn.quantized.IntegerOperation`. ValueError, naming the format, for an operand that is not quantized and for
    integers of more bits than a Multiplier has, such as the 19 of E4M3.
    """
    a, b = (_operand(precision, format) for format in (precision.activation, precision.weight))
    return Multiplier(family="exact", a=a, b=b, name=f"exact_{a}_{b}")


def multipliers_of(space: Space) -> tuple[Multiplier, ...]:
    """All multipliers that a search of `space` needs costs of, each once: what `hwlut.search.synthesized` takes.

    Raises as `multiplier_of`. An operation that multiplies nothing, an embedding, needs none.
    """
    found: dict[str, Multiplier] = {}
    for decision in space.decisions:
        if any(space.shapes[name].macs for name in decision.operations):
            for choice in decision.choices:
                unit = multiplier_of(choice)
                found.setdefault(unit.digest, unit)
    return tuple(found.values())


def block_cost(table: CostTable, shapes: Mapping[Any, LayerShape], figure: str = "area") -> Cost:
    """The `Cost` of an operation at a `Precision`: a figure of its multiplier, times the multiply-accumulates.

    With "area" this is area times time in um^2 cycles of one multiplier that does a product a cycle, or the area where
    each multiply-accumulate has a multiplier of its own; accumulators are not counted. An operation that multiplies
    nothing costs nothing.

    table: blocks of the multipliers, such as ``synthesized(multipliers_of(space), file=...)`` and ``CostTable.load``
        give. shapes: those of a `Space`. figure: as for `CostTable.cost`.

    ValueError for another figure, and when called: for an operation that is not in `shapes`, a multiplier that is not
    in the table, and as `multiplier_of`.
    """
    of_unit = table.cost(figure)

    def cost(layer: Any, choice: Any) -> float:
        if layer not in shapes:
            raise ValueError(f"shapes must have an entry for layer {shorten(layer)}")
        macs = shapes[layer].macs
        return macs * of_unit(layer, multiplier_of(choice)) if macs else 0.0

    blocks = {digest: getattr(block, figure) for digest, block in table.blocks.items()}
    cost.__name__ = f"{figure} of blocks {digest_of(blocks)[:12]}"  # which a search that goes on must have again
    return cost


def space_for(task: Task, options: Search) -> Space:
    """The space that a search of `task` with `options` would have, for `multipliers_of` and `block_cost`."""
    return options.space(task.model(), sample(task))


def file_cost(path: str | Path, task: Task, options: Search, figure: str = "area") -> Cost:
    """`block_cost` by the blocks in the file of a `CostTable` at `path`, for the search of `task` with `options`.

    figure: "area" (um^2), "gate_equivalents", "delay" (ns) or "registers". ValueError, naming it, for a file that is
    none, and before the search for a multiplier that is not in it; else as `block_cost`.
    """
    table, space = CostTable.load(path), space_for(task, options)
    for unit in multipliers_of(space):
        if unit.digest not in table.blocks:
            raise ValueError(f"{path}: costs must have a block of {unit.name!r} (digest {unit.digest[:12]})")
    return block_cost(table, space.shapes, figure)


def _operand(precision: Precision, format: Format | None) -> Fixed:
    if format is None:
        raise ValueError(f"precision must have both operands quantized to have a multiplier, not {str(precision)!r}")
    try:
        integers = integers_of(format)
    except ValueError as error:
        raise ValueError(f"precision {str(precision)!r} has no multiplier: {error}") from None
    if not BITS[0] <= integers.bits <= BITS[1]:
        raise ValueError(
            f"precision must have integers of {BITS[0]} to {BITS[1]} bits to have a multiplier, not {integers.bits},"
            f" as {format} has"
        )
    return Fixed(integers.bits, signed=integers.signed)
