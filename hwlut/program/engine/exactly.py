"""Float arithmetic that rounds nothing while numbers are integers that it holds."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["FLOAT32", "FLOAT64", "exactly"]

FLOAT32 = 1 << 24
"""float32 holds every integer up to it, either sign."""

FLOAT64 = 1 << 53
"""float64 likewise."""

_WHOLE = ("none", "ieee")


@contextlib.contextmanager
def exactly(device: torch.device) -> Iterator[None]:
    """No gradients, no autocast, no TF32 or bfloat16 in float32 products, and no convolutions by transforms on CPUs.

    Precisions that someone has lowered are put back in the end.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        if device.type == "cpu":
            stack.enter_context(torch.backends.nnpack.flags(enabled=False))
        for holder in _holders(device):
            if (lowered := holder.fp32_precision) not in _WHOLE:
                stack.callback(setattr, holder, "fp32_precision", lowered)
                holder.fp32_precision = "ieee"
        if not _holders(device) and (given := torch.get_float32_matmul_precision()) != "highest":
            stack.callback(torch.set_float32_matmul_precision, given)
            torch.set_float32_matmul_precision("highest")
        yield


def _holders(device: torch.device) -> list[Any]:
    """What has the precision of float32 products on `device`; none in torch before 2.9."""
    backends: Any = torch.backends
    found = [backends.cuda.matmul]
    if device.type == "cpu":
        found = [getattr(backends.mkldnn, name, None) for name in ("matmul", "conv")]
    return [holder for holder in found if hasattr(holder, "fp32_precision")]
