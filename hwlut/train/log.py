"""The log of a training: a JSON line each time, and scalars for TensorBoard where they are asked for."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hwlut.files import naming, read_bytes, write_atomic
from hwlut.records import held
from hwlut.train.packages import needed

__all__ = ["Log", "read_log"]

_LIMIT = 1 << 30


class Log:
    """``log.jsonl`` in a folder; lines of steps after `done`, of which no checkpoint knows, are dropped.

    steps: all there will be.
    tensorboard: whether every number of a line is also written as a scalar, for TensorBoard, into the folder
    ``tensorboard``; one within an object of the line is named ``policy/layer/s4``. ToolError where it is not installed.
    """

    def __init__(self, folder: Path, done: int, steps: int, tensorboard: bool = False):
        self._steps = steps
        self._path = folder / "log.jsonl"
        lines = (
            read_bytes(self._path, _LIMIT).decode("utf-8", "replace").splitlines()
            if done and self._path.exists()
            else []
        )
        write_atomic(self._path, "".join(f"{line}\n" for line in lines if _step_of(line) <= done))
        self._scalars: Any = None
        if tensorboard:
            needed("tensorboard", remedy="install it with: pip install 'hwlut[tensorboard]'")
            from torch.utils.tensorboard import SummaryWriter

            self._scalars = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)

    def write(self, step: int, line: Mapping[str, Any]) -> None:
        """Add what is told of a step."""
        with naming(self._path), open(self._path, "a") as file:
            file.write(json.dumps({"step": step, "steps": self._steps} | dict(line)) + "\n")
            file.flush()
            os.fsync(file.fileno())  # before a checkpoint of that step, or a resumed log would lack it
        if self._scalars is not None:
            for name, value in _numbers(line):
                self._scalars.add_scalar(name, value, step)
            self._scalars.flush()

    def close(self) -> None:
        if self._scalars is not None:
            self._scalars.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; ValueError, naming the file and the line, for one that is no object."""
    found = []
    for number, line in enumerate(read_bytes(path, _LIMIT).splitlines(), 1):
        try:
            found.append(held("line", json.loads(line), Mapping[str, Any]))
        except (RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: line {number} of the log must be a JSON object: {error}") from None
    return found


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
        step = json.loads(line)["step"]
    except (KeyError, RecursionError, TypeError, ValueError):
        step = None
    return step if isinstance(step, int) else float("inf")
