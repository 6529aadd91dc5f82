"""What a run of a program on a tile found."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

from hwlut.accel.model import Work
from hwlut.accel.simulation.marks import STALLS

__all__ = ["LayerReport", "Report"]


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """A layer over all batches.

    name: of its value in the program. cycles: in which the tile moved. model_cycles: by the analytic model.
    stalls: cycles in which it stood still, by what for. work: what it did. cells: of the array.
    """

    name: str
    cycles: int
    model_cycles: int
    stalls: Counter[str]
    work: Work
    cells: int

    @property
    def utilisation(self) -> float:
        """Share of the array's cells that add something up in a cycle, stalls included."""
        return self.work.products / (self.cells * (self.cycles + self.stalls.total()))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able content."""
        return {
            "name": self.name,
            "cycles": self.cycles,
            "model_cycles": self.model_cycles,
            "stalls": {name: self.stalls[name] for name in STALLS},
            "utilisation": self.utilisation,
            "macs": self.work.products,
            "reads": dict(self.work.reads),
            "writes": dict(self.work.writes),
            "data_beats": self.work.data_beats,
            "result_beats": self.work.result_beats,
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """Result of `hwlut.accel.simulate`.

    Parameters
    ----------
    program, tile: names. engine, tool: what simulated, with its version.
    samples, batches: how many; a batch has a sample in each row of the tile.
    outputs: codes of the samples, int64 [samples, ...] for each output of the program.
    layers: in the order in which they are computed.
    difference: the first output code or number of cycles that is not the program's or the model's, in words, or None.
    resumed: batches that were there from an earlier run. seconds: wall time that the others took.
    """

    program: str
    tile: str
    engine: str
    tool: str
    samples: int
    batches: int
    outputs: tuple[torch.Tensor, ...]
    layers: tuple[LayerReport, ...]
    difference: str | None
    resumed: int
    seconds: float

    @property
    def ok(self) -> bool:
        """True when every output code and every layer's cycles agreed."""
        return self.difference is None

    @property
    def cycles(self) -> int:
        """Of all batches, without stalls."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def stalls(self) -> Counter[str]:
        """Cycles in which the tile stood still, by what for."""
        return sum((layer.stalls for layer in self.layers), Counter())

    @property
    def macs(self) -> int:
        """Products or entries that the array added up."""
        return sum(layer.work.products for layer in self.layers)

    @property
    def utilisation(self) -> float:
        """Share of the array's cells that add something up in a cycle, stalls included."""
        return self.macs / (self.layers[0].cells * (self.cycles + self.stalls.total()))

    @property
    def cycles_per_sample(self) -> float:
        """Stalls included; of a tile whose rows are all in use."""
        return (self.cycles + self.stalls.total()) / self.samples

    @property
    def macs_per_second(self) -> float:
        """Simulated, in the seconds that it took."""
        return self.macs * (self.batches - self.resumed) / self.batches / self.seconds

    def to_dict(self) -> dict[str, Any]:
        """JSON-able content, without the outputs."""
        return {
            "ok": self.ok,
            "program": self.program,
            "tile": self.tile,
            "engine": self.engine,
            "tool": self.tool,
            "samples": self.samples,
            "batches": self.batches,
            "cycles": self.cycles,
            "stalls": {name: self.stalls[name] for name in STALLS},
            "cycles_per_sample": self.cycles_per_sample,
            "utilisation": self.utilisation,
            "macs": self.macs,
            "macs_per_second": self.macs_per_second,
            "layers": [layer.to_dict() for layer in self.layers],
            "difference": self.difference,
            "resumed": self.resumed,
            "seconds": self.seconds,
        }
