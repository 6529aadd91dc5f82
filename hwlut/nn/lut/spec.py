"""What a layer of look-ups is made of: how many prototypes of how many inputs, how they are found and learned."""

import copy
import dataclasses
from typing import Any

from hwlut.fields import shorten
from hwlut.fixed import Fixed
from hwlut.quant import Quantizer
from hwlut.units.lut_matmul import CODE, Encoder

__all__ = ["Lookup"]


@dataclasses.dataclass(frozen=True, eq=False)
class Lookup:
    """How layers look their products up: what `hwlut.nn.convert` makes `LutLinear` and the other layers by.

    Parameters
    ----------
    k: prototypes of a codebook, a power of two from 2 to 256.
    v: inputs of a sub-vector. By default 8 in a linear layer; in a convolution the places of its kernel, so that each
        channel has a codebook, and 4 where the kernel is one place.
    encoder: "l2", "l1", "chebyshev" or "tree".
    table_bits: 8 or 4.
    per_output: whether each output has a step of its own for its entries. By default with 4 bits.
    tied: whether the table is always that of the prototypes and the layer's weight, which then are what is trained;
        not with a tree. Else the table itself is, from its refit on.
    activations: a Quantizer to signed 8 bits with one static or learned step, of which every layer gets a copy. By
        default one with a real step and a zero point, of least squared error.
    refit: whether the table is fitted to the layer's outputs by ridge regression, in the place of that of the
        prototypes (`hwlut.codebooks.refit`).
    iterations: most steps of k-means.
    rows: how many input rows are kept to learn from, drawn from all that calibration shows.
    seed: of that draw and of k-means.
    """

    k: int = 16
    v: int | None = None
    encoder: str = "l2"
    table_bits: int = 8
    per_output: bool | None = None
    tied: bool = False
    activations: Quantizer | None = None
    refit: bool = True
    iterations: int = 25
    rows: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("k", 2, 256),
            ("v", 1, 4096),
            ("table_bits", 4, 8),
            ("iterations", 1, 10_000),
            ("rows", 2, 1 << 30),
            ("seed", 0, (1 << 63) - 1),
        ):
            value = getattr(self, name)
            if name == "v" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"Lookup {name} must be an integer, not {shorten(value)}")
            if not least <= value <= most:
                raise ValueError(f"Lookup {name} must be from {least} to {most}, not {value}")
        if self.k & (self.k - 1):
            raise ValueError(f"Lookup k must be a power of two, not {self.k}")
        if self.table_bits not in (4, 8):
            raise ValueError(f"Lookup table_bits must be 4 or 8, not {self.table_bits}")
        names = [encoder.value for encoder in Encoder]
        if self.encoder not in names:
            raise ValueError(f"Lookup encoder must be one of {', '.join(names)}, not {shorten(self.encoder)}")
        object.__setattr__(self, "encoder", Encoder(self.encoder).value)
        for name in ("per_output", "tied", "refit"):
            value = getattr(self, name)
            if not isinstance(value, bool) and not (name == "per_output" and value is None):
                raise TypeError(f"Lookup {name} must be true or false, not {shorten(value)}")
        if self.tied and self.encoder == Encoder.TREE:
            raise ValueError("Lookup tied must not be with encoder tree, whose tables have no prototypes")
        if self.activations is not None:
            _check_activations(self.activations)

    def activation_quantizer(self) -> Quantizer:
        """A new one for the inputs."""
        if self.activations is not None:
            return copy.deepcopy(self.activations)
        return Quantizer(CODE, steps="real", symmetric=False)

    def table_quantizer(self) -> Quantizer:
        """A new one for tables [C, K, M], whose step follows them."""
        per_output = self.table_bits == 4 if self.per_output is None else self.per_output
        sharing: dict[str, Any] = {"granularity": "channel", "axis": 2} if per_output else {}
        return Quantizer(Fixed(self.table_bits), steps="real", source="dynamic", **sharing)

    def words(self) -> str:
        """In one line."""
        tied = ", tied" if self.tied else ""
        return f"{self.encoder}, k={self.k}, table_bits={self.table_bits}{tied}"


def _check_activations(quantizer: Any) -> None:
    if not isinstance(quantizer, Quantizer):
        raise TypeError(f"Lookup activations must be a Quantizer, not {type(quantizer).__name__}")
    if quantizer.format != CODE:
        raise ValueError(f"Lookup activations must have the format {CODE}, not {quantizer.format}")
    if quantizer.granularity.kind != "tensor":
        raise ValueError(f"Lookup activations must have a step for the tensor, not each {quantizer.granularity.kind}")
    if quantizer.source == "dynamic":
        raise ValueError("Lookup activations must have a static or learned step, which prototypes share, not dynamic")
