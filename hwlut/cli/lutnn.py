"""hwlut lutnn: networks whose products are looked up, trained, measured and written."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwlut.cli.form import Banks, Tile
from hwlut.cli.machine import Device, Threads, set_threads
from hwlut.cli.screen import columns, emit, note, progress
from hwlut.cli.table import Json, writing
from hwlut.cli.tasks import file_source

if TYPE_CHECKING:
    from hwlut.lutnn import Result

__all__ = ["app"]

app = typer.Typer(rich_markup_mode=None)

Run = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a finished run.")]


@app.callback()
def _about() -> None:
    """Train networks whose products are looked up, measure them, and write what runs them."""


@app.command("train")
def train(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="A Python file with task(), or a shipped one, such as lut_cnn_mnist.")
    ],
    k: Annotated[int, typer.Option(help="Prototypes of a codebook.")] = 16,
    v: Annotated[
        int | None, typer.Option(help="Inputs of a sub-vector; 8, or the places of a kernel, unless given.")
    ] = None,
    encoder: Annotated[str, typer.Option(help="l2, l1, chebyshev or tree.")] = "l2",
    table_bits: Annotated[int, typer.Option(help="Of an entry: 8 or 4.")] = 8,
    per_output: Annotated[
        bool | None,
        typer.Option("--per-output/--one-scale", help="A step of the entries for each output; with 4 bits, yes."),
    ] = None,
    tied: Annotated[bool, typer.Option("--tied", help="Tables stay those of the prototypes and the weights.")] = False,
    include: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Names of layers to look up; all unless given.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="Names of layers to leave.")] = None,
    last_blocks: Annotated[int | None, typer.Option(help="Only layers in so many of the last blocks.")] = None,
    order: Annotated[str, typer.Option(help="How layers are converted: together or in_turn.")] = "together",
    epochs: Annotated[int, typer.Option(help="Of finetuning.")] = 10,
    learning_rate: Annotated[float, typer.Option(help="At its highest.")] = 3e-3,
    temperature_rate: Annotated[float, typer.Option(help="Learning rate of the temperatures.")] = 0.1,
    distill: Annotated[float, typer.Option(help="Share of the loss by the dense model's logits.")] = 0.5,
    distill_layers: Annotated[float, typer.Option(help="Weight of the dense layers' outputs in the loss.")] = 0.0,
    ema: Annotated[float, typer.Option(help="Decay of the averaged weights.")] = 0.999,
    batch: Annotated[int, typer.Option(help="Samples a step.")] = 100,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that load samples.")] = 0,
    device: Device = None,
    threads: Threads = None,
    warm_start: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Start from what fits in this earlier state.")
    ] = None,
    dense: Annotated[
        Path | None, typer.Option(metavar="FILE", help="State of the dense model, instead of its training.")
    ] = None,
    folder: Annotated[Path | None, typer.Option("-o", metavar="DIR", help="The task's name unless given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in DIR.")] = False,
    as_json: Json = False,
) -> None:
    """Train a dense network, put look-ups in the place of its products, and finetune it."""
    from hwlut.lutnn import run
    from hwlut.nn import Lookup
    from hwlut.train import Finetune, Task

    set_threads(threads)
    lookup = Lookup(k=k, v=v, encoder=encoder, table_bits=table_bits, per_output=per_output, tied=tied, seed=seed)
    options = Finetune(
        epochs=epochs,
        batch=batch,
        learning_rate=learning_rate,
        temperature_rate=temperature_rate,
        ema=ema,
        distill=distill,
        distill_layers=distill_layers,
        seed=seed,
        workers=workers,
    )
    source = file_source(task)
    opened = Task.load(task)
    path = folder or Path(opened.name)
    if (path / "config.json").exists() and not resume:
        raise ValueError(f"{path} holds a run: go on with it by --resume, or give another -o")
    with progress("lutnn") as step:
        result = run(
            opened,
            lookup,
            options,
            path,
            include=include or ("*",),
            exclude=exclude or (),
            last_blocks=last_blocks,
            order=order,
            dense=dense,
            warm=warm_start,
            source=source,
            device=device,
            progress=step,
        )
    if os.environ.get("RANK", "0") != "0":
        return  # the first of torchrun's processes tells
    if as_json:
        emit(_told(opened.name, result))
        return
    columns([*result.rows, ("layers", str(len(result.layers))), ("run", str(result.folder))])
    if result.left:
        note("left dense: " + ", ".join(f"{name} ({why})" for name, why in result.left.items()))
    if warm_start is not None:
        note(f"warm start: {len(result.taken)} tensors of {warm_start}")


@app.command("eval")
def evaluate(run: Run, device: Device = None, threads: Threads = None, as_json: Json = False) -> None:
    """Measure a finished run again, from its files."""
    from hwlut.lutnn import open_run
    from hwlut.train import evaluate as measured

    set_threads(threads)
    record, task, model = open_run(run)
    found = measured(model, task, device=device)
    if as_json:
        emit({"run": str(run), "task": task.name, "metric": found} | record.metrics)
    else:
        columns([("now", f"{100 * found:.2f}"), *((name, f"{100 * m:.2f}") for name, m in record.metrics.items())])


@app.command("cost")
def cost(
    run: Run,
    banks: Banks = None,
    tile: Tile = None,
    file: Annotated[
        Path | None, typer.Option("--costs", metavar="FILE", help="Costs by shape; what it lacks is mapped into it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Count operations, look-ups, bytes and cycles of a finished run's network, beside those of the dense one."""
    from hwlut.lutnn import costs, open_run, shapes_of
    from hwlut.search import synthesized
    from hwlut.train import sample

    _, task, model = open_run(run)
    table = None
    if file is not None:
        with progress("synthesis") as step:
            table = synthesized(shapes_of(model), file=file, progress=step)
    found = costs(model, sample(task), banks, tile, table)
    if as_json:
        emit({"run": str(run), "task": task.name} | found.to_dict())
    else:
        columns(found.rows(), found.headers)


@app.command("export")
def export(
    run: Run,
    units: Annotated[bool, typer.Option("--units", help="Parameter tables of the layers, in DIR/units.")] = False,
    c: Annotated[Path | None, typer.Option("--c", metavar="FILE", help="C source of the layers.")] = None,
    onnx: Annotated[Path | None, typer.Option(metavar="FILE", help="The network in ONNX.")] = None,
    as_json: Json = False,
) -> None:
    """Write what runs a finished run's network: parameter tables, C or ONNX."""
    from hwlut import lutnn
    from hwlut.train import sample

    if not (units or c or onnx):
        raise ValueError("export must be given --units, --c FILE or --onnx FILE")
    record, task, model = lutnn.open_run(run)
    written = {}
    if units:
        written["units"] = record.units
        with writing(record.units):
            lutnn.save_units(model, record.units)
    if c is not None:
        written["c"] = c
        with writing(c):
            lutnn.write_c(model, c, task.name)
    if onnx is not None:
        written["onnx"] = onnx
        with writing(onnx):
            lutnn.export_onnx(model, sample(task), onnx)
    told = {name: str(path) for name, path in written.items()}
    if as_json:
        emit({"run": str(run)} | told)
    else:
        columns(list(told.items()))


def _told(task: str, result: "Result") -> dict[str, Any]:
    return {
        "run": str(result.folder),
        "task": task,
        "dense": result.dense,
        "converted": result.converted,
        "finetuned": result.finetuned,
        "layers": list(result.layers),
        "left": dict(result.left),
        "warm_start": list(result.taken),
        "evaluations": [[each.step, each.loss, each.metric] for each in result.evaluations],
    }
