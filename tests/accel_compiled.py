"""Programs for tests of the compiler, and what it makes of them against the definition."""

import numpy as np
import torch

from hwlut import Fixed, Multiplier, Program, Requantize
from hwlut.accel.compiler import compile_program
from hwlut.accel.model import Machine
from hwlut.accel.model.checking import check
from hwlut.units import Port
from hwlut.units import operations as op
from hwlut.units.applied import Rescale
from hwlut.units.movement import Reshape
from hwlut.units.nodes import format_of
from hwlut.units.patches import MaximumPool
from hwlut.units.products import Convolve, Linear
from hwlut.units.tile import Tile

EXACT = Multiplier(family="exact", bits=8, signed=True)
SMALL = Multiplier(family="exact", bits=4, signed=True)
WIDER = Multiplier(family="exact", a=Fixed(8), b=Fixed(10))
DRUM = Multiplier(family="drum", bits=6, signed=True, k=3)
CODES, WIDE = Fixed(8), Fixed(32)
TILE = Tile(rows=3, columns=4, multipliers=(EXACT, DRUM), value_bits=32)


def program(inputs, nodes, *outputs):
    """The program of ports (name, format, shape), whose outputs hold what they must."""
    ports = tuple(Port(name, format, shape) for name, format, shape in inputs)
    draft = {port.name: (port.format.min, port.format.max) for port in ports}
    for node in nodes:
        draft[node.name] = node.span(*(draft[name] for name in node.operands))
    outputs = outputs or (nodes[-1].name,)
    return Program(
        inputs=ports, nodes=tuple(nodes), outputs=tuple(Port(name, format_of(draft[name])) for name in outputs)
    )


def agree(program, tile=TILE, samples=None, seed=0):
    """The compiled program, after the codes of two and a half batches were found to be the definition's."""
    compiled = compile_program(program, tile)
    samples = samples or 2 * tile.rows + 1
    generator = torch.Generator().manual_seed(seed)
    codes = [
        torch.randint(port.format.min, port.format.max + 1, (samples, *port.shape), generator=generator)
        for port in program.inputs
    ]
    wanted = program(*codes)
    batches = -(-samples // tile.rows)
    words, data = compiled.words(batches), compiled.data(*(each.numpy() for each in codes))
    assert words.dtype == np.uint64 and data.dtype == np.uint8
    assert check(tile, words) == len(data)
    ran = Machine(tile).run(words, data)
    assert ran.error is None
    assert [mark.number for mark in ran.marks] == list(range(batches * len(compiled.layers)))
    assert len(ran.results) == compiled.results(batches)
    found = compiled.unpack(ran.results, samples)
    for port, codes, right in zip(program.outputs, found, wanted if isinstance(wanted, tuple) else (wanted,)):
        assert codes.shape == tuple(right.shape), port.name
        assert (codes == right.numpy()).all(), port.name
    return compiled


def numbers(seed, low, high, *shape):
    return np.random.default_rng(seed).integers(low, high, shape)


def linear(name, of, outputs, count, seed=0, **fields):
    format = fields.get("multiplier", EXACT).b
    held = {
        "multiplier": EXACT, "zeros": (0,), "constants": numbers(seed, -500, 500, outputs),
        "weights": numbers(seed, format.min, format.max + 1, outputs, count),
    }  # fmt: skip
    return Linear(name, of, **held | fields)


def convolve(name, of, shape, seed=0, **fields):
    axes = len(shape) - 2
    fields = {
        "multiplier": EXACT, "zeros": (0,), "constants": numbers(seed, -500, 500, shape[0]), "stride": (1,) * axes,
        "padding": (0,) * axes, "dilation": (1,) * axes, "groups": 1, "fill": 0,
    } | fields  # fmt: skip
    weights = numbers(seed, fields["multiplier"].b.min, fields["multiplier"].b.max + 1, *shape)
    return Convolve(name, of, weights=weights, **fields)


def to_codes(name, of, channels=1, axis=-1, input=WIDE, output=CODES, seed=1, rounding="half_up", shift=36):
    factors, shifts = numbers(seed, 1 << 29, 1 << 31, channels), numbers(seed, shift, shift + 6, channels)
    unit = Requantize(
        input=input, multipliers=factors.tolist(), shifts=shifts.tolist(), zero_point=3, output=output,
        rounding=rounding,
    )  # fmt: skip
    return Rescale(name, of, unit, axis)


LENET = program(
    [("x", CODES, (1, 12, 12))],
    [
        convolve("c1", "x", (3, 1, 5, 5), padding=(2, 2), fill=-128),
        op.Clamp("relu1", "c1", 0, 1 << 28),
        to_codes("q1", "relu1", 3, -3),
        MaximumPool("p1", "q1", kernel=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1)),
        convolve("c2", "p1", (8, 3, 3, 3), padding=(1, 1), fill=3),
        to_codes("q2", "c2", 8, -3),
        op.Clamp("relu2", "q2", 3, 100),
        MaximumPool("p2", "relu2", kernel=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1)),
        Reshape("flat", "p2", (-1, 72)),
        linear("l1", "flat", 10, 72),
        to_codes("q3", "l1", 10),
        linear("l2", "q3", 5, 10),
    ],
)
