"""Whole rows in RTL: softmax, normalizations and other programs of rows, and programs of several codes."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from hwlut.fixed import Fixed
from hwlut.nn.real import check_real, without_autocast
from hwlut.nn.rtl.activation import RtlActivation
from hwlut.nn.rtl.layer import RtlLayer, kind_of
from hwlut.nn.rtl.named import Named, found
from hwlut.nn.rtl.operators import operator_of
from hwlut.quant import Quantizer
from hwlut.units import Program
from hwlut.units.nodes import Extent

if TYPE_CHECKING:
    from hwlut.hdl import Rtl

__all__ = ["RtlRows"]

_FLOAT_BITS = 24
_INPUT_BITS = (2, 24)


class RtlRows(RtlLayer):
    """A program of rows in RTL, or one of several codes: real numbers quantized to its inputs' codes, the design's
    results, and back.

    Called with one tensor an input, all of one shape. Rows of a program of rows lie along the last axis, and go through
    the design place by place, each with its own length. The result is ``unit(codes) * 2^-frac``, bit for bit where
    float32 holds it (`exact`). Gradients are those of `real` at the quantized numbers, and 0 where a code saturates.

    Parameters
    ----------
    unit: a Program of rows, or of codes with several inputs; its inputs have 2 to 24 bits and a frac, which is the
        quantizer's one scale, its only output a frac.
    rtl: as for `RtlLayer`.
    real: the function that `unit` stands for, of as many real tensors as it has inputs, by operators of torch. By
        default that of `hwlut.program.softmax`, where the lowest code counts as minus infinity, of `layer_norm` or of
        `rms_norm`, with their entries as weight and bias; another program needs it.

    A call raises ValueError for NaN, for a row of a length that the design does not take and for tensors of several
    shapes.
    """

    def __init__(
        self,
        unit: Program,
        rtl: "Rtl | str | Path | None" = None,
        *,
        real: Callable[..., torch.Tensor] | None = None,
    ):
        from hwlut.verify.design import design_of

        super().__init__()
        _check_unit(unit)
        real = operator_of(unit) if real is None else real
        if real is None:
            raise ValueError(
                f"RtlLayer real must be the function of real numbers that {unit.name!r} stands for: its program is not "
                "of softmax, layer_norm or rms_norm"
            )
        self.unit, self.real = unit, real
        self.quantizers = nn.ModuleList(Quantizer(port.format) for port in unit.inputs)
        self._design = _Design(unit, design_of(unit, None, rtl))

    @property
    def rtl(self) -> "Rtl":
        return self._design.hardware.rtl

    @property
    def key(self) -> str:
        """By which the operator ``hwlut::rtl_rows`` finds the design."""
        return self._design.key

    @property
    def lengths(self) -> tuple[int, int] | None:
        """The least and the most places of a row; None of a program of codes."""
        return self._design.lengths

    @property
    def exact(self) -> bool:
        """Whether float32 holds every result."""
        return self.unit.output.bits <= _FLOAT_BITS

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        self._check(inputs)
        device, dtype = inputs[0].device, inputs[0].dtype
        if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
            dtype = torch.float32
        wide = torch.float64 if any(x.dtype == torch.float64 for x in inputs) else torch.float32
        with without_autocast(device.type):
            given = [quantizer(x.to(wide)) for quantizer, x in zip(self.quantizers, inputs)]
            value = None
            if torch.is_grad_enabled() and any(x.requires_grad for x in given):
                value = self.real(*given)
                if value.shape != given[0].shape:
                    raise ValueError(
                        f"RtlLayer real must give the shape {tuple(given[0].shape)}, not {tuple(value.shape)}"
                    )
            return _rtl_rows(given, value, self.key).to(dtype)

    def _check(self, inputs: tuple[torch.Tensor, ...]) -> None:
        ports = self.unit.inputs
        if len(inputs) != len(ports):
            raise TypeError(f"RtlLayer input must be {len(ports)} tensors for {self.unit.name!r}, not {len(inputs)}")
        for x in inputs:
            check_real("RtlLayer input", x)
        if len({x.shape for x in inputs}) > 1:
            shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
            raise ValueError(f"RtlLayer input must be tensors of one shape, not {shapes}")
        if self.lengths is None:
            return
        least, most = self.lengths
        if not inputs[0].dim() or not least <= inputs[0].shape[-1] <= most:
            wanted = f"{most}" if least == most else f"{least} to {most}"
            raise ValueError(
                f"RtlLayer input must have rows of {wanted} places for {self.unit.name!r}, not the shape "
                f"{tuple(inputs[0].shape)}"
            )

    def extra_repr(self) -> str:
        inputs = ", ".join(str(port.format) for port in self.unit.inputs)
        return f"{self.unit.name}, {inputs}, design {self._design.hardware.name}"


@kind_of.register(Program)
def _(unit: Program) -> type[RtlLayer]:
    return RtlActivation if unit.extent is Extent.CODES and len(unit.inputs) == 1 else RtlRows


# torch 2.6 does not infer list[Tensor].
@torch.library.custom_op("hwlut::rtl_rows", mutates_args=(), schema="(Tensor[] real, Tensor? value, str key) -> Tensor")
def _rtl_rows(real: list[torch.Tensor], value: torch.Tensor | None, key: str) -> torch.Tensor:
    """Results of quantized numbers by the design of that key; the gradient passes to `value`."""
    design, first = found(key), real[0]
    codes = []
    for x, frac in zip(real, design.fracs, strict=True):
        if x.isnan().any():
            raise ValueError(f"RtlLayer input must hold no NaN for {design.unit!r}")
        codes.append((x.cpu() * 2.0**frac).to(torch.int32).contiguous())
    results = torch.from_numpy(design(*(each.numpy() for each in codes)))
    return (results.double() * 2.0**-design.frac).to(first.device, first.dtype)


@_rtl_rows.register_fake
def _(real: list[torch.Tensor], value: torch.Tensor | None, key: str) -> torch.Tensor:
    return real[0].new_empty(real[0].shape)


def _backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
    return [None] * ctx.inputs, gradient, None


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.inputs = len(inputs[0])


_rtl_rows.register_autograd(_backward, setup_context=_save)


def _check_unit(unit: Program) -> None:
    if unit.extent is Extent.TENSORS:
        raise ValueError(f"RtlLayer unit must be a program of codes or of rows, and {unit.name!r} is one of tensors")
    if len(unit.outputs) > 1:
        names = ", ".join(port.name for port in unit.outputs)
        raise ValueError(f"RtlLayer unit must have one output, and {unit.name!r} has {names}")
    low, high = _INPUT_BITS
    for port in (*unit.inputs, *unit.outputs):
        if port.format.frac is None:
            raise ValueError(f"RtlLayer unit must have a frac for {port.name!r} of {unit.name!r}, not {port.format}")
        if port in unit.inputs and (not low <= port.format.bits <= high or port.zero_point):
            raise ValueError(
                f"RtlLayer unit must have inputs of {low} to {high} bits whose code 0 is zero, not {port.name!r} of "
                f"{unit.name!r}: {port.format}, zero at {port.zero_point}"
            )


class _Design(Named):
    """A design as a function of codes. ValueError where its streams are not those of the program.

    lengths: the least and the most places of a row. fracs, frac: of the inputs and of the result.
    """

    def __init__(self, unit: Program, rtl: "Rtl"):
        from hwlut.verify.blocks import Block
        from hwlut.verify.hardware import Hardware

        self.hardware, self.unit = Hardware(rtl), unit.name
        self.fracs, self.frac = [port.format.frac for port in unit.inputs], unit.output.frac
        self.lengths: tuple[int, int] | None = None
        if unit.extent is Extent.ROWS:
            shape = rtl.description["stream_rows"]
            self.lengths = shape["least"], shape["most"]
        ends = ["last"] if self.lengths else []
        source, sink = self.hardware.source, self.hardware.sink
        for stream, ports in ((source, unit.inputs), (sink, unit.outputs)):
            wanted = [*(port.name for port in ports), *ends]
            if set(stream.fields) != set(wanted):
                raise ValueError(
                    f"{stream.name} must have the fields {', '.join(wanted)}, not {', '.join(stream.fields)}"
                )
        self._codes = [Block.of(source, port.name) for port in unit.inputs]
        self._result = Block.of(sink, unit.outputs[0].name)
        self._ends = tuple(Block.of(stream, "last") for stream in (source, sink)) if ends else None
        for block, port in zip((*self._codes, self._result), (*unit.inputs, *unit.outputs)):
            needed = Fixed(port.format.bits, signed=port.format.signed)
            if block.format != needed:
                raise ValueError(f"{block.stream} field {port.name} must be {needed}, not {block.format}")
        super().__init__(rtl)

    def __call__(self, *codes: np.ndarray) -> np.ndarray:
        """Results, int32 or int64, of codes of each input, all of one shape."""
        shape = codes[0].shape
        length = shape[-1] if self._ends else 1
        rows = codes[0].size // length
        beats = np.zeros((rows * length, self.hardware.source.bytes), np.uint8)
        for block, given in zip(self._codes, codes):
            block.put(beats, given.reshape(-1, 1))
        ends = np.tile(np.arange(length) == length - 1, rows)[:, None].astype(np.int8)
        if self._ends:
            self._ends[0].put(beats, ends)
        sent = beats.reshape(rows, length, self.hardware.source.bytes)
        answers = self.hardware.run(sent, length, torch.get_num_threads())
        answers = answers.reshape(rows * length, self.hardware.sink.bytes)
        if self._ends and (self._ends[1].get(answers) != ends).any():
            raise RuntimeError(f"design {self.hardware.name} failed: m_axis_tlast is not where rows end")
        return self._result.get(answers).reshape(shape)
