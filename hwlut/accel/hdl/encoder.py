"""Encoders: the index of a sub-vector among prototypes, input by input."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned

from hwlut.accel.hdl.sequencer import Sequencer
from hwlut.hdl.arithmetic import named
from hwlut.hdl.stream import registers
from hwlut.units.lut_matmul import CODE, Encoder
from hwlut.units.tile import Tile

__all__ = ["code"]

_THRESHOLD_BITS = 9
_DISTANCE_BITS = {Encoder.L1: 20, Encoder.L2: 28, Encoder.CHEBYSHEV: 8}
"""Of sub-vectors of up to 4,096 inputs."""

_End = tuple[Value, Value | None]
"""A distance, and the bits of its index within those that it was the least of; None where it was alone."""


def code(m: Module, tile: Tile, sequencer: Sequencer, number: Value, word: Value) -> Value:
    """The code of each group, when it enters the lanes and a cycle longer.

    Parameters
    ----------
    number: the input of a step, a cycle after it, or by a tree two. word: the step's thresholds or prototypes, then.
    """
    x = named(m, "x", number[: CODE.bits].as_signed())
    return (_tree if tile.encoder is Encoder.TREE else _distances)(m, tile, sequencer, x, word)


def _tree(m: Module, tile: Tile, sequencer: Sequencer, x: Value, word: Value) -> Value:
    """Nodes have numbers from 1 on, and the children of n are 2 n and 2 n + 1, so codes are the last ones' low bits."""
    depth = (tile.entries - 1).bit_length()
    node, found = Signal(depth + 1, name="node", reset_less=True), Signal(depth, name="code", reset_less=True)
    at = named(m, "at", Mux(sequencer.first[2], 1, node)[:depth])
    threshold = Cat(Const(0, _THRESHOLD_BITS), word[: _THRESHOLD_BITS * (tile.entries - 1)])
    above = named(m, "above", x >= threshold.word_select(at, _THRESHOLD_BITS).as_signed())
    with m.If(sequencer.step[2]):
        m.d.sync += node.eq(Cat(above, at))
    with m.If(sequencer.last[3]):
        m.d.sync += found.eq(node)
    return found


def _distances(m: Module, tile: Tile, sequencer: Sequencer, x: Value, word: Value) -> Value:
    """Differences, in the next cycle their sums, and in two more the least of these."""
    assert tile.encoder is not None
    shape = unsigned(_DISTANCE_BITS[tile.encoder])
    ends: list[_End] = []
    for index in range(tile.entries):
        m.submodules[f"distance_{index}"] = inner = Module()
        prototype = word[CODE.bits * index : CODE.bits * (index + 1)].as_signed()
        less = named(inner, "less", x - prototype)
        away = named(inner, "away", Mux(less < 0, -less, less), unsigned(CODE.bits))
        part = named(inner, "part", away * away if tile.encoder is Encoder.L2 else away)
        held = Signal(part.shape(), name="held", reset_less=True)
        total = Signal(shape, name="total", reset_less=True)
        inner.d.sync += held.eq(part)
        with inner.If(sequencer.step[2]):
            before = named(inner, "before", Mux(sequencer.first[2], 0, total))
            if tile.encoder is Encoder.CHEBYSHEV:
                inner.d.sync += total.eq(Mux(held > before, held, before))
            else:
                inner.d.sync += total.eq(before + held)
        ends.append((total, None))
    depth = (tile.entries - 1).bit_length()
    for level in range(depth // 2):
        ends = _halved(m, level, ends)
    ends = [registers(m, number, {"least": least, "index": index}) for number, (least, index) in enumerate(ends)]
    for level in range(depth // 2, depth):
        ends = _halved(m, level, ends)
    (found,) = registers(m, 0, {"code": ends[0][1]})
    return found


def _halved(m: Module, level: int, ends: list[_End]) -> list[_End]:
    """Of each pair the lesser distance, or of equal ones the first."""
    found: list[_End] = []
    for number, ((left, low), (right, high)) in enumerate(zip(ends[::2], ends[1::2])):
        above = named(m, f"above_{level}_{number}", right < left)
        index = above if low is None else Cat(Mux(above, high, low), above)
        found.append((named(m, f"least_{level}_{number}", Mux(above, right, left)), index))
    return found
