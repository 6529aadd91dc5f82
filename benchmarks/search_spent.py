"""Time and memory of a search with its final training, beside one training with fake quantization."""

import dataclasses
import multiprocessing
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.lut_training import memory
from benchmarks.report import Row
from examples import search_resnet_mnist, search_vit_mnist
from hwlut import Fixed
from hwlut.search import Search, search
from hwlut.train import Finetune, save_state

__all__ = ["spent_rows"]

_TASKS = {"residual network": search_resnet_mnist.task, "vision transformer": search_vit_mnist.task}
_EPOCHS = 16
_FORMATS = tuple(map(Fixed, (2, 3, 4, 6, 8)))


def _measured(name: str, searched: bool) -> tuple[float, float]:
    """Seconds, and by how many MiB the memory of the process grew at most."""
    torch.set_num_threads(1)
    task = dataclasses.replace(_TASKS[name](), dense=None)
    torch.manual_seed(0)
    options = Search(
        formats=_FORMATS if searched else _FORMATS[1:2], method="oneshot" if searched else "uniform", target_bits=3
    )
    training = Finetune(epochs=_EPOCHS, learning_rate=1e-3, ema=0.0, evaluate_every=1 << 20)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "dense.safetensors"
        save_state(weights, task.model())
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        before, start = memory("VmRSS"), time.perf_counter()
        search(task, options, training, Path(folder) / "run", weights=weights)
        return time.perf_counter() - start, memory("VmHWM") - before


def spent_rows() -> list[Row]:
    """Each in a process of its own, of as many training steps."""
    rows = []
    for name in _TASKS:
        found = []
        for searched in (True, False):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found.append(pool.apply(_measured, (name, searched)))
        against = "uniform int3"
        label = f"search and final training, {_EPOCHS} epochs, {name}"
        for unit, what, ours, baseline, target in zip(("s", "MiB"), ("time", "peak memory"), *found, (1.3, 1.1)):
            row = {"unit": unit, "ours": ours, "against": against, "baseline": baseline, "target": target}
            rows.append(Row(name=f"{label}: {what}", bounds="ratio", **row))
    return rows
