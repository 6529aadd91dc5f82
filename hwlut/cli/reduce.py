"""hwlut reduce: from a function to a program that holds it over a whole input range."""

import re
from pathlib import Path
from typing import Annotated

import typer

from hwlut.cli.screen import columns, emit
from hwlut.cli.table import Json, writing
from hwlut.fixed import Fixed

__all__ = ["reduce"]


def reduce(
    function: Annotated[
        str,
        typer.Argument(metavar="FUNCTION", help="exp, reciprocal (reci), rsqrt (sqrt_reci), sqrt, log2, sin or cos."),
    ],
    input_format: Annotated[str, typer.Option(help="Such as u16.8: 4 to 16 bits, 8 of them fraction.")] = "s16.8",
    output_format: Annotated[
        str | None, typer.Option(help="At most 32 bits; unless given as fine as they allow, within reason.")
    ] = None,
    segments: Annotated[int, typer.Option(help="Number of lines of its table.")] = 8,
    slope_bits: Annotated[int, typer.Option(help="Bits of a slope.")] = 8,
    intercept_bits: Annotated[int, typer.Option(help="Bits of an intercept.")] = 16,
    name: Annotated[str | None, typer.Option(help="Of the program; FUNCTION_reduced_SEGMENTS unless given.")] = None,
    file: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="NAME.json unless given.")] = None,
    as_json: Json = False,
) -> None:
    """Write the program that reduces every input to the short interval of one small table."""
    from hwlut.program import range_reduced

    program = range_reduced(
        function,
        input=_format("input", input_format),
        output=None if output_format is None else _format("output", output_format),
        segments=segments,
        slope_bits=slope_bits,
        intercept_bits=intercept_bits,
        name=name,
    )
    path = file or Path(f"{program.name}.json")
    with writing(path):
        program.save(path)
    told = {"table": str(path), "name": program.name, "function": program.function, "digest": program.digest}
    told |= {"input": str(program.input), "output": str(program.output)}
    if as_json:
        emit(told)
    else:
        columns(list(told.items()))


def _format(label: str, text: str) -> Fixed:
    match = re.fullmatch(r"([su])(\d{1,2})\.(\d{1,2})", text)
    if match is None:
        raise ValueError(f"{label} format must be such as s16.8 or u16.0, not {text!r}")
    return Fixed(int(match[2]), int(match[3]), match[1] == "s")
