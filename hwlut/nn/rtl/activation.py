"""Activations in RTL: units of one code in and one out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hwlut.fields import shorten
from hwlut.fixed import Fixed
from hwlut.nn.activation import Pointwise, UnitActivation
from hwlut.nn.rtl.layer import RtlLayer, kind_of
from hwlut.nn.rtl.named import Named, found
from hwlut.ops import quantize_codes, quantized_lookup
from hwlut.ops.evaluate import narrowest
from hwlut.quant import Quantizer
from hwlut.units import Direct, Program, Pwl

if TYPE_CHECKING:
    from hwlut.hdl import Rtl

__all__ = ["RtlActivation"]

_LANES = 16


class RtlActivation(RtlLayer, UnitActivation):
    """An activation in RTL: real numbers quantized to a unit's codes, the design's result for each, and back.

    What `PwlActivation` computes, bit for bit, with its gradients, quantizer, state and treatment of NaN, which is sent
    as the code 0 and stays NaN; the state of one loads into the other.

    Parameters
    ----------
    unit: a Pwl, a Direct or a Program of one code, of at most 16 input bits.
    rtl: as for `RtlLayer`. By default a Pwl has 16 lanes, and the scale comes with each beat where the quantizer has
        several.
    scale: hard-wires one of the unit's scales.
    quantizer: as for `PwlActivation`; where a scale is hard-wired, in the design too, by default with that scale.
    gradient: "exact", the derivative of the function that the unit names; or "slope", that of a Pwl's line, or the
        difference of the neighbouring codes' results of another unit.
    """

    label = "RtlLayer"
    kinds = (Pwl, Direct, Program)

    def __init__(
        self,
        unit: Pointwise,
        rtl: "Rtl | str | Path | None" = None,
        *,
        scale: int | None = None,
        quantizer: Quantizer | None = None,
        gradient: str = "exact",
    ):
        from hwlut.hdl import generate
        from hwlut.verify.design import design_of

        if rtl is not None:
            rtl = design_of(unit, scale, rtl)
            scale = rtl.description["scale"]
        if quantizer is None and scale is not None:
            unit.chosen_scale(scale)
            quantizer = Quantizer(unit.input_format(scale))
        super().__init__(unit, quantizer, gradient)
        scales = self.quantizer.scales
        if scale is not None and scales != (scale,):
            raise ValueError(f"RtlLayer quantizer must have the one scale {scale}, not {shorten(scales)}")
        if rtl is None:
            wired = scales[0] if len(scales) == 1 else None
            form: dict[str, Any] = {"lanes": _LANES} if isinstance(unit, Pwl) else {}
            rtl = generate(unit, scale=wired, **form)
        self._design = _Design(unit, rtl)

    @classmethod
    def of(cls, layer: UnitActivation, rtl: "Rtl | str | Path | None" = None) -> "RtlActivation":
        """The activation in the place of `layer`, with its unit, gradient and very quantizer."""
        new = cls(layer.unit, rtl, quantizer=layer.quantizer, gradient=layer.gradient)
        return new.train(layer.training)

    @property
    def rtl(self) -> "Rtl":
        return self._design.hardware.rtl

    def _computed(
        self, real: torch.Tensor, results: torch.Tensor, exponents: torch.Tensor, slopes: torch.Tensor
    ) -> torch.Tensor:
        return _rtl_activation(real, exponents, slopes, self.unit.input.min, self._design.key)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, design {self._design.hardware.name}"


for _kind in (Pwl, Direct):
    kind_of.register(_kind, lambda unit: RtlActivation)


@torch.library.custom_op("hwlut::rtl_activation", mutates_args=())
def _rtl_activation(
    real: torch.Tensor, exponents: torch.Tensor, slopes: torch.Tensor, low: int, key: str
) -> torch.Tensor:
    """What `quantized_lookup` gives for a table of the results of the design of that key; its gradient is the same."""
    design = found(key)
    scale, frac, _ = exponents.tolist()
    given = real.cpu().contiguous()
    x = given if given.dtype == torch.float64 else given.float()
    results = torch.from_numpy(design(_codes(x, scale, design.input).reshape(-1).numpy(), scale))
    y = results.view(x.shape).to(x.dtype) * 2.0**-frac
    return torch.where(x.isnan(), x, y).to(real.device, real.dtype)


@_rtl_activation.register_fake
def _(real: torch.Tensor, exponents: torch.Tensor, slopes: torch.Tensor, low: int, key: str) -> torch.Tensor:
    return real.new_empty(real.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, exponents, slopes, ctx.low, _ = inputs
    ctx.save_for_backward(x, exponents, slopes)


def _backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    x, exponents, slopes = ctx.saved_tensors
    return gradient * quantized_lookup(x, slopes, exponents[::2], ctx.low - 1), None, None, None, None


_rtl_activation.register_autograd(_backward, setup_context=_save)


def _codes(x: torch.Tensor, scale: int, format: Fixed) -> torch.Tensor:
    """Codes of float32 or float64 numbers, in the smallest type that holds them; that of NaN is 0."""
    if x.dtype == torch.float32 and format.min >= -128 and format.max <= 127:
        return quantize_codes(x, torch.tensor(2.0**-scale), None, format.min, format.max)
    return torch.round(x * 2.0**scale).clamp(format.min, format.max).nan_to_num(0.0).to(narrowest(format))


class _Design(Named):
    """A design as a function of codes. ValueError where its streams are not those of a unit of one code."""

    def __init__(self, unit: Pointwise, rtl: "Rtl"):
        from hwlut.verify.blocks import Block
        from hwlut.verify.hardware import Hardware

        self.hardware = Hardware(rtl)
        source, sink = self.hardware.source, self.hardware.sink
        self.input = Fixed(unit.input.bits, signed=unit.input.signed)
        self._codes, self._results = Block.of(source, "q"), Block.of(sink)
        self._scales = unit.scales
        chosen = rtl.description["scale"] is None
        self._scale = Block.of(source, "scale") if chosen else None
        wanted = [*self._codes.names, *(["scale"] if chosen else [])]
        if len(source.fields) != len(wanted):
            raise ValueError(f"{source.name} must have the fields {', '.join(wanted)}, not {', '.join(source.fields)}")
        if self._codes.format != self.input:
            raise ValueError(f"{source.name} field {wanted[0]} must be {self.input}, not {self._codes.format}")
        if len(sink.fields) != len(self._codes.names):
            raise ValueError(f"{sink.name} must have {len(self._codes.names)} fields, not {', '.join(sink.fields)}")
        wired = unit if chosen else unit.at_scale(rtl.description["scale"])
        for scale in wired.scales:
            needed, held = wired.output_format(scale), self._results.format
            if not held.min <= needed.min <= needed.max <= held.max:
                raise ValueError(f"{sink.name} field {sink.fields[0]} must hold {needed}, not {held}")
        super().__init__(rtl)

    def __call__(self, codes: np.ndarray, scale: int) -> np.ndarray:
        """Results, int32 or int64 [n], of codes [n]."""
        lanes = len(self._codes.names)
        count = -(-len(codes) // lanes)
        padded = np.zeros((count, lanes), codes.dtype)
        padded.reshape(-1)[: len(codes)] = codes
        beats = np.zeros((count, self.hardware.source.bytes), np.uint8)
        self._codes.put(beats, padded)
        if self._scale is not None:
            self._scale.put(beats, np.full((count, 1), scale - self._scales[0]))
        answers = self.hardware.run(beats[:, None], 1, torch.get_num_threads())
        return self._results.get(answers[:, 0]).reshape(-1)[: len(codes)]
