"""Tiles in Verilator against the functional model: random streams of commands, with and without pauses."""

import numpy as np
import pytest
from accel_tiles import TILES

from hwlut.accel import generate_tile
from hwlut.accel.model import Machine
from hwlut.accel.streams import streams as random_stream
from hwlut.verify.beats import streams
from hwlut.verify.harness import Bench
from hwlut.verify.verilated import build


def run(rtl, words, data, results, marks, seed, pauses):
    """What the Verilog gives: beats of results, and marks by field."""
    ends = streams(rtl.description)
    given = {"s_axis_command": words.astype("<u8").view(np.uint8).reshape(-1, 8), "s_axis": data}
    room = {"m_axis": results, "m_axis_mark": marks}
    sent = {name: np.ascontiguousarray(given[name]) for name, end in ends.items() if end.input}
    received = {name: np.zeros((room[name], end.bytes), np.uint8) for name, end in ends.items() if not end.input}
    with Bench(build(rtl), seed) as bench:
        ran = bench.run(sent, received, {}, watchdog=4096, linger=64, idle=pauses, stall=pauses)
    assert ran.fault is None
    return received["m_axis"], ends["m_axis_mark"].unpack(received["m_axis_mark"])


@pytest.mark.parametrize("name", ["tables", "operators"])
def test_random_streams(name, need):
    need("verilator")
    tile = TILES[name]
    rtl = generate_tile(tile)
    for seed in range(100, 120):
        words, data = random_stream(tile, seed)
        wanted = Machine(tile).run(words, data)
        for pauses in (0.0, 0.3):
            beats, marks = run(rtl, words, data, len(wanted.results), len(wanted.marks), seed, pauses)
            assert (beats[:, : tile.beat_bytes] == wanted.results).all(), seed
            assert (beats[:, -1] == wanted.last).all(), seed
            found = zip(*(marks[field].tolist() for field in ("number", "cycles", "commands", "error")))
            assert list(found) == [(each.number, each.cycles, each.commands, 0) for each in wanted.marks], seed
