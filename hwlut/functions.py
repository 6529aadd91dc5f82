"""Target functions in float64, with the domain they are fitted on and their symmetry."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwlut.fields import shorten
from hwlut.names import check_name
from hwlut.units.pwl import Symmetry

__all__ = ["Function", "FUNCTIONS", "function", "register"]

_Real = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Function:
    """A real function to approximate.

    Parameters
    ----------
    name: as tables and the command line give it.
    evaluate: float64 array -> float64 array of the same shape.
    domain: real interval on which a table is fitted unless the user says otherwise.
    symmetry: how f(-x) follows from f(x).
    """

    name: str
    evaluate: _Real
    domain: tuple[float, float] = (-math.inf, math.inf)
    symmetry: Symmetry = Symmetry.NONE

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The function at `x`: inf at a pole, nan where it has no real value, and no warning."""
        with np.errstate(all="ignore"):
            return self.evaluate(np.asarray(x, dtype=np.float64))


_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    decay = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, decay) / (1 + decay)


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * _erfc(-x / math.sqrt(2))


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    """0.5 x (1 + tanh u), in which (1 + tanh u) / 2 = sigmoid(2u) keeps its precision for u << 0."""
    return x * _sigmoid(2 * math.sqrt(2 / math.pi) * x * (1 + 0.044715 * x * x))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def _hsigmoid(x: np.ndarray) -> np.ndarray:
    return np.clip(x + 3, 0, 6) / 6


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


_NEGATIVE = (-math.inf, 0.0)
_POSITIVE = (0.0, math.inf)
_PERIOD = (-math.pi, math.pi)
_OCTAVES = (0.25, 4.0)

FUNCTIONS = {
    target.name: target
    for target in (
        Function("gelu", _gelu, symmetry=Symmetry.IDENTITY),
        Function("gelu_tanh", _gelu_tanh, symmetry=Symmetry.IDENTITY),
        Function("silu", lambda x: x * _sigmoid(x), symmetry=Symmetry.IDENTITY),
        Function("hswish", lambda x: x * _hsigmoid(x), symmetry=Symmetry.IDENTITY),
        Function("sigmoid", _sigmoid, symmetry=Symmetry.COMPLEMENT),
        Function("hsigmoid", _hsigmoid, symmetry=Symmetry.COMPLEMENT),
        Function("tanh", np.tanh, symmetry=Symmetry.ODD),
        Function("softplus", _softplus, symmetry=Symmetry.IDENTITY),
        Function("mish", lambda x: x * np.tanh(_softplus(x))),
        Function("elu", _elu),
        Function("erf", _erf, symmetry=Symmetry.ODD),
        Function("exp", np.exp, domain=_NEGATIVE),
        Function("exp2", np.exp2, domain=_NEGATIVE),
        Function("log2", np.log2, domain=_OCTAVES),
        Function("sqrt", np.sqrt, domain=_POSITIVE),
        Function("reciprocal", np.reciprocal, domain=(0.5, 4.0), symmetry=Symmetry.ODD),
        Function("rsqrt", lambda x: 1 / np.sqrt(x), domain=_OCTAVES),
        Function("sin", np.sin, domain=_PERIOD, symmetry=Symmetry.ODD),
        Function("cos", np.cos, domain=_PERIOD, symmetry=Symmetry.EVEN),
    )
}
"""Every function that comes with hwlut, by its name."""

_ALIASES = {"reci": "reciprocal", "sqrt_reci": "rsqrt", "swish": "silu"}

_registered: dict[str, Function] = {}


def function(name: str) -> Function:
    """The function called `name`, or one of its other names; ValueError lists what there is."""
    known = FUNCTIONS | _registered
    if not isinstance(name, str) or _ALIASES.get(name, name) not in known:
        names = sorted([*known, *_ALIASES])
        raise ValueError(f"function must be one of {', '.join(names)}, not {shorten(name)}")
    return known[_ALIASES.get(name, name)]


def register(target: Function) -> Function:
    """Make `target`, a function of your own, known by its name to tables that name it; returns it.

    It lasts as long as the process. Raises TypeError for anything but a Function, and ValueError
    for a name that another function has or that cannot name a table.
    """
    if not isinstance(target, Function):
        raise TypeError(f"function must be a Function, not {shorten(target)}")
    name = check_name(target.name, "function name")
    if name in _ALIASES or (FUNCTIONS | _registered).get(name, target) != target:
        raise ValueError(f"function name must be new, not {name!r}")
    _registered[name] = target
    return target
