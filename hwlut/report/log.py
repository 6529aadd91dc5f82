"""Logs of trainings: numbers by steps."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["LIMIT", "Log"]

LIMIT = 16 << 20
"""Bytes that are read of a file; lines behind them are left out."""


@dataclass(frozen=True)
class Log:
    """``log.jsonl`` of a training. curves: by name, the steps and the numbers. whole: whether all was read."""

    curves: dict[str, tuple[list[int], list[float]]]
    whole: bool

    @classmethod
    def read(cls, path: Path) -> "Log":
        """ValueError, naming the line, for one that is no object with a step; a last one that is torn is left out."""
        with open(path, "rb") as file:
            data = file.read(LIMIT)
            whole = not file.read(1)
        curves: dict[str, tuple[list[int], list[float]]] = {}
        for number, line in enumerate(data.splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):
                break
            step, told = _line(line, number)
            for name, value in told.items():
                steps, values = curves.setdefault(name, ([], []))
                steps.append(step)
                values.append(value)
        return cls(curves, whole)


def _line(line: bytes, number: int) -> tuple[int, dict[str, float]]:
    try:
        content: Any = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or type(content.get("step")) is not int:
        raise ValueError(f"line {number} must be an object with a step")
    numbers = {key: value for key, value in content.items() if type(value) in (int, float)}
    return content["step"], {key: float(value) for key, value in numbers.items() if key not in ("step", "steps")}
