"""The exact int8 decomposition of a multiplier's products."""

import functools

import numpy as np

from hwlut.decomposition import Factors, cached, decompose, separable
from hwlut.units.families import RULES
from hwlut.units.multiplier import Multiplier

__all__ = ["factors"]

_TABULATED = 1 << 16  # pairs up to which the table itself is decomposed


def factors(unit: Multiplier) -> Factors:
    """What `Multiplier.factors` gives."""
    return _by_digest(unit.replace(name="", function=None, meta={}))


@functools.lru_cache(maxsize=64)
def _by_digest(unit: Multiplier) -> Factors:
    return cached(unit.digest, lambda: _found(unit))


def _found(unit: Multiplier) -> Factors:
    if unit.pairs <= _TABULATED:
        return decompose(unit.products().numpy().astype(np.int64))
    rule = RULES.get(unit.family)
    if rule is None or rule.factors is None:
        raise ValueError(
            f"Multiplier factors of family {unit.family.value} must be of at most 2^16 pairs,"
            f" not {unit.a.bits} x {unit.b.bits} bits"
        )
    codes = [np.arange(format.min, format.max + 1, dtype=np.int64) for format in (unit.a, unit.b)]
    signs = [np.ones_like(x) if rule.signed else np.where(x < 0, -1, 1) for x in codes]
    a, b = (x * sign for x, sign in zip(codes, signs))
    pairs = rule.factors(a, b, (unit.a.bits, unit.b.bits), **unit.parameters)
    return separable([(f * signs[0], g * signs[1]) for f, g in pairs])
