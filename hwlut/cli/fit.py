"""hwlut fit: from a function to a parameter table."""

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from hwlut.cli.machine import dask_executor
from hwlut.cli.screen import columns, emit, progress
from hwlut.cli.table import Domain, Json, writing
from hwlut.fixed import Fixed

__all__ = ["fit"]

_GENETIC = (
    "population",
    "generations",
    "crossover",
    "mutation",
    "mutation_mode",
    "decimal_bits",
    "tournament",
    "elite",
    "search",
    "anchors",
    "x_range",
    "polish",
    "checkpoint",
)
"""Options that are settings of the genetic method."""

_PUBLISHED = ("function", "segments", "seed", "published", "name", "file", "as_json", *_GENETIC)
"""Options that go with --published."""


def fit(
    context: typer.Context,
    function: Annotated[
        str | None,
        typer.Argument(
            metavar="FUNCTION",
            help="gelu, gelu_tanh, silu (swish), hswish, sigmoid, hsigmoid, tanh, softplus, mish, elu, erf, exp, exp2, "
            "log2, sqrt, reciprocal (reci), rsqrt (sqrt_reci), sin or cos.",
        ),
    ] = None,
    segments: Annotated[int, typer.Option(help="Number of lines.")] = 8,
    scales: Annotated[str, typer.Option(help="Input scales: 0:6 (both included), 5, or 0,2,4.")] = "0:6",
    domain: Domain = None,
    input_bits: Annotated[int, typer.Option(help="Bits of the input code.")] = 8,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="The input code has no sign.")] = False,
    slope_bits: Annotated[int, typer.Option(help="Bits of a slope.")] = 8,
    slope_frac: Annotated[str, typer.Option(help="Fraction bits of the slopes, or auto.")] = "auto",
    intercept_bits: Annotated[int, typer.Option(help="Bits of an intercept.")] = 16,
    intercept_frac: Annotated[str, typer.Option(help="Fraction bits of the intercepts, or auto.")] = "auto",
    breakpoint_frac: Annotated[
        int | None, typer.Option(help="Fraction bits of the breakpoints; the largest scale unless given.")
    ] = None,
    symmetry: Annotated[str, typer.Option(help="none, auto, identity, odd, even or complement.")] = "none",
    output_format: Annotated[
        str | None, typer.Option(help="Such as s8.5, or s8 at the input's scale; the accumulator unless given.")
    ] = None,
    rounding: Annotated[str, typer.Option(help="To --output-format: half_up, half_even or floor.")] = "half_up",
    slope_digits: Annotated[
        int | None, typer.Option(help="Most non-zero signed digits of a slope; any number unless given.")
    ] = None,
    objective: Annotated[
        str, typer.Option(help="mse; max, the largest error; code, the codes of --output-format.")
    ] = "mse",
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Calibration: .npy samples or a .json histogram.")
    ] = None,
    weight_floor: Annotated[float, typer.Option(help="Part of the weights that all codes share alike.")] = 0.1,
    max_mse: Annotated[
        float | None, typer.Option(metavar="E", help="Take the smallest table whose mean squared error is at most E.")
    ] = None,
    max_error: Annotated[
        float | None, typer.Option(metavar="E", help="Take the smallest table whose largest error is at most E.")
    ] = None,
    smallest: Annotated[
        str, typer.Option("--fewest", metavar="WHAT", help="Of which the smallest has the fewest: segments or bits.")
    ] = "segments",
    continuous: Annotated[
        bool, typer.Option("--continuous", help="Neighbouring lines meet exactly at their breakpoint.")
    ] = False,
    method: Annotated[str, typer.Option(help="optimal or genetic.")] = "optimal",
    seed: Annotated[int, typer.Option(help="Of a genetic fit; recorded in the table.")] = 0,
    published: Annotated[
        bool, typer.Option("--published", help="GQA-LUT's settings for FUNCTION and 8 or 16 segments.")
    ] = False,
    population: Annotated[int | None, typer.Option(help="Genetic: individuals; 50.")] = None,
    generations: Annotated[int | None, typer.Option(help="Genetic: generations; 500.")] = None,
    crossover: Annotated[float | None, typer.Option(help="Genetic: chance of a pair to swap genes; 0.7.")] = None,
    mutation: Annotated[float | None, typer.Option(help="Genetic: chance of a child to mutate; 0.2.")] = None,
    mutation_mode: Annotated[str | None, typer.Option(help="Genetic: rounding or gaussian; rounding.")] = None,
    decimal_bits: Annotated[
        tuple[int, int] | None, typer.Option(metavar="LOW HIGH", help="Genetic: fraction bits rounded to; 0 6.")
    ] = None,
    tournament: Annotated[int | None, typer.Option(help="Genetic: individuals drawn for a parent; 3.")] = None,
    elite: Annotated[int | None, typer.Option(help="Genetic: individuals that live on; 1.")] = None,
    search: Annotated[
        tuple[float, float] | None, typer.Option(metavar="LOW HIGH", help="Genetic: range of the breakpoints.")
    ] = None,
    anchors: Annotated[
        tuple[float, float] | None, typer.Option(metavar="LOW HIGH", help="Genetic: outer ends of the outer chords.")
    ] = None,
    x_range: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Genetic: judge on a grid of reals; on the table's codes unless given."),
    ] = None,
    polish: Annotated[
        bool | None, typer.Option("--polish", help="Genetic: then the best lines and breakpoints near.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Genetic: keep the state, or go on from it.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the unit; FUNCTION_SEGMENTS unless given.")] = None,
    file: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="NAME.json unless given.")] = None,
    all_into: Annotated[
        Path | None, typer.Option("--all", metavar="DIR", help="Fit every shipped table into DIR instead.")
    ] = None,
    dask: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Run --all on this Dask scheduler.")] = None,
    as_json: Json = False,
) -> None:
    """Fit a table to a function with the least error over its input codes."""
    if all_into is not None:
        _refuse_others(context, "--all", ("all_into", "dask", "as_json"))
        _fit_all(all_into, dask, as_json)
        return
    if function is None:
        raise ValueError("FUNCTION or --all must be given")
    if dask is not None:
        raise ValueError("--dask must be given with --all")

    settings = {name: context.params[name] for name in _GENETIC if context.params[name] is not None}
    if published:
        _refuse_others(context, "--published", _PUBLISHED)
    elif settings and method != "genetic":
        raise ValueError(f"--{next(iter(settings)).replace('_', '-')} must be given with --method genetic")

    bounds = {name: context.params[name] for name in ("max_mse", "max_error") if context.params[name] is not None}
    if _is_given(context, "smallest") and not bounds:
        raise ValueError("--fewest must be given with --max-mse or --max-error")
    free = ("slope_bits", "intercept_bits") if smallest == "bits" else ("segments",) if bounds else ()
    for word in free:
        if _is_given(context, word):
            chosen = "fewest bits" if smallest == "bits" else next(iter(bounds)).replace("_", "-")
            raise ValueError(f"--{chosen} must be given without --{word.replace('_', '-')}")

    from hwlut.fit import Activations, Genetic, fewest
    from hwlut.fit import fit as fit_table
    from hwlut.fit import published as published_problem

    with progress("fit") as step:
        given: dict[str, Any]
        if published:
            given = published_problem(function, segments)
            given["method"] = replace(given["method"], **settings, progress=step)
        else:
            given = {
                "function": function,
                "segments": segments,
                "method": Genetic(**settings, progress=step) if method == "genetic" else method,
                "input": Fixed(input_bits, signed=not unsigned),
                "scales": _scales(scales),
                "domain": domain,
                "slope_bits": slope_bits,
                "slope_frac": _frac("slope", slope_frac),
                "intercept_bits": intercept_bits,
                "intercept_frac": _frac("intercept", intercept_frac),
                "breakpoint_frac": breakpoint_frac,
                "symmetry": symmetry,
                "output": None if output_format is None else _format(output_format),
                "rounding": rounding,
                "slope_digits": slope_digits,
                **({"objective": objective} if _is_given(context, "objective") else {}),
                "weights": None if weights is None else Activations.load(weights),
                "weight_floor": weight_floor,
                "continuous": continuous,
            }
            given = {key: value for key, value in given.items() if key not in free}
        if bounds:
            given |= {"of": smallest, **bounds}
        unit = (fewest if bounds else fit_table)(**given, name=name, seed=seed)
    path = file or Path(f"{unit.name}.json")
    with writing(path):
        unit.save(path)
    if as_json:
        emit(
            {
                "table": str(path),
                "name": unit.name,
                "function": unit.function,
                "digest": unit.digest,
                "meta": dict(unit.meta),
            }
        )
        return
    columns([["table", str(path)], ["digest", unit.digest], *([key, str(value)] for key, value in unit.meta.items())])


def _refuse_others(context: typer.Context, chosen: str, allowed: Collection[str]) -> None:
    """Refuse what has no meaning beside the option `chosen`, which decides all but `allowed`."""
    for parameter in context.command.params:
        if parameter.name not in allowed and _is_given(context, parameter.name or ""):
            word = parameter.opts[0]
            raise ValueError(f"{chosen} must be given without {word if word.startswith('-') else word.upper()}")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _fit_all(folder: Path, dask: str | None, as_json: bool) -> None:
    from hwlut.fit.catalogue import fit_catalogue

    executor = None if dask is None else dask_executor(dask)
    with writing(folder), progress("fit") as step:
        paths = fit_catalogue(folder, executor, step)
    if as_json:
        emit({"tables": [str(path) for path in paths]})
    else:
        columns([[str(path)] for path in paths])


def _scales(text: str) -> tuple[int, ...]:
    """0:6 includes both ends; else numbers parted by commas."""
    if match := re.fullmatch(r"(\d{1,2}):(\d{1,2})", text):
        low, high = map(int, match.groups())
        if low <= high:
            return tuple(range(low, high + 1))
    elif re.fullmatch(r"\d{1,2}(,\d{1,2})*", text):
        return tuple(map(int, text.split(",")))
    raise ValueError(f"scales must be such as 0:6, 5 or 0,2,4, not {text!r}")


def _frac(label: str, text: str) -> int | str:
    if text == "auto":
        return text
    if not re.fullmatch(r"\d{1,2}", text):
        raise ValueError(f"{label} frac must be a number of bits or auto, not {text!r}")
    return int(text)


def _format(text: str) -> Fixed:
    match = re.fullmatch(r"([su])(\d{1,2})(?:\.(\d{1,2}))?", text)
    if match is None:
        raise ValueError(f"output format must be such as s8.5, u8.8 or s8, not {text!r}")
    sign, bits, frac = match.groups()
    return Fixed(int(bits), None if frac is None else int(frac), sign == "s")
