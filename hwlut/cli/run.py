"""hwlut run: a program on a data set, or on numbers in a file."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwlut.cli.given import check_shapes, codes_of, in_file
from hwlut.cli.machine import Device, set_threads
from hwlut.cli.run_tile import run_on_tile, told_of_tile
from hwlut.cli.screen import columns, emit, progress
from hwlut.cli.table import Json, Table, TablePath, keep, open_table, writing

if TYPE_CHECKING:
    from hwlut.units import Program

__all__ = ["run"]

_BATCH = 100


def run(
    table: TablePath,
    task: Annotated[
        str | None, typer.Option(metavar="FILE", help="A task's Python file, or a shipped example: its test data.")
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A .npy of the one input, or a .safetensors of all by name.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", metavar="FILE", help="Where results of --inputs go: .npy or .safetensors.")
    ] = None,
    codes: Annotated[bool, typer.Option("--codes", help="Files hold integer codes, not real numbers.")] = False,
    engine: Annotated[
        str | None,
        typer.Option(help="fast, by kernels, or reference, the definition; with --tile verilator or model."),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Samples at a time; 100 unless given.")] = None,
    limit: Annotated[int | None, typer.Option(help="The first so many samples alone.")] = None,
    device: Device = None,
    threads: Annotated[
        int | None, typer.Option(help="Of torch, its own number unless given; with --tile that simulate at once.")
    ] = None,
    tile: Annotated[
        str | None, typer.Option(metavar="FILE", help="Simulate the program on this tile, and compare all.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="With --tile: processes that simulate.")] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="With --tile: simulate on this Dask scheduler.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --tile: what is done is kept here, to go on from.")
    ] = None,
    idle: Annotated[float, typer.Option(help="With --tile: chance of an input pausing in a cycle.")] = 0.0,
    stall: Annotated[float, typer.Option(help="With --tile: chance of an output refusing in a cycle.")] = 0.0,
    seed: Annotated[int, typer.Option(help="With --tile: of these.")] = 0,
    waves: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --tile: record a waveform of --layer.")
    ] = None,
    activity: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --tile: record when the tile's parts work in --layer.")
    ] = None,
    layer: Annotated[str | None, typer.Option(metavar="NAME", help="What --waves and --activity record.")] = None,
    window: Annotated[
        str | None, typer.Option(metavar="FIRST:END", help="Of the cycles of --layer, record these alone.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a program on the test data of a task, and measure it there, or on numbers in a file."""
    from hwlut.units import Program

    if (task is None) == (inputs is None):
        raise ValueError("run must be given --task or --inputs, one of them")
    if (inputs is None) != (output is None):
        raise ValueError("-o must be given with --inputs, and only with them")
    if codes and inputs is None:
        raise ValueError("--codes must be given with --inputs alone")
    for label, value in (("batch", batch), ("limit", limit)):
        if value is not None and value < 1:
            raise ValueError(f"{label} must be at least 1, not {value}")
    on = told_of_tile(
        tile,
        {"batch": batch, "device": device},
        engine=engine, threads=threads, jobs=jobs, dask=dask, folder=folder, idle=idle, stall=stall, seed=seed,
        waves=waves, activity=activity, layer=layer, window=window,
    )  # fmt: skip
    engine = engine or "fast"
    if on is None and engine not in ("fast", "reference"):
        raise ValueError(f"engine must be fast or reference, not {engine!r}")
    opened = open_table(table)
    if not isinstance(opened.unit, Program):
        raise TypeError(f"{opened.path} must be a program, not a {type(opened.unit).__name__}")
    if on is not None:
        run_on_tile(opened, opened.unit, on, task, inputs, output, codes, limit, as_json)
        return
    set_threads(threads)
    computed = _computing(opened.unit, engine, device)
    if task is not None:
        _on_task(opened, opened.unit, computed, task, batch or _BATCH, limit, as_json)
    else:
        assert inputs is not None and output is not None
        _on_file(opened, opened.unit, computed, inputs, output, codes, batch or _BATCH, limit, as_json)


def _computing(program: "Program", engine: str, device: str | None) -> Any:
    """What computes codes from codes, and the device that it does so on."""
    import torch

    try:
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise ValueError(f"device must be such as cpu or cuda:1, not {device!r}") from None
    if engine == "reference":
        return program, where
    from hwlut.program.engine import Engine

    return Engine(program, where), where


def _on_task(
    opened: Table, program: "Program", computed: Any, task: str, batch: int, limit: int | None, as_json: bool
) -> None:
    import torch

    from hwlut.cli.tasks import file_source
    from hwlut.train import Task
    from hwlut.train.evaluation import loaded, tensors_of

    compute, device = computed
    problem = Task.load(file_source(task))
    places = range(len(problem.test))[:limit]
    scores, seconds = [], 0.0
    with progress("run") as step:
        for given, target in loaded(problem.test, places, batch, 0, 0, device):
            taken = tensors_of(given)
            check_shapes(program, taken)
            real, spent = _computed(program, compute, taken, codes=False)
            seconds += spent
            scores.append(problem.metric(problem.logits(real), target).double().cpu())
            done = sum(map(len, scores))
            step(done, len(places), f"{float(torch.cat(scores).mean()):.4f}")
    metric = float(torch.cat(scores).mean())
    if as_json:
        emit(opened.told("run") | {"task": problem.name, "samples": len(places), "metric": metric, "seconds": seconds})
        return
    columns(
        [
            ["task", problem.name],
            ["samples", len(places)],
            ["metric", f"{metric:.4f}"],
            ["samples a second", f"{len(places) / seconds:.0f}"],
        ]
    )


def _computed(program: "Program", compute: Any, taken: list[Any], codes: bool) -> tuple[tuple[Any, ...], float]:
    """Results for a batch of each input, of codes or of real numbers; and the seconds that the program took."""
    from hwlut.program.ports import decoded

    given = codes_of(program, taken, codes)
    start = time.perf_counter()
    found = compute(*given)
    seconds = time.perf_counter() - start
    found = found if isinstance(found, tuple) else (found,)
    return found if codes else tuple(map(decoded, program.outputs, found)), seconds


def _on_file(
    opened: Table,
    program: "Program",
    computed: Any,
    inputs: Path,
    output: Path,
    codes: bool,
    batch: int,
    limit: int | None,
    as_json: bool,
) -> None:
    import torch

    from hwlut.cli.tensors import check_target, write_tensors

    keep(inputs, output, "run on", "file")
    check_target(output, [port.name for port in program.outputs])
    compute, device = computed
    given = in_file(program, inputs, codes, limit)
    parts = []
    for start in range(0, len(given[0]), batch):
        taken = [each[start : start + batch].to(device) for each in given]
        parts.append(_computed(program, compute, taken, codes)[0])
    results = {port.name: torch.cat(each).cpu() for port, each in zip(program.outputs, zip(*parts))}
    with writing(output):
        write_tensors(output, results)
    if as_json:
        emit(opened.told("run") | {"file": str(output), "samples": len(given[0])})
    else:
        print(output)
