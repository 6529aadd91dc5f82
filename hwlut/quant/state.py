"""What a quantizer's state may be when it is loaded: which shapes, which numbers."""

from collections.abc import Callable

import torch

from hwlut.fields import shorten
from hwlut.fixed import Fixed

__all__ = ["UNKNOWN", "refusal"]

UNKNOWN = torch.iinfo(torch.int32).min
"""The int32 scale of a quantizer that has none yet; its floats are NaN, its channels none."""


def refusal(name: str, given: torch.Tensor, length: int | None, format: Fixed, scales: tuple[int, ...]) -> str | None:
    """What the state `given` for the buffer or parameter `name` should have been; None where it can be taken.

    `length`: None for one number, else the number of channels, 0 for any.
    """
    numbers: dict[str, tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = {
        "scale": (
            f"one of {shorten(scales)}",
            lambda n: torch.isin(n.double(), torch.tensor([*scales, UNKNOWN], dtype=torch.float64, device=n.device)),
        ),
        "exponent": ("a finite number", lambda n: ~n.float().isinf()),
        "step": ("a finite positive number", lambda n: n.float().isnan() | (n.float().isfinite() & (n.float() > 0))),
        "zero_point": (
            f"an integer from {format.min} to {format.max}",
            lambda n: (n == n.round()) & (n >= format.min) & (n <= format.max),
        ),
        "low": ("a finite number of at most 0", lambda n: n.isnan() | (n.isfinite() & (n <= 0))),
        "high": ("a finite number of at least 0", lambda n: n.isnan() | (n.isfinite() & (n >= 0))),
    }
    if given.is_complex() or (given.numel() != 1 if length is None else given.dim() != 1):
        return "one number" if length is None else "a row of numbers"
    if length and len(given) not in (0, length):
        return f"a row of {length} numbers"
    wanted, fits = numbers[name]
    if bool(fits(given.detach()).all()):
        return None
    return wanted if length is None else f"a row, each {wanted}"
