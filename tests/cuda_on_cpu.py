"""What a GPU runs of matrix products, done by the processor: its kernel through cuda_on_cpu.h, its calls of torch."""

import ctypes
import functools
import re
import subprocess
from pathlib import Path

from hwlut.files import build_once, digest_of
from hwlut.ops import approx_expansion, approx_factors, approx_table, lut_launch, registry
from hwlut.ops.fake_quantize import _ARGUMENTS as FORWARD
from hwlut.ops.fake_quantize import _BACKWARD_ARGUMENTS as BACKWARD
from hwlut.ops.group_bounds import _ARGUMENTS as BOUNDS
from hwlut.ops.ranged_quantize import _ARGUMENTS as RANGED
from hwlut.ops.ranged_quantize import _BACKWARD_ARGUMENTS as RANGED_BACKWARD
from hwlut.ops.requantize import _ARGUMENTS as REQUANTIZE
from hwlut.share import share

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
ARGUMENTS = {"approx_table": approx_table._ARGUMENTS, "lut_matmul": lut_launch._ARGUMENTS}
ARGUMENTS |= {"fake_quantize": FORWARD, "fake_quantize_backward": BACKWARD, "group_bounds": BOUNDS}
ARGUMENTS |= {"requantize": REQUANTIZE}
ARGUMENTS |= {"ranged_quantize": RANGED, "ranged_quantize_backward": RANGED_BACKWARD}
FLAGS = ("-O2", "-std=c++17", "-fPIC", "-shared", "-Wall", "-Wno-unknown-pragmas", "-Werror")


@functools.cache
def library(name="approx_table"):
    """A kernel, and `emulate(processors, bytes of shared memory, threads take turns backwards)`."""
    path = share("kernels", f"{name}.cu")
    text = re.sub(r"([\w<>]+)<<<(.*?)>>>\(", r"launched(\1, \2)(", path.read_text())
    text = re.sub(r"extern __shared__ (\w+) (\w+)\[\];", r"const auto \2 = reinterpret_cast<\1*>(shared_memory);", text)
    headers = [file.read_bytes() for file in (HEADER, *sorted(path.parent.glob("*.h")))]

    def build(folder):
        (folder / "kernel.cpp").write_text(text)
        options = [*FLAGS, f"-I{path.parent}", "-include", HEADER, "-o", folder / "kernel.so", folder / "kernel.cpp"]
        subprocess.run(["g++", *options], check=True)

    folder = build_once("emulated", digest_of(text, FLAGS, *headers), build)
    built = ctypes.CDLL(str(folder / "kernel.so"))
    function = getattr(built, f"hwlut_{name}")  # which keeps it
    function.argtypes = [*ARGUMENTS[name], ctypes.c_int, ctypes.c_void_p]
    function.restype = ctypes.c_char_p
    return built


def launch(device, *arguments, name="approx_table"):
    error = getattr(library(name), f"hwlut_{name}")(*arguments, 0, None)
    assert error is None, error


def install(monkeypatch):
    """Makes the operators run on tensors of the processor what they run on a GPU's; `forget` goes with it."""
    builders = {"approx_table": lambda: approx_table._on(launch), "approx_factors": lambda: approx_factors._int8}
    for name, builder in builders.items():
        operator = registry._OPERATORS[name]
        monkeypatch.setitem(registry._OPERATORS, name, operator._replace(kernels={"cpu": builder}))
    monkeypatch.setitem(approx_factors._BYTES, "cpu", 1)
    forget()


def forget():
    registry._chosen.cache_clear()
    approx_expansion.factors_of.cache_clear()
