"""Tasks by name, and the data that they are of."""

from hwlut.train.data.named import TASKS, named_task

__all__ = ["TASKS", "named_task"]
