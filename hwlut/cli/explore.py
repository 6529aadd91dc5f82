"""hwlut explore: which networks on which arrays no other beats."""

from pathlib import Path
from typing import Annotated

import typer

from hwlut.cli.machine import Device, Threads, set_threads
from hwlut.cli.search_asked import Asked
from hwlut.cli.table import Json

__all__ = ["explore"]


def explore(
    context: typer.Context,
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="A named task, a Python file with task(), or a shipped one.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Of a named task: the model.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Of a named task: its data.")] = None,
    tokenizer: Annotated[Path | None, typer.Option(metavar="DIR", help="Of a named task of texts.")] = None,
    size: Annotated[int | None, typer.Option(help="Of the images of a named task, in pixels.")] = None,
    length: Annotated[int | None, typer.Option(help="Of the texts of a named task, in tokens.")] = None,
    config: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of a named model, what differs from the published.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The dense model's, to start from, instead of its training.")
    ] = None,
    sparsity: Annotated[str, typer.Option(metavar="LIST", help="Shares of the groups of channels that go.")] = "0",
    bits: Annotated[str, typer.Option(metavar="LIST", help="Of operands: N, or from least to most, L:M.")] = "8",
    multipliers: Annotated[
        str, typer.Option(metavar="LIST", help="exact, tables, or names of shipped ones such as mul8s_drum_4.")
    ] = "exact",
    look_ups: Annotated[
        str, typer.Option(metavar="LIST", help="none, or K[:V[:ENCODER[:BITS]]] such as 16:4:tree.")
    ] = "none",
    segments: Annotated[
        str, typer.Option(metavar="LIST", help="Of piecewise-linear functions; none for tables of all codes.")
    ] = "none",
    rows: Annotated[str, typer.Option(metavar="LIST", help="Of the array: samples at once.")] = "8",
    columns: Annotated[str, typer.Option(metavar="LIST", help="Of the array: outputs at once.")] = "8",
    area: Annotated[float | None, typer.Option(metavar="GE", help="The most gate equivalents.")] = None,
    cycles: Annotated[float | None, typer.Option(metavar="N", help="The most cycles a sample.")] = None,
    trials: Annotated[int | None, typer.Option(help="At most so many networks, drawn from all of them.")] = None,
    num_train_epochs: Annotated[int | None, typer.Option(help="Of each network; 10 unless given.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Steps, instead of epochs.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At its highest.")] = None,
    train_batch_size: Annotated[int | None, typer.Option(help="Samples a step.")] = None,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    jobs: Annotated[int | None, typer.Option(help="Networks and designs at once, in processes.")] = None,
    dask: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Run them on this Dask scheduler.")] = None,
    device: Device = None,
    threads: Threads = None,
    folder: Annotated[Path | None, typer.Option("-o", metavar="DIR", help="The task's name unless given.")] = None,
    as_json: Json = False,
) -> None:
    """Train the networks of a space, cost every array for each, and tell which designs no other beats."""
    from hwlut.cli.explore_run import run

    asked = Asked.of(context)
    set_threads(threads)
    run(asked)
