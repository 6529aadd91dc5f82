"""When commands are taken and what they move, by hand; and streams that are refused."""

import time
from collections import Counter

import numpy as np
import pytest
from accel_tiles import TILES

from hwlut.accel.commands import (
    END,
    Destination,
    Error,
    Mode,
    Opcode,
    Reduction,
    Register,
    Requantization,
    Target,
    WSource,
    YSource,
    command,
    start,
)
from hwlut.accel.instructions import Compute, Load, Loops, Mark, Stream, encode
from hwlut.accel.model import Machine, Span, Work, check, profile

ARRAY = TILES["array"]  # 3 rows, 4 columns, 3 loops
REGISTERS = 3 * 3 + 5 * 3 + 5 + 4 + 8  # of 3 loops
VECTOR = Compute(feed=Loops((8,)), x=Stream(0, (1,)), store=Loops((8,)), z=Stream(20, (1,)))
PRODUCT = Compute(
    mode=Mode.ARRAY,
    feed=Loops((5, 3)),
    x=Stream(0, (1, 5)),
    w=Stream(0, (1, 0)),
    count=5,
    period=7,
    columns=2,
    step=Loops((2, 3)),
    k=Stream(0, (1, 0)),
    requantization=Requantization.CONSTANT,
    store=Loops((2, 3)),
    z=Stream(20, (1, 2)),
)


def spans(tile, *instructions):
    return profile(tile, encode(tile, instructions))


def cycles(tile, *instructions):
    return [each.cycles for each in spans(tile, *instructions)]


def test_commands_alone():
    assert spans(ARRAY) == [Span(None, 2, 2, Work())]
    assert spans(ARRAY, Mark(3), Mark(5)) == [Span(3, 1, 1, Work()), Span(5, 2, 2, Work()), Span(None, 4, 4, Work())]


def test_numbers():
    # Behind START and the registers: 8 steps and 6 cycles more, then the MARK.
    assert cycles(ARRAY, VECTOR, Mark(0))[0] == 1 + REGISTERS + 1 + 8 + 6
    # The same again sets nothing.
    assert cycles(ARRAY, VECTOR, VECTOR, Mark(0))[0] == 1 + REGISTERS + 2 * (1 + 8 + 6)


@pytest.mark.parametrize(
    "name, compute, busy",
    [
        ("array", VECTOR, 8 + 6),
        ("array", Compute(feed=Loops((3, 4)), count=3, period=5), 3 * 5 + 3 + 6),
        ("array", Compute(feed=Loops((3, 4)), count=3, period=2), 12 + 6),
        ("array", PRODUCT, 2 * 7 + 5 + 1 + 2 + 6),
        ("tree", Compute(mode=Mode.LOOK_UP, feed=Loops((2, 2)), count=2, period=2, columns=1), 4 + 1 + 1 + 6),
        ("tree", Compute(mode=Mode.ENCODE, feed=Loops((2, 2)), count=2), 4 + 3 + 6),
        ("l1", Compute(mode=Mode.ENCODE, feed=Loops((4,)), count=2), 4 + 4 + 6),
    ],
)
def test_computes(name, compute, busy):
    tile = TILES[name]
    registers = 3 * tile.loops + 5 * tile.loops + 17
    assert cycles(tile, compute)[0] == 1 + registers + 1 + busy + 1


def test_operators():
    tile = TILES["operators"]
    codes, rows = tile.operators
    alone = cycles(tile, VECTOR)[0]
    assert cycles(tile, _changed(VECTOR, operator=0))[0] == alone + codes.cost().latency
    # Two passes, the first of which a row of 4 needs 3 cycles longer than one of 1.
    assert cycles(tile, _changed(VECTOR, operator=1, count=4, period=64))[0] == alone + 60 + rows.cost().latency + 2 * 3


def _changed(compute, **changes):
    return Compute(**vars(compute) | changes)


def test_loads():
    least = TILES["least"]  # beats of 4 bytes
    assert cycles(ARRAY, Load(target=Target.INPUTS, address=0, count=9)) == [1 + 1 + 9 + 1]
    assert cycles(ARRAY, Load(target=Target.WEIGHTS, address=0, count=9)) == [1 + 1 + 9 + 1]
    assert cycles(least, Load(target=Target.CONSTANTS, address=0, count=2)) == [1 + 1 + 2 * 3 + 1]  # 32 + 31 + 6 bits
    # A MARK does not wait; another LOAD does.
    load = Load(target=Target.INPUTS, address=0, count=9)
    assert cycles(ARRAY, load, Mark(0), load, Mark(1)) == [2, 1 + 1 + 9 + 1, 1 + 2 * (1 + 9) + 1]


def test_both_at_once():
    load = Load(target=Target.INPUTS, address=0, count=9)
    waiting = _changed(VECTOR, wait=True)
    # The COMPUTE is taken in cycle 42 and runs until 56, the LOAD from 44 until 52.
    first, end = spans(ARRAY, VECTOR, load, Mark(0))
    assert (first.cycles, first.work.overlapped) == (57, 9)
    assert (first.work.computing, first.work.loading, end.cycles) == (14, 9, 59)
    # The LOAD is taken first, and the COMPUTE right behind it, or when it is over.
    before = encode(ARRAY, [VECTOR])[:-1]
    words = [*before[:-1], *encode(ARRAY, [load])[1:-1]]
    both = profile(ARRAY, [*words, command(Opcode.COMPUTE), END])[0]
    assert (both.cycles, both.work.overlapped) == (1 + REGISTERS + 1 + 1 + 14 + 1, 8)
    after = profile(ARRAY, [*words, command(Opcode.COMPUTE, 1), END])[0]
    assert (after.cycles, after.work.overlapped) == (1 + REGISTERS + 1 + 9 + 1 + 14 + 1, 0)
    late = Load(target=Target.INPUTS, address=0, count=9, wait=True)
    assert spans(ARRAY, VECTOR, late)[0].work.overlapped == 0
    assert cycles(ARRAY, VECTOR, late) == [1 + REGISTERS + 1 + 14 + 1 + 9 + 1]
    assert cycles(ARRAY, load, waiting) == [1 + 1 + REGISTERS + 1 + 14 + 1]


def test_work():
    work = spans(ARRAY, Load(target=Target.CONSTANTS, address=0, count=4), PRODUCT)[0].work
    assert work == Work(
        products=15 * 3 * 2,
        places=15 * 3 * 4,
        array=15,
        computing=2 * 7 + 5 + 1 + 2 + 6,
        loading=4,
        overlapped=0,
        data_beats=4,
        reads=Counter(values=15, weights=15, constants=6),
        writes=Counter(constants=4, values=6),
    )
    out = _changed(
        VECTOR,
        destination=Destination.OUTPUT,
        reduction=Reduction.SUM,
        count=4,
        operation="add",
        y_source=YSource.VALUES,
    )
    work = spans(ARRAY, _changed(out, store=Loops((2,))))[0].work
    assert (work.result_beats, work.reads, work.writes) == (2, Counter(values=16), Counter())


def test_it_takes_no_time():
    words = np.array(
        encode(ARRAY, [each for place in range(3000) for each in (_at(place % 9), Mark(place))]), np.uint64
    )
    begun = time.process_time()
    profile(ARRAY, words)
    assert time.process_time() - begun < len(words) / 20_000  # five times what it takes


def _at(place):
    return _changed(VECTOR, x=Stream(place, (1,)))


# What is refused.


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("array", {"count": 3}, "count must divide the 8 steps of the feed, not 3"),
        ("array", {"x": Stream(60, (1,))}, "x must be within the 64 words of values, not 60 to 67"),
        ("array", {"x": Stream(3, (-1,))}, "x must be within the 64 words of values, not -4 to 3"),
        ("array", {"z": Stream(0, (9,))}, "z must be within the 64 words of values, not 0 to 63"),
        ("array", {"x": Stream(9, (1,)), "x_source": 1}, "x must be within the 16 words of inputs, not 9 to 16"),
        ("array", {"y_source": 2, "y": Stream(64), "swap": 1}, "y must be within the 64 words of values, not 64 to 64"),
        ("array", {"offset": True, "k": Stream(8)}, "k must be within the 8 words of constants, not 8 to 8"),
        ("array", {"store": Loops((7,))}, "store must have the 8 steps of its results, not 7"),
        ("array", {"offset": True, "step": Loops((7,))}, "step must have the 8 steps of its numbers, not 7"),
        ("array", {"low": 1, "high": 0}, "low must not be above high, 0, but is 1"),
        ("array", {"least": 1, "most": 0, "requantization": 1}, "least must not be above most, 0, but is 1"),
        ("array", {"where": True, "destination": 2}, "flag where must be set for memories alone, without a reduction"),
        ("array", {"mode": Mode.LOOK_UP}, "flag mode must be one that the tile has, not 2"),
        ("array", {"mode": Mode.ARRAY, "multiplier": 2}, "flag multiplier must be one that the tile has, not 2"),
        ("array", {"table": 0}, "flag table must be one that the tile has, not 1"),
        ("array", {"operator": 0}, "flag operator must be one that the tile has, not 1"),
        ("tables", {"table": 3}, "flag table must be one that the tile has, not 4"),
        ("tables", {"operation": "subtract"}, "flag operation must be one that the tile has, not 3"),
        ("tables", {"destination": 1}, "flag destination must be one that the tile has, not 1"),
        ("tables", {"w_source": 1}, "flag w_source must be one that the tile has, not 1"),
        ("array", {"mode": Mode.ARRAY, "columns": 5, "period": 5}, "columns must be at most 4, not 5"),
        ("array", {"mode": Mode.ARRAY, "columns": 4, "period": 3}, "period must be at least the 4 columns, not 3"),
        ("array", {"mode": Mode.ARRAY, "w": Stream(16)}, "w must be within the 16 words of weights, not 16 to 16"),
        (
            "array",
            {"mode": Mode.ARRAY, "w": Stream(4), "w_source": WSource.OPERANDS},
            "w must be within the 16 words of operands, not 16 to 16",
        ),
        ("array", {"mode": Mode.ARRAY, "reduction": 1}, "reduction must be none but in mode VECTOR"),
        ("tree", {"mode": Mode.ENCODE, "count": 4}, "count must be the tree's 2 levels, not 4"),
        (
            "tree",
            {"mode": Mode.ENCODE, "count": 2, "y_source": 1},
            "y must be the immediate and requantization by registers in mode ENCODE by a tree",
        ),
        ("operators", {"operator": 0, "where": True}, "flag where must not be set with an operator"),
        ("operators", {"operator": 0, "requantization": 2}, "flag requantization must not be by the constant .*"),
        ("operators", {"operator": 1, "count": 1, "period": 1}, r"period must be at least the \d+ cycles of .*, not 1"),
        ("operators", {"operator": 1, "count": 4, "period": 99, "reduction": 1}, "reduction must be none with an .*"),
        ("operators", {"operator": 1, "mode": 1, "count": 8, "period": 9}, "operator must be of codes but in .*"),
        (
            "operators",
            {"operator": 1, "feed": Loops((20,)), "store": Loops((20,)), "count": 20},
            "count must be from 1 to 16, the operator's places, not 20",
        ),
    ],
)  # fmt: skip
def test_computes_that_are_refused(name, changes, message):
    tile = TILES[name]
    words = encode(tile, [Mark(0), _changed(VECTOR, **changes)])
    if "z" in changes:
        tile = tile.replace(values=60)
        words = [start(tile), *words[1:]]
        message = message.replace("64", "60")
    with pytest.raises(ValueError, match=f"^Tile command {len(words) - 2}: COMPUTE {message}$"):
        check(tile, words)


@pytest.mark.parametrize(
    "target, address, count, message",
    [
        (Target.INPUTS, 10, 7, "LOAD must be within the 16 words of inputs, not to 17"),
        (Target.WEIGHTS, 0, 17, "LOAD must be within the 16 words of weights, not to 17"),
        (Target.CONSTANTS, 8, 1, "LOAD must be within the 8 words of constants, not to 9"),
        (Target.TABLES, 0, 1, "LOAD must be of a memory that the tile has, not 2"),
        (5, 0, 1, "LOAD must be of a memory that the tile has, not 5"),
    ],
)
def test_loads_that_are_refused(target, address, count, message):
    with pytest.raises(ValueError, match=f"^Tile command 1: {message}$"):
        check(ARRAY, encode(ARRAY, [Load(target=target, address=address, count=count)]))


LOAD = Load(target=Target.INPUTS, address=4, count=4)
READ = Compute(feed=Loops((8,)), x=Stream(0, (1,)), x_source=1, store=Loops((8,)), z=Stream(20, (1,)))


@pytest.mark.parametrize(
    "instructions, message",
    [
        ([LOAD, _changed(READ, wait=True)], None),
        ([READ, Load(target=Target.INPUTS, address=4, count=4, wait=True)], None),
        ([READ, LOAD], "LOAD must not fill word 4 of inputs while it is read, without waiting for that"),
        ([READ, Mark(0), LOAD], None),
        ([READ, Load(target=Target.INPUTS, address=8, count=4)], None),
        ([READ, Load(target=Target.WEIGHTS, address=0, count=4)], None),
        ([_changed(READ, feed=Loops((4, 2)), x=Stream(0, (1, 8))), LOAD], None),  # 0 to 3 and 8 to 11
        ([_changed(READ, feed=Loops((4, 2)), x=Stream(0, (1, 7))), LOAD], "LOAD must not fill word 7 of inputs .*"),
        (
            [_changed(READ, offset=True, step=Loops((8,)), k=Stream(2)), Load(target=1, address=0, count=3)],
            "LOAD .* 2 .*",
        ),
    ],
)
def test_loads_beside_computes(instructions, message):
    words = encode(ARRAY, instructions)
    if message is None:
        check(ARRAY, words)
    else:
        with pytest.raises(ValueError, match=f"^Tile command {len(words) - 2}: {message}$"):
            check(ARRAY, words)


def test_computes_beside_loads():
    """What the registers say is known from before: the COMPUTE comes right behind a LOAD of 4 words, or later."""
    before, load = encode(ARRAY, [READ])[:-1], encode(ARRAY, [LOAD])[1:-1]
    with pytest.raises(
        ValueError, match="COMPUTE must not read word 4 of inputs while it is loaded, without waiting for"
    ):
        check(ARRAY, [*before, SET, *load, command(Opcode.COMPUTE), END])
    check(ARRAY, [*before, SET, *load, command(Opcode.COMPUTE, 1), END])
    check(ARRAY, [*before, SET, *load, *[SET] * 3, command(Opcode.COMPUTE), END])
    with pytest.raises(ValueError, match="COMPUTE must not read word"):
        check(ARRAY, [*before, SET, *load, *[SET] * 2, command(Opcode.COMPUTE), END])


def test_tables_are_not_loaded_while_they_are_read():
    tile = TILES["tables"]  # of 8 entries each
    look_up = _changed(VECTOR, table=1)
    check(tile, encode(tile, [look_up, Load(target=Target.TABLES, address=0, count=8)]))
    check(tile, encode(tile, [look_up, Load(target=Target.TABLES, address=16, count=8)]))
    with pytest.raises(ValueError, match="LOAD must not fill word 8 of tables while"):
        check(tile, encode(tile, [look_up, Load(target=Target.TABLES, address=7, count=2)]))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"x": Stream(20, (1,))}, None),  # in place
        ({"x": Stream(21, (1,))}, None),  # before it is written
        ({"x": Stream(19, (1,))}, "x"),
        ({"x": Stream(19, (1,)), "operation": "y"}, None),
        ({"x": Stream(19, (1,)), "operation": "y", "swap": True}, "x"),
        ({"x": Stream(19, (1,)), "operation": "leading_one", "swap": True}, None),
        ({"y": Stream(20, (1,)), "y_source": 2, "step": Loops((8,)), "operation": "add"}, None),
        ({"y": Stream(18, (1,)), "y_source": 2, "step": Loops((8,))}, None),
        ({"y": Stream(18, (1,)), "y_source": 2, "step": Loops((8,)), "operation": "add"}, "y"),
        ({"x": Stream(13, (1,)), "z": Stream(20, (0,))}, "x"),  # the last one, which all before are written to
        ({"x": Stream(18, (2,)), "z": Stream(19, (2,))}, None),  # even and odd words
        # The sum of 18 to 21 goes to 21, and what follows is read behind that.
        ({"x": Stream(18, (1,)), "reduction": 1, "count": 4, "store": Loops((2,)), "z": Stream(21, (20,))}, None),
        ({"x": Stream(18, (1,)), "reduction": 1, "count": 4, "store": Loops((2,)), "z": Stream(22, (20,))}, "x"),
    ],
)
def test_what_is_read_behind_writing(changes, message):
    words = encode(ARRAY, [_changed(VECTOR, **changes)])
    if message is None:
        check(ARRAY, words)
    else:
        match = rf"COMPUTE must not read word \d+ of values as {message} behind writing it$"
        with pytest.raises(ValueError, match=match):
            check(ARRAY, words)


def test_groups_that_are_read_behind_writing():
    # Groups read 0 to 4, 5 to 9 and 10 to 14, and each writes two words.
    for base in (3, 15):
        check(ARRAY, encode(ARRAY, [_changed(PRODUCT, z=Stream(base, (1, 2)))]))
    for base, word in ((4, 5), (7, 7), (13, 13)):
        with pytest.raises(ValueError, match=f"COMPUTE must not read word {word} of values as x behind writing it$"):
            check(ARRAY, encode(ARRAY, [_changed(PRODUCT, z=Stream(base, (1, 2)))]))


SET = command(Opcode.SET, Register.COUNT, 0)
RUN = start(ARRAY)


@pytest.mark.parametrize(
    "words, error, message, counted",
    [
        ([RUN, 0, END], Error.UNKNOWN_OPCODE, "must have an opcode from 1 to 6, not 0", (2, 1)),
        ([7 << 56], Error.UNKNOWN_OPCODE, "must have an opcode from 1 to 6, not 7", (1, 0)),
        ([RUN, SET, command(2, 0x58)], Error.UNKNOWN_REGISTER, "SET must be of a register .*, not 0x58", (3, 2)),
        ([RUN, command(2, 0x03)], Error.UNKNOWN_REGISTER, "SET must be of a register .*, not 0x03", (2, 1)),
        ([SET], Error.OUT_OF_RUN, "must follow a START", (1, 0)),
        ([RUN, RUN], Error.OUT_OF_RUN, "START must not come within a run", (2, 1)),
        ([RUN, SET, END, END], Error.OUT_OF_RUN, "must follow a START", (1, 0)),
        ([RUN ^ 1], Error.OTHER_TILE, "START must be for the tile [0-9a-f]{12}, not [0-9a-f]{12}", (1, 0)),
        ([RUN, command(4, 2, 1 << 24)], Error.LACKING, "LOAD must be of a memory that the tile has, not 2", (2, 1)),
        ([RUN, command(2, 0x4B, 2), command(3)], Error.LACKING, "COMPUTE flag mode must be one .*, not 2", (3, 2)),
        # Behind a COMPUTE of one step, which takes 7 cycles, and a LOAD beside it.
        ([RUN, command(3), command(2, 0xFF)], Error.UNKNOWN_REGISTER, "SET must be .*, not 0xff", (10, 2)),
        ([RUN, command(3), 0], Error.UNKNOWN_OPCODE, "must have an opcode from 1 to 6, not 0", (3, 2)),
        ([RUN, command(3), command(4, 2 + 128)], Error.LACKING, "LOAD must be .*, not 2", (10, 2)),
        ([RUN, command(4, 3, 4 << 24), command(4, 2)], Error.LACKING, "LOAD must be .*, not 2", (7, 2)),
    ],
)
def test_errors(words, error, message, counted):
    index = len(words) - 1 - (words[-1] == END and error is Error.UNKNOWN_OPCODE)
    data = np.zeros((4, ARRAY.beat_bytes), np.uint8)
    ran = Machine(ARRAY).run(np.array(words, np.uint64), data)
    assert (ran.error.error, ran.error.index) == (error, index)
    assert (ran.cycles, ran.commands) == counted
    for refuse in (check, profile):
        with pytest.raises(ValueError, match=f"^Tile command {index}: {message}$"):
            refuse(ARRAY, words)


def test_a_run_must_end():
    for words in ([], [RUN], [RUN, SET], [RUN, END, RUN]):
        with pytest.raises(ValueError, match="^Tile commands must end with END$"):
            check(ARRAY, words)
    assert check(ARRAY, [RUN, END, RUN, END]) == 0


def test_data_must_be_there():
    words = np.array(encode(ARRAY, [Load(target=Target.INPUTS, address=0, count=4)]), np.uint64)
    with pytest.raises(ValueError, match=r"^Machine data must be at least 4 beats, not 3$"):
        Machine(ARRAY).run(words, np.zeros((3, ARRAY.beat_bytes), np.uint8))
    with pytest.raises(ValueError, match=r"^Machine data must be uint8 \[beats, 12\], not uint8 \[4, 11\]$"):
        Machine(ARRAY).run(words, np.zeros((4, 11), np.uint8))
