"""Sums of products in RTL: the engine of approximate layers that is a multiplier's hardware."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from hwlut.fixed import Fixed
from hwlut.nn.rtl.named import Named, found
from hwlut.ops.evaluate import narrowest
from hwlut.units import Multiplier
from hwlut.units.dot import accumulator

if TYPE_CHECKING:
    from hwlut.hdl import Rtl
    from hwlut.verify.blocks import Block

__all__ = ["RtlSums"]

_LANES = 8
_TERMS = 1 << 10  # of the default design, unless a sum has more
_BEATS = 1 << 20  # that are held at once


class RtlSums(Named):
    """Sums of a multiplier's products by its hardware: an engine for `Approximate`.

    The elements of a matrix product are sums that are sent to the design one after the other, each as beats of as many
    pairs as there are lanes. What does not fill the last beat is filled with the pair 0, 0, whose products are
    subtracted again.

    Parameters
    ----------
    multiplier: what multiplies.
    rtl: a design that adds up its products (``generate(multiplier, terms=..., lanes=...)``), or the path of a Verilog
        file, as for `RtlLayer`. By default one of 8 lanes for 1,024 terms, or for the next power of two where a sum has
        more.

    Raises ValueError for a design of something else, and when called for more terms than a given design adds up.
    """

    def __init__(self, multiplier: Multiplier, rtl: "Rtl | str | Path | None" = None):
        from hwlut.verify.design import design_of

        chosen = None if rtl is None else design_of(multiplier, None, rtl)
        self.multiplier = multiplier
        self._given = rtl is not None
        self._design = self._default(_TERMS) if chosen is None else _Design(multiplier, chosen)
        super().__init__(chosen, multiplier.digest)

    def _default(self, terms: int) -> "_Design":
        from hwlut.hdl import generate

        return _Design(self.multiplier, generate(self.multiplier, terms=terms, lanes=_LANES))

    @property
    def rtl(self) -> "Rtl":
        """The design that runs."""
        return self._design.hardware.rtl

    def __str__(self) -> str:
        return f"design {self._design.hardware.name}"

    def prepared(self, matrix: torch.Tensor) -> torch.Tensor:
        """The codes as they are: hardware takes them so."""
        return matrix

    def __call__(self, rows: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """int64 sums [..., M, N] of codes [..., M, K] and [..., K, N], on their device."""
        return _rtl_sums(rows, matrix, self.key)

    def computed(self, rows: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """The same, not as an operator."""
        (m, k), n = rows.shape[-2:], matrix.shape[-1]
        if k > self._design.terms:
            if self._given:
                raise ValueError(f"RtlLayer rtl must add up {k} products, not at most {self._design.terms}")
            self._design = self._default(1 << (k - 1).bit_length())
        shape = torch.broadcast_shapes(rows.shape[:-2], matrix.shape[:-2])
        left = _codes(rows.expand(*shape, m, k).reshape(math.prod(shape), m, k), self.multiplier.a)
        right = _codes(matrix.mT.expand(*shape, n, k).reshape(math.prod(shape), n, k), self.multiplier.b)
        sums = np.zeros((len(left), m, n), np.int64)
        if k:
            for a, b, out in zip(left, right, sums):
                self._design(a, b, out)
        return torch.from_numpy(sums).reshape(*shape, m, n).to(rows.device)


@torch.library.custom_op("hwlut::rtl_sums", mutates_args=())
def _rtl_sums(rows: torch.Tensor, matrix: torch.Tensor, key: str) -> torch.Tensor:
    """Sums by what has that key."""
    return found(key).computed(rows, matrix)


@_rtl_sums.register_fake
def _(rows: torch.Tensor, matrix: torch.Tensor, key: str) -> torch.Tensor:
    shape = torch.broadcast_shapes(rows.shape[:-2], matrix.shape[:-2])
    return rows.new_empty((*shape, rows.shape[-2], matrix.shape[-1]), dtype=torch.int64)


def _codes(codes: torch.Tensor, format: Fixed) -> np.ndarray:
    """Codes held by the format, as the kernels hold them, in the smallest type for them."""
    return codes.cpu().clamp(format.min, format.max).to(narrowest(format)).numpy()


class _Design:
    """A design as a function of two matrices. ValueError where its streams are not those of sums of products."""

    def __init__(self, multiplier: Multiplier, rtl: "Rtl"):
        from hwlut.verify.blocks import Block
        from hwlut.verify.hardware import Hardware

        described = rtl.description.get("sum")
        if described is None or described["requantize"] is not None:
            found = "products alone" if described is None else "a Requantize behind the sums"
            raise ValueError(f"RtlLayer rtl must be a design of sums (generate(unit, terms=...)), not of {found}")
        self.hardware = Hardware(rtl)
        self.terms: int = described["terms"]
        source, sink = self.hardware.source, self.hardware.sink
        self._a, self._b, self._last = (Block.of(source, name) for name in ("a", "b", "last"))
        self._sums = Block.of(sink)
        wanted = [*self._a.names, *self._b.names, "last"]
        if len(self._a.names) != len(self._b.names) or len(source.fields) != len(wanted):
            raise ValueError(f"{source.name} must have as many fields a as b, and last, not {', '.join(source.fields)}")
        for block, format in ((self._a, multiplier.a), (self._b, multiplier.b)):
            if block.format != format:
                raise ValueError(f"{source.name} field {block.names[0]} must be {format}, not {block.format}")
        needed, held = accumulator(multiplier, self.terms), self._sums.format
        if len(sink.fields) != 1 or not held.min <= needed.min <= needed.max <= held.max:
            raise ValueError(f"{sink.name} must have one field that holds {needed}, not {held}")
        zero = torch.zeros((), dtype=torch.int64)
        self._at_zero = int(multiplier(zero, zero))

    def __call__(self, a: np.ndarray, b: np.ndarray, sums: np.ndarray) -> None:
        """Write the sums [M, N] of the products of rows [M, K] and [N, K]."""
        lanes = len(self._a.names)
        beats = -(-a.shape[1] // lanes)
        left, right = self._beats(self._a, a, beats), self._beats(self._b, b, beats)
        marks = right.reshape(len(b), beats, -1)[:, -1]
        self._last.put(marks, np.ones((len(b), 1), np.uint8))
        filled = (beats * lanes - a.shape[1]) * self._at_zero
        share = max(1, _BEATS // max(1, len(b) * beats))
        for start in range(0, len(a), share):
            # Each of the two has zeros where the other has its fields.
            both = left[start : start + share, None] | right[None]
            sent = both.reshape(-1, beats, self.hardware.source.bytes)
            found = self.hardware.run(sent, 1, torch.get_num_threads())
            sums[start : start + share] = self._sums.get(found[:, 0]).reshape(-1, len(b)) - filled

    def _beats(self, block: "Block", codes: np.ndarray, beats: int) -> np.ndarray:
        """Beats with one operand's rows [n, K], filled with 0: uint8 [n, beats * bytes of a beat]."""
        padded = np.pad(codes, ((0, 0), (0, beats * len(block.names) - codes.shape[1])))
        held = np.zeros((len(codes) * beats, self.hardware.source.bytes), np.uint8)
        block.put(held, padded.reshape(-1, len(block.names)))
        return held.reshape(len(codes), -1)
