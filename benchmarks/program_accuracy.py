"""Accuracy of networks as integer programs, from the runs of examples.programs_mnist.

The runs are those of `python -m examples.programs_mnist --folder build/programs`, some minutes a network; what is not
there is told as not run.
"""

import json
from pathlib import Path

from benchmarks.report import Row, report
from examples.programs_mnist import MODELS

_RUNS = Path("build/programs")
_WITHIN = -1.0
"""Points that the variant of 8 bits may lie below the float network."""


def _rows(name: str) -> list[Row]:
    path = _RUNS / f"{name}.json"
    if not path.is_file():
        return [Row(name=f"{name}: accuracy of its programs", unit="%", ours=None)]
    rows = []
    for label, found in json.loads(path.read_text()).items():
        equal = "equal to" if found["exact"] else "NOT equal to"
        lost = found["program"] - found["float"]
        rows.append(
            Row(
                name=f"{name}, {label}: accuracy of the program, {equal} the exact training forward on every digit",
                unit="%",
                ours=found["program"],
                against="float",
                baseline=found["float"],
            )
        )
        if label == "8 bits":
            rows.append(
                Row(
                    name=f"{name}, {label}: points above float",
                    unit="points",
                    ours=lost,
                    sense=">=",
                    target=_WITHIN,
                )
            )
    return rows


def main() -> None:
    report("program_accuracy", [row for name in MODELS for row in _rows(name)], {})


if __name__ == "__main__":
    main()
