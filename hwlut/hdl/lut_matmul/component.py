"""A `LutMatmul` as hardware: encoders, code FIFO, banks of tables, sums."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream

from hwlut.fixed import Fixed
from hwlut.hdl.arithmetic import named
from hwlut.hdl.component import UnitComponent, component
from hwlut.hdl.lut_matmul.codes import Codes, counter
from hwlut.hdl.lut_matmul.encoder import encode
from hwlut.hdl.lut_matmul.load import Tables, load_beat, loadable_sums
from hwlut.hdl.lut_matmul.scan import memory_words, scan
from hwlut.hdl.stream import Beat, BeatField, Pipeline
from hwlut.units.lut_array import LutArray, lut_array
from hwlut.units.lut_matmul import CODE, Encoder, LutMatmul

__all__ = ["LutMatmulComponent"]

_MOST_INPUTS = 8192  # of a beat: a port has at most 2^16 bits
_MOST_OUTPUTS = 2048
_MOST_BITS = 1 << 24  # of all memories, and of all constants of the encoders


class LutMatmulComponent(UnitComponent):
    """A `LutMatmul` as hardware, in the shape of a `LutArray`.

    A row of inputs comes as `beats` beats of fields x0, x1, ..., each `encoders` sub-vectors after each other; what is
    beyond the features is ignored. Rows are counted from reset on, there is no ``last``. Its results leave as `tiles`
    beats of fields y0, y1, ..., 0 beyond the outputs.

    Parameters
    ----------
    array: the unit and the shape; cycles and latency are those that it says.
    reloadable: a stream ``load`` replaces the table (`Tables`), and before the first load no row is accepted. The
        accumulators then hold the sums of every table of the unit's bits.
    """

    unit: LutMatmul

    def __init__(self, array: LutArray, reloadable: bool):
        unit = array.unit
        self._array = array
        self._sums = loadable_sums(unit) if reloadable else unit.accumulator
        output = self._sums if unit.requantize is None else unit.requantize.output
        inputs = (BeatField(f"x{number}", CODE.bits, True, None) for number in range(array.encoders * unit.v))
        outputs = (BeatField(f"y{number}", output.bits, output.signed, None) for number in range(array.tile))
        super().__init__(
            unit,
            Beat(tuple(inputs)),
            Beat(tuple(outputs)),
            scale=None,
            latency=array.latency,
            load_beat=load_beat(array) if reloadable else None,
            rows={
                "inputs": array.beats,
                "outputs": array.tiles,
                "cycles": array.cycles_per_row,
                "cycles_per_output": array.groups,
                "load_cycles": array.load_cycles if reloadable else None,
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        array, inputs = self._array, [field.name for field in self.input_beat.data]
        tables = None
        if self.load_beat is not None:
            m.submodules.tables = loader = Module()
            tables = Tables(loader, array, self.load)

        # Each beat knows its place in its row, and the table that was in use when the row began.
        members = {name: self.i.payload[name].shape() for name in inputs}
        begins = named(m, "begins", self.i.valid & self.i.ready)
        place, _ = counter(m, "place", array.beats, begins)
        extra: dict[str, Value] = {}
        if place is not None:
            extra["place"] = place
            begins = named(m, "row_begins", begins & (place == 0))
        if tables is not None:
            extra["table"] = self._row_table(m, tables.used, begins, place)
        layout = data.StructLayout(members | {name: value.shape() for name, value in extra.items()})
        beats = stream.Signature(layout).create(path=("beats",))
        m.d.comb += [beats.valid.eq(self.i.valid), self.i.ready.eq(beats.ready)]
        m.d.comb += [beats.payload[name].eq(self.i.payload[name]) for name in inputs]
        m.d.comb += [beats.payload[name].eq(value) for name, value in extra.items()]

        # Encode.
        m.submodules.encoders = encoders = Module()
        codes_layout = data.StructLayout({"codes": unsigned(array.encoders * array.unit.depth)})
        found = stream.Signature(codes_layout).create(path=("found",))
        rows = Pipeline(encoders, beats, found, None if tables is None else tables.empty)
        given = {name: rows.payload[name] for name in extra}
        codes, table = encode(
            encoders, rows, array, [rows.payload[name] for name in inputs], given.get("place"), given.get("table")
        )
        rows.finish(codes=Cat(*codes))

        # Collect the codes, then look up and add up.
        m.submodules.codes = fifo = Module()
        groups = Codes(fifo, array, found, table)
        m.submodules.sums = sums = Module()
        scan(sums, array, groups, tables, self._sums, self.o)
        if tables is not None:
            # At most one row in the skid buffer and each row of registers, and those of which the FIFO has a part.
            most = 1 + array.encoder_latency + 3
            tables.wait(most, begins, groups.taken & groups.row_last, groups.table)
        return m

    def _row_table(self, m: Module, used: Signal, begins: Value, place: Value | None) -> Value:
        """The table of the row that a beat belongs to: the one in use at its first beat."""
        if place is None:
            return used
        table = Signal(name="begun_table", reset_less=True)
        with m.If(begins):
            m.d.sync += table.eq(used)
        return named(m, "row_table", Mux(place == 0, used, table))


@component.register(LutMatmul)
def _component(
    unit: LutMatmul,
    *,
    scale: int | None = None,
    stages: int | None = None,
    banks: int | None = None,
    tile: int | None = None,
    encoders: int | None = None,
    reloadable: bool = False,
) -> LutMatmulComponent:
    for name, given in (("scale", scale), ("stages", stages)):
        if given is not None:
            raise ValueError(f"LutMatmul {name} must not be given, not {given}")
    if not isinstance(reloadable, bool):
        raise TypeError(f"LutMatmul reloadable must be true or false, not {reloadable!r}")
    array = lut_array(unit, banks, tile, encoders)
    _check_size(array, reloadable)
    if reloadable:
        _check_loadable(unit)
    return LutMatmulComponent(array, reloadable)


def _check_size(array: LutArray, reloadable: bool) -> None:
    unit = array.unit
    if array.encoders * unit.v > _MOST_INPUTS:
        raise ValueError(f"LutMatmul inputs of a beat must be at most {_MOST_INPUTS}, not {array.encoders * unit.v}")
    if array.tile > _MOST_OUTPUTS:
        raise ValueError(f"LutMatmul tile must be at most {_MOST_OUTPUTS} in hardware, not {array.tile}")
    tables = array.banks * memory_words(array) * array.tile * unit.table_bits * (1 + reloadable)
    held = unit.thresholds if unit.encoder is Encoder.TREE else unit.prototypes
    assert held is not None
    for label, bits in (("memories", tables), ("encoders", CODE.bits * held.size)):
        if bits > _MOST_BITS:
            raise ValueError(f"LutMatmul {label} must hold at most 2^24 bits in hardware, not {bits}")


def _check_loadable(unit: LutMatmul) -> None:
    """Refuse what cannot compute every table of the unit's bits."""
    sums: Fixed = loadable_sums(unit)
    if sums.bits > 32:
        raise ValueError(f"LutMatmul sums of any table must fit 32 bits in a reloadable component, not {sums.bits}")
    held = None if unit.requantize is None else unit.requantize.input
    if held is not None and (held.min > sums.min or held.max < sums.max):
        raise ValueError(
            f"LutMatmul requantize input must hold the sums of any table, {sums}, in a reloadable component, not {held}"
        )
