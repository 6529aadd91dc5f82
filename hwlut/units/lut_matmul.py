"""Matrix products by look-up: sub-vectors to the nearest prototypes, and sums of their table entries."""

import enum
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hwlut.fields import array, choice, integer, optional
from hwlut.fixed import Fixed, signed_bits
from hwlut.unit import Resources, Unit
from hwlut.units.codes import checked_codes
from hwlut.units.nested import nested
from hwlut.units.requantize import Requantize

if TYPE_CHECKING:
    import torch

__all__ = ["CODE", "Encoder", "LutMatmul"]

CODE = Fixed(8)
"""Format of inputs, prototypes and thresholds."""

_BIAS = Fixed(32)
_MOST_ENTRIES = 1 << 28
_AT_ONCE = 1 << 22  # numbers that the definition holds at a time


class Encoder(str, enum.Enum):
    """How a sub-vector x becomes the index of a prototype p."""

    L2 = "l2"  # least sum of (x - p)^2
    L1 = "l1"  # least sum of |x - p|
    CHEBYSHEV = "chebyshev"  # least maximum of |x - p|
    TREE = "tree"  # comparisons of single inputs


@dataclass(frozen=True, kw_only=True, eq=False)
class LutMatmul(Unit, schema="hwlut.lut_matmul/1"):
    """A matrix product of which each input sub-vector is replaced by a prototype, so that products are table entries.

    ``y[m] = sum over c of table[c, index of sub-vector c, m] + bias[m]``, then the Requantize. A row of inputs is cut
    into C sub-vectors of v; where C v is more than `features`, zero points fill the last one. (Blalock and Guttag,
    "Multiplying Matrices Without Multiplying", ICML 2021; Tang et al., "LUT-NN", MobiCom 2023; here on integers.)

    Parameters
    ----------
    encoder: `Encoder` or its name. Distances are exact integers; of equal ones the lowest index wins.
    features: inputs of a row, 1 to 2^20.
    v: inputs of a sub-vector, 1 to 4,096; there are C = ceil(features / v) of them.
    zero_point: the code of zero, of inputs and prototypes alike.
    prototypes: int8 [C, K, v], of the distance encoders; beyond the features they hold the zero point.
    thresholds: int8 [C, K - 1], of a tree: from node i of codebook c, at level l from 0 on, a sub-vector x goes to node
        ``2 i + 1 + (x[dimensions[c, l]] >= thresholds[c, i])``, from node 0 to a leaf K - 1 + index.
    dimensions: int [C, log2 K], 0 to v - 1: which input each level of a tree compares.
    table: [C, K, M] of `table_bits`, two's complement; K is a power of two from 2 to 256.
    table_bits: 4 or 8.
    bias: int32 [M], added to the sums; None for none.
    requantize: what follows, with one channel or M; its input must hold every sum. None where sums are the results.

    All sums fit int32, which is proven when the unit is made.
    """

    encoder: Encoder = choice(Encoder)
    features: int = integer(1, 1 << 20)
    v: int = integer(1, 4096)
    zero_point: int = integer(CODE.min, CODE.max, default=0)
    prototypes: np.ndarray | None = optional(array(3))
    thresholds: np.ndarray | None = optional(array(2))
    dimensions: np.ndarray | None = optional(array(2))
    table: np.ndarray = array(3)
    table_bits: int = integer(4, 8, default=8)
    bias: np.ndarray | None = optional(array(1))
    requantize: Requantize | None = optional(nested(Requantize))

    def validate(self) -> None:
        if self.table_bits not in (4, 8):
            raise ValueError(f"LutMatmul table_bits must be 4 or 8, not {self.table_bits}")
        if self.table.size > _MOST_ENTRIES:
            raise ValueError(f"LutMatmul table must be at most 2^28 numbers, not {self.table.size}")
        codebooks, k, outputs = self.table.shape
        if k & (k - 1) or not 2 <= k <= 256:
            raise ValueError(f"LutMatmul table must have a power of two from 2 to 256 entries a codebook, not {k}")
        needed = -(-self.features // self.v)
        if codebooks != needed:
            raise ValueError(
                f"LutMatmul table must have {needed} codebooks, those of {self.features} inputs by {self.v},"
                f" not {codebooks}"
            )
        _check_range("table", self.table, Fixed(self.table_bits))
        shapes: dict[str, tuple[int, ...]] = {"prototypes": (codebooks, k, self.v)}
        if self.encoder is Encoder.TREE:
            shapes = {"thresholds": (codebooks, k - 1), "dimensions": (codebooks, self.depth)}
        self._check_encoder(shapes)
        if self.bias is not None:
            if self.bias.shape != (outputs,):
                raise ValueError(f"LutMatmul bias must be of shape {(outputs,)}, not {self.bias.shape}")
            _check_range("bias", self.bias, _BIAS)
        self._check_sums()

    def _check_encoder(self, shapes: dict[str, tuple[int, ...]]) -> None:
        for key in ("prototypes", "thresholds", "dimensions"):
            given: np.ndarray | None = getattr(self, key)
            if (given is not None) != (key in shapes):
                must = "must not be" if given is not None else "must be"
                raise ValueError(f"LutMatmul {key} {must} given with encoder {self.encoder.value}")
            if given is None:
                continue
            if given.shape != shapes[key]:
                raise ValueError(f"LutMatmul {key} must be of shape {shapes[key]}, not {given.shape}")
            if key == "dimensions":
                if given.min() < 0 or given.max() >= self.v:
                    end = given.min() if given.min() < 0 else given.max()
                    raise ValueError(f"LutMatmul dimensions must be from 0 to {self.v - 1}, not {end}")
            else:
                _check_range(key, given, CODE)
        if self.prototypes is not None and self.padding:
            beyond = self.prototypes[-1, :, self.v - self.padding :]
            if (beyond != self.zero_point).any():
                wrong = beyond[beyond != self.zero_point][0]
                raise ValueError(
                    f"LutMatmul prototypes must be the zero point, {self.zero_point}, beyond the features, not {wrong}"
                )

    def _check_sums(self) -> None:
        sums = self.accumulator
        if sums.bits > 32:
            raise ValueError(f"LutMatmul sums must fit 32 bits, not {sums.bits}")
        if self.requantize is None:
            return
        held = self.requantize.input
        if held.min > sums.min or held.max < sums.max:
            raise ValueError(f"LutMatmul requantize input must hold the sums, {sums}, not {held}")
        if self.requantize.channels not in (1, self.outputs):
            raise ValueError(
                f"LutMatmul requantize must have 1 channel or {self.outputs}, not {self.requantize.channels}"
            )

    @property
    def input(self) -> Fixed:
        """Format of the input codes."""
        return CODE

    @property
    def codebooks(self) -> int:
        """C, how many sub-vectors a row has."""
        return self.table.shape[0]

    @property
    def k(self) -> int:
        """K, how many prototypes a codebook has."""
        return self.table.shape[1]

    @property
    def outputs(self) -> int:
        """M, results of a row."""
        return self.table.shape[2]

    @property
    def depth(self) -> int:
        """log2 K."""
        return self.k.bit_length() - 1

    @property
    def padding(self) -> int:
        """How many zero points fill the last sub-vector."""
        return self.codebooks * self.v - self.features

    @cached_property
    def accumulator(self) -> Fixed:
        """The narrowest signed format of all sums with their bias, from the least and the greatest entries of each
        codebook; sums of some of the codebooks may leave it, but not modulo 2^bits.
        """
        bias = 0 if self.bias is None else self.bias.astype(np.int64)
        low = self.table.min(1).astype(np.int64).sum(0) + bias
        high = self.table.max(1).astype(np.int64).sum(0) + bias
        return Fixed(signed_bits(int(low.min()), int(high.max())))

    @property
    def output(self) -> Fixed:
        """Format of the results."""
        return self.accumulator if self.requantize is None else self.requantize.output

    def __call__(self, codes: "torch.Tensor") -> "torch.Tensor":
        """Results [..., M] of input codes [..., features] of any integer dtype: int32 (int64 for unsigned 32 bits).

        Raises TypeError for other tensors, ValueError for a code outside int8 and another last dimension.
        """
        sums = self.scan(self.encode(codes))
        return sums if self.requantize is None else self.requantize(sums)

    def encode(self, codes: "torch.Tensor") -> "torch.Tensor":
        """The index of the prototype of each sub-vector, int64 [..., C], of input codes [..., features]."""
        import torch

        x = checked_codes(codes, CODE, "LutMatmul")
        if x.shape[-1:] != (self.features,):
            raise ValueError(f"LutMatmul codes must be [..., {self.features}], not {list(x.shape)}")
        x = torch.nn.functional.pad(x, (0, self.padding), value=self.zero_point)
        x = x.unflatten(-1, (self.codebooks, self.v))
        rows = x.reshape(-1, self.codebooks, self.v)
        step = max(1, _AT_ONCE // (self.codebooks * self.k * self.v))
        parts = [self._indices(part) for part in rows.split(step)]
        return torch.cat(parts).view(x.shape[:-1])

    def _indices(self, x: "torch.Tensor") -> "torch.Tensor":
        """Of sub-vectors int64 [n, C, v], int64 [n, C]."""
        import torch

        if self.encoder is Encoder.TREE:
            return self._leaves(x)
        prototypes = torch.tensor(self.prototypes, dtype=torch.int64, device=x.device)
        away = (x[:, :, None] - prototypes).abs()
        if self.encoder is Encoder.L2:
            distances = away.square().sum(-1)
        else:
            distances = away.sum(-1) if self.encoder is Encoder.L1 else away.amax(-1)
        # The index breaks ties as the lower digit of a number.
        return (distances * self.k + torch.arange(self.k, device=x.device)).amin(-1) % self.k

    def _leaves(self, x: "torch.Tensor") -> "torch.Tensor":
        import torch

        thresholds = torch.tensor(self.thresholds, dtype=torch.int64, device=x.device)
        dimensions = torch.tensor(self.dimensions, dtype=torch.int64, device=x.device)
        codebooks = torch.arange(self.codebooks, device=x.device)
        node = x.new_zeros(x.shape[:2])
        for level in range(self.depth):
            node = 2 * node + 1 + (x[:, codebooks, dimensions[:, level]] >= thresholds[codebooks, node]).long()
        return node - (self.k - 1)

    def scan(self, indices: "torch.Tensor") -> "torch.Tensor":
        """Sums of table entries with their bias, int32 [..., M], of indices [..., C] from `encode`."""
        import torch

        table = torch.tensor(self.table, dtype=torch.int32, device=indices.device)
        rows = indices.reshape(-1, self.codebooks)
        sums = torch.zeros(len(rows), self.outputs, dtype=torch.int32, device=indices.device)
        if self.bias is not None:
            sums += torch.tensor(self.bias, dtype=torch.int32, device=indices.device)
        for codebook, entries in enumerate(table):
            sums += entries[rows[:, codebook]]
        return sums.view(*indices.shape[:-1], self.outputs)

    def cost(self) -> Resources:
        """Of the default form of the array, see `hwlut.units.lut_array`."""
        from hwlut.units.lut_array import resources

        return resources(self)


def _check_range(key: str, values: np.ndarray, format: Fixed) -> None:
    for end in (int(values.min()), int(values.max())):
        if not format.min <= end <= format.max:
            raise ValueError(f"LutMatmul {key} must be from {format.min} to {format.max}, not {end}")
