"""Random parameter tables for tests."""

import numpy as np

from hwlut import Fixed, Pwl
from hwlut.units import Symmetry

__all__ = ["SCHEMAS", "random_pwl"]


def random_pwl(seed, *, input_bits=5, segments=5, scales=(0, 1, 3), symmetry="none", output=None, rounding="half_up"):
    """A table whose breakpoints lie in and around the code range of every scale, and whose slopes all differ."""
    rng = np.random.default_rng(seed)
    signed = symmetry != Symmetry.NONE or bool(rng.integers(2))
    frac = scales[-1] + int(rng.integers(2))
    reach = 1 << (input_bits + frac - scales[-1])
    return Pwl(
        name=f"random_{seed}",
        input=Fixed(input_bits, signed=signed),
        scales=scales,
        breakpoint_frac=frac,
        breakpoints=sorted(rng.integers(-reach if signed else 0, reach, segments - 1).tolist()),
        slope=Fixed(6, int(rng.integers(5))),
        slopes=rng.permutation(np.arange(-32, 32))[:segments].tolist(),
        intercept=Fixed(9, int(rng.integers(8))),
        intercepts=rng.integers(-256, 256, segments).tolist(),
        symmetry=symmetry,
        output=output,
        rounding=rounding,
    )


SCHEMAS = ", ".join(
    f"hwlut.{kind}/1" for kind in ("direct", "lut_matmul", "multiplier", "program", "pwl", "requantize", "tile")
)
"""Every schema of a parameter table, as error messages list them."""
