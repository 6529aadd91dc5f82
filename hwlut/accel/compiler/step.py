"""What all steps do alike: a lane is begun, extended by what can follow, and its results get a place."""

from typing import Any

import numpy as np
import torch

from hwlut.accel.commands import Destination
from hwlut.accel.compiler.builder import Builder
from hwlut.accel.compiler.chain import Chain
from hwlut.accel.compiler.emission import Target
from hwlut.accel.compiler.graph import Entry
from hwlut.accel.compiler.halos import Widths, around, interior
from hwlut.accel.compiler.lane import Lane, Stage
from hwlut.accel.compiler.operands import operand_places, taken_as_operand
from hwlut.accel.compiler.places import addresses
from hwlut.fixed import signed_bits
from hwlut.units.movement import Pad
from hwlut.units.nodes import Span
from hwlut.units.patches import MaximumPool
from hwlut.units.requantize import Requantize

__all__ = ["begun", "target"]


def begun(
    builder: Builder,
    entry: Entry,
    shape: tuple[int, ...],
    stage: Stage,
    span: Span | None = None,
    requantize: Requantize | None = None,
    **fields: Any,
) -> Chain:
    """The chain that begins with a node, whose result has that shape, extended.

    span: of what comes to the stage, where a requantization of the node's own follows.
    """
    span = builder.result_span(entry) if span is None else span
    bits = signed_bits(*span)
    builder.require("lane_bits", bits, f"has numbers of {bits} bits; the tile's lanes have {builder.tile.lane_bits}")
    lane = Lane(torch.arange(int(np.prod(shape))).reshape(shape), span, stage=stage, **fields)
    if requantize is not None:
        lane.requantizes(requantize, -1)
    chain = Chain(builder, lane, entry.name, (entry.name,))
    chain.extend()
    return chain


def target(builder: Builder, chain: Chain, stream: bool = True) -> Target:
    """Where the results of a chain go, which thereby have their places.

    stream: whether they may be results of the program, written once and in order.
    """
    bits, held = signed_bits(*chain.lane.span), builder.tile.value_bits
    builder.require("value_bits", bits, f"gives {chain.name!r} numbers of {bits} bits; the tile's values have {held}")
    index, name = chain.lane.index, chain.name
    takers = builder.graph.takers[name]
    ports = [port for port, value in builder.graph.outputs.items() if value == name]
    builder.shapes[name] = tuple(index.shape)
    if stream and ports and not takers and builder.whole in (None, builder.shapes[name]):
        places, destination = torch.arange(index.numel()), Destination.OUTPUT
    elif taken_as_operand(builder, chain):
        places, destination = operand_places(builder, tuple(index.shape), name), Destination.OPERANDS
        builder.places[name] = places
    else:
        places, destination = _values(builder, chain), Destination.VALUES
        builder.places[name] = places
    builder.spans[name] = chain.lane.span
    found = np.empty(index.numel(), np.int64)
    found[index.flatten().numpy()] = addresses(places.flatten().numpy())
    return Target(destination, found, ports[0] if ports else "")


def _values(builder: Builder, chain: Chain) -> torch.Tensor:
    """Places in values, with a halo where what takes them wants one."""
    shape, name = tuple(chain.lane.index.shape), chain.name
    pad = next((entry for entry in builder.graph.takers[name] if isinstance(entry.node, Pad)), None)
    if pad is not None and isinstance(pad.node, Pad):
        widths = _widths(pad.node, len(shape))
        builder.places[pad.name] = builder.haloed(shape, widths, pad.node.value, name)
        return interior(builder.places[pad.name], widths)
    halo = _halo(builder, name, chain.lane.span)
    if halo is None:
        return builder.buffer(shape, name)
    padding, fill = halo
    whole = builder.haloed(shape, around(padding), fill, name)
    builder.halos[name] = padding, fill, whole
    return interior(whole, around(padding))


def _widths(node: Pad, axes: int) -> Widths:
    """Of a node that has those of the last axis first."""
    pairs = tuple(zip(node.widths[::2], node.widths[1::2]))
    return ((0, 0),) * (axes - len(pairs)) + pairs[::-1]


def _halo(builder: Builder, name: str, span: Span) -> tuple[tuple[int, ...], int] | None:
    """The widest padding of all takers that fill with the same number as the first that pads."""
    found: tuple[tuple[int, ...], int] | None = None
    for entry in builder.graph.takers[name]:
        node: Any = entry.node
        if not any(padding := getattr(node, "padding", ())):
            continue
        fill = span[0] if isinstance(node, MaximumPool) else node.fill
        if found is None:
            found = padding, fill
        elif found[1] == fill and len(found[0]) == len(padding):
            found = tuple(map(max, found[0], padding)), fill
    return found
