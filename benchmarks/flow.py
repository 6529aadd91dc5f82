"""The one flow on digits: accuracy, cycles, area and their product beside the uniform design of 8 bits.

Runs what is not yet in build/flow, as examples.flow_mnist does.
"""

from pathlib import Path

from benchmarks.report import Row, report
from examples.flow_mnist import RECIPES, Design, Outcome, flow
from hwlut.verify.tools import find_verilator
from hwlut.workers import spawned

_FOLDER = Path("build/flow")
_IMAGES = 100
_SEEDS = (0, 1)
_POINTS = 1.0
"""By how much the accuracy may be below the float network's, in percent."""

_BETTER = 0.5
"""Of the plain design's area times cycles."""


def _size(design: Design) -> str:
    return design.array.replace("x", " x ")


def _rows(outcome: Outcome) -> list[Row]:
    plain, best_plain, same, best = outcome.designs
    what = f"{outcome.network}, seed {outcome.seed}"
    rows = [
        Row(
            name=f"{what}: accuracy of the program",
            unit="%",
            ours=best.accuracy,
            against="float",
            baseline=outcome.float_accuracy,
            sense=">=",
            target=outcome.float_accuracy - _POINTS,
        ),
        Row(name=f"{what}: accuracy of 8 bits, exact", unit="%", ours=plain.accuracy),
        Row(
            name=f"{what}: first difference of {outcome.images} digits' codes, or of a layer's cycles, {_size(best)}",
            unit="differences",
            ours=float(not outcome.equal),
            target=0,
        ),
    ]
    for ours, baseline in ((same, plain), (best, plain), (best, best_plain)):
        against = f"8 bits, exact, {_size(baseline)}"
        rows.append(
            Row(
                name=f"{what}: area x cycles of the flow, {_size(ours)}",
                unit="kGE x kcycles",
                ours=ours.product,
                against=against,
                baseline=baseline.product,
                target=_BETTER,
                bounds="ratio",
            )
        )
    figures = (("area", "kGE"), ("cycles", "cycles a digit"), ("ram", "kbit"))
    for figure, unit in figures:
        ours, baseline = (getattr(each, figure) for each in (best, best_plain))
        rows.append(
            Row(
                name=f"{what}: {figure} of the flow, {_size(best)}",
                unit=unit,
                ours=ours,
                against=f"8 bits, exact, {_size(best_plain)}",
                baseline=baseline,
            )
        )
    return rows


def main() -> None:
    with spawned(2) as pool:
        waiting = [pool.submit(flow, name, seed, _IMAGES, _FOLDER) for seed in _SEEDS for name in RECIPES]
        rows = [row for each in waiting for row in _rows(each.result())]
    report("flow", rows, {"verilator": str(find_verilator()).removeprefix("Verilator ")})


if __name__ == "__main__":
    main()
