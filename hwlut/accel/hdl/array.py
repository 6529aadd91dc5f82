"""The array's cells: products or entries, and their sums."""

from amaranth.hdl import Module, Mux, Signal, Value, signed

from hwlut.accel.commands import Mode
from hwlut.accel.hdl.registers import Registers
from hwlut.accel.hdl.sequencer import Sequencer
from hwlut.hdl.arithmetic import named, select
from hwlut.hdl.multiplier.product import product
from hwlut.units.tile import Tile

__all__ = ["sums"]


def sums(
    m: Module,
    tile: Tile,
    registers: Registers,
    sequencer: Sequencer,
    shift: Value,
    x: Value,
    seconds: list[Value],
    weights: list[Value],
) -> Signal:
    """The sums of a row, those of one group after each other: each is there until there is a `shift`.

    Parameters
    ----------
    x: the row's first operand, or code. seconds: the second operand of each column. weights: its entries.
    """
    shape = signed(tile.accumulator_bits)
    row = [Signal(shape, name=f"sum_{column}", reset_less=True) for column in range(tile.columns)]
    totals = []
    for column, (second, weight) in enumerate(zip(seconds, weights)):
        m.submodules[f"cell_{column}"] = cell = Module()
        term = named(cell, "term", _term(cell, tile, registers, x, second, weight), shape)
        total = Signal(shape, name="total", reset_less=True)
        with cell.If(sequencer.first[1]):
            cell.d.sync += total.eq(term)
        with cell.Elif(sequencer.step[1]):
            cell.d.sync += total.eq(total + term)
        totals.append(total)
    with m.If(sequencer.capture):
        m.d.sync += [each.eq(total) for each, total in zip(row, totals)]
    with m.Elif(shift):
        m.d.sync += [each.eq(after) for each, after in zip(row, row[1:])]
    return row[0]


def _term(m: Module, tile: Tile, registers: Registers, x: Value, second: Value, weight: Value) -> Value:
    """What is added to a sum."""
    products: list[Value] = []
    for number, unit in enumerate(tile.multipliers):
        m.submodules[f"product_{number}"] = inner = Module()
        products.append(product(inner, unit, x, second))
    if not tile.entries:
        return _chosen(m, registers, products)
    code = x[: (tile.entries - 1).bit_length()]
    entry = weight[: tile.entries * tile.entry_bits].word_select(code, tile.entry_bits).as_signed()
    if not products:
        return entry
    return Mux(registers.flags.mode == Mode.LOOK_UP, entry, _chosen(m, registers, products))


def _chosen(m: Module, registers: Registers, products: list[Value]) -> Value:
    """The product of the multiplier that the flags name."""
    if len(products) == 1:
        return products[0]
    bits = max(len(each) + (not each.shape().signed) for each in products)
    return select(m, "chosen", registers.flags.multiplier, dict(enumerate(products)), signed(bits))
