"""From programs of tensors to the commands of a tile."""

import torch

from hwlut.accel.compiler.builder import Builder
from hwlut.accel.compiler.compiled import Compiled, Layer
from hwlut.accel.compiler.graph import Graph
from hwlut.accel.compiler.lowering import lowered
from hwlut.accel.compiler.places import Space, at_end, places_of
from hwlut.fixed import signed_bits
from hwlut.program.engine import Engine
from hwlut.units.nodes import Extent
from hwlut.units.program import Program
from hwlut.units.tile import Tile

__all__ = ["Compiled", "Layer", "compile_program"]


def compile_program(program: Program, tile: Tile) -> Compiled:
    """The program as commands of the tile, each of whose rows computes a sample.

    Raises ValueError, naming the node, for what the tile does not have or hold, and for inputs without a shape.
    """
    builder = Builder(tile, Graph(program, tile))
    if program.extent is not Extent.TENSORS:
        shapes = [(1, *(port.shape or ())) for port in program.inputs]
        axes = max(map(len, shapes))
        try:
            builder.whole = tuple(torch.broadcast_shapes(*(at_end(shape, axes) for shape in shapes)))
        except RuntimeError:
            given = " and ".join(str(list(shape[1:])) for shape in shapes)
            raise ValueError(f"Program {program.name!r} inputs must have shapes that broadcast, not {given}") from None
    start = 0
    for port in program.inputs:
        if port.shape is None:
            raise ValueError(f"Program input {port.name!r} must have a shape for a tile to compute it")
        if (bits := signed_bits(port.format.min, port.format.max)) > tile.input_bits:
            raise ValueError(f"Program input {port.name!r} has codes of {bits} bits; the tile's have {tile.input_bits}")
        builder.note("input_bits", bits)
        shape = at_end((1, *port.shape), len(builder.whole or ()))
        places = torch.arange(start, start + torch.Size(shape).numel()).reshape(shape)
        builder.places[port.name] = places_of(Space.INPUTS, places)
        builder.spans[port.name] = port.format.min, port.format.max
        start += places.numel()
    if 2 * start > tile.inputs:
        raise ValueError(f"Program {program.name!r} has {start} input codes; half of the tile's are {tile.inputs // 2}")
    builder.note("inputs", 2 * start)
    _check_apart(program)
    steps = tuple(lowered(builder))
    results = {port: builder.shapes[name][1:] for port, name in builder.graph.outputs.items()}
    return Compiled(program, tile, steps, tuple(builder.results), results, builder.needs)


def _check_apart(program: Program) -> None:
    """ValueError for a program that makes more of two samples than what it makes of each."""
    if program.extent is not Extent.TENSORS:
        return
    generator = torch.Generator().manual_seed(0)
    codes = [
        torch.randint(port.format.min, port.format.max + 1, (2, *(port.shape or ())), generator=generator)
        for port in program.inputs
    ]
    engine, names = Engine(program, compiled=False), [port.name for port in program.outputs]
    try:
        both, *each = (engine.values(*some, keep=names) for some in (codes, *zip(*(each.split(1) for each in codes))))
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"Program {program.name!r} shapes must go together: {str(error).splitlines()[0]}") from None
    for name in names:
        if not both[name].dim() or not torch.equal(torch.cat([values[name] for values in each]), both[name]):
            raise ValueError(f"Program {program.name!r} must keep samples apart, which output {name!r} does not")
