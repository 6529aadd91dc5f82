"""cocotb as an engine: the bench in ``sim/`` on Verilator, or on Icarus where that is too old."""

import contextlib
import importlib.metadata
import importlib.util
import io
import json
import os
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwlut.errors import ToolError
from hwlut.files import build_once, digest_of
from hwlut.hdl import Rtl
from hwlut.share import share
from hwlut.verify.engine import Job, Outcome, watchdog
from hwlut.verify.tools import COCOTB_MINIMUM, SIM_EXTRA, find_verilator, run_tool

__all__ = ["run"]

_VERILATOR_ARGUMENTS = ["-Wno-fatal", "-Wno-lint", "-Wno-style", "--x-initial", "unique"]


def run(jobs: Sequence[Job]) -> list[Outcome]:
    """Run `jobs`, all of one design, in one simulator process, and a reset in mid-stream beside them."""
    _need_cocotb()
    name, version, environment = _simulator()
    rtl = jobs[0].rtl
    waves = next((job.waves for job in jobs if job.waves is not None), None)
    with tempfile.TemporaryDirectory(prefix="hwlut-cocotb-") as folder, _environment(environment):
        work = Path(folder)
        build = _build(rtl, name, version, waves is not None)
        _write_jobs(work, rtl, jobs)
        failures = _test(build, work, rtl, name, jobs[0].seed, waves)
        tool = f"cocotb {importlib.metadata.version('cocotb')} on {version}"
        return [_outcome(work / f"job_{number:03}", job, tool, failures) for number, job in enumerate(jobs)]


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


def _simulator() -> tuple[str, str, dict[str, str]]:
    """cocotb's name of the simulator to use, its version in words, and the environment it needs."""
    try:
        verilator = find_verilator(COCOTB_MINIMUM)
        if shutil.which("perl") is None:
            raise ToolError(
                "perl", "not found, Verilator needs it", "install it, on Debian and Ubuntu with: apt install perl"
            )
        return "verilator", str(verilator), verilator.environment()
    except ToolError:
        if shutil.which("iverilog") is None:
            raise
        version = run_tool(["iverilog", "-V"]).stdout.partition("\n")[0]
        return "icarus", version.partition(" (")[0], dict(os.environ)


@contextlib.contextmanager
def _environment(environment: dict[str, str]) -> Iterator[None]:
    """cocotb's runner takes tools from this process's environment and modules from its sys.path."""
    before = dict(os.environ)
    os.environ.update(environment)
    bench = str(share("sim"))
    sys.path.append(bench)
    try:
        yield
    finally:
        sys.path.remove(bench)
        os.environ.clear()
        os.environ.update(before)


def _runner(name: str) -> Any:
    from cocotb_tools.runner import get_runner

    return get_runner(name)


def _build(rtl: Rtl, name: str, version: str, waves: bool) -> Path:
    def compile_design(folder: Path) -> None:
        source = folder / "top.v"
        source.write_text(rtl.verilog)
        log = folder / "build.log"
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                _runner(name).build(
                    sources=[source],
                    hdl_toplevel=rtl.description["module"],
                    build_dir=folder,
                    build_args=_VERILATOR_ARGUMENTS if name == "verilator" else ["-g2005"],
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
    tools = (name, version, importlib.metadata.version("cocotb"), libraries, _VERILATOR_ARGUMENTS)
    key = digest_of(rtl.verilog, rtl.description["module"], *tools, waves)
    return build_once("cocotb", key, compile_design)


def _write_jobs(work: Path, rtl: Rtl, jobs: Sequence[Job]) -> None:
    (work / "description.json").write_text(json.dumps(rtl.description))
    for number, job in enumerate(jobs):
        folder = work / f"job_{number:03}"
        folder.mkdir()
        options = {"idle": job.idle, "stall": job.stall, "seed": job.seed, "watchdog": watchdog(rtl.description)}
        (folder / "job.json").write_text(json.dumps({**options, "expected": job.expected}))
        for stream, beats in job.inputs.items():
            np.save(folder / f"input_{stream}.npy", beats)


def _test(build: Path, work: Path, rtl: Rtl, name: str, seed: int, waves: Path | None) -> list[str]:
    """Run the bench; returns the messages of failed tests.

    The exit status of cocotb says nothing about them: results.xml does.
    """
    results = work / "results.xml"
    log = work / "test.log"
    randomise = ["+verilator+rand+reset+2", f"+verilator+seed+{seed + 1}"] if name == "verilator" else []
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit, RuntimeError):
        _runner(name).test(
            test_module="bench_stream",
            hdl_toplevel_lang="verilog",
            hdl_toplevel=rtl.description["module"],
            build_dir=build,
            test_dir=work,
            results_xml=str(results),
            seed=seed,
            plusargs=randomise,
            extra_env={"HWLUT_JOBS": str(work), "COCOTB_LOG_LEVEL": "WARNING"},
            waves=waves is not None,
            log_file=log,
        )
    if not results.exists():
        last = log.read_text().strip().splitlines()[-1:] if log.exists() else []
        raise ToolError("cocotb", f"wrote no results ({' '.join(last)})", "check its installation")
    if waves is not None:
        shutil.move(str(next(iter([*work.glob("dump.*"), *build.glob("*.fst")]))), waves)
    cases = list(ElementTree.parse(results).iter("testcase"))
    if not cases:
        return ["no test ran"]
    failed = [(case, node) for case in cases for node in case if node.tag in ("failure", "error")]
    return [f"bench test {case.get('name')} failed: {_message(node)}" for case, node in failed]


def _message(failure: ElementTree.Element) -> str:
    text = failure.get("error_msg") or failure.get("message") or failure.text or "no message"
    return text.strip().splitlines()[0]


def _outcome(folder: Path, job: Job, tool: str, failures: list[str]) -> Outcome:
    def stored(kind: str, streams: Iterable[str], empty: np.ndarray) -> dict[str, np.ndarray]:
        paths = {stream: folder / f"{kind}_{stream}.npy" for stream in streams}
        return {stream: np.load(path) if path.exists() else empty for stream, path in paths.items()}

    written = folder / "outcome.json"
    found: dict[str, Any] = {"fault": None, "cycles": 0, "latency": None}
    if written.exists():
        found = json.loads(written.read_text())
    fault = found["fault"] or (failures[0] if failures else None)
    return Outcome(
        outputs=stored("output", job.expected, np.zeros((0, 8), np.uint8)),
        accepted=stored("accepted", job.inputs, np.zeros(0, np.int64)),
        delivered=stored("delivered", job.expected, np.zeros(0, np.int64)),
        cycles=found["cycles"],
        latency=found["latency"],
        fault=fault,
        tool=tool,
    )
