"""What programs of whole operators stand for: operators of torch, for gradients, and its modules."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hwlut.program.normalization import with_affine
from hwlut.units import Program
from hwlut.units.reductions import Entries

__all__ = ["operator_of", "rows_of"]

_NORMS = {nn.LayerNorm: "layer_norm", nn.RMSNorm: "rms_norm"}


def operator_of(program: Program) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """The function of real rows that a program of `hwlut.program.softmax`, `layer_norm` or `rms_norm` computes.

    Weight and bias of a normalization are its entries. None for other programs.
    """
    method = program.meta.get("method")
    if method == "softmax":
        return _Softmax(program.input.min * 2.0**-program.input.frac)
    entries = {node.name: node.values for node in program.nodes if isinstance(node, Entries)}
    if method not in ("layer_norm", "rms_norm") or not {"size", "eps", *(f"{name}_frac" for name in entries)} <= set(
        program.meta
    ):
        return None
    normalized = nn.functional.layer_norm if method == "layer_norm" else nn.functional.rms_norm
    affine = [
        torch.from_numpy(entries[name] * 2.0 ** -program.meta[f"{name}_frac"]) if name in entries else None
        for name in ("weight", "bias")[: 1 + (method == "layer_norm")]
    ]
    return _Normalization(normalized, program.meta["size"], affine, program.meta["eps"])


def rows_of(module: nn.Module, program: Program) -> Program:
    """The program in the place of a module: for a normalization, with its weight and bias.

    Raises ValueError for a module that computes something else, as far as can be told, or has other parameters.
    """
    label, method = f"InRtl unit {program.name!r}", program.meta.get("method")
    wanted = next((name for kind, name in _NORMS.items() if isinstance(module, kind)), None)
    if wanted is not None:
        return _normalizing(label, module, program, wanted)
    if isinstance(module, nn.Softmax):
        if method != "softmax" or module.dim != -1:
            found = f"that of {method}" if method != "softmax" else f"for dim {module.dim}"
            raise ValueError(f"{label} must be a program of softmax for a Softmax of dim -1, not {found}")
    elif next(module.parameters(), None) is not None:
        raise ValueError(f"{label} must replace a LayerNorm, an RMSNorm or what has no parameters")
    return program


def _normalizing(label: str, module: Any, program: Program, method: str) -> Program:
    """A normalization like `program` with the module's weight and bias."""
    eps = torch.finfo(torch.float32).eps if module.eps is None else module.eps
    wanted = {"method": method, "size": math.prod(module.normalized_shape), "eps": eps}
    if len(module.normalized_shape) > 1:
        raise ValueError(f"{label} must be for rows along the last axis, not along {len(module.normalized_shape)} axes")
    for key, value in wanted.items():
        if program.meta.get(key) != value:
            raise ValueError(f"{label} must have the {key} {value} of the module, not {program.meta.get(key)}")
    given = (getattr(module, name, None) for name in ("weight", "bias"))
    return with_affine(program, *(None if each is None else each.detach().double().cpu().numpy() for each in given))


@dataclass(frozen=True)
class _Softmax:
    """Softmax along the last axis. The number `lowest` counts as minus infinity; a row of nothing else is 0."""

    lowest: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        masked = x == self.lowest
        empty = masked.all(-1, keepdim=True)
        return torch.softmax(x.masked_fill(masked & ~empty, -torch.inf), -1).masked_fill(empty, 0.0)


@dataclass(frozen=True)
class _Normalization:
    """A normalization of torch along the last axis, of `size` places, with float64 weight and bias."""

    normalized: Callable[..., torch.Tensor]
    size: int
    affine: list[torch.Tensor | None]
    eps: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        affine = (None if each is None else each.to(x) for each in self.affine)
        return self.normalized(x, (self.size,), *affine, eps=self.eps)
