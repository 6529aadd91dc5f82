"""hwlut reduce: from a function or an operator of rows to a program that holds it over a whole input range."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwlut.cli.screen import columns, emit
from hwlut.cli.table import Json, writing
from hwlut.fixed import Fixed

if TYPE_CHECKING:
    from hwlut.units import Program

__all__ = ["reduce"]

_NORMS = ("layer_norm", "rms_norm")
_OWNERS = {"most": ("softmax",), "size": _NORMS, "eps": _NORMS}
"""Operators by the option that is theirs."""


def reduce(
    function: Annotated[
        str,
        typer.Argument(
            metavar="FUNCTION",
            help="exp, reciprocal (reci), rsqrt (sqrt_reci), sqrt, log2, sin or cos; softmax, layer_norm or rms_norm.",
        ),
    ],
    input_format: Annotated[str, typer.Option(help="Such as u16.8: 4 to 16 bits, 8 of them fraction.")] = "s16.8",
    output_format: Annotated[
        str | None,
        typer.Option(help="At most 32 bits; of a function, unless given as fine as they allow, within reason."),
    ] = None,
    most: Annotated[int | None, typer.Option(metavar="N", help="Softmax: places of the longest row.")] = None,
    size: Annotated[int | None, typer.Option(metavar="N", help="Normalizations: places of every row.")] = None,
    eps: Annotated[float | None, typer.Option(help="Normalizations: added to the variance; 1e-5 unless given.")] = None,
    segments: Annotated[int | None, typer.Option(help="Number of lines of its table; 8, but for softmax.")] = None,
    slope_bits: Annotated[int, typer.Option(help="Bits of a slope.")] = 8,
    intercept_bits: Annotated[int, typer.Option(help="Bits of an intercept.")] = 16,
    name: Annotated[str | None, typer.Option(help="Of the program.")] = None,
    file: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="NAME.json unless given.")] = None,
    as_json: Json = False,
) -> None:
    """Write the program that reduces every input to the short interval of one small table."""
    given: dict[str, Any] = {
        "input": _format("input", input_format),
        "output": None if output_format is None else _format("output", output_format),
        "segments": segments,
        "slope_bits": slope_bits,
        "intercept_bits": intercept_bits,
        "name": name,
        "most": most,
        "size": size,
        "eps": eps,
    }
    program = _program(function, {key: value for key, value in given.items() if value is not None})
    path = file or Path(f"{program.name}.json")
    with writing(path):
        program.save(path)
    told = {
        "table": str(path),
        "name": program.name,
        "function": program.function or function,
        "digest": program.digest,
    }
    told |= {"input": str(program.input), "output": str(program.output)}
    if as_json:
        emit(told)
    else:
        columns(list(told.items()))


def _program(function: str, given: dict[str, Any]) -> "Program":
    import hwlut.program

    for option, owners in _OWNERS.items():
        if option in given and function not in owners:
            raise ValueError(f"--{option} must be given with {' or '.join(owners)}, not with {function}")
    if function != "softmax" and function not in _NORMS:
        return hwlut.program.range_reduced(function, **given)
    needed = {"output": "--output-format"} | ({"most": "--most"} if function == "softmax" else {"size": "--size"})
    for key, option in needed.items():
        if key not in given:
            raise ValueError(f"{function} must be given {option}")
    if function in _NORMS:
        given.setdefault("eps", 1e-5)
    return getattr(hwlut.program, function)(**given)


def _format(label: str, text: str) -> Fixed:
    match = re.fullmatch(r"([su])(\d{1,2})\.(\d{1,2})", text)
    if match is None:
        raise ValueError(f"{label} format must be such as s16.8 or u16.0, not {text!r}")
    return Fixed(int(match[2]), int(match[3]), match[1] == "s")
