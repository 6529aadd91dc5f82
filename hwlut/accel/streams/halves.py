"""Halves of the memories that LOADs fill: while a COMPUTE reads one, another may be filled."""

from hwlut.accel.commands import Target
from hwlut.accel.streams.draws import Draws, Window
from hwlut.units.lut_matmul import Encoder
from hwlut.units.tile import Tile

__all__ = ["Halves", "WORDS"]

WORDS = 8
"""Of each half that COMPUTEs read."""

_ENTRIES = 512  # of all tables that they look up in


class Halves:
    """What of a tile's memories is read, and when.

    tables: how many are used. any_input: whether any number may be the address of an input.
    """

    def __init__(self, tile: Tile, draws: Draws):
        self._tile, self._draws = tile, draws
        self.tables = max(1, min(tile.tables, _ENTRIES >> tile.table_inputs)) if tile.table_inputs else 0
        self.any_input = tile.encoder is Encoder.TREE and tile.inputs & (tile.inputs - 1) == 0
        self._read: set[tuple[Target, int]] = set()  # by the last COMPUTE
        self._reading: set[tuple[Target, int]] = set()  # by the one that is drawn
        self._filling: set[tuple[Target, int]] = set()  # by LOADs for which no COMPUTE has waited

    @property
    def targets(self) -> list[Target]:
        """The memories that there are."""
        return [target for target in Target if target is not Target.TABLES or self.tables]

    def window(self, target: Target, half: int) -> Window:
        """All words of a half."""
        size = self.tables << self._tile.table_inputs
        if target is not Target.TABLES:
            size = getattr(self._tile, target.name.lower())
        return (0, size // 2) if half == 0 else (size // 2, size)

    def known(self, target: Target, half: int) -> Window:
        """Those that must have been loaded: all where numbers are addresses."""
        low, high = self.window(target, half)
        if target is Target.TABLES or (target is Target.INPUTS and self.any_input):
            return low, high
        return low, min(high, low + WORDS)

    def fill(self, target: Target, half: int) -> bool:
        """Say that a LOAD fills words of a half; whether it must wait for the last COMPUTE."""
        self._filling.add((target, half))
        return (target, half) in self._read

    def read(self, target: Target) -> Window:
        """Words of one half for the COMPUTE that is drawn."""
        half = self._draws.integer(0, 2)
        self._reading.add((target, half))
        low, high = self.window(target, half)
        return low, min(high, low + WORDS)

    def read_all(self, target: Target) -> None:
        """Say that the COMPUTE that is drawn reads both halves."""
        self._reading |= {(target, half) for half in (0, 1)}

    def compute(self, wait: bool) -> bool:
        """Say that the COMPUTE has been drawn; whether it must wait for LOADs, or does where `wait`."""
        wait = wait or bool(self._reading & self._filling)
        if wait:
            self._filling = set()
        self._read, self._reading = self._reading, set()
        return wait
