"""The batch engine: Verilated designs as shared libraries, run on arrays."""

import ctypes
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hwlut.errors import ToolError
from hwlut.files import build_once, digest_of
from hwlut.hdl import Rtl
from hwlut.share import share
from hwlut.verify.beats import Stream, streams
from hwlut.verify.engine import WATCHDOG_CYCLES, Job, Outcome, stopped, surplus, unstable
from hwlut.verify.tools import Verilator, compiler, find_verilator, run_tool

__all__ = ["run", "build"]

_FLAGS = ["-std=c++17", "-O3", "-fPIC"]
_VERILATE = ["--cc", "--prefix", "Vtop", "-O3", "--x-initial", "unique", "-Wno-fatal", "-Wno-lint", "-Wno-style"]
_PARALLEL_BEATS = 1 << 15  # from here on, a second model instance pays
_HANG, _SURPLUS, _UNSTABLE = 1, 2, 3  # HwlutFault in sim/batch.cpp


class _Stream(ctypes.Structure):
    _fields_ = [
        ("beats", ctypes.c_void_p),
        ("count", ctypes.c_uint64),
        ("done", ctypes.c_uint64),
        ("cycles", ctypes.c_void_p),
    ]


class _Options(ctypes.Structure):
    _fields_ = [
        ("seed", ctypes.c_uint64),
        ("idle", ctypes.c_uint32),
        ("stall", ctypes.c_uint32),
        ("watchdog", ctypes.c_uint64),
        ("interrupt", ctypes.c_uint64),
        ("waves", ctypes.c_char_p),
    ]


class _Outcome(ctypes.Structure):
    _fields_ = [
        ("fault", ctypes.c_int32),
        ("stream", ctypes.c_int32),
        ("cycles", ctypes.c_uint64),
        ("first_accept", ctypes.c_uint64),
        ("first_delivery", ctypes.c_uint64),
    ]


def _ports_header(rtl: Rtl) -> str:
    """The part of the harness that depends on the design's ports."""
    reset = rtl.description["reset"]
    lines = [
        "#include <cstdint>",
        "#include <cstring>",
        "#include <tuple>",
        "#include <utility>",
        '#include "Vtop.h"',
        "using Model = Vtop;",
        f"inline void set_reset(Model &m, bool on) {{ m.{reset} = {'!on' if reset == 'aresetn' else 'on'}; }}",
    ]
    found = streams(rtl.description).values()
    for stream in found:
        lines += _stream_struct(stream)
    for group, input in (("Inputs", True), ("Outputs", False)):
        lines.append(f"using {group} = std::tuple<{', '.join(s.name for s in found if s.input == input)}>;")
    return "\n".join(lines) + "\n"


def _stream_struct(stream: Stream) -> list[str]:
    name = stream.name
    lines = [f"struct {name} {{", f"    static constexpr size_t bytes = {stream.bytes};"]
    copies = []
    for port, offset, size in stream.offsets():
        there, here = f"&m.{port}", f"beat + {offset}"
        lines.append(f'    static_assert({size} <= sizeof(std::declval<Model &>().{port}), "{port} is too wide");')
        copies.append(
            f"std::memcpy({there}, {here}, {size});" if stream.input else f"std::memcpy({here}, {there}, {size});"
        )
    if stream.input:
        lines.append(f"    static void put(Model &m, const uint8_t *beat) {{ {' '.join(copies)} }}")
        lines.append(f"    static void valid(Model &m, bool on) {{ m.{name}_tvalid = on; }}")
        lines.append(f"    static bool ready(const Model &m) {{ return m.{name}_tready; }}")
    else:
        lines.append(f"    static void get(const Model &m, uint8_t *beat) {{ {' '.join(copies)} }}")
        lines.append(f"    static bool valid(const Model &m) {{ return m.{name}_tvalid; }}")
        lines.append(f"    static void ready(Model &m, bool on) {{ m.{name}_tready = on; }}")
    return [*lines, "};"]


def _runtime(tool: Verilator, waves: bool) -> list[Path]:
    """Object files of Verilator's own runtime, built once a version and compiler."""
    command, version = compiler()
    names = ["verilated", "verilated_threads"] + (["verilated_vcd_c"] if waves else [])

    def compile_runtime(folder: Path) -> None:
        def compile_one(name: str) -> None:
            source = tool.root / "include" / f"{name}.cpp"
            includes = [f"-I{tool.root}/include", f"-I{tool.root}/include/vltstd"]
            error = _compile([command, *_FLAGS, "-c", *includes, str(source), "-o", str(folder / f"{name}.o")])
            if error is not None:
                raise ToolError(command, f"cannot compile Verilator's runtime: {error}", "check its installation")

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(compile_one, names))

    key = digest_of(str(tool), str(tool.root), version, _FLAGS, names)
    folder = build_once("verilator-runtime", key, compile_runtime)
    return [folder / f"{name}.o" for name in names]


def _compile(command: list[str]) -> str | None:
    """Run the compiler; its first error where it fails."""
    done = run_tool(command)
    errors = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
    return errors[0] if done.returncode else None


def build(rtl: Rtl, waves: bool = False) -> Path:
    """The shared library of `rtl`, from the cache or built with Verilator and the C++ compiler.

    Raises ToolError for a missing tool, ValueError with Verilator's first error for bad Verilog.
    """
    tool = find_verilator()
    command, version = compiler()
    harness = share("sim", "batch.cpp")
    header = _ports_header(rtl)
    module = rtl.description["module"]
    tools = (str(tool), str(tool.root), version, _FLAGS, _VERILATE)
    key = digest_of(rtl.verilog, module, header, harness.read_bytes(), *tools, waves)

    def verilate(folder: Path) -> None:
        (folder / "top.v").write_text(rtl.verilog)
        (folder / "ports.h").write_text(header)
        trace = ["--trace"] if waves else []
        top = ["--top-module", module, "-Mdir", str(folder / "model"), str(folder / "top.v")]
        done = run_tool([str(tool.command), *_VERILATE, *trace, *top], env=tool.environment())
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("%Error")] or ["no message"]
            raise ValueError(f"Verilog of {module}: {errors[0].replace(str(folder) + '/', '')}")
        # One translation unit: the headers, most of the work, are read once.
        parts = [*sorted((folder / "model").glob("*.cpp")), harness]
        (folder / "all.cpp").write_text("".join(f'#include "{part}"\n' for part in parts))
        includes = [f"-I{folder}", f"-I{folder}/model", f"-I{tool.root}/include", f"-I{tool.root}/include/vltstd"]
        objects = [str(path) for path in _runtime(tool, waves)]
        define = ["-DHWLUT_WAVES", "-DVM_TRACE=1"] if waves else []
        sources = [str(folder / "all.cpp"), *objects, "-lpthread"]
        error = _compile([command, *_FLAGS, "-shared", *define, *includes, *sources, "-o", str(folder / "top.so")])
        if error is not None:
            port = re.search(r"no member named \W*(\w+)", error)
            found = f"no {port[1]}" if port else error.replace(f"{folder}/", "")
            raise ValueError(f"Verilog of {module} does not have the ports of its description: {found}")

    return build_once("verilated", key, verilate) / "top.so"


@cache
def _entry(library: Path) -> Any:
    batch = ctypes.CDLL(str(library)).hwlut_batch
    pointer = ctypes.POINTER
    batch.argtypes = [pointer(_Stream), pointer(_Stream), pointer(_Options), pointer(_Outcome)]
    batch.restype = None
    return batch


def run(jobs: Sequence[Job]) -> list[Outcome]:
    """Run `jobs` on the batch engine; long batches of independent beats use every core."""
    return [_run(job) for job in jobs]


def _run(job: Job) -> Outcome:
    entry = _entry(build(job.rtl, waves=job.waves is not None))
    found = streams(job.rtl.description).values()
    received = {s.name: np.zeros((job.expected[s.name], s.bytes), np.uint8) for s in found if not s.input}
    sent = {s.name: job.inputs[s.name] for s in found if s.input}
    taken, given = (
        {name: np.zeros(0 if job.independent else len(beats), np.int64) for name, beats in arrays.items()}
        for arrays in (sent, received)
    )
    split = job.independent and job.waves is None and min(job.expected.values()) >= _PARALLEL_BEATS
    parts = (os.cpu_count() or 1) if split else 1

    def run_part(part: int) -> tuple[_Outcome, Any, Any]:
        def share_of(arrays: dict[str, np.ndarray]) -> Any:
            shares = [np.array_split(array, parts)[part] for array in arrays.values()]
            return (_Stream * len(shares))(*(_Stream(array.ctypes.data, len(array), 0, None) for array in shares))

        sources, sinks, outcome = share_of(sent), share_of(received), _Outcome()
        if not job.independent:
            for stream, cycles in zip((*sources, *sinks), (*taken.values(), *given.values())):
                stream.cycles = cycles.ctypes.data
        waves = None if job.waves is None else os.fsencode(job.waves)
        watchdog = WATCHDOG_CYCLES + 4 * job.rtl.description["latency"]
        flow = (round(job.idle * 256), round(job.stall * 256))
        options = _Options(job.seed + part, *flow, watchdog, job.interrupt, waves)
        entry(sources, sinks, options, outcome)
        return outcome, sources, sinks

    with ThreadPoolExecutor(parts) as pool:
        results = list(pool.map(run_part, range(parts)))
    faults = [text for outcome, _, sinks in results for text in _faults(outcome, list(received), sinks)]
    if parts == 1:
        received = {name: beats[: sink.done] for (name, beats), sink in zip(received.items(), results[0][2])}
    first = results[0][0]
    return Outcome(
        outputs=received,
        accepted={name: cycles[: source.done] for (name, cycles), source in zip(taken.items(), results[0][1])},
        delivered={name: cycles[: sink.done] for (name, cycles), sink in zip(given.items(), results[0][2])},
        cycles=sum(outcome.cycles for outcome, _, _ in results),
        latency=None if faults else first.first_delivery - first.first_accept,
        fault=faults[0] if faults else None,
        tool=str(find_verilator()),
    )


def _faults(outcome: _Outcome, names: list[str], sinks: Any) -> list[str]:
    if outcome.fault == _HANG:
        return [stopped(name, sink.done, sink.count) for name, sink in zip(names, sinks) if sink.done < sink.count]
    name, sink = names[outcome.stream], sinks[outcome.stream]
    if outcome.fault == _SURPLUS:
        return [surplus(name, sink.count)]
    return [unstable(name, sink.done)] if outcome.fault == _UNSTABLE else []
