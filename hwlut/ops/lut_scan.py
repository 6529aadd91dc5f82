"""Sums of table entries of look-up products, with their bias and requantized."""

from collections.abc import Callable

import torch

from hwlut.fixed import Fixed
from hwlut.ops.evaluate import narrowest
from hwlut.ops.lut_launch import ROUNDINGS, Launch, builders, encoder_arguments, fit, table_arguments
from hwlut.ops.lut_pack import packed_size
from hwlut.ops.registry import register

__all__ = ["definition", "empty", "scan"]


def empty(
    indices: torch.Tensor,
    table: torch.Tensor,
    packed: torch.Tensor,
    bias: torch.Tensor | None,
    ratios: torch.Tensor | None,
    after: list[int],
) -> torch.Tensor:
    """The output of `scan` before it is filled, once the arguments are found fit."""
    if table.dim() != 3:
        raise ValueError(f"lut_scan table must be [C, K, M], not {list(table.shape)}")
    codebooks, k, outputs = table.shape
    if k & (k - 1) or not 2 <= k <= 256:
        raise ValueError(f"lut_scan table must have a power of two from 2 to 256 entries a codebook, not {k}")
    fit("lut_scan", "indices", indices, torch.uint8, ["...", codebooks], table)
    fit("lut_scan", "table", table, torch.int8, [codebooks, k, outputs], table)
    fit("lut_scan", "packed", packed, torch.uint8, [packed_size(codebooks, k, outputs)], table)
    if bias is not None:
        fit("lut_scan", "bias", bias, torch.int32, [outputs], table)
    if (ratios is None) != (not after):
        raise ValueError("lut_scan ratios must be given with what is after them, and not else")
    if ratios is not None:
        fit("lut_scan", "ratios", ratios, torch.int64, [2, 1 if ratios.shape[-1] == 1 else outputs], table)
    dtype = narrowest(Fixed(after[1], signed=bool(after[2]))) if after else torch.int32
    return indices.new_empty((*indices.shape[:-1], outputs), dtype=dtype)


def definition(
    indices: torch.Tensor,
    table: torch.Tensor,
    packed: torch.Tensor,
    bias: torch.Tensor | None,
    ratios: torch.Tensor | None,
    after: list[int],
) -> torch.Tensor:
    """`scan` in torch."""
    out = empty(indices, table, packed, bias, ratios, after)
    rows = indices.reshape(-1, len(table)).long() % table.shape[1]
    sums = torch.zeros(len(rows), table.shape[2], dtype=torch.int32, device=table.device)
    if bias is not None:
        sums += bias
    for codebook, entries in enumerate(table.int()):
        sums += entries[rows[:, codebook]]
    return out.copy_((sums if ratios is None else _requantized(sums.long(), ratios, *after)).view(out.shape))


def _requantized(
    sums: torch.Tensor, ratios: torch.Tensor, zero: int, bits: int, signed: int, rounding: int
) -> torch.Tensor:
    format, (multipliers, shifts) = Fixed(bits, signed=bool(signed)), ratios.unbind()
    product = sums * multipliers
    kept = product >> shifts
    last = (product >> (shifts - 1).clamp(0) & 1) * (shifts > 0)  # of the digits beyond: a half or more
    if ROUNDINGS[rounding] == "half_even":
        beyond = product & ((torch.ones_like(shifts) << (shifts - 1).clamp(0)) - 1)
        last = last & ((beyond != 0).long() | kept & 1)
    rounded = kept if ROUNDINGS[rounding] == "floor" else kept + last
    return (rounded + zero).clamp(format.min, format.max)


def _on(launch: Launch) -> Callable[..., torch.Tensor]:
    """The operator by a kernel."""

    def run(
        indices: torch.Tensor,
        table: torch.Tensor,
        packed: torch.Tensor,
        bias: torch.Tensor | None,
        ratios: torch.Tensor | None,
        after: list[int],
    ) -> torch.Tensor:
        out = empty(indices, table, packed, bias, ratios, after)
        if not out.numel():
            return out
        indices, table, packed = (tensor.contiguous() for tensor in (indices, table, packed))
        bias, ratios = (None if tensor is None else tensor.contiguous() for tensor in (bias, ratios))
        nothing = encoder_arguments(None, None, "l2", len(table), 1, 0)
        launch(nothing, table_arguments(table, packed, bias, ratios, tuple(after)), None, indices, out)
        return out

    return run


scan = register(
    "lut_scan(Tensor indices, Tensor table, Tensor packed, Tensor? bias, Tensor? ratios, int[] after) -> Tensor",
    definition,
    empty,
    builders(_on),
)
"""``bias[m] + sum over c of table[c, indices[..., c], m]``, requantized where there are ratios: [..., M].

indices are uint8 [..., C], each taken modulo K; table is int8 [C, K, M], and packed what `lut_pack` makes of it. bias
is int32 [M]. ratios are int64 [2, 1 or M], multipliers and shifts, and after the zero point, bits, sign and rounding
(`ROUNDINGS`) of the Requantize. The result is int32, modulo 2^32, or the narrowest type of the Requantize.
"""
