"""Verilated designs as shared libraries."""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

from hwlut.errors import ToolError
from hwlut.files import build_once, digest_of
from hwlut.hdl import Rtl
from hwlut.share import share
from hwlut.verify.beats import ROLES, Stream, streams
from hwlut.verify.tools import Verilator, compiler, find_verilator, run_tool

__all__ = ["build"]

_FLAGS = ["-std=c++17", "-O3", "-fPIC", "-DVL_USER_FATAL"]
_VERILATE = ("--cc", "--prefix", "Vtop", "-O3", "--x-initial", "unique", "-Wno-fatal", "-Wno-lint", "-Wno-style")
_TRACED = ["-DHWLUT_WAVES", "-DVM_TRACE=1", "-O1"]  # half the time to compile, which is most of it
_PORT = re.compile(r"VL_(IN|OUT)(?:8|16|64|W)?\(&(\w+),(\d+),(\d+)")


def _ports_header(rtl: Rtl) -> str:
    """The part of the harness that depends on the design's ports."""
    reset = rtl.description["reset"]
    lines = [
        "#include <cstdint>",
        "#include <cstring>",
        "#include <tuple>",
        '#include "Vtop.h"',
        "using Model = Vtop;",
        f"inline void set_reset(Model &m, bool on) {{ m.{reset} = {'!on' if reset == 'aresetn' else 'on'}; }}",
    ]
    found = streams(rtl.description).values()
    driven = {"clk", reset, *(f"{stream.name}_{role}" for stream in found for role in ROLES)}
    rest = [each["name"] for each in rtl.description["ports"] if each["dir"] == "input" and each["name"] not in driven]
    lines.append(f"inline void rest(Model &m) {{ {' '.join(f'm.{name} = 0;' for name in rest) or '(void)m;'} }}")
    for stream in found:
        lines += _stream_struct(stream)
    for group, input in (("Inputs", True), ("Outputs", False)):
        lines.append(f"using {group} = std::tuple<{', '.join(s.name for s in found if s.input == input)}>;")
    activity = any(port["name"] == "activity" for port in rtl.description["ports"])
    lines.append(
        f"inline uint64_t activity(const Model &{'m' * activity}) {{ return {'m.activity' if activity else 0}; }}"
    )
    return "\n".join(lines) + "\n"


def _stream_struct(stream: Stream) -> list[str]:
    name = stream.name
    lines = [f"struct {name} {{", f"    static constexpr size_t bytes = {stream.bytes};"]
    copies = []
    for port, offset, size in stream.offsets():
        there, here = f"&m.{port}", f"beat + {offset}"
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

        with ThreadPoolExecutor(cpu_count()) as pool:
            list(pool.map(compile_one, names))

    key = digest_of(str(tool), str(tool.root), version, _FLAGS, names)
    folder = build_once("verilator-runtime", key, compile_runtime)
    return [folder / f"{name}.o" for name in names]


def _compile(command: list[str]) -> str | None:
    """Run the compiler; its first error where it fails."""
    done = run_tool(command)
    errors = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
    return errors[0] if done.returncode else None


def _differing_port(described: Mapping[str, tuple[str, int]], header: str) -> str | None:
    """The first port (direction and width by name) that Verilator's header has otherwise, in words."""
    directions = {"IN": "input", "OUT": "output"}
    found = {name: (directions[way], int(high) - int(low) + 1) for way, name, high, low in _PORT.findall(header)}
    for name, (direction, width) in described.items():
        if found.get(name) != (direction, width):
            other = "" if name not in found else ", but {} of {}".format(*found[name])
            return f"no {direction} {name} of {width} bits{other}"
    unknown = next((name for name in found if name not in described), None)
    return None if unknown is None else f"{found[unknown][0]} {unknown} is not in it"


def build(rtl: Rtl, waves: bool = False) -> Path:
    """The shared library of `rtl`, from the cache or built with Verilator and the C++ compiler.

    Raises ToolError for a missing tool, ValueError with Verilator's first error for bad Verilog, and for Verilog whose
    ports are not those of its description.
    """
    tool = find_verilator()
    command, version = compiler()
    harness = share("sim", "batch.cpp")
    header = _ports_header(rtl)
    module = rtl.description["module"]
    options = [*_VERILATE, *tool.correct]
    tools = (str(tool), str(tool.root), version, _FLAGS, options)
    ports = {port["name"]: (port["dir"], port["width"]) for port in rtl.description["ports"]}
    traced = _TRACED if waves else []
    key = digest_of(rtl.verilog, module, header, ports, harness.read_bytes(), *tools, traced)

    def verilate(folder: Path) -> None:
        (folder / "top.v").write_text(rtl.verilog)
        (folder / "ports.h").write_text(header)
        trace = ["--trace"] if waves else []
        top = ["--top-module", module, "-Mdir", str(folder / "model"), str(folder / "top.v")]
        # There: it takes a module that it misses from a file of that name in the current folder.
        done = run_tool([str(tool.command), *options, *trace, *top], env=tool.environment(), cwd=folder)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("%Error")] or ["no message"]
            raise ValueError(f"Verilog of {module}: {errors[0].replace(str(folder) + '/', '')}")
        if differing := _differing_port(ports, (folder / "model" / "Vtop.h").read_text()):
            raise ValueError(f"Verilog of {module} does not have the ports of its description: {differing}")
        # One translation unit: the headers, most of the work, are read once.
        parts = [*sorted((folder / "model").glob("*.cpp")), harness]
        (folder / "all.cpp").write_text("".join(f'#include "{part}"\n' for part in parts))
        includes = [f"-I{folder}", f"-I{folder}/model", f"-I{tool.root}/include", f"-I{tool.root}/include/vltstd"]
        objects = [str(path) for path in _runtime(tool, waves)]
        sources = [str(folder / "all.cpp"), *objects, "-lpthread"]
        error = _compile([command, *_FLAGS, "-shared", *traced, *includes, *sources, "-o", str(folder / "top.so")])
        if error is not None:
            raise ValueError(f"Verilog of {module} cannot be compiled: {error.replace(f'{folder}/', '')}")

    return build_once("verilated", key, verilate) / "top.so"
