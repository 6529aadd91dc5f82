"""Hardware of multipliers: a generator a family, one product or a stream of them."""

from hwlut.hdl.multiplier.component import CombinationalComponent, MultiplierComponent
from hwlut.hdl.multiplier.dot import DotComponent
from hwlut.hdl.multiplier.product import product
from hwlut.hdl.multiplier.register import PLACES, Register, unregistered

__all__ = [
    "PLACES",
    "CombinationalComponent",
    "DotComponent",
    "MultiplierComponent",
    "Register",
    "product",
    "unregistered",
]
