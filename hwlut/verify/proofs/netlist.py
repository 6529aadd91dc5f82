"""A design as the cells that yosys makes of it."""

import json
from pathlib import Path
from typing import Any

from hwlut.verify.synthesis.flow import find_yosys
from hwlut.verify.tools import run_tool

__all__ = ["netlist", "yosys"]


def netlist(verilog: str, module: str, folder: Path) -> dict[str, Any]:
    """What yosys writes as JSON of a design, flat, with the memories that it has; files go to the folder.

    ValueError for Verilog that yosys refuses.
    """
    (folder / "design.v").write_text(verilog)
    steps = f"hierarchy -check -top {module}; proc; flatten; opt_expr; opt_clean; memory_collect"
    yosys(f"read_verilog design.v; {steps}; write_json design.json", module, folder)
    content: dict[str, Any] = json.loads((folder / "design.json").read_text())
    return content


def yosys(script: str, module: str, folder: Path) -> None:
    """Run a script there; ValueError, naming the module, where it fails."""
    done = run_tool([find_yosys()[0], "-q", "-p", script], cwd=folder)
    if done.returncode:
        raise ValueError(f"yosys cannot read {module}: {done.stderr.strip()[:200]}")
