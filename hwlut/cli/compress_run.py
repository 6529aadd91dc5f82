"""hwlut compress: what it runs."""

import os

from hwlut.cli.compress_options import compression_options, cost_maker
from hwlut.cli.compress_result import draw_compression, show_compression, show_groups
from hwlut.cli.screen import note, progress
from hwlut.cli.search_asked import Asked, run_folder, task_source
from hwlut.cli.search_options import training_options

__all__ = ["run"]


def run(asked: Asked) -> None:
    """Compress as was asked for, draw what came out and print it; or show the groups."""
    from hwlut.prune import compress, groups
    from hwlut.search.source import task_of
    from hwlut.train import sample
    from hwlut.train.recompute import check_recomputes

    source = task_source(asked)
    options, cost = compression_options(asked), cost_maker(asked)
    first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes the one that tells
    task = task_of(source, note if first else None)
    training = training_options(asked, task, 0.0)
    if asked["groups"]:
        if first:
            show_groups(groups(task.model(), sample(task), exclude=options.keep), asked["as_json"])
        return
    if asked["gradient_checkpointing"]:
        check_recomputes(task.model())
    folder = run_folder(asked, task.name, first)
    with progress("compress") as step:
        found = compress(
            task,
            options,
            training,
            folder,
            cost=cost,
            weights=None if asked["model"] else asked["weights"],
            source=source,
            device=asked["device"],
            progress=step,
        )
    if first:
        show_compression(found.compression, folder, draw_compression(found.compression, folder), asked["as_json"])
