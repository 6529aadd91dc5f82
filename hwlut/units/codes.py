"""Checks on the codes that a unit is called with."""

from typing import TYPE_CHECKING

from hwlut.fixed import Fixed

if TYPE_CHECKING:
    import torch

__all__ = ["checked_codes"]


def checked_codes(codes: "torch.Tensor", format: Fixed, kind: str) -> "torch.Tensor":
    """`codes` as int64; TypeError unless integer, ValueError when one lies outside `format`."""
    import torch

    if not isinstance(codes, torch.Tensor):
        raise TypeError(f"{kind} codes must be a tensor, not {type(codes).__name__}")
    if codes.dtype.is_floating_point or codes.dtype.is_complex or codes.dtype == torch.bool:
        raise TypeError(f"{kind} codes must be integers, not {codes.dtype}")
    wide = codes.to(torch.int64)
    outside = (wide < format.min) | (wide > format.max)
    if bool(outside.any()):
        first = int(wide[outside].flatten()[0])
        raise ValueError(f"{kind} codes must be from {format.min} to {format.max}, not {first}")
    return wide
