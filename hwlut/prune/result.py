"""What a compression came to, and its file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwlut.fields import shorten
from hwlut.nn.quantized import Operands
from hwlut.prune.size import Size
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
        content = content_of(Path(path), "compression", _SCHEMA, cls)
        try:
            content |= {name: Size(**content[name]) for name in _SIZES}
        except TypeError as error:
            raise ValueError(f"{path}: sizes must be as they were written: {shorten(str(error))}") from None
        for name, value in content.items():
            if not _is_whole(name, value):
                raise ValueError(f"{path}: {name} must be as it was written, not {shorten(value)}")
        if unknown := content["removed"].keys() - content["couplings"].keys():
            raise ValueError(f"{path}: removed must be of its couplings, not of {', '.join(sorted(unknown))}")
        return cls(**content)


_SIZES = ("before", "after")
_NUMBERS = ("cost", "difference", "mismatches", "metric", "loss")
_MAPPINGS = {"couplings": int, "owners": int, "left": str, "unquantized": str, "quantizers": dict}


def _is_whole(name: str, value: Any) -> bool:
    """Whether a field has the kind that it is written with."""
    if name in _NUMBERS:
        return isinstance(value, (int, float))
    if name in _SIZES:
        return all(isinstance(each, int) for each in value.plain().values())
    if name in _MAPPINGS:
        return isinstance(value, dict) and all(isinstance(each, _MAPPINGS[name]) for each in value.values())
    if name == "removed":
        lists = isinstance(value, dict) and all(isinstance(each, list) for each in value.values())
        return lists and all(isinstance(number, int) for each in value.values() for number in each)
    if name == "request":
        asked = value.get("compression") if isinstance(value, dict) else None
        return isinstance(asked, dict) and isinstance(asked.get("keep"), list) and {"task", "method"} <= value.keys()
    return True
