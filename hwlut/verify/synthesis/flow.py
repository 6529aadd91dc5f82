"""From Verilog to a mapped netlist: yosys for standard cells and FPGAs, OpenSTA for delay."""

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hwlut.errors import ToolError
from hwlut.files import build_once, digest_of
from hwlut.verify.synthesis import ram
from hwlut.verify.synthesis.liberty import Liberty
from hwlut.verify.tools import run_tool

__all__ = ["TARGETS", "Netlist", "find_yosys", "map_verilog"]

_MINIMUM = (0, 23)
_ABC = "+strash;&get,-n;&fraig,-x;&put;scorr;dc2;dretime;strash;&get,-n;&dch,-f;&nf;&put;topo;stime,-p"

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

# OpenSTA's clock is this slow, ns: no path misses it, and what it leaves over is slack.
_PERIOD = 1000


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
def _find_sta() -> tuple[str, str] | None:
    """The command and version of OpenSTA, where it is installed."""
    command = shutil.which("sta")
    version = run_tool([command, "-version"]).stdout.strip() if command else ""
    return (command, f"OpenSTA {version}") if command and re.fullmatch(r"\d+\.\d+\.\d+", version) else None


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
    sta = _find_sta() if liberty else None
    tools = [version, *([sta[1]] if sta else [])]
    steps = [step.format(top=module) for step in _MAP[target]]
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
        *steps,
        "write_json cells.json",
        "write_verilog -noattr -noexpr -nohex -nodec -simple-lhs mapped.v",  # OpenSTA assigns no concatenation
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
            log = _run_yosys(yosys, script, module, work, liberty)
            design = json.loads((work / "cells.json").read_text())
            found = _counted(design, module, target, liberty)
            clocked = "clk" in design["modules"][module]["ports"]
            found |= _timed(log, sta, module, clocked, work) if liberty else {"delay": None, "delay_by": None}
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


def _run_yosys(command: str, script: list[str], module: str, folder: Path, liberty: Liberty | None) -> str:
    """What yosys says of `script`; ValueError with its first error."""
    (folder / "script.ys").write_text("\n".join(script) + "\n")
    done = run_tool([command, "script.ys"], cwd=folder)
    if done.returncode:
        errors = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line] or ["no message"]
        if liberty and "ABC output file" in errors[0]:
            raise ValueError(f"{liberty.path}: abc finds no cells with function and timing in it")
        raise ValueError(f"yosys cannot map {module}: {errors[0].strip()}")
    return done.stdout


_KINDS = {  # of the cells of FPGAs
    "registers": r"SB_DFF\w*|FD[CPRS]E(_1)?",
    "luts": r"SB_LUT4|LUT[1-6]",
}


def _counted(design: Mapping[str, Any], module: str, target: str, liberty: Liberty | None) -> dict[str, Any]:
    """Cells of the mapped netlist, and their area."""
    cells: dict[str, int] = {}
    found = design["modules"][module]["cells"]
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
    return {"cells": cells, **kinds, "area": area, "gate_equivalents": gate_equivalents, "ram_bits": ram.bits(found)}


def _timed(log: str, sta: tuple[str, str] | None, module: str, clocked: bool, folder: Path) -> dict[str, Any]:
    """The shortest clock period, ns: by OpenSTA from and to registers and ports, else abc's for the logic alone."""
    if sta is None:
        estimates = re.findall(r"^ABC:.*\bDelay =\s*([\d.]+) ps", log, re.MULTILINE)
        longest = max(map(float, estimates), default=None)
        return {"delay": longest and longest / 1000, "delay_by": "abc, logic alone" if longest else None}
    command, version = sta
    lines = [
        "read_liberty cells.lib",
        "read_verilog timed.v",
        f"link_design {module}",
        f"create_clock -name clk -period {_PERIOD}" + (" [get_ports clk]" if clocked else ""),
        "set_input_delay 0 -clock clk [all_inputs]",
        "set_output_delay 0 -clock clk [all_outputs]",
        "report_checks -path_delay max -digits 4",
    ]
    (folder / "timed.v").write_text(ram.plain((folder / "mapped.v").read_text()))
    (folder / "delay.tcl").write_text("\n".join(lines) + "\n")
    done = run_tool([command, "-no_splash", "-exit", "delay.tcl"], cwd=folder)
    told = done.stdout + done.stderr
    slack = re.search(r"^\s*(-?[\d.]+)\s+slack", told, re.MULTILINE)
    if slack is None or "Error:" in told:  # it reports after an error, too
        error = next((line for line in told.splitlines() if "Error:" in line), "no path found")
        raise ToolError("sta", f"failed on {module}: {error}", "check its installation and the liberty file")
    return {"delay": round(_PERIOD - float(slack[1]), 4), "delay_by": version}
