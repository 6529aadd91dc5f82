"""When commands are taken."""

from hwlut.accel.commands import Opcode
from hwlut.accel.instructions import Compute, Load, Mark
from hwlut.accel.model.decoding import Command, End, Fault, Set, Start
from hwlut.accel.timing import busy_cycles, load_beats, word_bits
from hwlut.units.tile import Tile

__all__ = ["Clock"]


class Clock:
    """Counts the cycles in which a tile moves, by its commands alone.

    cycle: in which the last command was taken; START comes in cycle 0.
    commands: that have been taken in this run, faults left out.
    computed, loaded: the first cycle in which nothing is being computed and loaded any more.
    """

    def __init__(self, tile: Tile):
        self._tile = tile
        self._begin()

    def _begin(self) -> None:
        self.cycle = -1
        self.commands = self.computed = self.loaded = 0
        self._running = False

    def take(self, command: Command) -> int:
        """The cycle in which the next command is taken; outside of runs that is 0."""
        if not self._running:
            self._begin()
        computing, loading = _waits(command)
        if computing or loading:
            clear = max(self.computed * computing, self.loaded * loading)
        else:
            clear = min(self.computed, self.loaded)
        self.cycle = max(self.cycle + 1, clear)
        self.commands += not isinstance(command, Fault)
        if isinstance(command, Compute):
            self.computed = self.cycle + 1 + busy_cycles(self._tile, command)
        elif isinstance(command, Load):
            beats = load_beats(self._tile, word_bits(self._tile, command.target), command.count)
            self.loaded = self.cycle + 1 + beats
        else:
            self._running = self._running and not isinstance(command, End) or isinstance(command, Start)
        return self.cycle


def _waits(command: Command) -> tuple[bool, bool]:
    """Whether it waits for what is computed, and for what is loaded."""
    if isinstance(command, (Set, Mark)):
        return True, False
    if isinstance(command, Compute):
        return True, command.wait
    if isinstance(command, Load):
        return command.wait, True
    if isinstance(command, Fault):
        if command.opcode == Opcode.COMPUTE:
            return True, bool(command.argument & 1)
        if command.opcode == Opcode.LOAD:
            return bool(command.argument >> 7), True
        return command.opcode == Opcode.SET, False
    return (isinstance(command, End),) * 2
