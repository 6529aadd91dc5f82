"""The codes that a unit is called with, and the type of those that it gives."""

from typing import TYPE_CHECKING

from hwlut.fixed import Fixed

if TYPE_CHECKING:
    import torch

__all__ = ["checked_codes", "result_dtype"]


def checked_codes(codes: "torch.Tensor", format: Fixed, kind: str) -> "torch.Tensor":
    """`codes` as int64; TypeError unless an integer tensor, ValueError when one lies outside `format`."""
    import torch

    if not isinstance(codes, torch.Tensor):
        raise TypeError(f"{kind} codes must be a tensor, not {type(codes).__name__}")
    if codes.dtype not in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        raise TypeError(f"{kind} codes must be uint8, int8, int16, int32 or int64, not {codes.dtype}")
    wide = codes.to(torch.int64)
    outside = (wide < format.min) | (wide > format.max)
    if bool(outside.any()):
        first = int(wide[outside].flatten()[0])
        raise ValueError(f"{kind} codes must be from {format.min} to {format.max}, not {first}")
    return wide


def result_dtype(format: Fixed) -> "torch.dtype":
    """Of results: int32 where the format allows, else int64."""
    import torch

    return torch.int32 if format.bits + (not format.signed) <= 32 else torch.int64
