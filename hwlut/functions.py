"""Target functions in float64, with the domain they are fitted on and their symmetry."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwlut.fields import shorten
from hwlut.units.pwl import Symmetry

__all__ = ["Function", "FUNCTIONS", "function"]

_Real = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Function:
    """A real function to approximate.

    Parameters
    ----------
    name: as tables and the command line give it.
    evaluate: float64 array -> float64 array.
    domain: real interval on which a table is fitted unless the user says otherwise.
    symmetry: how f(-x) follows from f(x).
    """

    name: str
    evaluate: _Real
    domain: tuple[float, float] = (-math.inf, math.inf)
    symmetry: Symmetry = Symmetry.NONE

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.evaluate(np.asarray(x, dtype=np.float64))


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    decay = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, decay) / (1 + decay)


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


FUNCTIONS = {
    target.name: target
    for target in (
        Function("gelu", _gelu, symmetry=Symmetry.IDENTITY),
        Function("silu", lambda x: x * _sigmoid(x), symmetry=Symmetry.IDENTITY),
        Function("hswish", lambda x: x * np.clip(x + 3, 0, 6) / 6, symmetry=Symmetry.IDENTITY),
        Function("sigmoid", _sigmoid, symmetry=Symmetry.COMPLEMENT),
        Function("tanh", np.tanh, symmetry=Symmetry.ODD),
        Function("softplus", _softplus, symmetry=Symmetry.IDENTITY),
        Function("exp", np.exp, domain=(-math.inf, 0.0)),
    )
}
"""Every function by its name."""

_ALIASES = {"swish": "silu"}


def function(name: str) -> Function:
    """The function called `name`, or one of its other names; ValueError lists what there is."""
    known = FUNCTIONS.get(_ALIASES.get(name, name)) if isinstance(name, str) else None
    if known is None:
        names = sorted([*FUNCTIONS, *_ALIASES])
        raise ValueError(f"function must be one of {', '.join(names)}, not {shorten(name)}")
    return known
