"""Which words of which memories a COMPUTE goes to, before it does."""

from dataclasses import dataclass

from hwlut.accel.commands import Destination, Mode, Reduction, Requantization, WSource, XSource, YSource
from hwlut.accel.instructions import Compute, Loops, Stream
from hwlut.accel.model.nests import extent, steps
from hwlut.units.lut_matmul import Encoder
from hwlut.units.tile import Operation, Tile

__all__ = ["Access", "Accesses", "by_tree", "words"]


def by_tree(tile: Tile, mode: Mode) -> bool:
    """Whether codes are found by comparisons of single inputs."""
    return mode is Mode.ENCODE and tile.encoder is Encoder.TREE


def words(tile: Tile, memory: str) -> int:
    """How many places of a memory have an address."""
    if memory == "tables":
        return tile.tables << tile.table_inputs if tile.table_inputs else 0
    if memory == "operands":
        return tile.operands << (tile.columns - 1).bit_length()
    return getattr(tile, memory)


@dataclass(frozen=True)
class Access:
    """One of a COMPUTE's streams of addresses.

    name: x, w, y, k or z. memory: by its name in `Tile`. loops, stream: of its addresses, or None where these come of
    numbers. count: how many there are.
    """

    name: str
    memory: str
    loops: Loops
    stream: Stream | None
    count: int

    @property
    def extent(self) -> tuple[int, int] | None:
        """The lowest and the highest address."""
        return None if self.stream is None else extent(self.loops, self.stream)


def _taken(compute: Compute) -> set[str]:
    """Which of x and y a lane takes into account."""
    first, second = ("y", "x") if compute.swap else ("x", "y")
    taken = {second} if compute.operation == "y" else {first}
    if compute.operation not in (None, "y", Operation.LEADING_ONE):
        taken = {first, second}
    return taken | {"y"} if compute.where else taken


@dataclass(frozen=True)
class Accesses:
    """What a COMPUTE reads and writes, of what it takes into account.

    steps: of the feed. numbers: that go through the lanes. results: that are stored.
    """

    steps: int
    numbers: int
    results: int
    reads: tuple[Access, ...]
    writes: tuple[Access, ...]

    @classmethod
    def of(cls, tile: Tile, compute: Compute) -> "Accesses":
        fed = steps(compute.feed)
        groups = fed // compute.count
        numbers = fed if compute.mode is Mode.VECTOR else groups
        if compute.mode in (Mode.ARRAY, Mode.LOOK_UP):
            numbers *= compute.columns
        results = numbers if compute.reduction is Reduction.NONE else groups
        tree = by_tree(tile, compute.mode)
        found_by = compute.offset and tree
        memory = "inputs" if compute.x_source is XSource.INPUTS else "values"
        reads = []
        if compute.mode is not Mode.VECTOR or "x" in _taken(compute):
            reads.append(Access("x", memory, compute.feed, None if found_by else compute.x, fed))
        if compute.mode is not Mode.VECTOR:
            own = compute.w_source is WSource.OPERANDS and compute.mode is Mode.ARRAY
            columns = (1 << (tile.columns - 1).bit_length()) if own else 1
            w = Stream(compute.w.base * columns, tuple(stride * columns for stride in compute.w.strides))
            reads.append(Access("w", "operands" if own else "weights", compute.feed, w, fed))
        if compute.y_source is YSource.VALUES and "y" in _taken(compute):
            reads.append(Access("y", "values", compute.step, compute.y, numbers))
        if compute.offset or compute.y_source is YSource.OFFSET or compute.requantization is Requantization.CONSTANT:
            reads.append(Access("k", "constants", compute.step, compute.k, fed if tree else numbers))
        writes: tuple[Access, ...] = ()
        if compute.destination is not Destination.OUTPUT:
            memory = "values" if compute.destination is Destination.VALUES else "operands"
            writes = (Access("z", memory, compute.store, compute.z, results),)
        return cls(fed, numbers, results, tuple(reads), writes)
