"""What convolutions of every kind ask of their input, and how they pad it."""

from typing import Any

import torch

__all__ = ["batched", "pads"]


def batched(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """`x` as [B, C, *sizes], for a layer with `in_channels` and `kernel_size`.

    ValueError where it is neither that nor [C, *sizes].
    """
    dims = len(layer.kernel_size)
    if x.dim() not in (dims + 1, dims + 2) or x.shape[-dims - 1] != layer.in_channels:
        wanted = f"[batch, {layer.in_channels}, {dims} sizes], the batch optional"
        raise ValueError(f"{type(layer).__name__} input must be {wanted}, not {list(x.shape)}")
    return x if x.dim() == dims + 2 else x.unsqueeze(0)


def pads(layer: Any) -> tuple[tuple[int, int], ...]:
    """Before and after, for each dimension; of an odd number, "same" puts the larger part after."""
    if layer.padding == "valid":
        return tuple((0, 0) for _ in layer.kernel_size)
    if layer.padding != "same":
        return tuple((pad, pad) for pad in layer.padding)
    spans = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size)]
    return tuple((span // 2, span - span // 2) for span in spans)
