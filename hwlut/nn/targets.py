"""What may stand in a conversion for the layers that replace modules, and how it makes them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from torch import nn

from hwlut.fields import shorten
from hwlut.importers import load
from hwlut.nn.approx import Approximate
from hwlut.nn.approx.replace import approximated
from hwlut.nn.lut import Lookup
from hwlut.nn.lut.replace import looked_up_layer
from hwlut.nn.pwl import PwlActivation
from hwlut.nn.rtl import InRtl
from hwlut.nn.rtl.replace import in_rtl
from hwlut.share import share
from hwlut.units import Multiplier, Pwl, Unit

__all__ = ["Factory", "Target", "factory_of", "multiplier_of"]

Factory: TypeAlias = Callable[[nn.Module], nn.Module]
"""Makes the new module from the old one."""

Target: TypeAlias = Unit | Approximate | Lookup | InRtl | str | Path | Factory
"""What `hwlut.nn.convert` takes for the new modules."""


def multiplier_of(given: object) -> Approximate:
    """What is given in the place of a mapping."""
    target = load(_table(given)) if isinstance(given, (str, Path)) else given
    if isinstance(target, InRtl):
        target = _with_unit(target).approximate() or target
    if isinstance(target, Multiplier):
        return Approximate(target)
    if not isinstance(target, Approximate):
        raise TypeError(f"convert mapping must be a mapping or a multiplier, not {type(target).__name__}")
    return target


def factory_of(target: Target) -> Factory:
    """The function of the old module that makes the new one."""
    if isinstance(target, (str, Path)):
        target = load(_table(target))
    if isinstance(target, Multiplier):
        target = Approximate(target)
    if isinstance(target, Approximate):
        spec = target
        return lambda module: approximated(module, spec)
    if isinstance(target, InRtl):
        hardware = _with_unit(target)
        return lambda module: in_rtl(module, hardware)
    if isinstance(target, Lookup):
        lookup = target
        return lambda module: looked_up_layer(module, lookup)
    if isinstance(target, Unit):
        if not isinstance(target, Pwl):
            raise TypeError(
                f"convert unit must be a Pwl or a Multiplier, not {type(target).__name__}; give a function for others"
            )
        unit = target
        return lambda module: PwlActivation(unit)
    if not callable(target) or isinstance(target, nn.Module):
        raise TypeError(f"convert target must be a unit, a table's name or a function, not {shorten(target)}")
    return target


def _table(given: str | Path) -> Path:
    """The file at `given`, or the shipped table of that name."""
    shipped = share("pretrained", f"{given}.json")
    if Path(given).is_file() or not shipped.is_file():
        return Path(given)
    return shipped


def _with_unit(target: InRtl) -> InRtl:
    """With a unit in the place of a table's name."""
    return (
        dataclasses.replace(target, unit=load(_table(target.unit))) if isinstance(target.unit, (str, Path)) else target
    )
