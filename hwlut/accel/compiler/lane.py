"""What nodes behind each other become in the lanes of one COMPUTE."""

import dataclasses
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwlut.accel.commands import Reduction, Requantization, YSource
from hwlut.accel.compiler.places import Space, addresses, only_space
from hwlut.accel.compiler.words import Segment
from hwlut.accel.instructions import NONE, Compute
from hwlut.fixed import Rounding, signed_bits
from hwlut.units.applied import Rescale
from hwlut.units.nodes import Span
from hwlut.units.operations import Apply, Clamp
from hwlut.units.requantize import Requantize
from hwlut.units.tile import REQUANTIZED_BITS, Operation

if TYPE_CHECKING:
    import torch

__all__ = ["Lane", "Stage"]

_FIELDS = (
    "operation", "swap", "rounding", "bits", "where", "reduction", "operator", "low", "high", "requantization",
    "requantize_rounding", "zero_point", "least", "most",
)  # fmt: skip


class Stage(enum.IntEnum):
    """Where in a lane a number is, in order."""

    BEGIN = 0
    OFFSET = 1
    OPERATION = 2
    REDUCTION = 3
    OPERATOR = 4
    CLAMP = 5
    REQUANTIZE = 6
    TABLE = 7


@dataclass
class Lane:
    """How far a step's numbers have come, and what is done to them.

    index: int64, in the shape of the value so far: which of the step's own results, counted in order, lies where.
    span: of the value so far.
    The others are those of `Compute`; `offset`, `factor` and `shift` may be tensors, with a number for each of the
    step's own results, and `y` its places, literal, of an immediate, or of values.
    """

    index: "torch.Tensor"
    span: Span
    shape: tuple[int, ...] = ()
    stage: Stage = Stage.BEGIN
    offset: Any = 0
    offset_is_y: bool = False
    operation: Operation | str | None = None
    y: np.ndarray | None = None
    swap: bool = False
    rounding: Rounding = Rounding.HALF_UP
    bits: int = 0
    where: bool = False
    reduction: Reduction = Reduction.NONE
    operator: int = NONE
    low: int = Compute.low
    high: int = Compute.high
    requantization: Requantization = Requantization.NONE
    factor: Any = 0
    shift: Any = 0
    requantize_rounding: Rounding = Rounding.HALF_UP
    zero_point: int = 0
    least: int = Compute.least
    most: int = Compute.most
    table: Segment | None = None

    def __post_init__(self) -> None:
        self.shape = self.shape or tuple(self.index.shape)

    def fields(self) -> dict[str, Any]:
        """The fields of `Compute` that say what is done, whatever is loaded where."""
        found = {name: getattr(self, name) for name in _FIELDS} | {"table": NONE if self.table is None else 0}
        if self.offset_is_y:
            found["y_source"] = YSource.OFFSET
        elif self.y is not None and only_space(self.y) is Space.LITERAL:
            found["immediate"] = int(addresses(self.y.reshape(-1)[:1])[0])
        elif self.y is not None:
            found["y_source"] = YSource.VALUES
        if self.requantization is Requantization.REGISTERS:
            found |= {"factor": self.factor, "shift": self.shift}
        return found

    def takes(self, node: Any) -> bool:
        """Adds a clamp or a requantization where it has its place here."""
        if isinstance(node, Clamp):
            return self._clamp(node)
        if isinstance(node, (Rescale, Apply)) and isinstance(node.unit, Requantize):
            return self.requantizes(node.unit, node.axis if isinstance(node, Rescale) else -1)
        return False

    def _clamp(self, node: Clamp) -> bool:
        if self.stage > Stage.REQUANTIZE:
            return False
        ends = ("least", "most") if self.stage is Stage.REQUANTIZE else ("low", "high")
        for name in ends:
            setattr(self, name, min(max(getattr(self, name), node.low), node.high))
        self.stage, self.span = max(self.stage, Stage.CLAMP), node.span(self.span)
        return True

    def requantizes(self, unit: Requantize, axis: int) -> bool:
        """Adds a requantization along an axis, where it has its place here."""
        if self.stage >= Stage.REQUANTIZE or signed_bits(*self.span) > REQUANTIZED_BITS:
            return False
        several = unit.channels > 1
        if several and self.operator >= 0:
            return False
        factors, shifts = zip(*map(_reduced, unit.multipliers, unit.shifts))
        self.factor = self._spread(factors, axis) if several else factors[0]
        self.shift = self._spread(shifts, axis) if several else shifts[0]
        self.requantization = Requantization.CONSTANT if several else Requantization.REGISTERS
        self.requantize_rounding, self.zero_point = unit.rounding, unit.zero_point
        self.least, self.most = unit.output.min, unit.output.max
        self.stage, self.span = Stage.REQUANTIZE, (unit.output.min, unit.output.max)
        return True

    def lower(self, by: int) -> None:
        """Has a requantization give numbers that are lower by so much."""
        self.zero_point, self.least, self.most = self.zero_point - by, self.least - by, self.most - by
        self.span = self.span[0] - by, self.span[1] - by

    def _spread(self, numbers: tuple[int, ...], axis: int) -> "torch.Tensor":
        """A number of each channel as one of each of the step's own results."""
        import torch

        shape = [1] * self.index.dim()
        shape[axis] = len(numbers)
        found = torch.empty(self.index.numel(), dtype=torch.int64)
        found[self.index.flatten()] = torch.tensor(numbers).reshape(shape).expand(self.index.shape).flatten()
        return found

    def copy(self, **changes: Any) -> "Lane":
        """Another one with some fields changed."""
        return dataclasses.replace(self, **changes)


def _reduced(factor: int, shift: int) -> tuple[int, int]:
    """The same multiple of a power of two, by the least factor."""
    twos = min((factor & -factor).bit_length() - 1, shift) if factor else shift
    return factor >> twos, shift - twos
