"""A model as it is without the quantizers of its layers: what is coupled does not depend on them."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from hwlut.nn.quantized import FormatChoice

__all__ = ["unquantized"]


@contextmanager
def unquantized(model: nn.Module) -> Iterator[None]:
    """Meanwhile no `FormatChoice` of the model quantizes; afterwards each does as before.

    Quantizers take a removed channel as the others do: zero is always a code, and a step is not changed by what is
    gone. So layers and their quantizers are one, and the operations are those of the model that is not quantized.
    """
    held = [(each, each.selected, each.shares) for each in model.modules() if isinstance(each, FormatChoice)]
    try:
        for choice, _, _ in held:
            choice.select(None)
        yield
    finally:
        for choice, selected, shares in held:
            choice.selected, choice.shares = selected, shares
