"""Tiles that programs fit: what they need of a tile of a given size."""

from collections.abc import Iterable, Iterator
from typing import Any

from hwlut.accel.commands import Target
from hwlut.accel.compiler import Compiled, compile_program
from hwlut.units.applied import LookUp
from hwlut.units.direct import INPUT_LIMIT
from hwlut.units.families import Family
from hwlut.units.lut_matmul import LutMatmul
from hwlut.units.multiplier import Multiplier
from hwlut.units.nodes import Extent
from hwlut.units.operations import Apply
from hwlut.units.passes import row_passes
from hwlut.units.products import MatrixProduct, Weighted
from hwlut.units.program import Program
from hwlut.units.requantize import MULTIPLIER_BITS, Requantize
from hwlut.units.tile import ADDRESS_BITS, Operation, Tile

__all__ = ["fit_tile"]

_AMPLE: dict[str, Any] = {
    "accumulator_bits": 48,
    "value_bits": 48,
    "input_bits": 32,
    "factor_bits": MULTIPLIER_BITS,
    "table_inputs": INPUT_LIMIT,
    "table_outputs": 32,
    "tables": 8,
    **dict.fromkeys(("values", "inputs", "weights", "constants"), 1 << ADDRESS_BITS),
}
"""What no program has enough of otherwise."""

_OPERANDS = 1 << (ADDRESS_BITS - 6)
"""Likewise, where there are multipliers."""

_LEAST = Multiplier(family="exact", bits=2)
"""Of a tile whose programs multiply nothing."""

_PIECE = 1024
"""Words that are loaded at a time, where a layer does not need more: enough to make loads few."""


def fit_tile(*programs: Program, name: str = "tile", rows: int = 8, columns: int = 8, loops: int = 6) -> Tile:
    """The tile of so many rows, columns and loops with the least memories, widths and parts that compute the programs
    without their being cut up.

    Its multipliers are the programs', of exact ones only those that no other holds. Programs of rows within them, and
    other units of more than 12 bits, become operators; other units, tables.

    Raises TypeError for what is no program; ValueError for none, for what no tile computes, and for look-ups that need
    several encoders.
    """
    if not programs:
        raise ValueError("fit_tile must be given at least one program")
    for program in programs:
        if not isinstance(program, Program):
            raise TypeError(f"fit_tile programs must be Programs, not {type(program).__name__}")
    fields: dict[str, Any] = {"name": name, "rows": rows, "columns": columns, "loops": loops} | _parts(programs)
    ample = Tile(**fields | _AMPLE | {"operands": _OPERANDS if fields["multipliers"] else 0})
    fields |= _least([compile_program(program, ample) for program in programs])
    tile = Tile(**fields)
    for program in programs:
        compile_program(program, tile)
    return tile


def _parts(programs: Iterable[Program]) -> dict[str, Any]:
    """Multipliers, operators and look-ups."""
    multipliers: dict[str, Multiplier] = {}
    operators: dict[str, Any] = {}
    look_ups: list[LutMatmul] = []
    for node in (node for program in programs for node in program.nodes):
        if isinstance(node, (Weighted, MatrixProduct)):
            multipliers[node.multiplier.digest] = node.multiplier
        elif isinstance(node, LookUp):
            look_ups.append(node.unit)
        elif isinstance(node, Apply) and _operates(node.unit):
            operators[node.unit.digest] = node.unit
    every = list(multipliers.values())
    kept = [each for each in every if not any(_covers(other, each) for other in every if other is not each)]
    found: dict[str, Any] = {"multipliers": tuple(kept), "operators": tuple(operators.values())}
    if not kept and not look_ups:
        found["multipliers"] = (_LEAST,)
    if look_ups:
        encoders = {unit.encoder for unit in look_ups}
        if len(encoders) > 1:
            names = ", ".join(sorted(encoder.value for encoder in encoders))
            raise ValueError(f"fit_tile programs must look up by one encoder, not by {names}")
        found |= {"encoder": encoders.pop().value, "entries": max(unit.k for unit in look_ups)}
        found |= {"entry_bits": max(unit.table_bits for unit in look_ups)}
    return found


def _operates(unit: Any) -> bool:
    if isinstance(unit, Requantize):
        return False
    if isinstance(unit, Program) and unit.extent is Extent.ROWS:
        try:
            row_passes(unit)
        except ValueError:  # no stream of rows, which lanes compute node by node
            return False
        return True
    return unit.input.bits > INPUT_LIMIT


def _covers(wide: Multiplier, narrow: Multiplier) -> bool:
    """Whether an exact multiplier computes all that another does."""
    if wide.family is not Family.EXACT or narrow.family is not Family.EXACT:
        return False
    pairs = (wide.a, narrow.a), (wide.b, narrow.b)
    return all(w.min <= n.min and n.max <= w.max for w, n in pairs)


def _least(compiled: list[Compiled]) -> dict[str, Any]:
    """What of an ample tile is used."""
    needs: dict[str, int] = {}
    for each in compiled:
        needs |= {key: max(number, needs.get(key, 0)) for key, number in each.needs.items()}
    computes = [work.compute for each in compiled for step in each.steps for work in step.works]
    lanes, sums, values = (needs.get(key, 0) for key in ("lane_bits", "accumulator_bits", "value_bits"))
    values = max(values, needs["input_bits"], needs.get("table_outputs", 0), *map(_operator_bits, compiled), 8)
    found: dict[str, Any] = {
        "operations": tuple(each for each in Operation if any(compute.operation is each for compute in computes)),
        "value_bits": values,
        "accumulator_bits": max(sums, lanes if lanes > values else 0, 8),
        "input_bits": needs["input_bits"],
        "factor_bits": max(needs.get("factor_bits", 0), 8),
        "values": max(needs.get("values", 0), 2),
        "inputs": needs["inputs"],
        "operands": needs.get("operands", 0) + (needs.get("operands") == 1),
        "weights": max(needs.get("weights", 0), 2 * min(_PIECE, max(_counts(compiled, Target.WEIGHTS), default=1))),
        "constants": 2 * min(_PIECE, max(_counts(compiled, Target.CONSTANTS), default=1)),
    }
    if "table_inputs" in needs:
        number = len({id(work.table) for each in compiled for step in each.steps for work in step.works if work.table})
        found |= {"table_inputs": needs["table_inputs"], "table_outputs": max(needs["table_outputs"], 2)}
        found |= {"tables": min(number, 2)}
    return found


def _operator_bits(compiled: Compiled) -> int:
    """Of the numbers that the tile's operators take and give."""
    units: Any = compiled.tile.operators
    formats = [format for unit in units for format in (unit.input, unit.output)]
    return max((format.bits + (not format.signed) for format in formats), default=0)


def _counts(compiled: Iterable[Compiled], target: Target) -> Iterator[int]:
    """Words of what is loaded into a memory."""
    for each in compiled:
        for step in each.steps:
            for work in step.works:
                yield from (segment.count for segment in work.segments if segment.target is target)
