"""A training step of a layer of look-ups, beside the formulation that holds a product of each codebook."""

import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.report import Row
from hwlut.nn import Lookup, convert

__all__ = ["memory", "training_rows"]

_N, _D, _M, _V, _K = 1576, 384, 1536, 32, 16  # eight images of 197 tokens through the first layer of a DeiT-S block
_REPEATS = 9


class Direct(nn.Module):
    """As published for LUT-NN: soft and hard products of every codebook, [C, N, M] each, straight through from one to
    the other; the table is quantized to int8.
    """

    def __init__(self, prototypes: Tensor, table: Tensor):
        super().__init__()
        self.prototypes, self.table = nn.Parameter(prototypes.clone()), nn.Parameter(table.clone())
        self.temperature = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        sub = x.unflatten(1, (len(self.prototypes), -1)).transpose(0, 1)
        squares = self.prototypes.square().sum(2)[:, None]
        distances = torch.baddbmm(squares, sub, self.prototypes.mT, alpha=-2) + sub.square().sum(2, keepdim=True)
        soft = (-distances * (nn.functional.softplus(self.temperature) + 1)).softmax(2)
        hard = nn.functional.one_hot(distances.argmin(2), soft.shape[2]).to(soft.dtype)
        scale = self.table.detach().abs().max() / 127
        rounded = self.table + ((self.table / scale).round() * scale - self.table).detach()
        of_soft, of_hard = soft @ rounded, hard @ rounded
        return (of_soft - (of_soft - of_hard).detach()).sum(0)


def _step(kind: str) -> Callable[[], object]:
    """A training step, forward and backward, of one of the two on the same numbers."""
    torch.manual_seed(0)
    x = torch.randn(_N, _D)
    model = nn.Sequential(nn.Linear(_D, _M, bias=False))
    convert(model, {"0": Lookup(k=_K, v=_V, iterations=2)}, [x])
    layer = model[0].train()
    if kind == "direct":
        layer = Direct(layer.prototypes.detach(), layer.table.detach())
    x.requires_grad_()
    gradient = torch.randn(_N, _M)

    def step() -> None:
        x.grad = None
        layer.zero_grad()
        layer(x).backward(gradient)

    return step


def _measured(kind: str) -> tuple[float, float]:
    """Seconds of a step, and by how many MiB the memory of the process grew at most in the first one."""
    torch.set_num_threads(1)
    step = _step(kind)
    gc.collect()
    _touch()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = memory("VmRSS")
    step()
    peak = memory("VmHWM") - before
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times), peak


def memory(key: str) -> float:
    """MiB, of Linux's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def _touch() -> None:
    """Kernels and libraries loaded, so that what a step then takes is its own."""
    small = nn.Sequential(nn.Linear(_V, 8, bias=False))
    convert(small, {"0": Lookup(k=_K, v=_V, iterations=1)}, [torch.randn(64, _V)])
    small(torch.randn(64, _V, requires_grad=True)).sum().backward()
    Direct(small[0].prototypes.detach(), small[0].table.detach())(torch.randn(64, _V)).sum().backward()


def training_rows() -> list[Row]:
    """Each formulation in a process of its own."""
    found = []
    for kind in ("flat", "direct"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found.append(pool.apply(_measured, (kind,)))
    (seconds, peak), (direct_seconds, direct_peak) = found
    name = f"training step, N = {_N}, D = {_D}, M = {_M}, C = {_D // _V}"
    against = "products of each codebook, C x N x M"
    return [
        Row(
            name=name,
            unit="ms",
            ours=1e3 * seconds,
            against=against,
            baseline=1e3 * direct_seconds,
            target=1 / 2.5,
            bounds="ratio",
        ),
        Row(
            name=f"{name}: peak memory",
            unit="MiB",
            ours=peak,
            against=against,
            baseline=direct_peak,
            target=1 / 5,
            bounds="ratio",
        ),
    ]
