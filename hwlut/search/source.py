"""Where the task of a search is found again, as plain JSON."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hwlut.fields import shorten
from hwlut.train import Task, named_task

__all__ = ["task_of", "task_of_run"]


def task_of(source: Any, told: Callable[[str], None] | None = None) -> Task:
    """The task of a source: the path of a task file, the name of a shipped one, or arguments of `named_task`.

    told: as for `named_task`. ValueError for any other source.
    """
    if isinstance(source, str):
        return Task.load(source)
    if not isinstance(source, Mapping) or not {"task", "model"} <= set(source):
        raise ValueError(f"search source must be a task file or arguments of named_task, not {shorten(source)}")
    try:
        return named_task(**source, told=told)
    except TypeError as error:
        raise ValueError(f"search source must be arguments of named_task: {error}") from None


def task_of_run(folder: Path, what: str, source: Any) -> Task:
    """The task of a finished run, from its source; ValueError where Python started it and told none."""
    if source is None:
        raise ValueError(f"{folder}: {what} must be opened with its task; it was started from Python")
    return task_of(source)
