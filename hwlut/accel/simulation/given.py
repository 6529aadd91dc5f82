"""Codes as a program's inputs take them."""

from collections.abc import Sequence

import numpy as np
import torch

from hwlut.accel.compiler.places import at_end
from hwlut.units import Program
from hwlut.units.nodes import Extent

__all__ = ["Codes", "aligned", "codes_of"]

Codes = tuple[np.ndarray, ...]
"""int64 [samples, ...] for each input of a program."""


def codes_of(program: Program, codes: torch.Tensor | Sequence[torch.Tensor]) -> Codes:
    """Codes of a program's inputs, of one alone also the tensor itself; TypeError and ValueError for others."""
    given = (codes,) if isinstance(codes, torch.Tensor) else tuple(codes)
    checked = program.check(*given)
    shapes = [(*each.shape,) for each in checked.values()]
    wanted = [port.shape for port in program.inputs]
    plain = all(shape is None or len(one) == 1 + len(shape) for one, shape in zip(shapes, wanted))
    if not plain or len({one[:1] for one in shapes}) != 1 or not shapes[0] or not shapes[0][0]:
        found = " and ".join(str(list(one)) for one in shapes)
        raise ValueError(f"codes must be of one number of samples, at least one, not of the shapes {found}")
    return tuple(each.contiguous().cpu().numpy() for each in checked.values())


def aligned(program: Program, codes: Codes) -> list[torch.Tensor]:
    """Codes whose samples meet where a program of codes or rows broadcasts them."""
    axes = 0 if program.extent is Extent.TENSORS else max(each.ndim for each in codes)
    return [torch.from_numpy(each.reshape(at_end(each.shape, axes))) for each in codes]
