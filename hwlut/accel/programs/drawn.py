"""Whole programs by a seed."""

import math

from hwlut.accel.programs import lanes, movement, products, units
from hwlut.accel.programs.sketch import Sketch
from hwlut.fixed import Fixed
from hwlut.units.nodes import Extent, format_of
from hwlut.units.ports import Port
from hwlut.units.program import Program
from hwlut.units.tile import Tile

__all__ = ["random_program"]

_KINDS = {
    products.linear: 5, products.convolution: 9, products.matrix_product: 8, units.look_up: 8, units.requantization: 10,
    units.table: 3, units.operator: 3, units.inner_program: 1, lanes.of_two: 5, lanes.of_one: 1, lanes.shift: 1,
    lanes.clamp: 2, lanes.selection: 1, lanes.reduction: 1, lanes.pool: 3, movement.reshaping: 1,
    movement.permutation: 1, movement.slicing: 1, movement.concatenation: 1, movement.padding: 1, movement.patches: 1,
}  # fmt: skip
"""How often each is tried."""

_TRIES = 400
_INPUT_NUMBERS = 100


def random_program(tile: Tile, seed: int, nodes: int = 12) -> Program:
    """A program of about so many nodes, often with several inputs and outputs, that the tile can compute."""
    sketch = Sketch(tile, seed)
    for number in range(1 + sketch.chance(0.3)):
        _input(sketch, f"x{number}")
    kinds = [kind for kind, often in _KINDS.items() for _ in range(often)]
    for _ in range(_TRIES):
        if len(sketch.nodes) < nodes:
            sketch.attempt(sketch.one(kinds))
    if all(node.extent is not Extent.TENSORS for node in sketch.nodes):
        sketch.attempt(movement.reshaping)  # other programs have inputs that broadcast
    taken = [node.name for node in sketch.nodes if node.name not in sketch.constants.union(sketch.unused)]
    named = [*sketch.unused, *(name for name in taken if sketch.chance(0.05))]
    outputs = tuple(Port(name, format_of(sketch.spans[name])) for name in named)
    return Program(name=f"random_{seed}", inputs=tuple(sketch.inputs), nodes=tuple(sketch.nodes), outputs=outputs)


def _input(sketch: Sketch, name: str) -> None:
    shape = [sketch.size()]
    for _ in range(sketch.integer(0, 4)):
        shape.append(min(sketch.size(), max(1, _INPUT_NUMBERS // math.prod(shape))))
    format = Fixed(min(8, sketch.tile.input_bits)) if sketch.chance(0.5) else sketch.format(sketch.tile.input_bits)
    sketch.begin(Port(name, format, tuple(shape)))
