"""Batches that are run together, by one thread of some process, and what came of them."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from hwlut.accel.compiler import Compiled
from hwlut.accel.simulation.engines import Engine
from hwlut.accel.simulation.given import Codes
from hwlut.accel.simulation.marks import STALLS

__all__ = ["Chunk", "Chunks"]


@dataclass(frozen=True)
class Chunk:
    """outputs: codes of its samples, int64 [samples, ...] for each output of the program. counters: cycles, and those
    stalled for commands, data and results, int64 [batches, layers, 4]. seconds: that it took."""

    outputs: tuple[np.ndarray, ...]
    counters: np.ndarray
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """How chunks of a program's batches are run, wherever that is.

    seed: of the first chunk's pauses.
    """

    compiled: Compiled
    engine: Engine
    seed: int

    def shapes(self, samples: int) -> list[tuple[int, ...]]:
        """Of the outputs and of the counters of a chunk of so many samples."""
        compiled = self.compiled
        batches = -(-samples // compiled.tile.rows)
        outputs = [(samples, *compiled.shapes[port.name]) for port in compiled.program.outputs]
        return [*outputs, (batches, len(compiled.layers), 1 + len(STALLS))]

    def run(self, number: int, codes: Codes) -> Chunk:
        """The chunk of a number, of codes of its samples."""
        start = time.perf_counter()
        compiled = self.compiled
        samples = len(codes[0])
        batches = -(-samples // compiled.tile.rows)
        words, data = compiled.words(batches), compiled.data(*codes)
        ran = self.engine.run(
            words, data, compiled.results(batches), batches * len(compiled.layers), self.seed + number
        )
        ran.check(compiled.tile.name, [layer.name for layer in compiled.layers])
        counters = ran.marks.counters().reshape(batches, len(compiled.layers), -1)
        outputs = compiled.unpack(ran.results, samples)
        return Chunk(outputs, counters, time.perf_counter() - start)

    def run_each(self, numbers: Sequence[int], codes: Sequence[Codes]) -> list[Chunk]:
        """Several chunks, each in a thread of its own."""
        with ThreadPoolExecutor(len(numbers)) as pool:
            return list(pool.map(self.run, numbers, codes))
