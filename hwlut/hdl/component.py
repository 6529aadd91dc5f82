"""Components: the hardware of a unit, one class a kind, found by the unit's type."""

import enum
import inspect
from collections.abc import Mapping
from functools import singledispatch
from typing import Any, TypeVar

from amaranth.lib import wiring

from hwlut.hdl.stream import Beat
from hwlut.unit import Unit
from hwlut.units.tile import Tile

__all__ = ["UnitComponent", "component"]

_Choice = TypeVar("_Choice", bound=enum.Enum)


class UnitComponent(wiring.Component):
    """Base of every unit's hardware.

    Members: ``i`` (stream in, payload as `input_beat`), ``o`` (stream out, as `output_beat`) and, where there is
    a `load_beat`, ``load`` (stream in).

    Parameters
    ----------
    unit: what is computed.
    scale: the hard-wired scale, or None where none is or it comes with each beat.
    latency: cycles from an accepted input to its output when nothing stalls.
    cycles_per_beat: cycles between accepted inputs when nothing stalls.
    sum: of a component that adds up products over its beats, what the ``.rtl.json`` says of that; else None.
    rows: of a component whose inputs and results are rows of several beats, likewise.
    stream_rows: of one whose rows end with ``last``, likewise.
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
        load_beat: Beat | None = None,
        sum: dict[str, Any] | None = None,
        rows: dict[str, Any] | None = None,
        stream_rows: dict[str, Any] | None = None,
    ):
        self.unit = unit
        self.input_beat = input_beat
        self.output_beat = output_beat
        self.load_beat = load_beat
        self.scale = scale
        self.latency = latency
        self.cycles_per_beat = cycles_per_beat
        self.sum = sum
        self.rows = rows
        self.stream_rows = stream_rows
        members = {"i": wiring.In(input_beat.signature()), "o": wiring.Out(output_beat.signature())}
        if load_beat is not None:
            members["load"] = wiring.In(load_beat.signature())
        super().__init__(members)


@singledispatch
def component(unit: Unit, *, scale: int | None = None, stages: int | None = None, **form: Any) -> Any:
    """The hardware of `unit`, an Amaranth component with a stream in and a stream out.

    Parameters
    ----------
    unit: any kind that can become hardware.
    scale: hard-wires one of the unit's scales; None leaves it to each beat where there are several.
    stages: rows of pipeline registers, the latency in cycles; None is the kind's default.
    form: options of the kind. A Pwl has lanes, reloadable, comparison and multiplier (`PwlComponent`), a Multiplier
        terms, lanes and requantize (`DotComponent`), a LutMatmul banks, tile, encoders and reloadable
        (`LutMatmulComponent`).

    Raises ValueError for a unit that cannot become hardware, or not with these options.
    """
    if isinstance(unit, Tile):
        raise ValueError(f"Tile {unit.name!r} is no component: gen-rtl writes it, and run --tile runs programs on it")
    raise ValueError(f"{type(unit).__name__} {getattr(unit, 'name', '')!r} cannot become hardware")


def built(unit: Unit, scale: int | None, stages: int | None, form: Mapping[str, Any]) -> UnitComponent:
    """`component`, with a refusal by name of an option that the kind does not have."""
    factory = component.dispatch(type(unit))
    known = inspect.signature(factory).parameters
    for name, value in form.items():
        if factory is not component.dispatch(object) and name not in known:
            shown = value.name if isinstance(value, Unit) else value
            raise ValueError(f"{type(unit).__name__} {name} must not be given, not {shown}")
    return factory(unit, scale=scale, stages=stages, **form)


def checked_stages(stages: int | None, default: int, most: int, kind: str) -> int:
    """`stages`, or `default` for None; ValueError outside 1 to `most`."""
    return default if stages is None else checked_count(stages, most, f"{kind} stages")


def checked_count(value: int, most: int, label: str) -> int:
    """`value`; TypeError for no integer, ValueError outside 1 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{label} must be an integer, not {value!r}")
    if not 1 <= value <= most:
        raise ValueError(f"{label} must be from 1 to {most}, not {value}")
    return value


def checked_choice(value: str, kind: type[_Choice], label: str) -> _Choice:
    """The member of `kind` that `value` names; ValueError for none."""
    names = [member.value for member in kind]
    if value not in names:
        raise ValueError(f"{label} must be one of {', '.join(names)}, not {value!r}")
    return kind(value)
