"""What is computed from a layer's state, kept until that changes."""

from typing import Any

import torch

__all__ = ["Kept", "state_of"]


class Kept:
    """What was computed from tensors in the state `key`; copies hold nothing.

    The tensors are held as well, or others could come to lie where they were.
    """

    def __init__(self) -> None:
        self.key: object = None
        self.of: list[torch.Tensor] = []
        self.value: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Kept, ()


def state_of(*tensors: torch.Tensor) -> object:
    """What changes when tensors do; None where that cannot be told."""
    if any(tensor.is_inference() for tensor in tensors):
        return None
    return [(tensor.data_ptr(), tensor._version, tensor.dtype, tensor.shape, tensor.device) for tensor in tensors]
