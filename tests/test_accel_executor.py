"""The executor of a tile against plain Python, number by number, and against the cycles it must take."""

import random
from dataclasses import replace

import pytest
from accel_plain import PlainTile
from amaranth.back import verilog
from amaranth.hdl import DomainRenamer, EnableInserter, Module, Signal
from amaranth.sim import Simulator

import hwlut
from hwlut import Fixed, Multiplier, Rounding
from hwlut.accel.commands import (
    OPERATIONS,
    Destination,
    Mode,
    Reduction,
    Requantization,
    Target,
    WSource,
    XSource,
    YSource,
)
from hwlut.accel.hdl import Executor
from hwlut.accel.hdl.operators import operator_domain
from hwlut.accel.hdl.registers import Registers
from hwlut.accel.instructions import Compute, Loops, Stream
from hwlut.accel.timing import busy_cycles, load_parts, word_bits
from hwlut.hdl.program_rows import RowsComponent
from hwlut.program import layer_norm, softmax
from hwlut.units.passes import row_passes
from hwlut.units.tile import Operation, Tile
from hwlut.verify.tools import find_verilator, run_tool

EXACT = hwlut.load("pretrained/mul8s_exact.json")
DRUM = hwlut.load("pretrained/mul8s_drum_4.json")
SMALL = dict(
    rows=2, columns=3, value_bits=16, accumulator_bits=20, input_bits=16, loops=3,
    values=64, inputs=64, weights=16, constants=16,
)  # fmt: skip


def small(**parameters):
    return Tile(**({"multipliers": (EXACT,)} | SMALL | parameters))


def on_one_clock(executor):
    """An executor whose operators' clocks are that of all else."""
    clocks = {operator_domain(number): "sync" for number in range(len(executor.tile.operators))}
    return DomainRenamer(clocks)(executor)


def run(tile, instructions, pauses=lambda: False, beside=None, executor=None):
    """Results, beat by beat as tuples of a number of each row, with whether each is the last, of each Compute, and the
    cycles for which it was busy.

    instructions: each a Compute or (target, address, words). pauses: whether it stands still in this cycle. beside: of
    a cycle of computing, the beat (target, address, data) that is loaded in it.
    """
    executor, move = executor or Executor(tile), Signal(init=1)
    found = []

    async def tick(ctx):
        while pauses():
            ctx.set(move, 0)
            await ctx.tick()
            ctx.set(move, 1)
        await ctx.tick()

    def load(ctx, target, address, part, data):
        ctx.set(executor.load_target, target)
        ctx.set(executor.load_address, address)
        ctx.set(executor.load_part, part)
        ctx.set(executor.load_data, data)

    async def bench(ctx):
        for each in instructions:
            if isinstance(each, Compute):
                for register, value in each.registers(tile).items():
                    ctx.set(executor.set_register, register)
                    ctx.set(executor.set_value, value)
                    ctx.set(executor.set_enable, 1)
                    await tick(ctx)
                ctx.set(executor.set_enable, 0)
                assert not ctx.get(executor.busy) and not ctx.get(executor.invalid)
                ctx.set(executor.start, 1)
                await tick(ctx)
                ctx.set(executor.start, 0)
                cycles, beats = 0, []
                while ctx.get(executor.busy):
                    if beside:
                        ctx.set(executor.load_enable, 1)
                        target, address, data = beside(cycles)
                        load(ctx, target, address, 0, data)
                    cycles += 1
                    assert not ctx.get(executor.overflow), "overflow"
                    if ctx.get(executor.result_valid):
                        beats.append((unpacked(tile, ctx.get(executor.result_data)), ctx.get(executor.result_last)))
                    await tick(ctx)
                ctx.set(executor.load_enable, 0)
                found.append((beats, cycles))
            else:
                target, address, words = each
                ctx.set(executor.load_enable, 1)
                for place, word in enumerate(words, address):
                    for part in range(load_parts(tile, word_bits(tile, target))):
                        load(ctx, target, place, part, word >> part * 8 * tile.beat_bytes)
                        await tick(ctx)
                ctx.set(executor.load_enable, 0)

    simulate(EnableInserter(move)(on_one_clock(executor)), bench)
    return found


def refuses(tile, compute):
    """Whether the registers are invalid once they hold what `compute` says."""
    registers, found = Registers(tile), []

    async def bench(ctx):
        ctx.set(registers.enable, 1)
        for register, value in compute.registers(tile).items():
            ctx.set(registers.number, register)
            ctx.set(registers.value, value)
            await ctx.tick()
        found.append(ctx.get(registers.invalid))

    simulate(registers, bench)
    return bool(found[0])


def simulate(design, bench):
    simulator = Simulator(design)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()


def unpacked(tile, data):
    bits = 8 * tile.lane_bytes
    return tuple((data >> row * bits) % (1 << bits) for row in range(tile.rows))


def check(tile, instructions):
    """Run, and compare each computation's results and cycles with what they must be."""
    plain, expected = PlainTile(tile), []
    for each in instructions:
        if isinstance(each, Compute):
            beats, cycles = computed(plain, each)
            expected.append(([(beat, beat is beats[-1]) for beat in beats], cycles))
            assert cycles == busy_cycles(tile, each)
        else:
            loaded(plain, *each)
    for ours, theirs, compute in zip(
        run(tile, instructions), expected, (each for each in instructions if isinstance(each, Compute))
    ):
        assert ours == theirs, compute


def computed(plain, compute):
    """Its results, as the bits of a number of each row, and its cycles."""
    for register, value in compute.registers(plain.tile).items():
        plain.registers[register] = value
    first = len(plain.results)
    cycles, bits = plain.compute(), 8 * plain.tile.lane_bytes
    return [tuple(number % (1 << bits) for number in beat) for beat in plain.results[first:]], cycles


def loaded(plain, target, address, words):
    size = plain.tile.beat_bytes
    parts = load_parts(plain.tile, word_bits(plain.tile, target))
    data = b"".join(word.to_bytes(parts * size, "little") for word in words)
    plain.load(target, address, len(words), (data[first : first + size] for first in range(0, len(data), size)))


def filled(tile, seed):
    """Random words in every memory, values included."""
    rng = random.Random(seed)
    counts = {Target.INPUTS: tile.inputs, Target.WEIGHTS: tile.weights, Target.CONSTANTS: tile.constants}
    if tile.table_inputs:
        counts[Target.TABLES] = tile.tables << tile.table_inputs
    loads = [
        (target, 0, [rng.getrandbits(word_bits(tile, target)) for _ in range(count)])
        for target, count in counts.items()
    ]
    count = min(tile.values, tile.inputs)
    return [*loads, moved(count, x_source=XSource.INPUTS)]


def moved(count, **changes):
    """Numbers from x to z, one after the other."""
    along = dict(
        feed=Loops((count,)), x=Stream(0, (1,)), step=Loops((count,)), store=Loops((count,)), z=Stream(0, (1,))
    )
    return Compute(**(along | changes))


def shown(first, count):
    """Values as results."""
    return moved(count, x=Stream(first, (1,)), destination=Destination.OUTPUT)


def test_moves_inputs_to_values_and_out():
    tile = small()
    check(tile, [*filled(tile, 1), shown(0, 64)])


@pytest.mark.parametrize("count, period, columns", [(5, 3, 3), (2, 7, 2), (3, 3, 3), (1, 3, 3), (4, 1, 1)])
def test_array(count, period, columns):
    tile = small()
    groups = 4
    compute = Compute(
        mode=Mode.ARRAY, feed=Loops((count, groups)), x=Stream(3, (2, 5)), w=Stream(1, (1, 2)),
        step=Loops((columns, groups)), y=Stream(7, (1, 3)), k=Stream(2, (1, 2)), store=Loops((groups, columns)),
        z=Stream(0, (columns, 1)), count=count, period=period, columns=columns, destination=Destination.OUTPUT,
        offset=True, y_source=YSource.VALUES, operation=Operation.SUBTRACT,
    )  # fmt: skip
    check(tile, [*filled(tile, 2), compute])


def test_operations():
    tile = small(values=128)
    loads = filled(tile, 3)
    both = dict(y_source=YSource.VALUES, y=Stream(32, (1,)), destination=Destination.OUTPUT)
    computes = [
        moved(32, operation="y", **both),
        moved(32, operation="y", immediate=-5, destination=Destination.OUTPUT),
    ]
    for operation in Operation:
        computes += [moved(32, operation=operation, bits=5, swap=swap, **both) for swap in (False, True)]
    for rounding in Rounding:
        for amount in (0, 1, 3, 15, 19, 20, 21, 40, 63):
            shift = dict(operation=Operation.SHIFT_RIGHT, rounding=rounding, immediate=amount)
            computes.append(moved(32, **shift, destination=Destination.OUTPUT))
    # Numbers of small magnitude: ties, equal numbers, amounts that leave something.
    near = moved(32, x=Stream(0, (1,)), operation=Operation.BITS, immediate=9, bits=3, z=Stream(64, (1,)))
    again = moved(32, x=Stream(32, (1,)), operation=Operation.BITS, immediate=9, bits=3, z=Stream(96, (1,)))
    small_ones = dict(x=Stream(64, (1,)), y=Stream(96, (1,)))
    computes += [near, again, *(replace(each, **small_ones) for each in computes[2:20])]
    for rounding in Rounding:
        halves = dict(operation=Operation.SHIFT_RIGHT, rounding=rounding, x=Stream(64, (1,)))
        computes += [moved(32, immediate=amount, destination=Destination.OUTPUT, **halves) for amount in (1, 2)]
    check(tile, [*loads, *computes])


def test_a_tile_has_the_operations_it_names_alone():
    tile = small(operations=("subtract", "shift_left"))
    for operation in OPERATIONS:
        assert refuses(tile, moved(1, operation=operation)) == (operation not in (None, "y", "subtract", "shift_left"))
    both = dict(y_source=YSource.VALUES, y=Stream(32, (1,)), destination=Destination.OUTPUT)
    check(tile, [*filled(tile, 4), *(moved(32, operation=each, **both) for each in tile.operations)])


@pytest.mark.parametrize("reduction", [Reduction.SUM, Reduction.MAXIMUM])
def test_reductions(reduction):
    computes = [
        Compute(
            feed=Loops((count, groups)), x=Stream(0, (1, count)), step=Loops((count, groups)), k=Stream(0, (1, 2)),
            y=Stream(5, (1, 2)), y_source=YSource.VALUES, operation=Operation.SUBTRACT, offset=True,
            store=Loops((groups,)), z=Stream(0, (1,)), count=count, period=period, reduction=reduction,
            requantization=Requantization.CONSTANT, destination=Destination.OUTPUT,
        )
        for count, groups, period in ((1, 9, 1), (5, 4, 1), (5, 4, 7), (20, 1, 30))
    ]  # fmt: skip
    tile = small(constants=32)
    check(tile, [*filled(tile, 5), *computes])


def test_requantization():
    rng = random.Random(6)
    for lanes in (dict(), dict(rows=1, value_bits=48, input_bits=32, accumulator_bits=48, inputs=32, constants=16)):
        tile = small(**lanes)
        bits, computes = tile.lane_bits, []
        for source in (Requantization.REGISTERS, Requantization.CONSTANT):
            for rounding in Rounding:
                for _ in range(4):
                    low, high = sorted(rng.randrange(-(1 << bits - 1), 1 << bits - 1) for _ in range(2))
                    wide = rng.random() < 0.5
                    ends = dict(low=low, high=high) if rng.random() < 0.5 else {}
                    ends |= dict(least=-100, most=155) if rng.random() < 0.5 else {}
                    raised = dict(operation=Operation.SHIFT_LEFT, immediate=bits - 17) if wide else {}
                    computes.append(
                        moved(
                            16, k=Stream(0, (1,)), requantization=source, requantize_rounding=rounding,
                            factor=rng.getrandbits(31), shift=rng.randrange(64),
                            zero_point=rng.choice((0, -7, 1 << 46)), destination=Destination.OUTPUT, **ends, **raised,
                        )
                    )  # fmt: skip
        # Products that end in a half.
        computes += [
            moved(
                16, requantization=Requantization.REGISTERS, requantize_rounding=rounding, factor=1 << 9, shift=10,
                destination=Destination.OUTPUT,
            )
            for rounding in Rounding
        ]  # fmt: skip
        check(tile, [*filled(tile, 7), *computes])


def test_tables():
    tile = small(table_inputs=5, table_outputs=9, tables=3)
    computes = [moved(32, table=table, destination=Destination.OUTPUT) for table in range(3)]
    scaled = dict(requantization=Requantization.REGISTERS, factor=3, shift=8, least=0, most=31)
    check(tile, [*filled(tile, 8), *computes, moved(32, table=1, destination=Destination.OUTPUT, **scaled)])
    assert refuses(tile, moved(1, table=3)) and refuses(small(), moved(1, table=0))


MATRIX = Compute(
    mode=Mode.ARRAY, feed=Loops((4, 3)), x=Stream(0, (1, 2)), w=Stream(0, (1, 4)), count=4, columns=3, period=3,
    step=Loops((9,)), store=Loops((9,)), z=Stream(0, (1,)), destination=Destination.OUTPUT,
)  # fmt: skip


def test_operators_of_codes():
    sigmoid = hwlut.load("pretrained/sigmoid_8.json").at_scale(4).replace(output=Fixed(9, 7))
    cosine = hwlut.load("pretrained/cos_8.json").at_scale(5).replace(output=Fixed(8, 6))
    tile = small(operators=(sigmoid, cosine))
    scaled = dict(
        requantization=Requantization.REGISTERS, factor=77, shift=6, zero_point=3, destination=Destination.OUTPUT
    )
    computes = [moved(32, operator=number, **scaled) for number in range(2)]
    check(tile, [*filled(tile, 9), *computes, *(replace(MATRIX, operator=number) for number in range(2))])
    assert refuses(tile, moved(1, operator=2))
    assert refuses(tile, moved(1, operator=0, where=True))
    assert refuses(tile, moved(1, operator=0, requantization=Requantization.CONSTANT))


SOFTMAX = softmax(input=Fixed(8, 4), output=Fixed(8, 8, signed=False), most=16)


def rows_of(count, groups, period, **changes):
    loops = Loops((count, groups))
    return Compute(feed=loops, x=Stream(0, (1, 1)), step=loops, store=loops, count=count, period=period, **changes)


def test_operators_of_rows():
    norm = layer_norm(input=Fixed(6, 3), output=Fixed(8, 5), size=4, eps=1e-3)
    tile = small(rows=1, operators=(SOFTMAX, norm))
    out = dict(operator=0, destination=Destination.OUTPUT)
    computes = [rows_of(count, 12, period, **out) for count in (1, 2, 5, 16) for period in (count, count + 2)]
    normed = [rows_of(4, 5, period, **out | dict(operator=1)) for period in (1, 9)]
    check(tile, [*filled(tile, 10), *computes, *normed, rows_of(3, 2, 50, **out)])


def test_an_operator_that_is_not_ready_is_told():
    class Stuck(RowsComponent):
        def elaborate(self, platform):
            return Module()

    executor = Executor(small(operators=(SOFTMAX,)), lambda _: Stuck(SOFTMAX, row_passes(SOFTMAX)))
    with pytest.raises(AssertionError, match="overflow"):
        run(executor.tile, [rows_of(2, 3, 2, operator=0)], executor=executor)


def test_where():
    tile = small(values=128)
    mask = moved(32, operation=Operation.LESS, immediate=0, z=Stream(96, (1,)))
    chosen = moved(
        32, operation=None, y_source=YSource.VALUES, y=Stream(96, (1,)), offset=True, k=Stream(3, (0,)),
        z=Stream(60, (1,)), where=True,
    )  # fmt: skip
    check(tile, [*filled(tile, 11), mask, chosen, shown(32, 64)])


@pytest.mark.parametrize("columns", [1, 3, 4])
def test_products_of_two_activations(columns):
    tile = small(columns=columns, operands=8)
    power = 1 << (columns - 1).bit_length()
    store = moved(
        1, feed=Loops((columns, 8)), x=Stream(5, (1, 3)), step=Loops((columns, 8)), store=Loops((columns, 8)),
        z=Stream(0, (1, power)), destination=Destination.OPERANDS,
    )  # fmt: skip
    array = Compute(
        mode=Mode.ARRAY, feed=Loops((4, 3)), x=Stream(9, (1, 4)), w=Stream(0, (1, 2)), w_source=WSource.OPERANDS,
        count=4, columns=columns, period=columns, step=Loops((columns, 3)), store=Loops((columns, 3)),
        destination=Destination.OUTPUT,
    )  # fmt: skip
    masked = replace(store, x=Stream(0, (1, 2)), y=Stream(1, (1, 1)), y_source=YSource.VALUES, where=True)
    weighted = replace(array, w_source=WSource.WEIGHTS)
    some = moved(40, operation=Operation.BITS, bits=1, z=Stream(0, (1,)))
    check(tile, [*filled(tile, 12), store, array, weighted, some, masked, array])
    assert refuses(small(), array) and refuses(small(), store)


def test_multipliers_of_several_formats():
    kinds = [hwlut.load(f"pretrained/{name}.json") for name in ("mul8s_exact", "mul8s_drum_4", "mul8u_mitchell")]
    kinds.append(Multiplier(family="exact", a=Fixed(9), b=Fixed(4, signed=False)))
    tile = small(multipliers=tuple(kinds))
    array = Compute(
        mode=Mode.ARRAY, feed=Loops((5, 4)), x=Stream(0, (1, 5)), w=Stream(0, (1, 2)), count=5, columns=3, period=1,
        step=Loops((12,)), store=Loops((12,)), destination=Destination.OUTPUT, x_source=XSource.INPUTS,
    )  # fmt: skip
    check(tile, [*filled(tile, 13), *(replace(array, multiplier=number) for number in range(4))])
    assert refuses(tile, replace(array, multiplier=4)) and not refuses(tile, moved(1))


LOOKED_UP = Compute(
    mode=Mode.LOOK_UP, feed=Loops((5, 4)), x=Stream(0, (1, 5)), w=Stream(0, (1, 2)), count=5, columns=3, period=4,
    step=Loops((3, 4)), k=Stream(0, (1, 0)), offset=True, store=Loops((3, 4)), destination=Destination.OUTPUT,
)  # fmt: skip


@pytest.mark.parametrize(
    "entries, bits, encoder, multipliers",
    [(4, 4, "tree", (EXACT,)), (16, 8, "l1", ()), (2, 8, "l2", ()), (8, 4, "chebyshev", (EXACT, DRUM))],
)
def test_look_ups_and_codes(entries, bits, encoder, multipliers):
    tile = small(entries=entries, entry_bits=bits, encoder=encoder, multipliers=multipliers)
    depth = (entries - 1).bit_length()
    codes = []
    for count, period in ((depth, depth + 2), (depth, 1)) if encoder == "tree" else ((1, 1), (3, 1), (4, 9), (2, 2)):
        along = {}
        if encoder == "tree":
            # Any step's input: the constants' offsets say which.
            step, k = Loops((count, 6)), Stream(0, (1, 1))
            along = dict(step=step, k=k, w=Stream(0, (0, 1)), x=Stream(0, (0, 4)))
        else:
            step, k = Loops((6,)), Stream(0, (1,))
            along = dict(step=step, k=k, w=Stream(0, (1, 0)), x=Stream(0, (1, count)))
        codes += [
            Compute(
                mode=Mode.ENCODE, feed=Loops((count, 6)), store=Loops((6,)), z=Stream(0, (1,)), count=count,
                period=period, x_source=XSource.INPUTS, destination=Destination.OUTPUT, offset=offset, **along,
            )
            for offset in (False, encoder == "tree")
        ]  # fmt: skip
    loads = filled(tile, 14)
    if encoder == "tree":
        rng = random.Random(15)
        words = [rng.randrange(-30, 30) % (1 << tile.offset_bits) for _ in range(tile.constants)]
        loads.append((Target.CONSTANTS, 0, words))
    check(tile, [*loads, LOOKED_UP, *([replace(LOOKED_UP, mode=Mode.ARRAY)] if multipliers else []), *codes])
    assert refuses(small(), LOOKED_UP) and refuses(small(), codes[0])
    assert refuses(tile, replace(LOOKED_UP, mode=Mode.ARRAY)) == (not multipliers)


@pytest.mark.parametrize("parts", [dict(rows=1, value_bits=8, input_bits=8), dict(rows=1, columns=5, value_bits=23)])
def test_words_in_several_beats(parts):
    tile = small(**parts, entries=4, encoder="l2", table_inputs=3, table_outputs=8)
    assert load_parts(tile, tile.constant_bits) > 1 and load_parts(tile, word_bits(tile, Target.WEIGHTS)) > 1
    columns = tile.columns
    looked_up = replace(LOOKED_UP, columns=columns, period=columns, step=Loops((columns, 4)), store=Loops((columns, 4)))
    scaled = replace(MATRIX, requantization=Requantization.CONSTANT, k=Stream(0, (1, 1)), table=0)
    check(tile, [*filled(tile, 16), looked_up, scaled])


def test_the_least_tile():
    tile = Tile(
        rows=1, columns=1, multipliers=(EXACT,), value_bits=8, accumulator_bits=8, loops=1, operations=(),
        values=2, inputs=2, weights=2, constants=2, table_outputs=2,
    )  # fmt: skip
    array = Compute(
        mode=Mode.ARRAY, feed=Loops((2,)), x=Stream(0, (1,)), w=Stream(0, (1,)), count=2, offset=True,
        destination=Destination.OUTPUT,
    )  # fmt: skip
    check(tile, [*filled(tile, 17), array, shown(0, 2)])


def test_loads_beside_a_computation_leave_it_alone():
    tile = small(inputs=128)
    plain = PlainTile(tile)
    array = replace(MATRIX, count=12, feed=Loops((12, 3)), w=Stream(0, (1, 0)), offset=True, k=Stream(0, (1,)))
    loads = filled(tile, 18)
    for each in loads[:-1]:
        loaded(plain, *each)
    computed(plain, loads[-1])
    expected, _ = computed(plain, array)
    beside = [(Target.WEIGHTS, 15), (Target.CONSTANTS, 9), (Target.INPUTS, 100)]
    found = run(tile, [*loads, array], beside=lambda cycle: (*beside[cycle % 3], 0x1234567 * cycle))
    assert [beat for beat, _ in found[-1][0]] == expected


def test_it_stands_still_where_it_is_not_enabled():
    tile = small(operators=(SOFTMAX,), table_inputs=4, entries=4, encoder="l1", operands=4)
    instructions = [
        *filled(tile, 19), replace(MATRIX, offset=True, requantization=Requantization.CONSTANT, table=0),
        rows_of(5, 4, 7, operator=0, destination=Destination.OUTPUT), LOOKED_UP,
    ]  # fmt: skip
    rng = random.Random(20)
    assert run(tile, instructions, pauses=lambda: rng.random() < 0.4) == run(tile, instructions)


def test_all_at_once_at_random():
    """Whatever the flags say together."""
    rng = random.Random(21)
    sigmoid = hwlut.load("pretrained/sigmoid_8.json").at_scale(4).replace(output=Fixed(9, 7))
    for encoder in ("tree", "chebyshev"):
        tile = small(
            multipliers=(EXACT, DRUM), entries=4, encoder=encoder, operators=(sigmoid, SOFTMAX), table_inputs=4,
            table_outputs=12, operands=16, values=256, inputs=64,
        )  # fmt: skip
        fill = moved(64, feed=Loops((64,)), store=Loops((64,)), z=Stream(0, (1,)), destination=Destination.OPERANDS)
        check(tile, [*filled(tile, 22), fill, *(anything(rng, tile) for _ in range(40)), shown(128, 40)])


def anything(rng, tile):
    """A computation that is defined: it writes where it does not read, and reads what was written."""
    mode = rng.choice(list(Mode))
    by_tree = mode is Mode.ENCODE and tile.encoder.value == "tree"
    count = 2 if by_tree else rng.randint(1, 5)
    groups, columns = rng.randint(1, 4), rng.randint(1, tile.columns)
    vector, drains = mode is Mode.VECTOR, mode in (Mode.ARRAY, Mode.LOOK_UP)
    feed = Loops((count, groups))
    step = feed if vector or by_tree else Loops((columns if drains else 1, groups))
    operator = rng.choice((-1, -1, 0, 1)) if vector else rng.choice((-1, -1, 0))
    reduction = rng.choice(list(Reduction)) if vector and operator < 1 else Reduction.NONE
    store = Loops((1, groups)) if reduction is not Reduction.NONE or (by_tree and operator < 1) else step
    low, high = sorted(rng.randrange(-(1 << 19), 1 << 19) for _ in range(2))
    least, most = sorted(rng.randrange(-(1 << 15), 1 << 15) for _ in range(2))
    destination = rng.choice(list(Destination))
    plain = [Requantization.NONE, Requantization.REGISTERS]
    return Compute(
        mode=mode, feed=feed, x=Stream(rng.randrange(8), (1, rng.randrange(6))), w=Stream(rng.randrange(4), (1, 2)),
        step=step, y=Stream(rng.randrange(8), (3, 1)), k=Stream(rng.randrange(4), (1, 2)), store=store,
        z=Stream(128 if destination is Destination.VALUES else 0, (1, store.sizes[0])), count=count,
        period=rng.randint(columns if drains else 1, 9), columns=columns,
        x_source=rng.choice(list(XSource)), w_source=rng.choice(list(WSource)) if drains else WSource.WEIGHTS,
        multiplier=rng.randrange(2), y_source=YSource.IMMEDIATE if by_tree else rng.choice(list(YSource)),
        offset=rng.random() < 0.5 and not by_tree, operation=rng.choice(OPERATIONS), swap=rng.random() < 0.5,
        rounding=rng.choice(list(Rounding)), bits=rng.randrange(20), reduction=reduction, operator=operator,
        immediate=rng.randrange(-40, 40), requantize_rounding=rng.choice(list(Rounding)), table=rng.choice((-1, -1, 0)),
        requantization=rng.choice(plain if operator >= 0 or by_tree else list(Requantization)),
        factor=rng.getrandbits(31), shift=rng.randrange(24, 40), zero_point=rng.randrange(-9, 9),
        destination=destination,
        where=rng.random() < 0.3 and operator < 0 and destination is not Destination.OUTPUT,
        **rng.choice(({}, dict(low=low, high=high))), **rng.choice(({}, dict(least=least, most=most))),
    )  # fmt: skip


def test_its_verilog_is_lint_clean(tmp_path, need):
    need("verilator")
    tool, path = find_verilator(), tmp_path / "executor.v"
    full = small(
        rows=1,
        multipliers=(EXACT, DRUM),
        entries=2,
        encoder="l2",
        operators=(SOFTMAX,),
        table_inputs=4,
        tables=3,
        operands=8,
    )
    for tile in (full, small(entries=8, encoder="tree", columns=1, operations=())):
        path.write_text(
            verilog.convert(on_one_clock(Executor(tile)), name="executor", emit_src=False, strip_internal_attrs=True)
        )
        allowed = [f"-Wno-{kind}" for kind in ("WIDTH", "UNUSEDSIGNAL", "DECLFILENAME", "PROCASSINIT")]
        lint = [str(tool.command), "--lint-only", "-Wall", *allowed, "--top-module", "executor", str(path)]
        done = run_tool(lint, env=tool.environment())
        assert done.returncode == 0 and not done.stderr, done.stderr
