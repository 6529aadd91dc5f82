"""What runs a tile's commands: its Verilog, or its functional model."""

from typing import Protocol

import numpy as np

from hwlut.accel.model import Machine
from hwlut.accel.simulation.marks import Marks, Ran
from hwlut.units.tile import Tile

__all__ = ["ENGINES", "Engine", "Modelled"]

ENGINES = ("verilator", "model")


class Engine(Protocol):
    """A tile as a function of commands and data, at first and in each run with unknown memories."""

    @property
    def tool(self) -> str:
        """What computes, with its version; empty where nothing but hwlut is needed."""

    def run(self, words: np.ndarray, data: np.ndarray, results: int, marks: int, seed: int) -> Ran:
        """What the tile answers.

        Parameters
        ----------
        words, data: uint64 [commands], uint8 [beats, bytes]. results, marks: beats to come. seed: of pauses.
        """


class Modelled:
    """A tile's functional model."""

    tool = ""

    def __init__(self, tile: Tile):
        self._tile = tile

    def run(self, words: np.ndarray, data: np.ndarray, results: int, marks: int, seed: int) -> Ran:
        """As of `Engine`; nothing pauses."""
        ran = Machine(self._tile).run(words, data)
        said = [(mark.number, mark.cycles, mark.commands, 0) for mark in ran.marks]
        if ran.error is not None:
            said.append((0, ran.cycles, ran.error.index, int(ran.error.error)))
        number, cycles, commands, error = np.array(said, np.int64).reshape(-1, 4).T
        none = np.zeros(len(said), np.int64)
        return Ran(
            results=ran.results,
            marks=Marks(
                number=number,
                cycles=cycles,
                stalled_commands=none,
                stalled_data=none,
                stalled_results=none,
                commands=commands,
                error=error,
            ),
        )
