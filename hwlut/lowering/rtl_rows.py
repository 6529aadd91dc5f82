"""Stages of programs of rows in RTL."""

from typing import Any

import torch

from hwlut.lowering.numbers import Grid, Number
from hwlut.lowering.stage import Context, Stage, for_modules
from hwlut.nn.rtl import RtlRows
from hwlut.units.operations import Apply

__all__: list[str] = []


@for_modules(RtlRows)
class RowsInRtl(Stage):
    """The program that the design is of, on the codes of its input."""

    @staticmethod
    def traced(module: Any) -> Any:
        return lambda *inputs: torch.ops.hwlut.rtl_rows(list(inputs), None, module.key)

    def check(self) -> None:
        if len(ports := self.module.unit.inputs) > 1:
            raise ValueError(f"must have one input to be exported, not {', '.join(port.name for port in ports)}")
        least, most = self.module.lengths
        if len(self.sizes[0]) < 2 or not least <= self.sizes[0][-1] <= most:
            raise ValueError(f"must have rows of {least} to {most} places in a sample, not {self.sizes[0][1:]}")

    def wanted(self, place: int) -> Grid | None:
        return Grid.binary(self.module.unit.input)

    def lower(self, context: Context, x: Number) -> Number:
        unit = self.module.unit
        x = context.builder.on(x, Grid.binary(unit.input))
        return Number.on(context.builder.add(Apply, self.name, x.name, unit), x.dims, Grid.binary(unit.output))
