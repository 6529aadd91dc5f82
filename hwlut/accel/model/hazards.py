"""Words that are read while they are written."""

import numpy as np

from hwlut.accel.commands import Mode, Reduction
from hwlut.accel.instructions import Compute, Load
from hwlut.accel.model.accesses import Access, Accesses
from hwlut.accel.model.clock import Clock
from hwlut.accel.model.nests import addresses
from hwlut.units.tile import Tile

__all__ = ["Hazards"]


class Hazards:
    """Watches a tile's COMPUTEs and LOADs as they are taken: each says what is wrong with it, or None."""

    def __init__(self, tile: Tile, clock: Clock):
        self._tile, self._clock = tile, clock
        self._compute = Compute()
        self._load: Load | None = None

    def compute(self, compute: Compute) -> str | None:
        """Of the COMPUTE that the clock has taken."""
        self._compute = compute
        accesses = Accesses.of(self._tile, compute)
        if self._load is not None and self._clock.loaded > self._clock.cycle + 1:
            if (word := _filled(self._tile, compute, self._load)) is not None:
                memory = self._load.target.name.lower()
                return f"COMPUTE must not read word {word} of {memory} while it is loaded, without waiting for that"
        for write in accesses.writes:
            for read in accesses.reads:
                if read.memory == write.memory and (word := _rewritten(compute, read, write)) is not None:
                    return f"COMPUTE must not read word {word} of {read.memory} as {read.name} behind writing it"
        return None

    def load(self, load: Load) -> str | None:
        """Of the LOAD that the clock has taken."""
        self._load = load
        if self._clock.computed > self._clock.cycle + 1:
            if (word := _filled(self._tile, self._compute, load)) is not None:
                memory = load.target.name.lower()
                return f"LOAD must not fill word {word} of {memory} while it is read, without waiting for that"
        return None


def _filled(tile: Tile, compute: Compute, load: Load) -> int | None:
    """A word that a COMPUTE reads and a LOAD fills."""
    memory, first, end = load.target.name.lower(), load.address, load.address + load.count
    if memory == "tables":
        low, high = compute.table << tile.table_inputs, compute.table + 1 << tile.table_inputs
        return max(low, first) if compute.table >= 0 and max(low, first) < min(high, end) else None
    for read in Accesses.of(tile, compute).reads:
        if read.memory == memory and _meet(read.extent, (first, end - 1)):
            words = _addresses(read)
            words = words[(first <= words) & (words < end)]
            if len(words):
                return int(words[0])
    return None


def _rewritten(compute: Compute, read: Access, write: Access) -> int | None:
    """A word that is read behind the number that is written to it, or of what the array reads, behind its group."""
    if not _meet(read.extent, write.extent):
        return None
    read_times, write_times = np.arange(read.count), np.arange(write.count)
    if compute.reduction is not Reduction.NONE:
        write_times = write_times * compute.count + compute.count - 1
    elif compute.mode is not Mode.VECTOR and read.name != "y":
        read_times = read_times // compute.count
        write_times = write_times // (1 if compute.mode is Mode.ENCODE else compute.columns)
    reads, writes = _addresses(read), _addresses(write)
    low, high = int(writes.min()), int(writes.max())
    first = np.full(high - low + 1, read.count + 1)
    first[writes[::-1] - low] = write_times[::-1]
    inside = (low <= reads) & (reads <= high)
    late = read_times[inside] > first[reads[inside] - low]
    return int(reads[inside][late][0]) if late.any() else None


def _addresses(access: Access) -> np.ndarray:
    assert access.stream is not None
    return addresses(access.loops, access.stream, 0, access.count)


def _meet(a: tuple[int, int] | None, b: tuple[int, int] | None) -> bool:
    return a is not None and b is not None and a[0] <= b[1] and b[0] <= a[1]
