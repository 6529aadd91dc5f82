"""A gated product as a program: an activation of one input times another."""

from typing import Any

from hwlut import __version__
from hwlut.fields import shorten
from hwlut.fixed import Fixed
from hwlut.program.draft import Draft
from hwlut.program.formats import building, check_format
from hwlut.unit import Unit
from hwlut.units import Port, Program
from hwlut.units.nodes import Extent
from hwlut.units.operations import Apply, Clamp, Multiply

__all__ = ["gated"]


def gated(activation: Unit, *, gate: Fixed, value: Fixed, output: Fixed, name: str = "gated") -> Program:
    """The program of ``activation(gate) * value``, place by place: SwiGLU of silu, GeGLU of gelu.

    The product of the activation's codes and the value's is exact; it is rounded once, half up, to the output, and
    saturates.

    Parameters
    ----------
    activation: a `Pwl`, a `Direct` or a `Program` of codes, whose input holds the gate's codes; of several scales the
        gate's frac is taken.
    gate, value: formats of the inputs of these names, 2 to 32 bits, each with a frac.
    output: format of the result, 2 to 32 bits, with a frac.
    name: of the program.

    Raises TypeError or ValueError for what cannot be built.
    """
    for label, format in (("gate", gate), ("value", value), ("output", output)):
        check_format(f"gated {label}", format, 2, 32)
    unit = _at(activation, gate.frac)
    draft = Draft({"gate": gate, "value": value})
    with building(f"gated {unit.name} of {gate} and {value} to {output}"):
        active = draft(Apply, "active", "gate", unit)
        product = draft(Multiply, "product", active, "value")
        frac = Apply("active", "gate", unit).output.frac
        rounded = draft.scaled("rounded", product, output.frac - frac - value.frac)
        draft(Clamp, "y", rounded, output.min, output.max)
        return Program(
            name=name,
            inputs=(Port("gate", gate), Port("value", value)),
            nodes=tuple(draft.nodes),
            outputs=(Port("y", output),),
            meta={"method": "gated", "hwlut": __version__, "activation": unit.name},
        )


def _at(activation: Any, frac: int) -> Any:
    """The activation at the gate's scale."""
    if not (isinstance(activation, Unit) and hasattr(activation, "output_format")) or (
        isinstance(activation, Program) and (activation.extent is not Extent.CODES or len(activation.inputs) != 1)
    ):
        raise TypeError(f"gated activation must be a unit of one code, not {shorten(activation)}")
    scales = activation.scales  # type: ignore[attr-defined]
    if frac not in scales:
        raise ValueError(f"gated gate frac must be one of {', '.join(map(str, scales))}, not {frac}")
    return activation.at_scale(frac)  # type: ignore[attr-defined]
