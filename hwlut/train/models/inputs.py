"""What a model is given: images, tokens or series."""

import dataclasses

from hwlut.fields import shorten

__all__ = ["Images", "Inputs", "Series", "Tokens"]


class _Sizes:
    """Positive integers, but for those named in `_from_zero`."""

    _from_zero: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name in self._from_zero else 1
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{type(self).__name__} {name} must be an integer, not {shorten(value)}")
            if value < least:
                raise ValueError(f"{type(self).__name__} {name} must be at least {least}, not {value}")


@dataclasses.dataclass(frozen=True)
class Images(_Sizes):
    """float32 [batch, channels, height, width]."""

    channels: int
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class Tokens(_Sizes):
    """int64 [batch, length], from 0 to below `vocabulary`; `padding` stands after the last token of a shorter text.

    The model is called by keyword: ``input_ids``, ``attention_mask`` (1 for a token, 0 for padding), and where it knows
    them ``token_type_ids`` (0 in the first text, 1 in the second).
    """

    vocabulary: int
    length: int
    padding: int = 0

    _from_zero = ("padding",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.padding >= self.vocabulary:
            raise ValueError(f"Tokens padding must be below the vocabulary of {self.vocabulary}, not {self.padding}")


@dataclasses.dataclass(frozen=True)
class Series(_Sizes):
    """float32 [batch, channels, length] and a bool mask [batch, length], which is true at the steps there are."""

    channels: int
    length: int


Inputs = Images | Tokens | Series
"""What a model takes."""
