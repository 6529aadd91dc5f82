"""What a run of so many batches is, before it is made: its commands, their cycles and their work."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np

from hwlut.accel.compiler import Compiled
from hwlut.accel.model import Work, profile

__all__ = ["Plan", "added"]


@dataclass(frozen=True)
class Plan:
    """Of a compiled program.

    words: uint64 [commands]. cycles: by the analytic model, int64 [batches, layers]. work: of each layer, over all
    batches.
    """

    words: np.ndarray
    cycles: np.ndarray
    work: tuple[Work, ...]

    @classmethod
    def of(cls, compiled: Compiled, batches: int) -> "Plan":
        """Of so many batches, one after the other."""
        layers = len(compiled.layers)
        words = compiled.words(batches)
        spans = [span for span in profile(compiled.tile, words) if span.number is not None]
        cycles = np.diff([span.cycles for span in spans], prepend=0).reshape(batches, layers)
        return cls(words, cycles, tuple(added(span.work for span in spans[layer::layers]) for layer in range(layers)))


def added(works: Iterable[Work]) -> Work:
    """All of them together."""
    total = Work()
    for work in works:
        for field in fields(Work):
            setattr(total, field.name, getattr(total, field.name) + getattr(work, field.name))
    return total
