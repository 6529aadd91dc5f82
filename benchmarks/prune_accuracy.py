"""Accuracy of joint compression beside pruning by magnitude with uniform bits, from the runs of
examples.joint_compression.

The runs are those of `python -m examples.joint_compression --folder build/joint_compression`, about a minute for each
model, variant and seed; what is not there is told as not run.
"""

import statistics
from pathlib import Path

from benchmarks.report import Row, report
from examples.joint_compression import RANGES, SERIES, TASKS, WEIGHTS_ONLY, place_of, point, reached, variants_of
from hwlut.prune import Compression

_SEEDS = 3
_RUNS = Path("build/joint_compression")
_TARGETS = {WEIGHTS_ONLY: 99.0, "joint 0.5, 4-8": 98.5, "joint 0.7, 4-8": 97.0}


def _runs(model: str, variant: str) -> list[Compression] | None:
    """Those of every seed; None unless all are there."""
    files = [place_of(model, seed, variant, _RUNS) / "compression.json" for seed in range(_SEEDS)]
    return [Compression.load(file) for file in files] if all(file.exists() for file in files) else None


def _ranges() -> list[Row]:
    """The digits, pruned and with bits in a range."""
    rows = []
    for variant in RANGES:
        runs = _runs("digits", variant)
        ours = None if runs is None else 100 * statistics.fmean(each.metric for each in runs)
        shown = "" if runs is None else f", {100 * point(runs)[0]:.2f} % of the bit operations"
        name = f"digits, {_SEEDS} seeds, {variant}{shown}: accuracy"
        rows.append(Row(name=name, unit="%", ours=ours, sense=">=", target=_TARGETS[variant]))
    return rows


def _front(model: str) -> list[Row]:
    """The accuracy that joint compression reaches within the bit operations of each point of the other's front."""
    runs = {variant: _runs(model, variant) for variant in variants_of(model)}
    series = {
        label: [point(each) for variant, each in runs.items() if variant.startswith(start) and each is not None]
        for label, start in SERIES.items()
    }
    joint, other = series.values()
    rows = []
    for relative, _, _ in sorted(other):
        theirs, ours = reached(other, relative), reached(joint, relative)
        assert theirs is not None
        rows.append(
            Row(
                name=f"{model}, {_SEEDS} seeds, within {100 * relative:.3f} % of the bit operations: accuracy",
                unit="%",
                ours=None if ours is None else 100 * ours,
                against="magnitude, uniform bits",
                baseline=100 * theirs,
                sense=">=",
                target=1.0,
                bounds="ratio",
            )
        )
    return rows or [Row(name=f"{model}, {_SEEDS} seeds: accuracy", unit="%", ours=None, sense=">=")]


def main() -> None:
    report("prune_accuracy", [*_ranges(), *(row for model in TASKS for row in _front(model))], {})


if __name__ == "__main__":
    main()
