"""Hardware of a requantization: multiply, shift, saturate."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module, Value

from hwlut.hdl.arithmetic import choose, named, round_shift, saturate
from hwlut.hdl.component import UnitComponent, checked_stages, component
from hwlut.hdl.stream import Beat, BeatField, Pipeline, Rows, shape_of
from hwlut.units.requantize import STAGES, Requantize

__all__ = ["Lane", "RequantizeComponent", "channel_field", "requantized"]

_CUTS = {1: (), 2: ("multiply",), 3: ("multiply", "round")}


class RequantizeComponent(UnitComponent):
    """A `Requantize` as hardware; per channel, each beat names its channel in the field ``channel``.

    Parameters
    ----------
    unit: multipliers and shifts, which become constants.
    stages: 1 to 3 rows of registers.
    """

    unit: Requantize

    def __init__(self, unit: Requantize, stages: int):
        super().__init__(
            unit,
            Beat((BeatField("acc", unit.input.bits, unit.input.signed, None),), channel_field(unit)),
            Beat((BeatField("y", unit.output.bits, unit.output.signed, None),)),
            scale=None,
            latency=stages,
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipeline = Pipeline(m, self.i, self.o)
        channel = pipeline.payload.channel if self.unit.channels > 1 else None
        lane = Lane.of(self.unit, pipeline.payload.acc, channel)
        (y,) = requantized(m, pipeline, self.unit, [lane], _CUTS[self.latency])
        pipeline.finish(y=y)
        return m


def channel_field(unit: Requantize) -> BeatField | None:
    """The field by which a beat names its channel, where there are several."""
    return BeatField("channel", (unit.channels - 1).bit_length(), False) if unit.channels > 1 else None


@dataclass(frozen=True)
class Lane:
    """One of several accumulators that are requantized at once.

    suffix: ends the names of its wires. acc: the accumulator. index: picks one of the constants, or None for the first.
    multipliers, shifts, zero_points: the constants.
    """

    suffix: str
    acc: Value
    index: Value | None
    multipliers: Sequence[int]
    shifts: Sequence[int]
    zero_points: Sequence[int]

    @classmethod
    def of(cls, unit: Requantize, acc: Value, channel: Value | None) -> "Lane":
        """The only one, whose channel comes with it."""
        return cls("", acc, channel, unit.multipliers, unit.shifts, (unit.zero_point,) * unit.channels)


def requantized(
    m: Module, rows: Rows, unit: Requantize, lanes: Sequence[Lane], cuts: Collection[str]
) -> tuple[Value, ...]:
    """What `unit`, with the constants of each lane, makes of it: in a row of registers, and in one behind each of
    "multiply" and "round" in `cuts`.
    """

    def register(here: bool, values: dict[str, Any]) -> dict[str, Any]:
        """The values one row later; constants need no register."""
        moving = {name: value for name, value in values.items() if not isinstance(value, int)}
        return values | dict(zip(moving, rows.register_if(here, **moving)))

    # Multiply.
    values: dict[str, Any] = {}
    for lane in lanes:
        x, index = lane.suffix, lane.index
        factor = choose(m, f"multiplier{x}", index, lane.multipliers)
        values[f"product{x}"] = named(m, f"product{x}", lane.acc * factor)
        values[f"shift{x}"] = choose(m, f"shift{x}", index, lane.shifts)
        values[f"zero_point{x}"] = choose(m, f"zero_point{x}", index, lane.zero_points)
    values = register("multiply" in cuts, values)

    # Round.
    for x in (lane.suffix for lane in lanes):
        rounded = round_shift(values.pop(f"product{x}"), values.pop(f"shift{x}"), unit.rounding)
        values[f"rounded{x}"] = named(m, f"rounded{x}", rounded)
    values = register("round" in cuts, values)

    # Add the zero point and saturate.
    results = {}
    for x in (lane.suffix for lane in lanes):
        shifted = named(m, f"shifted{x}", values[f"rounded{x}"] + Value.cast(values[f"zero_point{x}"]))
        results[f"y{x}"] = named(m, f"result{x}", saturate(shifted, unit.output), shape_of(unit.output))
    return rows.register(**results)


@component.register(Requantize)
def _component(unit: Requantize, *, scale: int | None = None, stages: int | None = None) -> RequantizeComponent:
    if scale is not None:
        raise ValueError(f"Requantize scale must not be given, not {scale}")
    return RequantizeComponent(unit, checked_stages(stages, STAGES, max(_CUTS), "Requantize"))
