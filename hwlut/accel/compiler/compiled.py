"""Compiled programs: their commands, the data that go with these, and what their results mean."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hwlut.accel.compiler.schedule import Loaded, scheduled
from hwlut.accel.compiler.words import Segment, codes_as_beats, results
from hwlut.accel.compiler.work import Step
from hwlut.accel.instructions import Compute, Load, Mark, encode
from hwlut.units.program import Program
from hwlut.units.tile import Tile

__all__ = ["Compiled", "Layer"]


@dataclass(frozen=True)
class Layer:
    """A step of a compiled program.

    name: of the value that it gives. nodes: that are computed together. instructions: those of the first batch, of
    which the last is the layer's mark. macs: multiply-accumulates of a sample.
    """

    name: str
    nodes: tuple[str, ...]
    instructions: tuple[Compute | Load | Mark, ...]
    macs: int


@dataclass(frozen=True)
class Compiled:
    """A program as commands of a tile, for batches of as many samples as the tile has rows.

    steps: the work of a batch. outputs: of each COMPUTE that gives results, the output's name and which of its elements
    they are, in order. shapes: of the outputs of a sample. needs: by name, the least of the tile's numbers with which
    it could be compiled as it was.
    """

    program: Program
    tile: Tile
    steps: tuple[Step, ...]
    outputs: tuple[tuple[str, np.ndarray], ...]
    shapes: dict[str, tuple[int, ...]]
    needs: dict[str, int]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The steps with the instructions that they have in the first batch. A mark's number is
        ``batch * len(layers) + layer``."""
        return tuple(
            Layer(step.name, step.nodes, tuple(found), step.macs)
            for step, found in zip(self.steps, scheduled(self.tile, self.steps, self.codes, 1))
        )

    @property
    def codes(self) -> int:
        """Words of inputs, and codes of a sample; port after port, each in the order of its axes."""
        return sum(math.prod(port.shape or ()) for port in self.program.inputs)

    def instructions(self, batches: int) -> list[Compute | Load | Mark]:
        """What a run of so many batches does, but for its START and END."""
        if isinstance(batches, bool) or not isinstance(batches, int):
            raise TypeError(f"Compiled batches must be an integer, not {batches!r}")
        if batches < 1:
            raise ValueError(f"Compiled batches must be from 1, not {batches}")
        return [each for step in scheduled(self.tile, self.steps, self.codes, batches) for each in step]

    def words(self, batches: int) -> np.ndarray:
        """The commands of a run of so many batches, uint64 [n]."""
        return np.array(encode(self.tile, self.instructions(batches)), np.uint64)

    def data(self, *codes: Any) -> np.ndarray:
        """The whole stream of data of a run on codes [samples, ...] of each input, uint8 [beats, bytes]: what the
        commands of as many batches load, in order."""
        packed = self.pack(*codes)
        batches = len(packed) // self.codes
        beats = [
            each.words.beats if isinstance(each.words, Segment) else packed[each.words * self.codes :][: self.codes]
            for each in self.instructions(batches)
            if isinstance(each, Loaded)
        ]
        return np.concatenate(beats)

    def pack(self, *codes: Any) -> np.ndarray:
        """Codes [samples, ...] of each input as beats, uint8 [batches * codes, bytes]; a last batch is filled up with
        zeros.

        Raises TypeError for another number of inputs and for what are no integers, ValueError for other shapes and for
        codes outside the format.
        """
        ports = self.program.inputs
        if len(codes) != len(ports):
            raise TypeError(f"Compiled codes must be {len(ports)} arrays, one an input, not {len(codes)}")
        parts: list[np.ndarray] = []
        for port, given in zip(ports, codes):
            found = np.asarray(given)
            if found.dtype.kind not in "iu":
                raise TypeError(f"Compiled {port.name} codes must be integers, not {found.dtype}")
            if found.ndim < 1 or found.shape[1:] != port.shape or found.shape[0] != len(np.asarray(codes[0])):
                wanted = ", ".join(map(str, ("samples", *(port.shape or ()))))
                raise ValueError(f"Compiled {port.name} codes must have the shape [{wanted}], not {list(found.shape)}")
            if found.size and not (port.format.min <= found.min() and found.max() <= port.format.max):
                raise ValueError(
                    f"Compiled {port.name} codes must be from {port.format.min} to {port.format.max},"
                    f" not {found.min()} to {found.max()}"
                )
            parts.append(found.astype(np.int64).reshape(len(found), -1))
        whole = np.concatenate(parts, 1)
        rows = self.tile.rows
        whole = np.pad(whole, ((0, -len(whole) % rows), (0, 0)))
        return codes_as_beats(self.tile, whole.reshape(-1, rows, self.codes).swapaxes(1, 2).reshape(-1, rows))

    def results(self, batches: int) -> int:
        """Beats of results of a run."""
        return batches * sum(len(elements) for _, elements in self.outputs)

    def unpack(self, beats: np.ndarray, samples: int | None = None) -> tuple[np.ndarray, ...]:
        """Codes, int64 [samples, ...], of each output, from the stream of results [beats, bytes], of which bytes behind
        those of a beat's numbers are left out; by default all samples of all batches."""
        numbers = results(self.tile, np.asarray(beats)).reshape(-1, self.results(1), self.tile.rows)
        whole = len(numbers) * self.tile.rows
        found = []
        for port in self.program.outputs:
            shape, start = self.shapes[port.name], 0
            held = np.zeros((len(numbers), int(np.prod(shape)), self.tile.rows), np.int64)
            for name, elements in self.outputs:
                if name == port.name:
                    held[:, elements] = numbers[:, start : start + len(elements)]
                start += len(elements)
            found.append(held.swapaxes(1, 2).reshape(whole, *shape)[:samples])
        return tuple(found)
