"""Kernels as functions of Python: one interface for the processor and for GPUs."""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

import torch

from hwlut.errors import ToolError
from hwlut.ops.build import library

__all__ = ["INTEGERS", "check_gpu", "kernels"]

INTEGERS = {torch.uint8: -1, torch.int8: 1, torch.int16: 2, torch.int32: 4, torch.int64: 8}
"""Integer types as kernels/integers.h names them."""

_Launch = Callable[..., None]


def kernels(
    name: str, arguments: Sequence[Any], wrap: Callable[[_Launch], Callable[..., Any]]
) -> dict[str, Callable[[], Callable[..., Any]]]:
    """For "cpu" and "cuda", what `register` builds the kernel of operator `name` with.

    The sources are ``kernels/<name>.cpp`` and ``.cu``; both define ``hwlut_<name>``, of the ctypes `arguments`
    followed by the number of threads or by device and stream. `wrap` makes the operator from a function that is
    called with the device and those arguments.
    """
    return {
        "cpu": lambda: wrap(_cpu(f"{name}.cpp", arguments)),
        "cuda": lambda: wrap(_cuda(f"{name}.cu", arguments)),
    }


def check_gpu() -> None:
    """Raises ToolError where torch finds no GPU."""
    if not torch.cuda.is_available():
        raise ToolError("CUDA device", "not found", "install a GPU, its driver and a torch built for CUDA")


def _cpu(source: str, types: Sequence[Any]) -> _Launch:
    function = library(source)[f"hwlut_{PurePath(source).stem}"]
    function.argtypes = [*types, ctypes.c_int]
    function.restype = None

    def launch(device: torch.device, *arguments: int) -> None:
        function(*arguments, torch.get_num_threads())

    return launch


def _cuda(source: str, types: Sequence[Any]) -> _Launch:
    check_gpu()
    name = PurePath(source).stem
    devices = range(torch.cuda.device_count())
    capabilities = tuple(sorted({torch.cuda.get_device_capability(device) for device in devices}))
    function = library(source, capabilities)[f"hwlut_{name}"]
    function.argtypes = [*types, ctypes.c_int, ctypes.c_void_p]
    function.restype = ctypes.c_char_p

    def launch(device: torch.device, *arguments: int) -> None:
        with torch.cuda.device(device):
            error = function(*arguments, device.index, torch.cuda.current_stream().cuda_stream)
        if error is not None:
            raise RuntimeError(f"hwlut {name} on {device}: {error.decode()}")

    return launch
