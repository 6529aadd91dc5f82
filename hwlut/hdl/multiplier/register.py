"""Where a product may be cut by a row of registers."""

from typing import Protocol

from amaranth.hdl import Value

__all__ = ["PLACES", "Register", "unregistered"]

PLACES = ("operands", "sum")
"""In this order: behind what is done to each operand by itself; before the last addition, shift or look-up, or
halfway through rows or a netlist.
Every family has each of them once."""


class Register(Protocol):
    """Called once at each of `PLACES` with every value that is needed after it; gives them, in their order, as they are
    after the cut: in registers of the same shapes, or as they were.
    """

    def __call__(self, place: str, /, **values: Value) -> tuple[Value, ...]: ...


def unregistered(place: str, /, **values: Value) -> tuple[Value, ...]:
    """No cut anywhere."""
    return tuple(values.values())
