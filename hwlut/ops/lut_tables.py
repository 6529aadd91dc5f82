"""What the operators of look-up products take: the integers of a `LutMatmul` as tensors, and packed for kernels."""

import functools
from dataclasses import dataclass, field

import torch

from hwlut.ops.lut_launch import ROUNDINGS
from hwlut.ops.lut_pack import lut_pack
from hwlut.units.lut_matmul import Encoder, LutMatmul
from hwlut.units.requantize import Requantize

__all__ = ["LutTables", "lut_tables"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LutTables:
    """The integers of a `LutMatmul` on one device, as `lut_encode`, `lut_scan` and `lut_matmul` take them.

    What is packed for the kernels is made once, when it is first used; the tensors are not to be written to after that.

    Parameters
    ----------
    encoder: "l2", "l1", "chebyshev" or "tree", as an `Encoder`.
    features, v, zero_point: as of `LutMatmul`; C = ceil(features / v) codebooks.
    prototypes: int8 [C, K, v], unless a tree's; beyond the features they hold the zero point.
    thresholds, dimensions: int8 [C, K - 1] and int32 [C, log2 K], of a tree. A dimension outside 0 to v - 1 is held to
        the nearer end.
    table: int8 [C, K, M]; K is a power of two from 2 to 256.
    bias: int32 [M] or None.
    requantize: what follows, with 1 channel or M, or None. Its input must hold the sums.

    Sums are int32 modulo 2^32: a `LutMatmul` proves that they fit, and so must who makes this from tensors. Raises
    TypeError for the wrong kind, ValueError for the wrong shape, range or device.
    """

    encoder: Encoder
    features: int
    v: int
    zero_point: int = 0
    prototypes: torch.Tensor | None = None
    thresholds: torch.Tensor | None = None
    dimensions: torch.Tensor | None = None
    table: torch.Tensor
    bias: torch.Tensor | None = None
    requantize: Requantize | None = None
    _packed: torch.Tensor | None = field(default=None, init=False, repr=False)
    _ratios: torch.Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        names = [encoder.value for encoder in Encoder]
        if self.encoder not in names:
            raise ValueError(f"LutTables encoder must be one of {', '.join(names)}, not {self.encoder!r}")
        object.__setattr__(self, "encoder", Encoder(self.encoder))
        for label, low, high in (("features", 1, 1 << 20), ("v", 1, 4096), ("zero_point", -128, 127)):
            value = getattr(self, label)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"LutTables {label} must be an integer, not {value!r}")
            if not low <= value <= high:
                raise ValueError(f"LutTables {label} must be from {low} to {high}, not {value}")
        if not isinstance(self.table, torch.Tensor):
            raise TypeError(f"LutTables table must be a tensor, not {type(self.table).__name__}")
        codebooks = -(-self.features // self.v)
        if self.table.dim() != 3 or self.table.shape[0] != codebooks:
            raise ValueError(f"LutTables table must be [{codebooks}, K, M], not {list(self.table.shape)}")
        _, k, outputs = self.table.shape
        if k & (k - 1) or not 2 <= k <= 256:
            raise ValueError(f"LutTables table must have a power of two from 2 to 256 entries a codebook, not {k}")
        tree, depth = self.encoder is Encoder.TREE, k.bit_length() - 1
        self._check("table", True, torch.int8, (codebooks, k, outputs))
        self._check("prototypes", not tree, torch.int8, (codebooks, k, self.v))
        self._check("thresholds", tree, torch.int8, (codebooks, k - 1))
        self._check("dimensions", tree, torch.int32, (codebooks, depth))
        self._check("bias", self.bias is not None, torch.int32, (outputs,))
        if self.requantize is None:
            return
        if not isinstance(self.requantize, Requantize):
            raise TypeError(f"LutTables requantize must be a Requantize, not {type(self.requantize).__name__}")
        if self.requantize.channels not in (1, outputs):
            raise ValueError(f"LutTables requantize must have 1 channel or {outputs}, not {self.requantize.channels}")

    def _check(self, label: str, wanted: bool, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        given = getattr(self, label)
        if (given is not None) != wanted:
            must = "must be" if wanted else "must not be"
            raise ValueError(f"LutTables {label} {must} given with encoder {self.encoder.value}")
        if given is None:
            return
        if not isinstance(given, torch.Tensor) or given.dtype != dtype:
            kind = given.dtype if isinstance(given, torch.Tensor) else type(given).__name__
            raise TypeError(f"LutTables {label} must be {dtype}, not {kind}")
        if given.shape != shape:
            raise ValueError(f"LutTables {label} must be {list(shape)}, not {list(given.shape)}")
        if given.device != self.table.device:
            raise ValueError(f"LutTables {label} must be on {self.table.device} like the table, not {given.device}")

    @property
    def points(self) -> torch.Tensor:
        """Prototypes or thresholds."""
        points = self.prototypes if self.thresholds is None else self.thresholds
        assert points is not None
        return points

    @property
    def packed(self) -> torch.Tensor:
        """The table as the kernels of its device read it."""
        if self._packed is None:
            object.__setattr__(self, "_packed", lut_pack(self.table))
        assert self._packed is not None
        return self._packed

    @property
    def ratios(self) -> torch.Tensor | None:
        """Multipliers and shifts of the Requantize, int64 [2, channels]."""
        if self._ratios is None and self.requantize is not None:
            numbers = (self.requantize.multipliers, self.requantize.shifts)
            object.__setattr__(self, "_ratios", torch.tensor(numbers, device=self.table.device))
        return self._ratios

    @property
    def after(self) -> list[int]:
        """The rest of the Requantize, as `lut_scan` takes it."""
        if self.requantize is None:
            return []
        output = self.requantize.output
        return [self.requantize.zero_point, output.bits, output.signed, ROUNDINGS.index(self.requantize.rounding.value)]


def lut_tables(unit: LutMatmul, device: torch.device | str = "cpu") -> LutTables:
    """The integers of `unit` on `device`, kept for later calls. Raises TypeError for another kind of unit."""
    if not isinstance(unit, LutMatmul):
        raise TypeError(f"lut_tables unit must be a LutMatmul, not {type(unit).__name__}")
    return _kept(unit, torch.device(device))


@functools.lru_cache(maxsize=64)
def _kept(unit: LutMatmul, device: torch.device) -> LutTables:
    def tensor(values: object, dtype: torch.dtype) -> torch.Tensor | None:
        return None if values is None else torch.tensor(values, dtype=dtype, device=device)

    table = tensor(unit.table, torch.int8)
    assert table is not None
    return LutTables(
        encoder=unit.encoder,
        features=unit.features,
        v=unit.v,
        zero_point=unit.zero_point,
        prototypes=tensor(unit.prototypes, torch.int8),
        thresholds=tensor(unit.thresholds, torch.int8),
        dimensions=tensor(unit.dimensions, torch.int32),
        table=table,
        bias=tensor(unit.bias, torch.int32),
        requantize=unit.requantize,
    )
