"""The log of a training: a JSON line each time, and scalars for TensorBoard where they are asked for."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hwlut.files import write_atomic
from hwlut.train.packages import needed

__all__ = ["Log"]


class Log:
    """``log.jsonl`` in a folder; lines of steps after `done`, of which no checkpoint knows, are dropped.

    steps: all there will be.
    tensorboard: whether every number of a line is also written as a scalar, for TensorBoard, into the folder
    ``tensorboard``; one within an object of the line is named ``policy/layer/s4``. ToolError where it is not installed.
    """

    def __init__(self, folder: Path, done: int, steps: int, tensorboard: bool = False):
        self._steps = steps
        self._path = folder / "log.jsonl"
        lines = self._path.read_text().splitlines() if done and self._path.exists() else []
        write_atomic(self._path, "".join(f"{line}\n" for line in lines if _step_of(line) <= done))
        self._scalars: Any = None
        if tensorboard:
            needed("tensorboard", remedy="install it with: pip install 'hwlut[tensorboard]'")
            from torch.utils.tensorboard import SummaryWriter

            self._scalars = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)

    def write(self, step: int, line: Mapping[str, Any]) -> None:
        """Add what is told of a step."""
        with open(self._path, "a") as file:
            file.write(json.dumps({"step": step, "steps": self._steps} | dict(line)) + "\n")
        if self._scalars is not None:
            for name, value in _numbers(line):
                self._scalars.add_scalar(name, value, step)
            self._scalars.flush()

    def close(self) -> None:
        if self._scalars is not None:
            self._scalars.close()


def _numbers(line: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Each number by its keys, from the outermost."""
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            yield prefix + name, value


def _step_of(line: str) -> float:
    """The step of a line; of a torn one none."""
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")
