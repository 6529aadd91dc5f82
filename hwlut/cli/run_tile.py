"""hwlut run --tile: a program on a tile, simulated whole."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hwlut.cli.given import check_shapes, codes_of, in_file
from hwlut.cli.machine import check_count, dask_executor, spawning
from hwlut.cli.screen import columns, emit, note, progress
from hwlut.cli.table import Table, keep, open_table, writing
from hwlut.errors import ToolError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import torch

    from hwlut.accel.simulation import Report
    from hwlut.train import Task
    from hwlut.units import Program, Tile

__all__ = ["OnTile", "run_on_tile", "told_of_tile"]

_BATCH = 100  # samples of a task at a time
_BOTH = ("engine", "threads")  # options with and without a tile
_MEMORIES = ("values", "inputs", "weights", "constants", "tables", "operands")


@dataclass(frozen=True, kw_only=True)
class OnTile:
    """What `hwlut run` is told of a tile and of its simulation."""

    tile: str
    engine: str | None
    threads: int | None
    jobs: int | None
    dask: str | None
    folder: Path | None
    idle: float
    stall: float
    seed: int
    waves: Path | None
    activity: Path | None
    layer: str | None
    window: str | None

    def __post_init__(self) -> None:
        if self.engine not in (None, "verilator", "model"):
            raise ValueError(f"engine must be verilator or model, not {self.engine!r}")
        if self.jobs is not None and self.dask is not None:
            raise ValueError("--dask must be left out with --jobs")
        for label, value in (("jobs", self.jobs), ("threads", self.threads)):
            if value is not None:
                check_count(label, value)
        traced = self.waves is not None or self.activity is not None
        if traced != (self.layer is not None):
            raise ValueError("--layer must be given with --waves or --activity, and only with them")
        if self.window is not None and not traced:
            raise ValueError("--window must be given with --layer alone")
        if traced and self.engine == "model":
            raise ValueError("--waves and --activity must be left out with the engine model")

    @property
    def recorded(self) -> dict[str, Any]:
        """Where what is recorded of a layer goes."""
        return {"waves": self.waves, "activity": self.activity}

    @property
    def cycles(self) -> range | None:
        """Of the window."""
        if self.window is None:
            return None
        first, parted, end = self.window.partition(":")
        if not (parted and first.isdecimal() and end.isdecimal()):
            raise ValueError(f"window must be FIRST:END, such as 0:200, not {self.window!r}")
        return range(int(first), int(end))

    def opened(self) -> "Tile":
        """The tile; TypeError for another unit."""
        from hwlut.units import Tile

        found = open_table(self.tile)
        if not isinstance(found.unit, Tile):
            raise TypeError(f"{found.path} must be a tile, not a {type(found.unit).__name__}")
        return found.unit

    def executor(self, stack: ExitStack) -> "Executor | None":
        """Where chunks run, if not here."""
        if self.dask is not None:
            return dask_executor(self.dask)
        return None if self.jobs is None else stack.enter_context(spawning(self.jobs, 1))


def told_of_tile(tile: str | None, alone: Mapping[str, Any], **told: Any) -> OnTile | None:
    """What is told of a tile, if there is one; ValueError for what is told without one, and for what is `alone`."""
    for name, given in (alone if tile is not None else told).items():
        if given and name not in _BOTH:
            raise ValueError(f"--{name} must be {'left out with --tile' if tile else 'given with --tile alone'}")
    return None if tile is None else OnTile(tile=tile, **told)


def run_on_tile(
    opened: Table,
    program: "Program",
    on: OnTile,
    task: str | None,
    inputs: Path | None,
    output: Path | None,
    codes: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """Simulate a program on a task's test data or on a file, and print what was found; status 1 for a difference."""
    from hwlut.cli.tasks import file_source
    from hwlut.cli.tensors import check_target

    told: dict[str, Any] = {}
    if task is not None:
        from hwlut.train import Task

        problem = Task.load(file_source(task))
        given, targets = _test_data(program, problem, limit)
        report, traced = _simulated(program, on, given)
        metric = _metric(program, problem, report, targets)
        told = {"task": problem.name, "metric": metric}
    else:
        assert inputs is not None and output is not None
        keep(inputs, output, "run on", "file")
        check_target(output, [port.name for port in program.outputs])
        given = codes_of(program, in_file(program, inputs, codes, limit), codes)
        report, traced = _simulated(program, on, given)
        _write(program, report, output, codes)
        told = {"file": str(output)}
    if as_json:
        emit(opened.told("run") | told | report.to_dict() | {"traced": traced})
    else:
        _print(report, told)
    if not report.ok:
        raise typer.Exit(1)


def _simulated(program: "Program", on: OnTile, given: "list[torch.Tensor]") -> "tuple[Report, dict[str, Any] | None]":
    """Codes on the tile, and what has been recorded of a layer before, and where."""
    from hwlut.accel.simulation import simulate, trace

    tile = on.opened()
    traced: dict[str, Any] | None = None
    pauses: dict[str, Any] = {"idle": on.idle, "stall": on.stall, "seed": on.seed}
    try:
        if on.layer is not None:
            window = on.cycles
            cycles = trace(program, tile, given, on.layer, window=window, **on.recorded, **pauses)
            traced = {"layer": on.layer, "first": cycles.start, "end": cycles.stop}
            traced |= {name: None if path is None else str(path) for name, path in on.recorded.items()}
        with ExitStack() as stack, progress("run") as step:
            report = simulate(
                program,
                tile,
                given,
                engine=on.engine or "verilator",
                threads=on.threads or 1,
                executor=on.executor(stack),
                folder=on.folder,
                progress=step,
                **pauses,
            )
        return report, traced
    except RuntimeError as error:
        if isinstance(error, ToolError):
            raise
        note(str(error))
        raise typer.Exit(1) from None


def _test_data(
    program: "Program", problem: "Task", limit: int | None
) -> "tuple[list[torch.Tensor], list[torch.Tensor]]":
    """The codes of a task's test data for each input, and the targets, in batches."""
    import torch

    from hwlut.train.evaluation import loaded, tensors_of

    parts, targets = [], []
    for given, target in loaded(problem.test, range(len(problem.test))[:limit], _BATCH, 0, 0, torch.device("cpu")):
        taken = tensors_of(given)
        check_shapes(program, taken)
        parts.append(codes_of(program, taken, codes=False))
        targets.append(target)
    return [torch.cat(each) for each in zip(*parts)], targets


def _metric(program: "Program", problem: "Task", report: "Report", targets: "list[torch.Tensor]") -> float:
    """The mean of the task's metric of what the tile computed."""
    import torch

    from hwlut.program.ports import decoded

    real = [decoded(port, each) for port, each in zip(program.outputs, report.outputs)]
    parts = zip(zip(*(each.split(_BATCH) for each in real)), targets)
    return float(torch.cat([problem.metric(problem.logits(part), target).double() for part, target in parts]).mean())


def _write(program: "Program", report: "Report", output: Path, codes: bool) -> None:
    from hwlut.cli.tensors import write_tensors
    from hwlut.program.ports import decoded

    results = {port.name: each if codes else decoded(port, each) for port, each in zip(program.outputs, report.outputs)}
    with writing(output):
        write_tensors(output, results)


def _print(report: "Report", told: dict[str, Any]) -> None:
    """Three tables: of cycles and of words by layer, and of all together."""
    layers = report.layers
    columns(
        [
            [
                layer.name,
                layer.cycles,
                layer.model_cycles,
                layer.stalls.total(),
                f"{layer.utilisation:.1%}",
                layer.work.products,
                layer.work.data_beats,
                layer.work.result_beats,
            ]
            for layer in layers
        ],
        ("layer", "cycles", "model", "stalls", "utilisation", "MACs", "beats in", "beats out"),
    )
    print()
    held = [name for name in _MEMORIES if any(layer.work.reads[name] or layer.work.writes[name] for layer in layers)]
    columns(
        [[layer.name, *(f"{layer.work.reads[name]}/{layer.work.writes[name]}" for name in held)] for layer in layers],
        ("words read/written", *held),
    )
    print()
    columns(
        [
            *([label, value] for label, value in told.items()),
            ["engine", f"{report.engine}{report.tool and f': {report.tool}'}"],
            ["tile", report.tile],
            ["samples", report.samples],
            ["batches", report.batches],
            ["cycles a sample", f"{report.cycles_per_sample:.1f}"],
            ["stalls", ", ".join(f"{report.stalls[name]} for {name}" for name in report.stalls) or "none"],
            ["utilisation", f"{report.utilisation:.1%}"],
            ["MACs a second", f"{report.macs_per_second:.3g}, simulated in {report.seconds:.1f} s"],
            ["result", f"FAIL: {report.difference}" if report.difference else "PASS"],
        ]
    )
