"""The numbers that a quantizer keeps: made, overwritten, moved, and checked when they are loaded."""

from typing import Any, NamedTuple

import torch
from torch import nn

from hwlut.fields import shorten

__all__ = ["Wanted", "WithState"]

_UNKNOWN = torch.iinfo(torch.int32).min
_LARGEST = torch.finfo(torch.float32).max


class Wanted(NamedTuple):
    """What a number of the state must be: from `low` to `high`, whole, one of a few, of a few significant `bits`.

    All that is in `words`.
    """

    words: str
    low: float = -_LARGEST
    high: float = _LARGEST
    whole: bool = False
    among: tuple[int, ...] = ()
    bits: int = 0

    def fits(self, numbers: torch.Tensor) -> torch.Tensor:
        numbers = numbers.double()
        right = (numbers >= self.low) & (numbers <= self.high)
        if self.whole:
            right = right & (numbers == numbers.round())
        if self.bits:
            leading = torch.frexp(numbers).mantissa * 2.0**self.bits
            right = right & (leading == leading.round())
        return right & torch.isin(numbers, numbers.new_tensor(self.among)) if self.among else right


class WithState(nn.Module):
    """A module whose state is a few named numbers, one each, or a row of one a channel (`rows`).

    Until they are first chosen, or loaded from a file, they are not known: NaN, in int32 -2^31, or a row of none. The
    first name tells: `calibrated` says whether it is known, without a look at the device. They lie in buffers (or
    parameters) on the module's device and keep their types under `.half()`.
    """

    def __init__(self, rows: bool):
        super().__init__()
        self.rows = rows
        self.calibrated = False
        self._wanted: dict[str, Wanted] = {}

    def _hold(
        self, name: str, wanted: Wanted, known: int | None = None, integer: bool = True, learned: bool = False
    ) -> None:
        """Declare a number: int32 or float32, `known` already or not."""
        unknown = _UNKNOWN if integer else torch.nan
        dtype = torch.int32 if integer else torch.float32
        value = torch.full((0,) if self.rows else (), unknown if known is None else known, dtype=dtype)
        if not self._wanted:
            self.calibrated = known is not None
        self._wanted[name] = wanted
        if learned:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)

    @torch.no_grad()
    def _put(self, name: str, value: torch.Tensor) -> None:
        """Overwrite a number, in place but for the first sight of channels."""
        held = getattr(self, name)
        if held.shape == value.shape:
            held.copy_(value)
        else:
            held.data = value.to(held.dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        kept = {name: getattr(self, name).detach() for name in self._wanted}
        super()._apply(fn, recurse)
        for name, value in kept.items():
            held = getattr(self, name)
            if held.dtype != value.dtype:
                held.data = value.to(held.device)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        given = {name: state_dict.get(prefix + name) for name in self._wanted}
        tensors = {name: value for name, value in given.items() if isinstance(value, torch.Tensor)}
        errors = arguments[-1]
        length = max((len(getattr(self, name)) for name in self._wanted), default=0) if self.rows else 0
        for name, value in tensors.items():
            if wanted := self._refusal(name, value, length):
                errors.append(f"{prefix}{name} must be {wanted}, not {shorten(value.tolist())}")
                return
            length = length or value.numel()
        if self.rows:
            for name, value in tensors.items():
                if getattr(self, name).shape != value.shape:
                    getattr(self, name).data = getattr(self, name).new_empty(value.shape)
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        if self._wanted:
            first = getattr(self, next(iter(self._wanted))).detach()
            self.calibrated = bool(first.numel()) and bool(_known(first).all())

    def _refusal(self, name: str, given: torch.Tensor, length: int) -> str | None:
        """What a loaded number or row should have been; None where it can be taken."""
        wanted = self._wanted[name]
        one = "one number" if not self.rows else f"a row of {length} numbers" if length else "a row of numbers"
        if given.is_complex() or (given.dim() != 1 if self.rows else given.numel() != 1):
            return one
        if self.rows and length and len(given) not in (0, length):
            return one
        right = wanted.fits(given.detach())
        if self.rows:
            return None if bool(right.all()) else f"a row, each {wanted.words}"
        return None if bool((right | ~_known(given)).all()) else wanted.words


def _known(numbers: torch.Tensor) -> torch.Tensor:
    return ~(numbers.isnan() | (numbers == _UNKNOWN))
