"""One operand's quantizers, one a format, of which one is selected."""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from hwlut.quant import Quantizer
from hwlut.quant.choice import observe_together
from hwlut.quant.formats import Format
from hwlut.quant.precision import format_name

__all__ = ["FormatChoice"]


class FormatChoice(nn.Module):
    """Quantizes by the quantizer of the selected format, or not at all where None is selected.

    Parameters
    ----------
    formats: those that there are to select from, None among them or not; the first is selected.
    quantizer: makes the quantizer of a format.

    Every quantizer observes what comes in calibration; in training, only the selected one follows it. With `shares`
    set, float [formats], the result is the sum of all formats' results (of None, the input) times these: the convex
    combination of Cai and Vasconcelos, "Rethinking Differentiable Search for Mixed-Precision Neural Networks"
    (CVPR 2020), equation 10.
    """

    def __init__(self, formats: Iterable[Format | None], quantizer: Callable[[Format], Quantizer]):
        super().__init__()
        self.formats = tuple(dict.fromkeys(formats))
        if not self.formats:
            raise ValueError("FormatChoice formats must be at least one")
        self.quantizers = nn.ModuleDict(
            {_key(format): quantizer(format) for format in self.formats if format is not None}
        )
        self.selected = self.formats[0]
        self.shares: torch.Tensor | None = None

    def select(self, format: Format | None) -> None:
        """Quantize to this format alone from now on; None is always there. ValueError for an unknown one."""
        if format is not None and format not in self.formats:
            known = ", ".join(map(format_name, self.formats))
            raise ValueError(f"FormatChoice format must be one of {known}, not {format_name(format)}")
        self.selected, self.shares = format, None

    def settle(self) -> None:
        """Forget all formats but the selected one."""
        kept = self.selected
        for format in self.formats:
            if format is not None and format != kept:
                del self.quantizers[_key(format)]
        self.formats, self.shares = (kept,), None

    def settle_on(self, quantizer: Quantizer) -> None:
        """Forget all formats, and quantize by this quantizer in its own from now on."""
        self.formats, self.selected, self.shares = (quantizer.format,), quantizer.format, None
        self.quantizers = nn.ModuleDict({_key(quantizer.format): quantizer})

    def quantizer(self, format: Format | None) -> Quantizer | None:
        """That of a format."""
        if format is None:
            return None
        found = self.quantizers[_key(format)]
        assert isinstance(found, Quantizer)
        return found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        observing = [each for each in self.quantizers.values() if isinstance(each, Quantizer) and each.observing]
        if observing:
            observe_together(observing, x)
        if self.shares is not None:
            parts = [self._quantized(x, format) * share for format, share in zip(self.formats, self.shares)]
            return torch.stack(parts).sum(0)
        return self._quantized(x, self.selected)

    def _quantized(self, x: torch.Tensor, format: Format | None) -> torch.Tensor:
        chosen = self.quantizer(format)
        if chosen is None:
            return x
        return chosen.quantized(x) if chosen.observing else chosen(x)

    def extra_repr(self) -> str:
        return f"{format_name(self.selected)} of {', '.join(map(format_name, self.formats))}"


def _key(format: Format) -> str:
    """The name of a format's quantizer among modules, whose names have no point."""
    return format_name(format).replace(".", "_")
