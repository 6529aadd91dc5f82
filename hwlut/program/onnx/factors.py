"""Factors of multipliers, for integer products of matrices in ONNX."""

from collections.abc import Iterator

import numpy as np

from hwlut.decomposition import Factors
from hwlut.program.onnx.graph import Graph
from hwlut.program.onnx.nodes import refused
from hwlut.units.multiplier import Multiplier

__all__ = ["INT32", "factors_of", "grouped"]

INT32 = (1 << 31) - 1
"""Greatest sum of an integer product."""


def factors_of(graph: Graph, multiplier: Multiplier) -> Factors:
    """Those of a multiplier; ValueError by the name of the node where there are none."""
    try:
        return multiplier.factors()
    except ValueError as error:
        raise refused(graph, f"have a multiplier with factors: {error}") from None


def grouped(graph: Graph, factors: Factors, count: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(weight, u [A, G], v [B, G]) of terms with one weight, whose sums over `count` products int32 holds together.

    u and v are of uint8, with 128 for 0. ValueError by the name of the node where a term alone is too large.
    """
    sizes = [np.abs(part.astype(np.int64)).max(1, initial=0) for part in (factors.u, factors.v)]
    bounds = (count * sizes[0] * sizes[1]).tolist()
    for weight in sorted(set(factors.weights.tolist())):
        together: list[int] = []
        for term in np.flatnonzero(factors.weights == weight).tolist():
            if bounds[term] > INT32:
                raise refused(graph, f"have fewer products in a sum, whose parts int32 holds, not {count}")
            if sum(bounds[other] for other in together) + bounds[term] > INT32:
                yield weight, *_unsigned(factors, together)
                together = []
            together.append(term)
        yield weight, *_unsigned(factors, together)


def _unsigned(factors: Factors, terms: list[int]) -> Iterator[np.ndarray]:
    return (part[terms].T.astype(np.int64) + 128 for part in (factors.u, factors.v))
