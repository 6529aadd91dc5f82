"""Encoders of look-up products: sub-vectors of codes to the indices of their prototypes."""

from collections.abc import Callable

import torch

from hwlut.ops.lut_launch import Launch, builders, encoder_arguments, fit, table_arguments
from hwlut.ops.registry import register

__all__ = ["definition", "empty", "encode"]

_AT_ONCE = 1 << 22  # numbers that the definition holds at a time


def empty(
    codes: torch.Tensor,
    points: torch.Tensor,
    dimensions: torch.Tensor | None,
    encoder: str,
    features: int,
    v: int,
    zero_point: int,
) -> torch.Tensor:
    """The output of `encode` before it is filled, once the arguments are found fit."""
    fit("lut_encode", "codes", codes, torch.int8, ["...", features], points)
    codebooks, k = -(-features // v), points.shape[1] + (encoder == "tree")
    if k & (k - 1) or not 2 <= k <= 256:
        raise ValueError(f"lut_encode must have a power of two from 2 to 256 indices, not {k}")
    if (encoder == "tree") != (dimensions is not None):
        raise ValueError(f"lut_encode must have dimensions with encoder tree alone, not {encoder}")
    if dimensions is None:
        fit("lut_encode", "prototypes", points, torch.int8, [codebooks, k, v], codes)
    else:
        fit("lut_encode", "thresholds", points, torch.int8, [codebooks, k - 1], codes)
        fit("lut_encode", "dimensions", dimensions, torch.int32, [codebooks, k.bit_length() - 1], codes)
    return codes.new_empty((*codes.shape[:-1], codebooks), dtype=torch.uint8)


def definition(
    codes: torch.Tensor,
    points: torch.Tensor,
    dimensions: torch.Tensor | None,
    encoder: str,
    features: int,
    v: int,
    zero_point: int,
) -> torch.Tensor:
    """`encode` in torch."""
    out = empty(codes, points, dimensions, encoder, features, v, zero_point)
    codebooks = out.shape[-1]
    x = torch.nn.functional.pad(codes, (0, codebooks * v - features), value=zero_point)
    rows, found = x.reshape(-1, codebooks, v), out.view(-1, codebooks)
    step = max(1, _AT_ONCE // points.numel())
    for start in range(0, len(rows), step):
        part = rows[start : start + step].long()
        if dimensions is None:
            found[start : start + step] = _nearest(part, points.long(), encoder)
        else:
            found[start : start + step] = _leaves(part, points.long(), dimensions.long().clamp(0, v - 1))
    return out


def _nearest(x: torch.Tensor, prototypes: torch.Tensor, encoder: str) -> torch.Tensor:
    away = (x[:, :, None] - prototypes).abs()
    if encoder == "l2":
        distances = away.square().sum(-1)
    else:
        distances = away.sum(-1) if encoder == "l1" else away.amax(-1)
    k = prototypes.shape[1]
    return (distances * k + torch.arange(k, device=x.device)).amin(-1) % k  # the lower digit breaks ties


def _leaves(x: torch.Tensor, thresholds: torch.Tensor, dimensions: torch.Tensor) -> torch.Tensor:
    codebooks = torch.arange(len(thresholds), device=x.device)
    node = x.new_zeros(x.shape[:2])
    for chosen in dimensions.unbind(1):
        node = 2 * node + 1 + (x[:, codebooks, chosen] >= thresholds[codebooks, node]).long()
    return node - thresholds.shape[1]


def _on(launch: Launch) -> Callable[..., torch.Tensor]:
    """The operator by a kernel."""

    def run(
        codes: torch.Tensor,
        points: torch.Tensor,
        dimensions: torch.Tensor | None,
        encoder: str,
        features: int,
        v: int,
        zero_point: int,
    ) -> torch.Tensor:
        out = empty(codes, points, dimensions, encoder, features, v, zero_point)
        if not out.numel():
            return out
        codes, points = codes.contiguous(), points.contiguous()
        dimensions = None if dimensions is None else dimensions.contiguous()
        sizes = (out.shape[-1], points.shape[1] + (dimensions is not None), 1)
        given = encoder_arguments(points, dimensions, encoder, features, v, zero_point)
        launch(given, table_arguments(sizes), codes, out, None)
        return out

    return run


encode = register(
    "lut_encode(Tensor codes, Tensor points, Tensor? dimensions, str encoder, int features, int v, int zero_point)"
    " -> Tensor",
    definition,
    empty,
    builders(_on),
)
"""The index of the prototype of each sub-vector, uint8 [..., C], of codes int8 [..., features].

encoder is "l2", "l1" or "chebyshev", with prototypes int8 [C, K, v] as points; or "tree", with thresholds
int8 [C, K - 1] and dimensions int32 [C, log2 K], each held to 0 to v - 1. All as of `hwlut.units.LutMatmul`.
"""
