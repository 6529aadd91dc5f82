"""Accuracy of searched precision beside uniform precision of the same cost, from the runs of examples.mixed_precision.

The runs are those of `python -m examples.mixed_precision --folder build/mixed_precision`, about a minute for each
model, variant and seed; what is not there is told as not run.
"""

import statistics
from pathlib import Path

import torch

from benchmarks.report import Row, report
from examples.mixed_precision import PAIRS, TASKS, half_width, measured, place_of

_SEEDS = 5
_RUNS = Path("build/mixed_precision")


def _losses(model: str, variant: str) -> list[float] | None:
    """The loss on the test data of every seed; None unless all were run."""
    if not all((place_of(model, seed, variant, _RUNS) / "config.json").exists() for seed in range(_SEEDS)):
        return None
    return [measured(model, seed, variant, _RUNS)[1] for seed in range(_SEEDS)]


def _row(model: str, one: str, other: str) -> Row:
    """The upper end of the 95 % interval of how much more the loss of `one` is than that of `other`."""
    ours, theirs = _losses(model, one), _losses(model, other)
    target = 0.0 if one == "searched, 3 bits" else None
    name = f"{model}, {_SEEDS} seeds, test loss, {one}, less {other}: upper end of the 95 % interval"
    if ours is None or theirs is None:
        return Row(name=name, unit="nats", ours=None, target=target)
    apart = [a - b for a, b in zip(ours, theirs)]
    return Row(name=name, unit="nats", ours=statistics.fmean(apart) + half_width(apart), target=target)


def main() -> None:
    torch.set_num_threads(1)
    report("search_accuracy", [_row(model, *pair) for model in TASKS for pair in PAIRS], {})


if __name__ == "__main__":
    main()
