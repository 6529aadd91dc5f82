"""hwlut run: a program on a data set, or on numbers in a file."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwlut.cli.machine import Device, Threads, set_threads
from hwlut.cli.screen import columns, emit, progress
from hwlut.cli.table import Json, Table, TablePath, keep, open_table, writing

if TYPE_CHECKING:
    from hwlut.units import Program

__all__ = ["run"]


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
    engine: Annotated[str, typer.Option(help="fast, by kernels, or reference, the definition.")] = "fast",
    batch: Annotated[int, typer.Option(help="Samples at a time.")] = 100,
    limit: Annotated[int | None, typer.Option(help="The first so many samples alone.")] = None,
    device: Device = None,
    threads: Threads = None,
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
    if engine not in ("fast", "reference"):
        raise ValueError(f"engine must be fast or reference, not {engine!r}")
    set_threads(threads)
    opened = open_table(table)
    if not isinstance(opened.unit, Program):
        raise TypeError(f"{opened.path} must be a program, not a {type(opened.unit).__name__}")
    computed = _computing(opened.unit, engine, device)
    if task is not None:
        _on_task(opened, opened.unit, computed, task, batch, limit, as_json)
    else:
        assert inputs is not None and output is not None
        _on_file(opened, opened.unit, computed, inputs, output, codes, batch, limit, as_json)


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
            _check(program, taken)
            real, spent = _computed(program, compute, taken, codes=False)
            seconds += spent
            scores.append(problem.metric(problem.logits(real), target).double().cpu())
            done = sum(map(len, scores))
            step(done, len(places), f"{float(torch.cat(scores).mean()):.4f}")
    metric = float(torch.cat(scores).mean())
    if as_json:
        emit(opened.source | {"task": problem.name, "samples": len(places), "metric": metric, "seconds": seconds})
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
    from hwlut.program.ports import decoded, encoded

    given = taken if codes else [encoded(port, each) for port, each in zip(program.inputs, taken)]
    program.check(*given)
    start = time.perf_counter()
    found = compute(*given)
    seconds = time.perf_counter() - start
    found = found if isinstance(found, tuple) else (found,)
    return found if codes else tuple(map(decoded, program.outputs, found)), seconds


def _check(program: "Program", given: list[Any]) -> None:
    if len(given) != len(program.inputs):
        raise ValueError(f"inputs must be {len(program.inputs)}, those of {program.name}, not {len(given)}")
    for port, each in zip(program.inputs, given):
        if port.shape is not None and tuple(each.shape[1:]) != port.shape:
            shape = ", ".join(map(str, port.shape))
            raise ValueError(f"input {port.name!r} must have the shape [batch, {shape}], not {list(each.shape)}")


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

    from hwlut.cli.tensors import read_tensors, write_tensors

    keep(inputs, output, "run on", "file")
    compute, device = computed
    given = read_tensors(inputs, [port.name for port in program.inputs])
    if any(not each.dim() or each.is_complex() for each in given):
        raise ValueError(f"{inputs}: inputs must be arrays of samples, of integers or real numbers")
    if len({len(each) for each in given}) != 1:
        raise ValueError(f"{inputs}: inputs must have one number of samples, not {[len(each) for each in given]}")
    given = [each[:limit] for each in given]
    if not len(given[0]):
        raise ValueError(f"{inputs}: inputs must have at least one sample")
    _check(program, given)
    if codes and any(each.is_floating_point() for each in given):
        raise TypeError(f"{inputs}: codes must be integers, not real numbers")
    parts = []
    for start in range(0, len(given[0]), batch):
        taken = [each[start : start + batch].to(device) for each in given]
        parts.append(_computed(program, compute, taken, codes)[0])
    results = {port.name: torch.cat(each).cpu() for port, each in zip(program.outputs, zip(*parts))}
    with writing(output):
        write_tensors(output, results)
    if as_json:
        emit(opened.source | {"file": str(output), "samples": len(given[0])})
    else:
        print(output)
