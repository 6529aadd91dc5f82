"""What a tile is checked with: commands, data, and what the model makes of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hwlut.accel.commands import END, Error, Opcode, Register, Target, command, start
from hwlut.accel.instructions import Flags
from hwlut.accel.model import Machine, Ran
from hwlut.accel.streams import streams
from hwlut.units.tile import Tile

__all__ = ["Case", "errors", "runs"]


@dataclass(frozen=True)
class Case:
    """A run.

    name: what is special about it. words, data: uint64 [n], uint8 [beats, bytes of a beat]. ran: what the model gives.
    """

    name: str
    words: np.ndarray
    data: np.ndarray
    ran: Ran

    @property
    def results(self) -> np.ndarray:
        """The beats that must come, each with its tlast: uint8 [n, bytes of a beat + 1]."""
        return np.concatenate([self.ran.results, self.ran.last[:, None].astype(np.uint8)], axis=1)

    @property
    def marks(self) -> np.ndarray:
        """Number, cycles, commands and error of each mark that must come: int64 [n, 4]."""
        said = [(mark.number, mark.cycles, mark.commands, 0) for mark in self.ran.marks]
        if self.ran.error is not None:
            said.append((0, self.ran.cycles, self.ran.error.index, int(self.ran.error.error)))
        return np.array(said, np.int64).reshape(-1, 4)


def _case(tile: Tile, name: str, words: np.ndarray, data: np.ndarray) -> Case:
    return Case(name, words, data, Machine(tile).run(words, data))


def runs(tile: Tile, seed: int, count: int) -> list[Case]:
    """Random runs without errors."""
    return [_case(tile, f"run_{number}", *streams(tile, seed + number)) for number in range(count)]


def errors(tile: Tile, seed: int) -> list[Case]:
    """A run for each way to end one by a command, which stands at its begin or at a random place of a random run."""
    rng = np.random.default_rng(seed)
    words, data = streams(tile, seed)
    found = []
    for name, (error, faulty) in _faults(tile).items():
        at = 0 if name.endswith("before_start") else int(rng.integers(1, len(words)))
        given = np.concatenate([words[:at], np.array(faulty, np.uint64), words[at:]])
        case = _case(tile, name, given, data)
        if case.ran.error is None or case.ran.error.error is not error:
            raise AssertionError(f"the model of {tile.name} finds {case.ran.error}, not {error.name}, in {name}")
        found.append(case)
    return found


def _faults(tile: Tile) -> dict[str, tuple[Error, list[int]]]:
    """Commands of which the last is in error, by name."""
    return {
        "unknown_opcode": (Error.UNKNOWN_OPCODE, [0]),
        "unknown_opcode_before_start": (Error.UNKNOWN_OPCODE, [0xFF << 56]),
        "unknown_register": (Error.UNKNOWN_REGISTER, [command(Opcode.SET, Register.MOST + 1)]),
        "level_too_many": (Error.UNKNOWN_REGISTER, [command(Opcode.SET, Register.Z_DELTAS + tile.loops)]),
        "set_before_start": (Error.OUT_OF_RUN, [command(Opcode.SET, Register.COUNT)]),
        "end_before_start": (Error.OUT_OF_RUN, [END]),
        "start_within_a_run": (Error.OUT_OF_RUN, [start(tile)]),
        "other_tile_before_start": (Error.OTHER_TILE, [start(tile) ^ 1]),
        "unknown_target": (Error.LACKING, [command(Opcode.LOAD, len(Target), 1 << 24)]),
        **{f"lacking_{name}": (Error.LACKING, words) for name, words in _lacking(tile)},
    }


def _lacking(tile: Tile) -> Iterator[tuple[str, list[int]]]:
    """COMPUTEs whose flags ask for what no tile has."""
    for name, value in (("destination", 3), ("operator", len(tile.operators) + 1), ("operation", 15)):
        low, _ = Flags.FIELDS[name]
        yield name, [command(Opcode.SET, Register.FLAGS, value << low), command(Opcode.COMPUTE)]
