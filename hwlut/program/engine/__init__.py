"""Programs executed fast, on CPUs and GPUs: the same integers as the definition's."""

from hwlut.program.engine.engine import Engine

__all__ = ["Engine"]
