"""Where a network's activations fall, as weights of input codes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwlut.arrays import parse_npy
from hwlut.fields import shorten
from hwlut.files import read_bytes
from hwlut.fit.reals import reals
from hwlut.fixed import Fixed
from hwlut.records import parse_json

__all__ = ["Activations"]

_LIMIT = 1 << 30


@dataclass(frozen=True, eq=False)
class Activations:
    """The distribution of the inputs seen in calibration.

    Parameters
    ----------
    values: real values, ascending.
    below: share of the activations below each value, from 0 to 1, linear in between; where a value
        stands twice, the share jumps there.
    """

    values: np.ndarray
    below: np.ndarray

    @classmethod
    def of(cls, samples: Any) -> "Activations":
        """Of real samples, an array of any shape."""
        given = np.asarray(samples)
        if given.dtype.kind not in "iuf":
            raise TypeError(f"activations must be an array of real numbers, not of {given.dtype}")
        if not given.size or not np.isfinite(given).all():
            raise ValueError("activations must be finite and at least one")
        values, counts = np.unique(given.astype(np.float64), return_counts=True)
        cumulative = np.cumsum(counts) / given.size
        below = np.stack([np.concatenate([[0.0], cumulative[:-1]]), cumulative], axis=1)
        return cls(values.repeat(2), below.ravel())

    @classmethod
    def histogram(cls, edges: Any, counts: Any) -> "Activations":
        """Of n counts between n + 1 ascending edges."""
        values, heights = (reals("histogram edges and counts", given) for given in (edges, counts))
        if values.ndim != 1 or heights.ndim != 1 or len(values) != len(heights) + 1 or not len(heights):
            raise ValueError("histogram edges must be one more than counts, and counts at least one")
        if not np.isfinite(values).all() or (values[1:] <= values[:-1]).any():
            raise ValueError("histogram edges must be finite and ascending")
        if not np.isfinite(heights).all() or (heights < 0).any() or not heights.any():
            raise ValueError("histogram counts must be finite, none below 0 and one above")
        heights = np.ldexp(heights, -np.frexp(heights.max())[1])  # below 1, so that no sum overflows
        return cls(values, np.concatenate([[0.0], np.cumsum(heights)]) / heights.sum())

    @classmethod
    def load(cls, path: str | Path) -> "Activations":
        """Of a .npy file of samples, or a .json file {"edges": [...], "counts": [...]}.

        Raises ValueError, naming the file, for anything else.
        """
        path = Path(path)
        if path.suffix not in (".npy", ".json"):
            raise ValueError(f"{path}: weights must be a .npy or .json file")
        data = read_bytes(path, _LIMIT)
        try:
            if path.suffix == ".npy":
                return cls.of(parse_npy(data))
            content = parse_json(data)
            if not isinstance(content, dict) or set(content) != {"edges", "counts"}:
                raise ValueError(f"a histogram must be an object of edges and counts, not {shorten(content)}")
            return cls.histogram(**content)
        except (TypeError, ValueError, OverflowError, MemoryError) as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from None

    def shares(self, codes: np.ndarray, scale: int, input: Fixed) -> np.ndarray:
        """Share of the activations that quantization brings to each input code: to the nearest, saturated."""
        borders = np.ldexp(np.stack([codes - 0.5, codes + 0.5]), -scale)
        low, high = np.interp(borders, self.values, self.below)
        return np.where(codes == input.max, 1.0, high) - np.where(codes == input.min, 0.0, low)
