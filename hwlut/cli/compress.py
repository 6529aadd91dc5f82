"""hwlut compress: a model pruned and quantized in one training, to the sparsity and the bits asked for."""

from pathlib import Path
from typing import Annotated

import typer

from hwlut.cli.machine import Device, Threads, set_threads
from hwlut.cli.search_asked import Asked, flag
from hwlut.cli.table import Json

__all__ = ["app"]

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)

Patterns = list[str] | None


@app.callback()
def compress(
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
        Patterns, typer.Option(metavar="KEY=VALUE", help="Of a named model, what is to differ from the published.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The dense model's, to start from, instead of its training.")
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="METHOD", help="joint, or sequential: pruned at once, then --search.")
    ] = "joint",
    sparsity: Annotated[str, typer.Option(metavar="K", help="Share of the groups to remove, or how many.")] = "0.5",
    weight_bits: Annotated[str, typer.Option(metavar="L,H", help="Least and most bits of weights; 0: left.")] = "4,8",
    activation_bits: Annotated[
        str, typer.Option(metavar="L,H", help="Likewise, of activations and their products.")
    ] = "4,8",
    keep: Annotated[Patterns, typer.Option(metavar="PATTERN", help="Layers whose channels all stay.")] = None,
    exclude: Annotated[Patterns, typer.Option(metavar="PATTERN", help="Operations not to quantize.")] = None,
    saliency: Annotated[
        str | None, typer.Option(metavar="LIST", help="What tells the groups that matter least.")
    ] = None,
    warm_up: Annotated[
        float | None, typer.Option(help="Steps before anything is done, a share or a number; 0.05.")
    ] = None,
    projection: Annotated[
        float | None, typer.Option(help="Likewise, in which bits come into their range; 0.05.")
    ] = None,
    joint: Annotated[float | None, typer.Option(help="Likewise, in which groups are removed; 0.2.")] = None,
    projection_periods: Annotated[int | None, typer.Option(help="In how many steps bits come down; 5.")] = None,
    joint_periods: Annotated[int | None, typer.Option(help="In how many turns groups are removed; 5.")] = None,
    frugality: Annotated[
        float | None, typer.Option(help="How much groups that cost more go first; 0.5, 0 for not at all.")
    ] = None,
    powers: Annotated[bool, typer.Option("--powers", help="Learn an exponent for each weight's quantizer.")] = False,
    search: Annotated[
        str | None, typer.Option(metavar="METHOD", help="Of sequential: as of hwlut search; uniform unless given.")
    ] = None,
    target_bits: Annotated[
        float | None, typer.Option(help="A budget: what so many bits everywhere would cost.")
    ] = None,
    cost_target: Annotated[float | None, typer.Option(help="Likewise, as a number.")] = None,
    cost_type: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Told, and budgeted: compute, memory, or a file of costs."),
    ] = None,
    groups: Annotated[bool, typer.Option("--groups", help="Show what can be removed, and stop.")] = False,
    num_train_epochs: Annotated[int | None, typer.Option(help="10 unless given.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Steps, instead of epochs.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At its highest.")] = None,
    step_rate: Annotated[float | None, typer.Option(help="Likewise, of quantizers' parameters.")] = None,
    train_batch_size: Annotated[int, typer.Option(help="Samples computed at once.")] = 100,
    gradient_accumulation_steps: Annotated[int, typer.Option(help="Batches a step.")] = 1,
    optimizer: Annotated[str | None, typer.Option(metavar="NAME", help="adamw, adam or sgd.")] = None,
    ema: Annotated[float | None, typer.Option(help="Decay of the averaged weights.")] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Autocast to float16, on a GPU.")] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="Autocast to bfloat16.")] = False,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, more time; the same result.")
    ] = False,
    eval_steps: Annotated[int | None, typer.Option(help="Steps between evaluations.")] = None,
    log_steps: Annotated[int | None, typer.Option(help="Steps between lines of the log.")] = None,
    save_strategy: Annotated[str | None, typer.Option(metavar="NAME", help="Checkpoints: no, steps, epoch.")] = None,
    save_steps: Annotated[int | None, typer.Option(help="Steps between checkpoints.")] = None,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    exp_name: Annotated[str | None, typer.Option(metavar="NAME", help="The task's unless given.")] = None,
    output_root_dir: Annotated[
        Path, typer.Option("--output-root-dir", "-o", metavar="DIR", help="Where the run's folder, NAME, is.")
    ] = Path("."),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write the log for TensorBoard too.")] = False,
    workers: Annotated[int, typer.Option(help="Processes that load samples.")] = 0,
    device: Device = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Prune and quantize a model while it is trained, and build the smaller one."""
    asked = Asked.of(context)
    if context.invoked_subcommand is not None:
        if asked.given:
            raise ValueError(f"{flag(asked.given[0])} must be left out before {context.invoked_subcommand}")
        return
    from hwlut.cli.compress_run import run

    set_threads(threads)
    run(asked)


@app.command("eval")
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a finished compression.")],
    device: Device = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Show a finished compression, and measure its model again, from its files."""
    from hwlut.cli.compress_result import show_compression
    from hwlut.prune import open_compressed
    from hwlut.train import evaluate as measured

    set_threads(threads)
    compression, task, model = open_compressed(run)
    show_compression(compression, run, {}, as_json, now=measured(model, task, device=device))
