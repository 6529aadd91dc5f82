"""What follows from a table's fields, by the unit's kind."""

from functools import cached_property, singledispatch
from typing import Any

from hwlut.cli.program import macs_of
from hwlut.unit import Unit
from hwlut.units.multiplier import Multiplier
from hwlut.units.program import Program

__all__ = ["details"]


@singledispatch
def details(unit: Unit) -> dict[str, Any]:
    """Everything the unit's kind computes from its fields, by name."""
    kinds = [kind for kind in type(unit).__mro__ if kind not in Unit.__mro__]
    members = {name: member for kind in reversed(kinds) for name, member in vars(kind).items() if name[0] != "_"}
    derived = [name for name, member in members.items() if isinstance(member, (property, cached_property))]
    return {name: getattr(unit, name) for name in derived}


@details.register
def _(unit: Multiplier) -> dict[str, Any]:
    """terms: how many products of int8 vectors its exact decomposition sums up; None without one."""
    try:
        terms = unit.factors().terms
    except ValueError:
        terms = None
    return {"product": unit.product, "pairs": unit.pairs, "terms": terms}


@details.register
def _(unit: Program) -> dict[str, Any]:
    """extent: what it is a function of. macs: multiply-accumulates for one sample, of a program of tensors."""
    return {"extent": unit.extent.name.lower(), "nesting": unit.nesting, "macs": macs_of(unit)}
