"""Components: the hardware of a unit, one class a kind, found by the unit's type."""

from functools import singledispatch
from typing import Any

from amaranth.lib import wiring

from hwlut.hdl.stream import Beat
from hwlut.unit import Unit

__all__ = ["UnitComponent", "component"]


class UnitComponent(wiring.Component):
    """Base of every unit's hardware.

    Members: ``i`` (stream in, payload as `input_beat`) and ``o`` (stream out, as `output_beat`).

    Parameters
    ----------
    unit: what is computed.
    scale: the hard-wired scale, or None where none is or it comes with each beat.
    latency: cycles from an accepted input to its output when nothing stalls.
    cycles_per_beat: cycles between accepted inputs when nothing stalls.
    """

    def __init__(
        self,
        unit: Unit,
        input_beat: Beat,
        output_beat: Beat,
        *,
        scale: int | None,
        latency: int,
        cycles_per_beat: int = 1,
    ):
        self.unit = unit
        self.input_beat = input_beat
        self.output_beat = output_beat
        self.scale = scale
        self.latency = latency
        self.cycles_per_beat = cycles_per_beat
        super().__init__({"i": wiring.In(input_beat.signature()), "o": wiring.Out(output_beat.signature())})


@singledispatch
def component(unit: Unit, *, scale: int | None = None, stages: int | None = None) -> Any:
    """The hardware of `unit`, an Amaranth component with a stream in and a stream out.

    Parameters
    ----------
    unit: any kind that can become hardware.
    scale: hard-wires one of the unit's scales; None leaves it to each beat where there are several.
    stages: rows of pipeline registers, the latency in cycles; None is the kind's default.
    """
    raise ValueError(f"{type(unit).__name__} {getattr(unit, 'name', '')!r} cannot become hardware")


def checked_stages(stages: int | None, default: int, most: int, kind: str) -> int:
    """`stages`, or `default` for None; ValueError outside 1 to `most`."""
    if stages is None:
        return default
    if isinstance(stages, bool) or not isinstance(stages, int):
        raise TypeError(f"{kind} stages must be an integer, not {stages!r}")
    if not 1 <= stages <= most:
        raise ValueError(f"{kind} stages must be from 1 to {most}, not {stages}")
    return stages
