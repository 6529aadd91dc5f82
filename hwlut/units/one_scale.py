"""What units with the scale of their one input format share."""

from typing import TypeVar

from hwlut.fields import shorten
from hwlut.fixed import Fixed

__all__ = ["OneScale"]

_Self = TypeVar("_Self", bound="OneScale")


class OneScale:
    """A kind whose fields `input` and `output` both have a frac: the input's is the unit's one scale."""

    input: Fixed
    output: Fixed

    @property
    def scales(self) -> tuple[int]:
        """The one scale: fraction bits of the input code."""
        assert self.input.frac is not None
        return (self.input.frac,)

    def chosen_scale(self, scale: int | None) -> int:
        """The one scale; TypeError for what is no integer, ValueError for another scale."""
        (own,) = self.scales
        if scale is None:
            return own
        if isinstance(scale, bool) or not isinstance(scale, int):
            raise TypeError(f"{type(self).__name__} scale must be an integer, not {shorten(scale)}")
        if scale != own:
            raise ValueError(f"{type(self).__name__} scale must be {own}, not {scale}")
        return own

    def at_scale(self: _Self, scale: int) -> _Self:
        """The unit itself."""
        self.chosen_scale(scale)
        return self

    def input_format(self, scale: int) -> Fixed:
        """Format of the input codes."""
        self.chosen_scale(scale)
        return self.input

    def output_format(self, scale: int) -> Fixed:
        """Format of the results."""
        self.chosen_scale(scale)
        return self.output
