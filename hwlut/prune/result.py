"""What a compression came to, and its file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwlut.fields import shorten
from hwlut.nn.quantized import Operands
from hwlut.prune.size import Size
from hwlut.records import held
from hwlut.search.result import QuantizedOperation, content_of, write_content

__all__ = ["Compression"]

_SCHEMA = "hwlut.compression/1"


@dataclass(frozen=True, kw_only=True)
class Compression:
    """``compression.json`` of `hwlut.prune.compress`.

    request: what was asked for: the task's name, the options and "training". source: where the task is found again.
    couplings: number of groups of each. removed: those that are gone. left: why channels of other layers were left.
    operations: those that are quantized, by module path, with shapes of the smaller model; quantizers: how.
    owners: modules with products of activations, and how many. unquantized: why other operations are not.
    before, after: sizes of the dense model and of this one. cost: of the operations, by the cost that was asked for.
    difference: greatest relative difference of the smaller model from the masked one, in float64 without quantizers.
    mismatches: share of codes of activations in which they differ with quantizers. metric, loss: on the test data.
    """

    request: Mapping[str, Any]
    source: Any
    couplings: Mapping[str, int]
    removed: Mapping[str, Sequence[int]]
    left: Mapping[str, str]
    operations: Mapping[str, QuantizedOperation]
    quantizers: Mapping[str, Mapping[str, Any]]
    owners: Mapping[str, int]
    unquantized: Mapping[str, str]
    before: Size
    after: Size
    cost: float
    difference: float
    mismatches: float
    metric: float
    loss: float

    @property
    def sparsity(self) -> float:
        """Share of all groups that are gone."""
        every = sum(self.couplings.values())
        return sum(map(len, self.removed.values())) / every if every else 0.0

    @property
    def relative(self) -> float:
        """Bit operations, of those of the dense model with 32 bits everywhere; 1 where that has none."""
        return self.after.bit_operations / self.before.bit_operations if self.before.bit_operations else 1.0

    @property
    def operands(self) -> Operands:
        """How operands are quantized."""
        return Operands(**self.quantizers)

    def save(self, path: str | Path) -> Path:
        """Write it as JSON."""
        return write_content(Path(path), _SCHEMA, self)

    @classmethod
    def load(cls, path: str | Path) -> "Compression":
        """Read one; ValueError, naming the file, for anything else."""
        return content_of(Path(path), "compression", _SCHEMA, cls, _check)


def _check(found: Compression) -> None:
    held("request task", found.request.get("task"), str)
    held("request method", found.request.get("method"), str)
    asked = held("request compression", found.request.get("compression"), Mapping[str, Any])
    held("request compression keep", asked.get("keep"), Sequence[str])
    assert found.operands
    if unknown := found.removed.keys() - found.couplings.keys():
        raise ValueError(f"removed must be of its couplings, not of {shorten(sorted(unknown))}")
