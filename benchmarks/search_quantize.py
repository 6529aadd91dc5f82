"""Forwards of quantizers beside a plain copy of the tensor, on one thread."""

from collections.abc import Callable
from functools import partial

import torch

from benchmarks.report import Row
from benchmarks.timing import medians
from hwlut import Fixed
from hwlut.ops import implementation
from hwlut.quant import Minifloat, Quantizer

__all__ = ["rows"]

_REPEATS = 41
_SHAPE = (1024, 1024)
_S8 = Fixed(8)
_STATIC, _DYNAMIC = 2.0, 3.0
_COPY = "copy into a new tensor"


def rows() -> list[Row]:
    """Forwards without gradients, of 1024 x 1024 float32; and a training step, forward and backward, compiled too."""
    assert implementation("fake_quantize", "cpu") == "kernel"
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_SHAPE, generator=generator)
    forwards = {
        "static, power of two": (Quantizer(_S8), _STATIC),
        "static, real": (Quantizer(_S8, steps="real"), _STATIC),
        "static, zero point": (Quantizer(_S8, steps="real", symmetric=False), _STATIC),
        "static, each channel": (Quantizer(_S8, steps="real", granularity="channel"), _STATIC),
        "static, each channel of the last axis": (
            Quantizer(_S8, steps="real", granularity="channel", axis=-1),
            _STATIC,
        ),
        "static, e4m3": (Quantizer(Minifloat(4, 3)), _STATIC),
        "dynamic, power of two": (Quantizer(_S8, source="dynamic"), _DYNAMIC),
        "dynamic, real": (Quantizer(_S8, steps="real", source="dynamic"), _DYNAMIC),
        "dynamic, zero point": (Quantizer(_S8, steps="real", source="dynamic", symmetric=False), _DYNAMIC),
        "dynamic, each token": (Quantizer(_S8, steps="real", source="dynamic", granularity="token"), _DYNAMIC),
        "dynamic, e2m1 in blocks of 32 (MX)": (
            Quantizer(Minifloat(2, 1), source="dynamic", granularity="block", method="mx"),
            None,
        ),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = [_forward(name, quantizer, x, target) for name, (quantizer, target) in forwards.items()]
        return [*found, *_training(x, torch.randn(_SHAPE, generator=generator))]
    finally:
        torch.set_num_threads(threads)


def _row(name: str, ours: float, copy: float, target: float | None) -> Row:
    return Row(
        name=f"Quantizer, {name}",
        unit="ms",
        ours=ours * 1e3,
        against=_COPY,
        baseline=copy * 1e3,
        target=target,
        bounds="ratio",
    )


def _forward(name: str, quantizer: Quantizer, x: torch.Tensor, target: float | None) -> Row:
    if quantizer.calibrates:
        quantizer.observe(x[:64] if quantizer.granularity.kind == "tensor" else x)
    quantizer.eval()
    with torch.no_grad():
        copy, ours = medians(_REPEATS, lambda: torch.empty_like(x).copy_(x), lambda: quantizer(x))
    return _row(f"{name}: forward", ours, copy, target)


def _training(x: torch.Tensor, grad: torch.Tensor) -> list[Row]:
    found = []
    for name, quantizer in (
        ("static, real", Quantizer(_S8, steps="real")),
        ("learned, real", Quantizer(_S8, steps="real", source="learned")),
    ):
        quantizer.observe(x[:64])
        compiled = torch.compile(quantizer, fullgraph=True)
        copy, *times = medians(
            _REPEATS,
            lambda: torch.empty_like(x).copy_(x),
            *(partial(_step, way, x.clone().requires_grad_(), grad) for way in (quantizer, compiled)),
        )
        found.append(_row(f"{name}: forward and backward", times[0], copy, None))
        found.append(_row(f"{name}: forward and backward, compiled", times[1], copy, None))
    return found


def _step(way: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, grad: torch.Tensor) -> None:
    x.grad = None
    way(x).backward(grad)
