"""What each layer of a program is: its nodes, widths and multiplier, as it is compiled for a tile or node by node."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from hwlut.accel.compiler import compile_program
from hwlut.accel.compiler.graph import MOVEMENT, Graph
from hwlut.accel.simulation.plan import Plan
from hwlut.program.shapes import macs, shapes
from hwlut.units import LutMatmul, Multiplier, Program, Requantize, Tile
from hwlut.units.applied import LookUp
from hwlut.units.lut_matmul import CODE
from hwlut.units.nodes import Node, format_of
from hwlut.units.operations import Apply
from hwlut.units.products import MatrixProduct, Weighted

__all__ = ["LayerRow", "rows_of"]


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """A layer, or a node.

    operations: what is computed, in order. taken, given: shapes of a sample. activations, weights: formats of both
    operands of products, or of entries. count: of the weights. by: what multiplies or looks up. accumulator: bits of
    its sums, of a program's own proof. requantized: to which format, and how. macs: of a sample. cycles: of the first
    batch, by the analytic model; None without a tile.
    """

    name: str
    operations: tuple[str, ...]
    taken: tuple[int, ...] | None
    given: tuple[int, ...] | None
    activations: str | None
    weights: str | None
    count: int | None
    by: str | None
    accumulator: int | None
    requantized: str | None
    macs: int | None
    cycles: int | None


def rows_of(program: Program, tile: Tile | None) -> list[LayerRow]:
    """The layers of a program on a tile; ValueError where it does not fit. Without one, the nodes that compute."""
    layers: list[tuple[str, tuple[str, ...], int | None]]
    if tile is None:
        known: Mapping[str, Node] = {node.name: node for node in program.nodes}
        layers = [(name, (name,), None) for name, node in known.items() if not isinstance(node, MOVEMENT)]
    else:
        compiled = compile_program(program, tile)
        known = {name: entry.node for name, entry in Graph(program, tile).entries.items()}
        cycles = Plan.of(compiled, 1).cycles[0].tolist()
        layers = [(step.name, step.nodes, each) for step, each in zip(compiled.steps, cycles)]
    sizes = {} if any(port.shape is None for port in program.inputs) else shapes(program)
    return [_row(program, sizes, name, [known[each] for each in names], cycles) for name, names, cycles in layers]


def _row(
    program: Program, sizes: Mapping[str, tuple[int, ...]], name: str, nodes: Sequence[Node], cycles: int | None
) -> LayerRow:
    product = next((node for node in nodes if isinstance(node, (Weighted, MatrixProduct, LookUp))), None)
    requantized = [each for node in nodes for each in _requantizations(node)]
    counted = [macs(node, sizes) for node in nodes if isinstance(node, (Weighted, MatrixProduct))] if sizes else []
    return LayerRow(
        name=name,
        operations=tuple(_operation(node) for node in nodes),
        taken=_sample(sizes, nodes[0].operands[0]) if nodes[0].operands else None,
        given=_sample(sizes, name),
        **_multiplied(program, product),
        requantized=", ".join(requantized) or None,
        macs=sum(counted) if counted else None,
        cycles=cycles,
    )


def _sample(sizes: Mapping[str, tuple[int, ...]], name: str) -> tuple[int, ...] | None:
    return sizes[name][1:] if name in sizes else None


def _operation(node: Node) -> str:
    if isinstance(node, Apply):
        return node.unit.function or (node.unit.name if isinstance(node.unit, Program) else type(node.unit).__name__)
    return node.op.replace("_", " ")


def _multiplied(program: Program, node: Any) -> dict[str, Any]:
    """Formats, multiplier and accumulator of a product, or of a look-up."""
    found = dict.fromkeys(("activations", "weights", "count", "by", "accumulator"))
    spans = program.spans
    if isinstance(node, LookUp):
        unit = node.unit
        shown = {"activations": str(CODE), "weights": f"s{unit.table_bits}", "count": int(unit.table.size)}
        return found | shown | {"by": _look_up(unit), "accumulator": unit.accumulator.bits}
    if node is None:
        return found
    multiplier: Multiplier = node.multiplier
    shown = {"activations": str(multiplier.a), "weights": str(multiplier.b), "by": _multiplier(multiplier)}
    if isinstance(node, Weighted):
        shown |= {"weights": str(format_of(_ends(node.weights))), "count": int(node.weights.size)}
    if all(name in spans for name in node.operands):
        shown |= {"activations": str(format_of(spans[node.operands[0]]))}
        shown |= {"accumulator": node.accumulator(*(spans[name] for name in node.operands)).bits}
    return found | shown


def _ends(numbers: Any) -> tuple[int, int]:
    return int(numbers.min()), int(numbers.max())


def _multiplier(unit: Multiplier) -> str:
    given = {field.name: getattr(unit, field.name) for field in fields(unit)}
    numbers = [f"{name} {value}" for name, value in given.items() if name in _PARAMETERS and value is not None]
    return " ".join([unit.family.value.replace("_", " "), f"{unit.a} × {unit.b}", *numbers])


_PARAMETERS = ("a_drop", "b_drop", "columns", "h", "v", "k", "m", "low")


def _look_up(unit: LutMatmul) -> str:
    return f"look-up of {unit.k} prototypes of {unit.v}, {unit.encoder.value}"


def _requantizations(node: Node) -> Iterator[str]:
    """How what a node gives is requantized."""
    unit: Any = getattr(node, "unit", None)
    unit = unit.requantize if isinstance(unit, LutMatmul) else unit
    if isinstance(unit, Requantize):
        shifts = sorted(set(unit.shifts))
        shift = f"{shifts[0]}" if len(shifts) == 1 else f"{shifts[0]} to {shifts[-1]}"
        scales = "1 scale" if unit.channels == 1 else f"{unit.channels} scales"
        yield f"to {unit.output}, {scales}, shift {shift}, {unit.rounding.value.replace('_', ' ')}"
    elif isinstance(node, Apply):
        yield f"to {node.output}, by its unit"
