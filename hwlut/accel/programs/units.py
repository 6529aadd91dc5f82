"""Units that are drawn: requantizations, tables, operators, look-up products and programs within programs."""

import dataclasses
from typing import Any

from hwlut.accel.programs.sketch import Sketch
from hwlut.fixed import Fixed, Rounding, signed_bits
from hwlut.units import operations as op
from hwlut.units.applied import LookUp, Rescale
from hwlut.units.direct import Direct
from hwlut.units.lut_matmul import CODE, Encoder, LutMatmul
from hwlut.units.movement import Pad, Slice
from hwlut.units.nodes import Span, format_of
from hwlut.units.program import INPUT, Program
from hwlut.units.pwl import Pwl, Symmetry
from hwlut.units.reductions import Maximum, Sum
from hwlut.units.requantize import Requantize
from hwlut.units.tile import Operation

__all__ = ["inner_program", "look_up", "operator", "requantization", "table"]


def requantization(sketch: Sketch) -> None:
    """To codes that products take, of a tensor or of each channel of an axis."""
    name = sketch.pick()
    low, high = sketch.spans[name]
    sketch.need(signed_bits(low, high) <= 32)
    axis = sketch.integer(1, sketch.values[name].dim())
    channels = sketch.values[name].shape[axis] if sketch.chance(0.5) else 1
    unit = _requantize(sketch, (low, high), channels)
    if channels == 1 and sketch.chance(0.3):
        sketch.add(op.Apply, name, unit)
    else:
        sketch.add(Rescale, name, unit, axis if sketch.chance(0.5) else axis - sketch.values[name].dim())


def _requantize(sketch: Sketch, span: Span, channels: int) -> Requantize:
    formats = [each.a for each in sketch.tile.multipliers] + [CODE] * bool(sketch.tile.entries)
    output: Fixed = sketch.one(formats) if sketch.chance(0.7) else sketch.format(min(12, sketch.tile.value_bits))
    output = dataclasses.replace(output, frac=None)
    most = max(1, *map(abs, span)).bit_length()
    bits = [sketch.integer(1, sketch.tile.factor_bits + 1) for _ in range(channels)]
    shifts = [min(62, max(0, most + each - output.bits + sketch.integer(-2, 3))) for each in bits]
    if sketch.chance(0.1):
        shifts = [sketch.integer(0, 63) for _ in range(channels)]
    return Requantize(
        input=Fixed(32) if sketch.chance(0.5) else Fixed(max(2, signed_bits(*span))),
        multipliers=tuple(sketch.integer(1 << each >> 2, 1 << each) for each in bits),
        shifts=tuple(shifts),
        zero_point=sketch.integer(output.min, output.max + 1) if sketch.chance(0.5) else 0,
        output=output,
        rounding=sketch.one(list(Rounding)),
    )


def table(sketch: Sketch) -> None:
    """A function of codes that a table of the tile holds."""
    tile = sketch.tile
    name = sketch.pick(lambda each: format_of(sketch.spans[each]).bits <= tile.table_inputs)
    input = format_of(sketch.spans[name])
    output = dataclasses.replace(sketch.format(tile.table_outputs - 1), frac=sketch.integer(0, 5))
    if input.bits >= 2 and sketch.chance(0.5):
        sketch.add(op.Apply, name, _pwl(sketch, input, output))
    else:
        values = sketch.integers(output.min, output.max, 1 << input.bits).tolist()
        sketch.add(
            op.Apply, name, Direct(input=dataclasses.replace(input, frac=0), output=output, values=tuple(values))
        )


def _pwl(sketch: Sketch, input: Fixed, output: Fixed) -> Pwl:
    count, scale = sketch.integer(1, 6), sketch.integer(0, 5)
    breakpoints = sketch.integers(input.min, input.max, count - 1).sort().values
    return Pwl(
        input=input,
        scales=(scale,),
        breakpoint_frac=scale,
        breakpoints=tuple(breakpoints.tolist()),
        slope=Fixed(6, 4),
        slopes=tuple(sketch.integers(-32, 31, count).tolist()),
        intercept=Fixed(8, 4),
        intercepts=tuple(sketch.integers(-128, 127, count).tolist()),
        symmetry=sketch.one(list(Symmetry)) if input.signed else Symmetry.NONE,
        output=output,
        rounding=sketch.one(list(Rounding)),
    )


def operator(sketch: Sketch) -> None:
    """One of the tile's; of rows as long as it takes them."""
    sketch.need(sketch.tile.operators)
    unit: Any = sketch.one(sketch.tile.operators)
    name = sketch.pick(lambda each: sketch.within(each, unit.input))
    if isinstance(unit, Program) and (shape := unit.inputs[0].shape):
        name = _as_long(sketch, name, shape[-1])
    sketch.add(op.Apply, name, unit)


def _as_long(sketch: Sketch, name: str, places: int) -> str:
    """A value with rows of so many places, cut off or filled up."""
    held = sketch.shape(name)[-1]
    if held < places:
        return sketch.add(Pad, name, (0, places - held), 0)
    return sketch.add(Slice, name, -1, 0, places, 1) if held > places else name


def inner_program(sketch: Sketch) -> None:
    """A program of codes or of rows that the tile has no operator for."""
    sketch.need(sketch.has(Operation.SUBTRACT, Operation.MULTIPLY))
    name = sketch.pick()
    input = dataclasses.replace(format_of(sketch.spans[name]), frac=0)
    sketch.need(2 * input.bits + 8 <= sketch.tile.value_bits and input.bits <= 32)
    nodes = {
        "codes": (
            op.Constant("k", sketch.integer(-9, 10)),
            op.Multiply("last", INPUT, INPUT),
            op.Add("y", "last", "k"),
        ),
        "far": (Maximum("highest", INPUT), op.Subtract("y", INPUT, "highest")),
        "row": (Sum("total", INPUT, 300), op.Constant("k", 2), op.Multiply("y", "total", "k")),
    }[sketch.one(("codes", "far", "row"))]
    span, spans = None, {INPUT: (input.min, input.max)}
    for node in nodes:
        span = spans[node.name] = node.span(*(spans[each] for each in node.operands))
    assert span is not None
    sketch.add(op.Apply, name, Program.of(input=input, nodes=nodes, output=format_of(span)))


def look_up(sketch: Sketch) -> None:
    """A product by look-up, by the tile's encoder."""
    tile = sketch.tile
    sketch.need(tile.entries)
    name = sketch.pick(lambda each: sketch.within(each, CODE))
    features, outputs = sketch.shape(name)[-1], sketch.size()
    v = sketch.integer(1, min(5, features + 1) + 1)
    k = 1 << sketch.integer(1, tile.entries.bit_length())
    codebooks, half = -(-features // v), 1 << (tile.entry_bits - 1)
    sketch.need(2 * max(v, codebooks) <= tile.weights)
    spread = sketch.one((2, 128))
    zero = sketch.integer(-spread, spread)
    fields: dict[str, Any] = {
        "encoder": tile.encoder,
        "table": sketch.rng.integers(-half, half, (codebooks, k, outputs)),
    }
    if tile.encoder is Encoder.TREE:
        fields["thresholds"] = sketch.rng.integers(-spread, spread, (codebooks, k - 1))
        fields["dimensions"] = sketch.rng.integers(0, v, (codebooks, k.bit_length() - 1))
    else:
        prototypes = sketch.rng.integers(-spread, spread, (codebooks, k, v))
        prototypes[-1, :, features - (codebooks - 1) * v :] = zero
        fields["prototypes"] = prototypes
    if sketch.chance(0.5):
        fields["bias"] = sketch.rng.integers(-500, 501, outputs)
    unit = LutMatmul(features=features, v=v, zero_point=zero, table_bits=tile.entry_bits, **fields)
    if sketch.chance(0.5):
        sums = unit.accumulator
        channels = sketch.one((1, outputs))
        requantize = dataclasses.replace(_requantize(sketch, (sums.min, sums.max), channels), input=Fixed(32))
        unit = dataclasses.replace(unit, requantize=requantize)
    sketch.add(LookUp, name, unit)
    entries = dataclasses.replace(unit, bias=None, requantize=None)
    sketch.need(entries.accumulator.bits <= tile.accumulator_bits)
