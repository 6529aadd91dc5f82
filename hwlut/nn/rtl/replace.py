"""What conversion puts in the place of modules: layers whose units compute in RTL."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from hwlut.fields import shorten
from hwlut.nn.activation import UnitActivation
from hwlut.nn.approx import Approximate
from hwlut.nn.approx.layer import Multiplied
from hwlut.nn.approx.replace import approximated
from hwlut.nn.rtl.activation import RtlActivation
from hwlut.nn.rtl.layer import RtlLayer
from hwlut.nn.rtl.operators import rows_of
from hwlut.nn.rtl.rows import RtlRows
from hwlut.nn.rtl.sums import RtlSums
from hwlut.unit import Unit
from hwlut.units import Multiplier, Program
from hwlut.units.nodes import Extent

if TYPE_CHECKING:
    from hwlut.hdl import Rtl

__all__ = ["InRtl", "in_rtl"]


@dataclass(frozen=True)
class InRtl:
    """A target of `hwlut.nn.convert`: what computes in the hardware of a unit.

    Parameters
    ----------
    unit: what replaces a module, in RTL: a Pwl, a Direct or a Program of one code, an activation; a Program of rows,
        the layer of whole rows (below); a Multiplier, or an `Approximate` of one, the approximate layer of the same
        kind as the module. The name or path of a table stands for its unit. None: the module stays what it is, with its
        parameters and quantizers, and its units compute in RTL, also those of the modules in it, such as the two of a
        `PwlSoftmax` or the six of an `ApproxMultiheadAttention`.
    rtl: the design, as for `RtlLayer`; by default hwlut generates one.

    In the place of a LayerNorm or an RMSNorm, a program of `hwlut.program.layer_norm` or `rms_norm` of the same size
    and eps gets the module's weight and bias as they are then, which are no parameters any more. A program of softmax
    takes the place of a Softmax along the last axis, dim -1.
    """

    unit: Unit | Approximate | str | Path | None = None
    rtl: "Rtl | str | Path | None" = None

    def __post_init__(self) -> None:
        if self.unit is not None and not isinstance(self.unit, (Unit, Approximate, str, Path)):
            raise TypeError(f"InRtl unit must be a unit, an Approximate or a table's name, not {shorten(self.unit)}")

    def approximate(self) -> Approximate | None:
        """The multiplier with its hardware as the engine; None where the unit is no multiplier."""
        spec = Approximate(self.unit) if isinstance(self.unit, Multiplier) else self.unit
        if not isinstance(spec, Approximate):
            return None
        engine = RtlSums(spec.multiplier, self.rtl)
        return Approximate(spec.multiplier, spec.activations, spec.weights, spec.gradient, engine)


def in_rtl(module: nn.Module, target: InRtl) -> nn.Module:
    """The module that replaces `module`; ValueError where nothing of it computes with a unit, or not with that one."""
    if target.unit is None:
        new = _same(module, target)
        if new is module:
            raise ValueError(f"InRtl must have a unit, or find one in the module, not in {type(module).__name__}")
        return new
    spec = target.approximate()
    if spec is not None:
        return approximated(module, spec)
    assert isinstance(target.unit, Unit)
    if isinstance(target.unit, Program) and target.unit.extent is Extent.ROWS:
        return RtlRows(rows_of(module, target.unit), target.rtl)
    return RtlLayer(target.unit, target.rtl)


def _same(module: nn.Module, target: InRtl) -> nn.Module:
    """The same module with units in RTL, or itself where there is none in it."""
    if isinstance(module, UnitActivation):
        return RtlActivation.of(module, target.rtl)
    if isinstance(module, Multiplied):
        return module.computed_by(RtlSums(module.multiplier, target.rtl))
    children = {name: _same(child, target) for name, child in module.named_children()}
    if all(child is module.get_submodule(name) for name, child in children.items()):
        return module
    new = copy.copy(module)
    new._modules = {**module._modules, **children}
    return new
