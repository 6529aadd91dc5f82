"""Nodes of programs on whole arrays as statements of C, with the constants and functions that these need."""

from collections.abc import Callable

import numpy as np

from hwlut.program.c import movement as c_movement
from hwlut.program.c import products as c_products
from hwlut.program.c import windows as c_windows
from hwlut.program.c.arrays import Array, storage_of
from hwlut.program.c.look_up import constants, definition
from hwlut.program.c.operations import Functions
from hwlut.units import LutMatmul, applied, movement, patches, products, reductions
from hwlut.units.nodes import Node

__all__ = ["Nodes"]

_CODES = 1 << 8
"""Most codes of a unit that becomes a table: no more bytes than its comparisons would take."""

_Emit = Callable[..., list[str]]

_PLAIN: dict[type[Node], _Emit] = {
    reductions.Sum: c_movement.reduced,
    reductions.Maximum: c_movement.reduced,
    movement.Permute: c_movement.permute,
    movement.Slice: c_movement.slice_,
    movement.Concatenate: c_movement.concatenate,
    movement.Pad: c_movement.pad,
    patches.MaximumPool: c_windows.maximum_pool,
    patches.SumPool: c_windows.sum_pool,
    patches.Patches: c_windows.patches,
}

_WITH_CONSTANTS: dict[type[Node], _Emit] = {
    movement.Gather: c_movement.gather,
    products.Linear: c_products.linear,
    products.Convolve: c_products.convolve,
    products.MatrixProduct: c_products.matrix_product,
    applied.Rescale: c_movement.rescale,
}


class Nodes:
    """Definitions for a file, in order, each once.

    name: what all names begin with.
    """

    def __init__(self, name: str):
        self.functions = Functions(name, _CODES, storage_of)
        self._name = name
        self._look_ups: dict[str, str] = {}

    @property
    def definitions(self) -> list[str]:
        return self.functions.definitions

    def constants(self, label: str, values: np.ndarray) -> Array:
        """An array of constants, whose name has `label`."""
        table = self.functions.table(values, label)
        return Array(table.text, storage_of(table.span), values.shape, table.span)

    def statements(self, node: Node, y: Array, xs: list[Array]) -> list[str]:
        """What makes the array `y` of a node from those of its operands."""
        kind = type(node)
        if isinstance(node, applied.LookUp):
            return self._looked_up(node.unit, y, xs[0])
        if kind in _PLAIN:
            return _PLAIN[kind](node, y, *xs)
        if kind in _WITH_CONSTANTS:
            return _WITH_CONSTANTS[kind](node, y, *xs, self.constants)
        raise ValueError(f"C of a program must have no node {node.name!r} of op {node.op}")

    def _looked_up(self, unit: LutMatmul, y: Array, x: Array) -> list[str]:
        name, rows = self._look_up(unit), x.size // unit.features
        if x.kind == "int8_t":
            return [f"{name}({x.name}, {y.name}, {rows});"]
        # Sums of another look-up, that fit its codes.
        return [
            f"for (ptrdiff_t row = 0; row < {rows}; ++row) {{",
            f"    int8_t codes[{unit.features}];",
            f"    for (ptrdiff_t i = 0; i < {unit.features}; ++i)",
            f"        codes[i] = (int8_t){x.name}[row * {unit.features} + i];",
            f"    {name}(codes, {y.name} + row * {unit.outputs}, 1);",
            "}",
        ]

    def _look_up(self, unit: LutMatmul) -> str:
        if unit.digest not in self._look_ups:
            name = f"{self._name}_lut_{len(self.definitions)}"
            self.definitions.append(definition(unit, name, static=True))
            self.functions.bytes += sum(each.values.nbytes for each in constants(unit))
            self._look_ups[unit.digest] = name
        return self._look_ups[unit.digest]
