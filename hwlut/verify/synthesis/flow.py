"""From Verilog to a mapped netlist: yosys for standard cells and FPGAs, OpenSTA for delay."""

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hwlut.errors import ToolError
from hwlut.files import build_once, digest_of
from hwlut.verify.synthesis import ram
from hwlut.verify.synthesis.liberty import Liberty
from hwlut.verify.tools import run_tool

__all__ = [
    "TARGETS",
    "WRITE_MAPPED",
    "Netlist",
    "counted",
    "find_sta",
    "find_yosys",
    "map_steps",
    "map_verilog",
    "run_yosys",
    "timed",
]

_MINIMUM = (0, 23)
_ABC = "+strash;&get,-n;&fraig,-x,-C,100;&put;scorr;dc2;dretime;strash;&get,-n;&dch,-f;&nf;&put;topo;stime,-p"

_CELLS = [
    "read_verilog -lib ram_cell.v",
    "synth -flatten -top {top} -run begin:fine",
    "techmap -map ram_map.v",
    "synth -flatten -top {top} -run fine:",
    "dfflibmap -liberty cells.lib",
    f"abc -liberty cells.lib -script {_ABC}",
    "opt_clean -purge",
    "setundef -zero",
    "splitnets",
    "opt_clean -purge",
]
_MAP = {
    "liberty": _CELLS,
    "ice40": ["synth_ice40 -nobram -top {top}"],
    "xilinx": ["synth_xilinx -family xc7 -flatten -nobram -nodsp -noiopad -noclkbuf -top {top}"],
}
TARGETS = tuple(_MAP)
"""What Verilog can be mapped to: the cells of a liberty file, iCE40, Xilinx 7 series."""

# What the mapped cells do, as Verilog without cells, so that any simulator runs the netlist.
_MODELS = {
    "liberty": ["read_liberty -ignore_miss_func cells.lib", "read_verilog -defer ram_model.v"],
    "ice40": ["read_verilog -defer -D ICE40_HX +/ice40/cells_sim.v"],
    "xilinx": ["read_verilog -defer +/xilinx/cells_sim.v"],
}

WRITE_MAPPED = "write_verilog -noattr -noexpr -nohex -nodec -simple-lhs mapped.v"
"""The netlist as instances of cells; OpenSTA assigns no concatenation."""

# OpenSTA's clock, ns: with a slow one the worst path is one of half a period, where there is one, with a fast one the
# longest of all.
_PERIODS = (1000, 0.01)


@dataclass(frozen=True)
class Netlist:
    """A design mapped to the cells of a target, before layout.

    Parameters
    ----------
    target: one of TARGETS. tool: what mapped it, with versions.
    cells: how many of each kind. registers: how many of them are flip-flops. luts: how many are an FPGA's look-up
        tables, in which everything is built: block memories and multiplier blocks are not used.
    area: um^2, of a liberty only; gate_equivalents: the same in two-input NANDs, where the liberty has one.
    delay: ns, the shortest clock period without wires, of a liberty only; delay_by: what estimated it.
    verilog: the netlist as instances of cells. flat: the same, each cell replaced by what it does.
    ram_bits: of memories that are written and read through a register, which are no cells of a liberty and count
        nowhere else; their access takes no time.
    """

    target: str
    tool: str
    cells: Mapping[str, int]
    registers: int
    luts: int
    area: float | None
    gate_equivalents: float | None
    delay: float | None
    delay_by: str | None
    verilog: str
    flat: str
    ram_bits: int = 0


@cache
def find_yosys() -> tuple[str, str]:
    """The command and version of yosys; ToolError where it is missing or too old.

    The yosys in Amaranth's package lacks the mapper, so a system's is needed.
    """
    command = shutil.which("yosys")
    remedy = "install it, on Debian and Ubuntu with: apt install yosys"
    needed = f"{_MINIMUM[0]}.{_MINIMUM[1]} or newer needed"
    if command is None:
        raise ToolError("yosys", f"not found, {needed}", remedy)
    told = run_tool([command, "-V"]).stdout
    found = re.match(r"Yosys (\d+)\.(\d+)\S*", told)
    if found is None:
        raise ToolError("yosys", f"version unknown ({told.strip()[:40]!r}), {needed}", remedy)
    if (int(found[1]), int(found[2])) < _MINIMUM:
        raise ToolError("yosys", f"{found[1]}.{found[2]} found, {needed}", remedy)
    return command, found[0]


@cache
def find_sta() -> tuple[str, str] | None:
    """The command and version of OpenSTA, where it is installed."""
    command = shutil.which("sta")
    version = run_tool([command, "-version"]).stdout.strip() if command else ""
    return (command, f"OpenSTA {version}") if command and re.fullmatch(r"\d+\.\d+\.\d+", version) else None


def map_steps(target: str, module: str) -> list[str]:
    """What yosys does to a module that was read."""
    return [step.format(top=module) for step in _MAP[target]]


def map_verilog(verilog: str, module: str, target: str = "liberty", liberty: Liberty | None = None) -> Netlist:
    """`verilog` mapped to `target`, kept in the cache.

    Parameters
    ----------
    verilog, module: the text, and its top module, whose clock is ``clk``, if it has one.
    target: one of TARGETS.
    liberty: the cells of target "liberty"; by default OSU's for TSMC 180 nm.

    Raises ValueError for another target or Verilog that yosys refuses, ToolError for missing tools.
    """
    if target not in _MAP:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
    if target != "liberty" and liberty is not None:
        raise ValueError(f"liberty must be given with target liberty alone, not {target}")
    yosys, version = find_yosys()
    if target == "liberty" and liberty is None:
        liberty = Liberty.read()
    sta = find_sta() if liberty else None
    tools = [version, *([sta[1]] if sta else [])]
    models = [
        "design -reset",
        "read_verilog mapped.v",
        *_MODELS[target],
        f"hierarchy -top {module}",
        "proc",
        "flatten",
        "opt_clean -purge",
    ]
    script = [
        "read_verilog design.v",
        *map_steps(target, module),
        "write_json cells.json",
        WRITE_MAPPED,
        *models,
        "write_verilog -noattr flat.v",
    ]
    sources = [file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))]
    key = digest_of(verilog, module, script, tools, liberty.digest if liberty else None, *sources)

    def build(folder: Path) -> None:
        # Not in the cache's folder: abc takes no path with a space.
        with tempfile.TemporaryDirectory(prefix="hwlut-synthesis-") as name:
            work = Path(name)
            for file, text in {"design.v": verilog, **ram.FILES}.items():
                (work / file).write_text(text)
            if liberty:
                (work / "cells.lib").symlink_to(liberty.path.resolve())
            log = run_yosys(yosys, script, module, work, liberty)
            design = json.loads((work / "cells.json").read_text())
            found = counted(design, module, target, liberty)
            clocked = "clk" in design["modules"][module]["ports"]
            found |= timed(log, sta, module, clocked, work) if liberty else {"delay": None, "delay_by": None}
            (folder / "netlist.json").write_text(json.dumps(found))
            for file in ("mapped.v", "flat.v"):
                shutil.copyfile(work / file, folder / file)

    folder = build_once("synthesis", key, build)
    return Netlist(
        target=target,
        tool=", ".join(tools),
        verilog=(folder / "mapped.v").read_text(),
        flat=(folder / "flat.v").read_text(),
        **json.loads((folder / "netlist.json").read_text()),
    )


def run_yosys(command: str, script: list[str], module: str, folder: Path, liberty: Liberty | None) -> str:
    """What yosys says of `script`; ValueError with its first error."""
    (folder / "script.ys").write_text("\n".join(script) + "\n")
    done = run_tool([command, "script.ys"], cwd=folder)
    if done.returncode:
        errors = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line] or ["no message"]
        if liberty and "ABC output file" in errors[0]:
            raise ValueError(f"{liberty.path}: abc finds no cells with function and timing in it")
        raise ValueError(f"yosys cannot map {module}: {errors[0].strip()}")
    return done.stdout


_EDGE = r"^ *-?[\d.]+ +([\d.]+) +clock clk \((?:rise|fall) edge\)$"
_PATH = re.compile(rf"{_EDGE}.*?{_EDGE}.*?^ *(-?[\d.]+) +slack", re.MULTILINE | re.DOTALL)
"""A path that OpenSTA reports: the times of the edges where it begins and must end, and its slack."""

_KINDS = {  # of the cells of FPGAs
    "registers": r"SB_DFF\w*|FD[CPRS]E(_1)?",
    "luts": r"SB_LUT4|LUT[1-6]",
}


def counted(
    design: Mapping[str, Any], module: str, target: str, liberty: Liberty | None, inner: Collection[str] = ()
) -> dict[str, Any]:
    """Cells of the mapped netlist of `module`, without instances of `inner`, and their area."""
    cells: dict[str, int] = {}
    found = {name: cell for name, cell in design["modules"][module]["cells"].items() if cell["type"] not in inner}
    for cell in found.values():
        cells[cell["type"]] = cells.get(cell["type"], 0) + 1
    cells = dict(sorted(cells.items()))
    cells.pop(ram.CELL, None)
    matches: dict[str, Callable[[str], object]] = {
        kind: re.compile(pattern).fullmatch for kind, pattern in _KINDS.items()
    }
    area = gate_equivalents = None
    if liberty:
        if strange := sorted(set(cells) - set(liberty.areas)):
            raise ValueError(f"{liberty.path}: no cell does what {strange[0]} of {module} does")
        area = sum(count * liberty.areas[cell] for cell, count in cells.items())
        gate_equivalents = area / liberty.areas[liberty.gate] if liberty.gate else None
        matches["registers"] = liberty.registers.__contains__
    kinds = {kind: sum(count for cell, count in cells.items() if match(cell)) for kind, match in matches.items()}
    return {
        "cells": cells,
        **kinds,
        "area": area,
        "gate_equivalents": gate_equivalents,
        "ram_bits": sum(ram.held(found).values()),
    }


def timed(log: str, sta: tuple[str, str] | None, module: str, clocked: bool, folder: Path) -> dict[str, Any]:
    """The shortest clock period, ns: by OpenSTA from and to registers and ports, else abc's for the logic alone."""
    if sta is None:
        estimates = re.findall(r"^ABC:.*\bDelay =\s*([\d.]+) ps", log, re.MULTILINE)
        longest = max(map(float, estimates), default=None)
        return {"delay": longest and longest / 1000, "delay_by": "abc, logic alone" if longest else None}
    command, version = sta
    lines = ["read_liberty cells.lib", "read_verilog timed.v", f"link_design {module}"]
    for period in _PERIODS:
        lines += [
            f"create_clock -name clk -period {period}" + (" [get_ports clk]" if clocked else ""),
            "set_input_delay 0 -clock clk [all_inputs]",
            "set_output_delay 0 -clock clk [all_outputs]",
            "report_checks -path_delay max -digits 4",
        ]
    (folder / "timed.v").write_text(ram.plain((folder / "mapped.v").read_text()))
    (folder / "delay.tcl").write_text("\n".join(lines) + "\n")
    done = run_tool([command, "-no_splash", "-exit", "delay.tcl"], cwd=folder)
    told = done.stdout + done.stderr
    paths = _PATH.findall(told)
    if not paths and "No paths found" in told:
        return {"delay": None, "delay_by": version}
    if len(paths) < len(_PERIODS) or "Error:" in told:  # it reports after an error, too
        error = next((line for line in told.splitlines() if "Error:" in line), "no path found")
        raise ToolError("sta", f"failed on {module}: {error}", "check its installation and the liberty file")
    needs = []
    for period, path in zip(_PERIODS, paths):
        begin, end, slack = map(float, path)
        needs.append((end - begin - slack) * period / (end - begin))
    return {"delay": round(max(needs), 4), "delay_by": version}
