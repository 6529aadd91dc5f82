"""What a compiled program consists of: COMPUTEs with the words that they need in memories, by layers."""

from dataclasses import dataclass

from hwlut.accel.compiler.words import Segment
from hwlut.accel.instructions import Compute

__all__ = ["Step", "Work"]


@dataclass(frozen=True)
class Work:
    """A COMPUTE whose bases in weights, constants and inputs and whose table count from where these are loaded."""

    compute: Compute
    weights: Segment | None = None
    constants: Segment | None = None
    table: Segment | None = None

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What must be loaded."""
        return tuple(each for each in (self.weights, self.constants, self.table) if each is not None)


@dataclass(frozen=True)
class Step:
    """The work of a node and of those that are fused with it: `name` is that of the last of them.

    macs: multiply-accumulates of a sample.
    """

    name: str
    nodes: tuple[str, ...]
    works: tuple[Work, ...]
    macs: int
