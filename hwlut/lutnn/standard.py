"""Look-up layers written in standard operators alone, for exporters."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from hwlut.lutnn.layers import input_step
from hwlut.nn import LutLayer, LutLinear
from hwlut.nn.geometry import pads
from hwlut.units import LutMatmul
from hwlut.units.lut_matmul import CODE, Encoder
from hwlut.units.lut_standard import first_entries, leaves, prototypes, squares

__all__ = ["standard"]


def standard(layer: LutLayer) -> nn.Module:
    """A module that computes the forward of `layer`, on float32, bit for bit, of its unit as it now is.

    Its numbers are those of `hwlut.units.lut_standard`. Sums of entries are int32.
    """
    return _Rows(layer) if isinstance(layer, LutLinear) else _Windows(layer)


class _Squares(nn.Module):
    """The nearest prototype of sub-vectors [N, C, v], by squared distances."""

    products: torch.Tensor
    squares: torch.Tensor

    def __init__(self, unit: LutMatmul):
        super().__init__()
        products, squared = squares(unit)
        self.register_buffer("products", torch.from_numpy(products))  # [C, v, K]
        self.register_buffer("squares", torch.from_numpy(squared))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        products = x.transpose(0, 1).to(self.products.dtype) @ self.products
        return (self.squares + products).argmin(-1).transpose(0, 1)


class _Away(nn.Module):
    """The nearest prototype of sub-vectors [N, C, v], by sums or maxima of distances along the inputs."""

    prototypes: torch.Tensor

    def __init__(self, unit: LutMatmul):
        super().__init__()
        self.added = unit.encoder is Encoder.L1
        self.register_buffer("prototypes", torch.from_numpy(prototypes(unit)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        away = (x[:, :, None] - self.prototypes).abs()
        return (away.sum(-1) if self.added else away.amax(-1)).argmin(-1)


class _Leaves(nn.Module):
    """The leaf of sub-vectors [N, C, v], in trees."""

    thresholds: torch.Tensor
    inputs: torch.Tensor
    first: torch.Tensor

    def __init__(self, unit: LutMatmul):
        super().__init__()
        self.codebooks, self.depth, self.nodes = unit.codebooks, unit.depth, unit.k - 1
        thresholds, inputs, first = map(torch.from_numpy, leaves(unit))
        self.register_buffer("thresholds", thresholds)
        self.register_buffer("inputs", inputs.flatten())
        self.register_buffer("first", first)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        levels = x.flatten(1).index_select(1, self.inputs).view(-1, self.depth, self.codebooks).unbind(1)
        node = (levels[0] >= self.thresholds[self.first]).to(torch.int64) + 1
        for compared in levels[1:]:
            thresholds = self.thresholds.index_select(0, (node + self.first).flatten()).view(-1, self.codebooks)
            node = 2 * node + 1 + (compared >= thresholds).to(torch.int64)
        return node - self.nodes


_ENCODERS = {Encoder.L2: _Squares, Encoder.L1: _Away, Encoder.CHEBYSHEV: _Away, Encoder.TREE: _Leaves}


class _Standard(nn.Module):
    step: torch.Tensor
    sum_step: torch.Tensor
    table: torch.Tensor
    first: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, layer: LutLayer):
        super().__init__()
        unit, self.lookup = layer.unit(), layer.lookup
        self.codebooks, self.k, self.v, self.padding = unit.codebooks, unit.k, unit.v, unit.padding
        self.features, self.outputs = unit.features, unit.outputs
        self.low, self.high = CODE.min - unit.zero_point, CODE.max - unit.zero_point
        self.encoder = _ENCODERS[unit.encoder](unit)
        self.register_buffer("step", input_step(layer))
        self.register_buffer("sum_step", layer.sum_step().cpu())
        self.register_buffer("table", torch.tensor(unit.table, dtype=torch.int8).flatten(0, 1))
        self.register_buffer("first", torch.from_numpy(first_entries(unit)))
        bias = None if unit.bias is None else torch.tensor(unit.bias, dtype=torch.int32)
        self.register_buffer("bias", bias)

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        """Codes of `x`, counted from zero, float32."""
        return torch.round(torch.where(x.isnan(), 0.0, x) / self.step).clamp(self.low, self.high)

    def sums(self, x: torch.Tensor) -> torch.Tensor:
        """The unit's sums of each row of `x`, int32 [rows, M]."""
        rows = F.pad(self._rows(self.codes(x)), (0, self.padding))
        indices = self.encoder(rows.view(-1, self.codebooks, self.v))
        entries = self.table.index_select(0, (indices + self.first).flatten()).to(torch.int32)
        sums = entries.view(-1, self.codebooks, self.outputs).sum(1, dtype=torch.int32)
        return sums if self.bias is None else sums + self.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._shaped(self.sums(x).float() * self.sum_step, x)

    def extra_repr(self) -> str:
        return self.lookup.words()

    def _rows(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes as [rows, features]."""
        raise NotImplementedError

    def _shaped(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """[rows, M] as the layer's result on `x`."""
        raise NotImplementedError


class _Rows(_Standard):
    def _rows(self, codes: torch.Tensor) -> torch.Tensor:
        return codes.reshape(-1, self.features)

    def _shaped(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return y.view(*x.shape[:-1], self.outputs)


class _Windows(_Standard):
    def __init__(self, layer: Any):
        super().__init__(layer)
        self.axes = list(zip(layer.kernel_size, layer.stride, layer.dilation))
        self.around = [side for pad in reversed(pads(layer)) for side in pad]
        self.mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        self.total = [sum(pad) for pad in pads(layer)]

    def _rows(self, codes: torch.Tensor) -> torch.Tensor:
        padded = F.pad(codes, self.around, self.mode)
        for d, places in enumerate(self._places(codes)):
            kernel, stride, dilation = self.axes[d]
            before = (slice(None),) * (2 + d)
            starts = [dilation * i for i in range(kernel)]
            taken = [padded[before + (slice(i, i + (places - 1) * stride + 1, stride),)] for i in starts]
            padded = torch.stack(taken, -1)
        n = len(self.axes)
        return padded.movedim(1, n + 1).reshape(-1, self.features)

    def _shaped(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return y.view(-1, *self._places(x), self.outputs).movedim(-1, 1)

    def _places(self, x: torch.Tensor) -> list[int]:
        """The sizes of the result on `x`."""
        reach = zip(x.shape[2:], self.total, self.axes)
        return [(size + pad - d * (k - 1) - 1) // stride + 1 for size, pad, (k, stride, d) in reach]
