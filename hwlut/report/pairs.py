"""Which programs of a folder ran on which of its tiles."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hwlut.report.designs import chosen_of
from hwlut.report.folder import File, Folder
from hwlut.report.mapped import LayerRow, rows_of
from hwlut.units import Program, Tile

__all__ = ["MOST_PAIRS", "Pair", "pairs_of"]

MOST_PAIRS = 8
"""That are shown, each of which is compiled."""


@dataclass(frozen=True)
class Pair:
    """A program, the tile that it is for, and its run there: what the folder has of these, at least one.

    file, run: the run's file, and what is in it, as `hwlut run --tile --json` tells.
    """

    program: Program | None
    tile: Tile | None
    file: File | None = None
    run: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """What runs where."""
        program = self.program.name if self.program is not None else self.run["program"] if self.run else ""
        tile = self.run["tile"] if self.run else self.tile.name if self.tile is not None else None
        return program if tile is None else f"{program} on {tile}"

    @cached_property
    def _compiled(self) -> tuple[list[LayerRow], str | None]:
        if self.program is None:
            return [], None
        try:
            return rows_of(self.program, self.tile), None
        except ValueError as error:
            return rows_of(self.program, None), str(error)

    @property
    def rows(self) -> list[LayerRow]:
        """The program's layers; its nodes, where there is no tile or it does not fit it; none without a program."""
        return self._compiled[0]

    @property
    def refusal(self) -> str | None:
        """Why the program does not fit the tile."""
        return self._compiled[1]


def pairs_of(folder: Folder) -> list[Pair]:
    """Those of runs, in the order of their files, and of chosen designs; then other programs, with the folder's tile
    if it has only one."""
    programs = [program for _, program in folder.of(Program)]
    tiles = [tile for _, tile in folder.of(Tile)]
    found = []
    for file, run in folder.saved("hwlut.run/1", "layers"):
        program = next((each for each in programs if each.digest == run["digest"]), None)
        tile = next((each for each in tiles if each.name == run["tile"]), None)
        found.append(Pair(program, tile, file, run))
    found += _designs(folder, tiles)
    there = {pair.program.digest for pair in found if pair.program is not None}
    only = tiles[0] if len({tile.digest for tile in tiles}) == 1 else None
    rest = {program.digest: program for program in programs if program.digest not in there}
    return found + [Pair(program, only) for program in rest.values()]


def _designs(folder: Folder, tiles: list[Tile]) -> Iterator[Pair]:
    """The programs of chosen designs on the tiles that these name."""
    for file, design in chosen_of(folder):
        within = file.path.parent / design.network["folder"]
        tile = next((each for each in tiles if each.digest == design.content["tile"]), None)
        those = [program for each, program in folder.of(Program) if each.path.parent == within]
        yield from (Pair(program, tile) for program in those[:1])
