"""The layer whose forward runs in a unit's Verilated hardware: what all kinds of units have in common."""

from functools import singledispatch
from typing import TYPE_CHECKING, Any

from torch import nn

from hwlut.unit import Unit

if TYPE_CHECKING:
    from hwlut.hdl import Rtl

__all__ = ["RtlLayer", "kind_of"]


class RtlLayer(nn.Module):
    """A unit as a layer that computes in its hardware: Verilog, run in Verilator, in training and in evaluation.

    Inputs are quantized to codes, sent through the design's streams and the results brought back to real numbers;
    gradients are those of the layer in software, whose results these are bit for bit where the design is right.
    `RtlLayer(unit, ...)` makes the layer of the unit's kind:

    - a Pwl, a Direct or a Program of one code: the activation `RtlActivation`, called with one tensor;
    - a Program of rows or of several codes: `RtlRows`, called with one tensor an input;
    - a Multiplier: the matrix product `RtlMatmul`, called with two. For layers of torch see `InRtl`.

    Parameters
    ----------
    unit: what is computed.
    rtl: the design: an `hwlut.hdl.Rtl`, or the path of a Verilog file, also of your own, with its ``.rtl.json`` beside
        it. By default hwlut generates one.
    options: by name, those of the kind.

    As many threads of `torch.get_num_threads` as pay share a batch, each with an instance of the design. Tensors on a
    GPU are moved to the host and back. Raises ValueError for a design that is not of the unit, or whose Verilog does
    not have the ports of its description, ToolError where Verilator or the compiler is missing; the forward raises
    RuntimeError for a design that hangs or breaks the stream protocol. Copies and pickles hold the Verilog, whose
    library is found again in the cache, or built.
    """

    def __new__(cls, unit: Unit | None = None, *arguments: Any, **options: Any) -> "RtlLayer":
        return super().__new__(kind_of(unit) if cls is RtlLayer else cls)

    @property
    def rtl(self) -> "Rtl":
        """The design that runs."""
        raise NotImplementedError


@singledispatch
def kind_of(unit: object) -> type[RtlLayer]:
    """The class of the layer of a unit, registered by its kind's module."""
    known = ", ".join(kind.__name__ for kind in kind_of.registry if kind is not object)
    raise TypeError(f"RtlLayer unit must be one of {known}, not {type(unit).__name__}")
