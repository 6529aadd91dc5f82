"""hwlut search: a precision for every operation of a model, found while it is trained."""

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
def search(
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
        str | None,
        typer.Option("--search", metavar="METHOD", help="oneshot, gradient, evolution, random, sensitivity, uniform."),
    ] = None,
    search_space: Annotated[
        str | None, typer.Option(metavar="LIST", help="Formats to choose from; 4,8 unless given.")
    ] = None,
    bits: Annotated[str | None, typer.Option(metavar="F", help="One format for all, without a search; 0 none.")] = None,
    weight_bits: Annotated[str | None, typer.Option(metavar="F", help="Likewise, of weights.")] = None,
    activation_bits: Annotated[str | None, typer.Option(metavar="F", help="Likewise, of activations.")] = None,
    block_search: Annotated[bool, typer.Option("--block-search", help="One decision a block.")] = False,
    single_decision: Annotated[bool, typer.Option("--single-decision", help="One decision for all.")] = False,
    decide: Annotated[Patterns, typer.Option(metavar="EXPRESSION", help="One decision for what it captures.")] = None,
    separate: Annotated[
        bool, typer.Option("--separate", help="Weights and activations each have a format of their own.")
    ] = False,
    weight_only_search: Annotated[
        bool, typer.Option("--weight-only-search", help="Search the formats of weights alone.")
    ] = False,
    include: Annotated[Patterns, typer.Option(metavar="PATTERN", help="Names to quantize; all unless given.")] = None,
    exclude: Annotated[Patterns, typer.Option(metavar="PATTERN", help="Names to leave as they are.")] = None,
    quantize_self_attention: Annotated[
        bool, typer.Option("--quantize-self-attention", help="Only queries, keys, values and their products.")
    ] = False,
    quantize_self_output: Annotated[
        bool, typer.Option("--quantize-self-output", help="Only these, or these too.")
    ] = False,
    quantize_output: Annotated[bool, typer.Option("--quantize-output", help="Likewise.")] = False,
    quantize_intermediate: Annotated[bool, typer.Option("--quantize-intermediate", help="Likewise.")] = False,
    quantize_pooler: Annotated[bool, typer.Option("--quantize-pooler", help="Likewise.")] = False,
    quantize_classifier: Annotated[bool, typer.Option("--quantize-classifier", help="Likewise.")] = False,
    cost_type: Annotated[str | None, typer.Option(metavar="NAME", help="compute, memory, or a file of costs.")] = None,
    cost_target: Annotated[
        str | None, typer.Option(metavar="LIST", help="The most that it may cost; several make a front.")
    ] = None,
    target_bits: Annotated[
        str | None, typer.Option(metavar="LIST", help="Likewise, as what so many bits everywhere would cost.")
    ] = None,
    cost_function: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="within, tunas_abs, one_sided, soft_exponential or hard_exponential."),
    ] = None,
    cost_beta: Annotated[float | None, typer.Option(help="Weight of the cost.")] = None,
    rl_learning_rate: Annotated[float | None, typer.Option(help="Of the policy.")] = None,
    delay_steps: Annotated[int | None, typer.Option(help="First steps in which no policy is learned.")] = None,
    max_entropy_beta: Annotated[float | None, typer.Option(help="Highest weight of the policy's entropy.")] = None,
    entropy_schedule_type: Annotated[
        str | None, typer.Option(metavar="NAME", help="How it rises: cosine, linear, step, constant.")
    ] = None,
    share: Annotated[float | None, typer.Option(help="Of the steps, those that search.")] = None,
    warmup: Annotated[float | None, typer.Option(help="Of the steps, those before anything is quantized.")] = None,
    evaluations: Annotated[int | None, typer.Option(help="Of evolution and random, on held-out data.")] = None,
    held_out: Annotated[float | None, typer.Option(help="Of the training data, what choices are judged by.")] = None,
    per_channel: Annotated[
        bool | None, typer.Option("--per-channel/--per-tensor", help="What shares a step of weights.")
    ] = None,
    per_token: Annotated[bool, typer.Option("--per-token", help="Each token has its step of activations.")] = False,
    act_range_percentile: Annotated[float | None, typer.Option(help="Start activations' ranges by it.")] = None,
    weight_range_percentile: Annotated[float | None, typer.Option(help="Likewise, of weights.")] = None,
    num_train_epochs: Annotated[int | None, typer.Option(help="10 unless given.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Steps, instead of epochs.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At its highest.")] = None,
    train_batch_size: Annotated[int, typer.Option(help="Samples computed at once.")] = 100,
    eval_batch_size: Annotated[int | None, typer.Option(help="Held-out samples of one judgement.")] = None,
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
    jobs: Annotated[int | None, typer.Option(help="Searches of a front at once.")] = None,
    dask: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Run a front on this Dask scheduler.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that load samples.")] = 0,
    device: Device = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Search the format of each operation of a model for a budget, training it meanwhile; several budgets, a front."""
    asked = Asked.of(context)
    if context.invoked_subcommand is not None:
        if asked.given:
            raise ValueError(f"{flag(asked.given[0])} must be left out before {context.invoked_subcommand}")
        return
    from hwlut.cli.search_run import run

    set_threads(threads)
    run(asked)


@app.command("eval")
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a finished search, or of a front.")],
    device: Device = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Show a finished search, and measure its model again, from its files; show a front."""
    from hwlut.cli.search_result import show_front, show_search
    from hwlut.search import Front, open_search
    from hwlut.train import evaluate as measured

    set_threads(threads)
    if (run / "front.json").exists():
        show_front(Front.load(run / "front.json"), run, {}, as_json)
        return
    configuration, task, model = open_search(run)
    show_search(configuration, run, {}, as_json, now=measured(model, task, device=device))
