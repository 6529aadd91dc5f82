"""The functional model of a tile against a tile in plain Python, and what ends a run."""

import numpy as np
import pytest
from accel_plain import PlainTile
from accel_tiles import TILES

from hwlut.accel.commands import Destination, Mode, Opcode, Register, Target
from hwlut.accel.instructions import Compute, Flags, Load, Loops, Stream, encode
from hwlut.accel.model import Machine, check, profile
from hwlut.accel.model.nests import addresses
from hwlut.accel.streams import streams


def numbers(tile, beats):
    """int64 [n, rows]."""
    found = np.zeros((len(beats), tile.rows, 8), np.uint8)
    found[:, :, : tile.lane_bytes] = beats.reshape(len(beats), tile.rows, tile.lane_bytes)
    bits = 64 - 8 * tile.lane_bytes
    return found.view("<i8")[..., 0] << bits >> bits


def beats(tile, rows):
    """uint8 [n, beat_bytes] of numbers [n, rows]."""
    return np.asarray(rows, "<i8")[..., None].view(np.uint8)[..., : tile.lane_bytes].reshape(-1, tile.beat_bytes)


def run(tile, *instructions, data=()):
    words = np.array(encode(tile, instructions), np.uint64)
    data = np.concatenate(data) if data else np.zeros((0, tile.beat_bytes), np.uint8)
    assert check(tile, words) == len(data)
    return Machine(tile).run(words, data)


@pytest.mark.parametrize("name", TILES)
@pytest.mark.parametrize("seed", range(8))
def test_random_streams(name, seed):
    tile = TILES[name]
    words, data = streams(tile, seed)
    assert check(tile, words) == len(data)
    machine, plain = Machine(tile), PlainTile(tile)
    ran = machine.run(words, data)
    plain.run(words, data)
    assert ran.error is None
    assert numbers(tile, ran.results).tolist() == plain.results
    assert ran.last.tolist() == plain.last
    assert [(each.number, each.cycles, each.commands) for each in ran.marks] == plain.marks
    assert (ran.cycles, ran.commands) == (plain.cycles, len(words))
    spans = profile(tile, words)
    assert [(each.number, each.cycles, each.commands) for each in spans[:-1]] == plain.marks
    assert (spans[-1].number, spans[-1].cycles) == (None, plain.cycles)
    assert machine.memories.values[: tile.values].tolist() == [
        plain.values.get(place, [0] * tile.rows) for place in range(tile.values)
    ]


def test_random_streams_have_everything():
    seen = {name: set() for name in Flags.FIELDS} | {"wait": set(), "target": set()}
    for tile in TILES.values():
        for seed in range(8):
            for word in streams(tile, seed)[0].tolist():
                argument = word >> 48 & 255
                if word >> 56 == Opcode.SET and argument == Register.FLAGS:
                    for name, (low, bits) in Flags.FIELDS.items():
                        seen[name].add(word >> low & (1 << bits) - 1)
                elif word >> 56 == Opcode.COMPUTE:
                    seen["wait"].add(argument)
                elif word >> 56 == Opcode.LOAD:
                    seen["target"].add(argument)
    assert seen["target"] == {target + wait for target in Target for wait in (0, 128)}
    for name, wanted in (
        ("wait", 2), ("mode", 4), ("x_source", 2), ("w_source", 2), ("multiplier", 2), ("y_source", 3), ("offset", 2),
        ("operation", 11), ("swap", 2), ("rounding", 3), ("reduction", 3), ("operator", 3), ("requantization", 3),
        ("requantize_rounding", 3), ("table", 4), ("destination", 3), ("where", 2), ("bits", 64),
    ):  # fmt: skip
        assert seen[name] == set(range(wanted)), name


def test_a_nest_stays_at_its_last_place():
    assert addresses(Loops((2, 2)), Stream(5, (1, 10)), 1, 5).tolist() == [6, 15, 16, 16, 16]
    assert addresses(Loops((3,)), Stream(1, (-1,)), 0, 3).tolist() == [1, 0, (1 << 24) - 1]


def test_a_matrix_product_by_hand():
    tile = TILES["array"]
    x, w = [[1, 2, 3], [-4, 5, -6]], [[1, -1, 2, 0], [3, 0, -128, 127]]
    product = Compute(
        mode=Mode.ARRAY, feed=Loops((2,)), x=Stream(3, (1,)), w=Stream(5, (1,)), x_source=1, count=2, period=4,
        columns=4, store=Loops((4,)), z=Stream(9, (1,)), wait=True,
    )  # fmt: skip
    ran = run(
        tile,
        Load(target=Target.INPUTS, address=3, count=2),
        Load(target=Target.WEIGHTS, address=5, count=2),
        product,
        Compute(feed=Loops((4,)), x=Stream(12, (-1,)), store=Loops((4,)), destination=Destination.OUTPUT),
        data=[beats(tile, x), _weights(tile, w)],
    )
    sums = [[1 - 12, 2 + 15, 3 - 18], [-1, -2, -3], [2 + 512, 4 - 640, 6 + 768], [-508, 635, -762]]
    assert numbers(tile, ran.results).tolist() == sums[::-1]
    assert ran.last.tolist() == [False, False, False, True]


def _weights(tile, words):
    data = np.zeros((len(words), tile.beat_bytes), np.uint8)
    data[:, : tile.columns] = np.asarray(words).astype(np.uint8)
    return data


@pytest.mark.parametrize("count", [1, 3000])
def test_large_computes_are_as_small_ones(count):
    """Numbers of several parts that are computed after each other."""
    tile = TILES["array"].replace(values=1 << 16, inputs=8192)
    data = np.random.default_rng(count).integers(0, 256, (8192, tile.beat_bytes), np.uint8)
    instructions = [Load(target=Target.INPUTS, address=0, count=8192)]
    instructions.append(Load(target=Target.WEIGHTS, address=0, count=16))
    weights = _weights(tile, np.arange(64).reshape(16, 4) * 5 - 128)
    groups = 60000 // count
    instructions.append(
        Compute(
            mode=Mode.ARRAY, x_source=1, wait=True, count=count, period=4, columns=4,
            feed=Loops((count, groups)), x=Stream(7, (1, 0)) if count > 1 else Stream(0, (0, 0)),
            w=Stream(0, (0, 0)), store=Loops((4, groups)), z=Stream(5, (1, 0)),
        )
    )  # fmt: skip
    ran = Machine(tile)
    words = np.array(encode(tile, instructions), np.uint64)
    ran.run(words, np.concatenate([data, weights]))
    first = 7 if count > 1 else 0
    x = numbers(tile, data)[first : first + count].astype(np.int8).astype(np.int64).sum(0)
    wanted = np.arange(4)[:, None] * 5 - 128
    assert (ran.memories.values[5:9] == wanted * x).all()


@pytest.mark.parametrize("target", Target)
def test_a_load_of_no_words_takes_a_command_alone(target):
    tile = TILES["tables"]
    ran = run(tile, Load(target=target, address=1, count=0), Load(target=target, address=0, count=0, wait=True))
    assert (ran.error, ran.cycles, ran.commands) == (None, 4, 4)


@pytest.mark.parametrize("steps, words", [(12, 3), (2, 16)])
@pytest.mark.parametrize("faulty", [Opcode.START << 56, 7 << 56])
def test_an_error_comes_when_either_is_done(steps, words, faulty):
    tile = TILES["tables"]
    moved = Compute(feed=Loops((steps,)), store=Loops((steps,)), z=Stream(0, (1,)))
    given = encode(tile, [moved, Load(target=Target.INPUTS, address=0, count=words)])
    given[-1] = faulty
    ran = Machine(tile).run(np.array(given, np.uint64), np.zeros((words, tile.beat_bytes), np.uint8))
    last = len(given) - 2  # the LOAD's cycle; nothing before it waits
    assert ran.cycles == 1 + min(last + steps + 6, last + 1 + words)
