"""Kernels from their sources: compiled once into the cache and loaded."""

import ctypes
import functools
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hwlut.errors import ToolError
from hwlut.files import build_once, cache_root, digest_of
from hwlut.share import share

__all__ = ["library", "library_of"]

_BINARY = "kernel.so"

# Comparisons of a value with several numbers, threaded into jumps, are what g++ vectorizes no more.
_NATIVE = ("-march=native", "-mprefer-vector-width=512", "-fno-thread-jumps", "-fno-split-paths")


class _Compiler(NamedTuple):
    tool: str
    flags: tuple[str, ...]
    remedy: str


# -fopenmp records a need of libgomp.so.1. That is also the SONAME of the libgomp beside torch's own libraries, so
# the loader hands the kernel torch's copy and its threads, torch being loaded first. Where a torch wheel renames
# its copy, the system's serves beside it: the same results, with threads of its own.
_COMPILERS = {
    ".cpp": _Compiler("g++", ("-O3", "-std=c++17", "-fopenmp", "-fPIC", "-shared"), "apt install g++"),
    ".cu": _Compiler(
        "nvcc",
        ("-O3", "-std=c++17", "-Xcompiler", "-fPIC", "-shared"),
        "install the CUDA toolkit and put nvcc on the PATH",
    ),
}


@functools.cache
def library(source: str, capabilities: tuple[tuple[int, int], ...] = ()) -> ctypes.CDLL:
    """The shared library of the kernel ``kernels/<source>``, compiled where the cache does not hold it.

    `source` ends in ``.cpp`` (g++) or ``.cu`` (nvcc, for devices of the compute `capabilities`). A kernel chooses its
    instructions when it runs, so a build serves every processor of the same architecture. Raises ToolError where
    there is no compiler, the source does not compile or the cache cannot be written.
    """
    path = share("kernels", source)
    compiler = _COMPILERS[path.suffix]
    program = _found(compiler)
    flags = [*compiler.flags, *(_target(*capability) for capability in capabilities)]
    contents = [file.read_bytes() for file in (path, *sorted(path.parent.glob("*.h")))]
    key = digest_of(source, flags, platform.machine(), _run(compiler, [program, "--version"]), *contents)

    def build(folder: Path) -> None:
        _run(compiler, [program, *flags, "-o", str(folder / _BINARY), str(path)])

    return _loaded(key, build)


def library_of(text: str) -> ctypes.CDLL:
    """The shared library of C++ `text` that was written for one program, by g++ for this very processor.

    Raises ToolError as `library` does.
    """
    compiler = _COMPILERS[".cpp"]
    program, flags = _found(compiler), [*compiler.flags, *_NATIVE]
    key = digest_of(text, flags, platform.machine(), _native(program))

    def build(folder: Path) -> None:
        source = folder / "kernel.cpp"
        source.write_text(text)
        _run(compiler, [program, *flags, "-o", str(folder / _BINARY), str(source)])

    return _loaded(key, build)


def _found(compiler: _Compiler) -> str:
    """The path of the compiler."""
    program = shutil.which(compiler.tool)
    if program is None:
        raise ToolError(compiler.tool, "not found", compiler.remedy)
    return program


@functools.cache
def _native(program: str) -> str:
    """The compiler's version, and what it makes of this processor."""
    compiler = _COMPILERS[".cpp"]
    return "".join(_run(compiler, [program, *flags]) for flags in (["--version"], [*_NATIVE, "-Q", "--help=target"]))


def _loaded(key: str, build: Callable[[Path], None]) -> ctypes.CDLL:
    """The library that `build` makes, from the cache where that holds it."""
    try:
        try:
            return ctypes.CDLL(str(build_once("kernels", key, build) / _BINARY))
        except OSError:  # a damaged entry: built anew, once
            shutil.rmtree(cache_root() / "kernels" / key[:40], ignore_errors=True)
            return ctypes.CDLL(str(build_once("kernels", key, build) / _BINARY))
    except OSError as error:
        raise ToolError(
            "kernel cache", str(error), "set HWLUT_CACHE to a folder that can be written and run from"
        ) from None


def _target(major: int, minor: int) -> str:
    return f"-gencode=arch=compute_{major}{minor},code=sm_{major}{minor}"


def _run(compiler: _Compiler, command: list[str]) -> str:
    """What `command` prints; ToolError where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        problem = next((line for line in lines if "error" in line), lines[0])
        raise ToolError(compiler.tool, problem, compiler.remedy)
    return done.stdout
