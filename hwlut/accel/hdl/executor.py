"""The executor: everything of a tile that computes."""

from collections.abc import Callable

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwlut.accel.commands import IMMEDIATE_BITS, Destination, Mode, Target, WSource, XSource, YSource
from hwlut.accel.hdl.array import sums
from hwlut.accel.hdl.encoder import code
from hwlut.accel.hdl.lane import Lane
from hwlut.accel.hdl.memory import Beats, loaded, stored
from hwlut.accel.hdl.nest import Nest
from hwlut.accel.hdl.pace import Constant, Pace
from hwlut.accel.hdl.registers import Registers
from hwlut.accel.hdl.sequencer import Sequencer
from hwlut.hdl.arithmetic import named, select
from hwlut.hdl.component import UnitComponent, component
from hwlut.units.lut_matmul import Encoder
from hwlut.units.tile import ADDRESS_BITS, SHIFT_BITS, Tile

__all__ = ["Executor"]


class Executor(wiring.Component):
    """Computes what its registers describe, from and into its memories.

    Ports
    -----
    set_enable, set_register, set_value: write a register; not while busy.
    start: begins to compute, in the next cycle; not while busy. busy: high while that lasts.
    feeding, draining, storing: whether in this cycle the feed takes a step, a sum of the array enters the lanes, or a
        result is stored.
    invalid: whether the flags name what the tile does not have.
    overflow: a number reached an operator that was not ready.
    operates: which operators compute. Each has a clock domain, by `operator_domain`, which may stand still while that
        does not compute, and whenever all else does.
    load_enable, load_target, load_address, load_part, load_data: write a part of a word into a memory, low bits first;
        also while busy.
    result_valid, result_data, result_last: a number of each row, row 0 at the low end, each sign-extended to whole
        bytes; whether it is the last of a computation. It is always taken.

    Parameters
    ----------
    tile: its parameters.
    operator: makes the component of one of its operators, by number, for each row.
    """

    def __init__(self, tile: Tile, operator: Callable[[int], UnitComponent] | None = None):
        self.tile = tile
        self._operator = operator or (lambda number: component(tile.operators[number]))
        super().__init__(
            {
                "set_enable": In(1),
                "set_register": In(8),
                "set_value": In(IMMEDIATE_BITS),
                "start": In(1),
                "busy": Out(1),
                "feeding": Out(1),
                "draining": Out(1),
                "storing": Out(1),
                "invalid": Out(1),
                "overflow": Out(1),
                "operates": Out(max(1, len(tile.operators))),
                "load_enable": In(1),
                "load_target": In(2),
                "load_address": In(ADDRESS_BITS),
                "load_part": In(16),
                "load_data": In(8 * tile.beat_bytes),
                "result_valid": Out(1),
                "result_data": Out(8 * tile.beat_bytes),
                "result_last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._control(m)
        self._shared_memories(m)
        self._pace = Pace(m, self.tile, self._registers, self._sequencer, self._constant)
        stores, chosen = self._pace.valid[6], self._registers.flags.destination
        self._stores = {each: named(m, f"into_{each.name.lower()}", stores & (chosen == each)) for each in Destination}
        lanes = []
        for row in range(self.tile.rows):
            m.submodules[f"row_{row}"] = inner = Module()
            lanes.append(self._row(inner, row))
        self._finish(m, lanes)
        return m

    def _control(self, m: Module) -> None:
        tile = self.tile
        m.submodules.registers = self._registers = registers = Registers(tile)
        m.submodules.sequencer = self._sequencer = sequencer = Sequencer(tile, registers)
        m.submodules.feed = self._feed = feed = Nest(registers.feed_sizes, [registers.x, registers.w])
        m.submodules.step = self._step = step = Nest(registers.step_sizes, [registers.y, registers.k])
        m.submodules.store = self._store = store = Nest(registers.store_sizes, [registers.z])
        m.d.comb += [
            registers.enable.eq(self.set_enable),
            registers.number.eq(self.set_register),
            registers.value.eq(self.set_value),
            self.invalid.eq(registers.invalid),
            *(each.start.eq(self.start) for each in (sequencer, feed, step, store)),
            sequencer.feed_last.eq(feed.last),
            feed.step.eq(sequencer.step[0]),
            step.step.eq(sequencer.step_number),
        ]

    def _beats(self, target: Target, bits: int) -> Beats:
        """What is loaded into the memory of words of so many bits."""
        enable = self.load_enable & (self.load_target == target)
        return Beats(enable, self.load_address, self.load_part, self.load_data, bits)

    def _shared_memories(self, m: Module) -> None:
        """Constants and, once their addresses are known, weights: the same for all rows."""
        tile, k = self.tile, self._step.addresses[1]
        beats, low, fields = self._beats(Target.CONSTANTS, tile.constant_bits), 0, []
        for name, bits in (("offsets", tile.offset_bits), ("multipliers", tile.factor_bits), ("shifts", SHIFT_BITS)):
            fields.append(loaded(m, name, low, bits, tile.constants, k, beats))
            low += bits
        self._constant = Constant(fields[0].as_signed(), fields[1], fields[2])
        self._x, w = self._feed.addresses
        if tile.encoder is Encoder.TREE:
            # The constant's offset is there in the cycle after the feed's addresses.
            flags = self._registers.flags
            encodes = named(m, "encodes", flags.mode == Mode.ENCODE)
            x_later = Signal(ADDRESS_BITS)
            w_later = Signal(ADDRESS_BITS)
            m.d.sync += [x_later.eq(self._x), w_later.eq(w)]
            offset = Mux(flags.offset, self._constant.offset[:ADDRESS_BITS], 0)
            self._x = named(m, "x_address", Mux(encodes, (x_later + offset)[:ADDRESS_BITS], self._x))
            w = named(m, "w_address", Mux(encodes, w_later, w))
        beats = self._beats(Target.WEIGHTS, tile.columns * tile.weight_bits)
        self._weights = []
        for column in range(tile.columns):
            m.submodules[f"column_{column}"] = inner = Module()
            low = column * tile.weight_bits
            self._weights.append(loaded(inner, "weights", low, tile.weight_bits, tile.weights, w, beats))
        self._w = w

    def _row(self, m: Module, row: int) -> Lane:
        tile, registers, sequencer, pace = self.tile, self._registers, self._sequencer, self._pace
        flags = registers.flags
        result = Signal(signed(tile.value_bits), name="result")
        there = Signal(name="there")
        writes = named(m, "writes", there | ~flags.where)

        # What is read.
        z = self._store.addresses[0]
        into_values = self._stores[Destination.VALUES] & writes
        reads = [self._x, self._step.addresses[0]]
        x, y = stored(m, "values", signed(tile.value_bits), tile.values, reads, into_values, z, result)
        beats = self._beats(Target.INPUTS, 8 * tile.beat_bytes)
        number = beats.data.word_select(row, 8 * tile.lane_bytes)[: tile.input_bits]
        (held,) = stored(
            m, "inputs", signed(tile.input_bits), tile.inputs, [self._x], beats.enable, beats.address, number
        )
        x = named(m, "x", Mux(flags.x_source == XSource.INPUTS, held, x))
        y = Mux(flags.y_source == YSource.VALUES, y, pace.y)

        # What becomes of it.
        drains = pace.valid[1] & sequencer.drains
        found: dict[int, Value] = {Mode.VECTOR: x}
        seconds = self._operands(m, writes, result)
        found[Mode.ARRAY] = found[Mode.LOOK_UP] = sums(m, tile, registers, sequencer, drains, x, seconds, self._weights)
        if tile.entries:
            m.submodules.encoder = inner = Module()
            found[Mode.ENCODE] = code(inner, tile, sequencer, x, self._weights[0])
        entering = select(m, "entering", flags.mode, found, signed(tile.lane_bits))
        m.submodules.lane = inner = Module()
        tables = self._beats(Target.TABLES, tile.table_outputs) if tile.table_inputs else None
        made = [self._operator(number) for number in range(len(tile.operators))]
        lane = Lane(inner, tile, registers, pace, entering, named(m, "y", y, signed(tile.lane_bits)), tables, made)
        m.d.comb += [result.eq(lane.result), there.eq(lane.there)]
        return lane

    def _operands(self, m: Module, writes: Value, result: Value) -> list[Value]:
        """Second operands of each column: weights, or the row's own."""
        tile, flags, bits = self.tile, self._registers.flags, self.tile.operand_bits[1]
        if not tile.operands:
            return self._weights
        z, places = self._store.addresses[0], (tile.columns - 1).bit_length()
        enable = self._stores[Destination.OPERANDS] & writes
        column = [enable & (z[:places] == number) for number in range(tile.columns)]
        data = result[:bits].replicate(tile.columns)
        (held,) = stored(
            m, "operands", unsigned(bits * tile.columns), tile.operands, [self._w], Cat(*column), z[places:], data
        )
        own = flags.w_source == WSource.OPERANDS
        return [
            named(m, f"second_{number}", Mux(own, held.word_select(number, bits), weight[:bits]))
            for number, weight in enumerate(self._weights)
        ]

    def _finish(self, m: Module, lanes: list[Lane]) -> None:
        tile, pace, store = self.tile, self._pace, self._store
        pace.finish(lanes[0].handshake)
        bits = 8 * tile.lane_bytes
        m.d.comb += [
            self.busy.eq(self._sequencer.busy | pace.busy),
            self.feeding.eq(self._sequencer.step[0]),
            self.draining.eq(self._sequencer.drains & self._sequencer.enter),
            self.storing.eq(pace.valid[6]),
            self.overflow.eq(pace.overflow),
            *(
                self.operates[number].eq(self.busy & (self._registers.flags.operator == number + 1))
                for number in range(len(tile.operators))
            ),
            store.step.eq(pace.valid[6]),
            self.result_valid.eq(self._stores[Destination.OUTPUT]),
            self.result_last.eq(store.last),
            *(
                self.result_data.word_select(row, bits).eq(named(m, f"number_{row}", lane.result, signed(bits)))
                for row, lane in enumerate(lanes)
            ),
        ]
