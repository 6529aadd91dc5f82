"""Hardware of a requantization: multiply, shift, saturate."""

from collections.abc import Collection

from amaranth.hdl import Const, Module, Value

from hwlut.hdl.arithmetic import choose, named, round_shift, saturate
from hwlut.hdl.component import UnitComponent, checked_stages, component
from hwlut.hdl.stream import Beat, BeatField, Pipeline, shape_of
from hwlut.units.requantize import STAGES, Requantize

__all__ = ["RequantizeComponent", "channel_field", "requantized"]

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
        y = requantized(m, pipeline, self.unit, pipeline.payload.acc, channel, _CUTS[self.latency])
        pipeline.finish(y=y)
        return m


def channel_field(unit: Requantize) -> BeatField | None:
    """The field by which a beat names its channel, where there are several."""
    return BeatField("channel", (unit.channels - 1).bit_length(), False) if unit.channels > 1 else None


def requantized(
    m: Module, pipeline: Pipeline, unit: Requantize, acc: Value, channel: Value | None, cuts: Collection[str]
) -> Value:
    """What `unit` makes of `acc`, in a row of registers, and in one behind each of "multiply" and "round" in `cuts`."""
    # Multiply.
    product = named(m, "product", acc * choose(m, "multiplier", channel, unit.multipliers))
    shift = choose(m, "shift", channel, unit.shifts)
    if isinstance(shift, int):
        (product,) = pipeline.register_if("multiply" in cuts, product=product)
    else:
        product, shift = pipeline.register_if("multiply" in cuts, product=product, shift=shift)

    # Round.
    rounded = named(m, "rounded", round_shift(product, shift, unit.rounding))
    (rounded,) = pipeline.register_if("round" in cuts, rounded=rounded)

    # Add the zero point and saturate.
    shifted = named(m, "shifted", rounded + Const(unit.zero_point))
    (y,) = pipeline.register(y=named(m, "result", saturate(shifted, unit.output), shape_of(unit.output)))
    return y


@component.register(Requantize)
def _component(unit: Requantize, *, scale: int | None = None, stages: int | None = None) -> RequantizeComponent:
    if scale is not None:
        raise ValueError(f"Requantize scale must not be given, not {scale}")
    return RequantizeComponent(unit, checked_stages(stages, STAGES, max(_CUTS), "Requantize"))
