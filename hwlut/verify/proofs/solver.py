"""Decides, for all time, whether an output of a circuit can ever be 1: yosys makes the circuit, its abc decides."""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hwlut.errors import ToolError
from hwlut.verify.proofs.aiger import Graph, read_graph
from hwlut.verify.synthesis.flow import find_yosys
from hwlut.verify.tools import run_tool

__all__ = ["TOP", "Answer", "Circuit", "circuit", "find_abc", "prover"]

TOP = "hwlut_proof"
"""The module around a design that a proof is about."""

_CUT = "delete t:$mul t:$mem*"  # what multiplications and memories give is then anything at all
_FEW_INPUTS = 20
_BUILD_SECONDS = 600


@cache
def find_abc() -> str:
    """The command of the abc that comes with yosys; ToolError where there is none."""
    find_yosys()
    command = shutil.which("yosys-abc")
    if command is None:
        raise ToolError("yosys-abc", "not found", "install it, on Debian and Ubuntu with: apt install yosys")
    return command


def prover() -> str:
    """What proves: yosys, with its version."""
    find_abc()
    return f"{find_yosys()[1]} with abc"


@dataclass(frozen=True)
class Answer:
    """Whether an output is never 1: True, False, or None where the time was over before that was known.

    depth: of a proof, the cycles that its invariant was found with, of a counterexample those that it has. by: the way.
    inputs: those of the counterexample, bits by cycle.
    """

    never: bool | None
    depth: int
    seconds: float
    by: str
    inputs: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Circuit:
    """A circuit as files in a folder that must stay there, whose outputs ``broken_0``, ``broken_1``, ... it answers
    about. cut: as for `circuit`.
    """

    folder: Path
    graph: Graph
    cut: bool

    def ask(self, number: int, seconds: float) -> Answer:
        """Whether the output ``broken_NUMBER`` is never 1, whatever registers begin with, in about so many seconds."""
        started = time.perf_counter()
        if self.graph.registers:
            never, depth, by = self._induction(number, seconds)
        elif self.graph.inputs <= _FEW_INPUTS:
            found = self.graph.first(f"broken_{number}")
            inputs = () if found is None else (found,)
            return Answer(found is None, len(inputs), time.perf_counter() - started, "all values", inputs)
        else:
            never, depth, by = self._satisfiable(number, seconds)
        took = time.perf_counter() - started
        return Answer(never, depth, took, by, self._counterexample() if never is False else ())

    def _induction(self, number: int, seconds: float) -> tuple[bool | None, int, str]:
        by = "induction"
        steps = ["read_aiger reduced.aig", f"cone -s -O {number}", "scleanup", f"pdr -T {max(1, round(seconds))}"]
        told = _abc(self.folder, [*steps, "write_cex -a cex.txt"], seconds + 10)
        if asserted := re.search(r"was asserted in frame (\d+)", told):
            return False, int(asserted[1]) + 1, by
        frames = re.search(r"Invariant F\[(\d+)\]", told)
        return ("Property proved" in told) or None, int(frames[1]) if frames else 0, by

    def _satisfiable(self, number: int, seconds: float) -> tuple[bool | None, int, str]:
        steps = ["read_aiger design.aig", f"cone -a -O {self.graph.ports[f'broken_{number}', 0]}"]
        told = _abc(self.folder, [*steps, "fraig", "iprove", "write_cex -a cex.txt"], seconds)
        return (True if "UNSATISFIABLE" in told else False if "SATISFIABLE" in told else None), 0, "SAT"

    def _counterexample(self) -> tuple[tuple[int, ...], ...]:
        lines = re.findall("^[01]+", (self.folder / "cex.txt").read_text(), re.MULTILINE)
        return tuple(tuple(map(int, line)) for line in lines if len(line) == self.graph.inputs)


def _abc(folder: Path, steps: Sequence[str], limit: float) -> str:
    """What it prints; nothing where it takes longer than so many seconds."""
    try:
        return run_tool([find_abc(), "-c", "; ".join(steps)], cwd=folder, timeout=limit).stdout
    except subprocess.TimeoutExpired:
        return ""


def _outputs(texts: Mapping[str, str]) -> list[tuple[str, int]]:
    """The bits of the outputs of `TOP`, in their order."""
    (head,) = re.findall(rf"^module {TOP} \((.*?)\);", "\n".join(texts.values()), re.MULTILINE | re.DOTALL)
    found = re.findall(r"output (?:\[(\d+):0\] )?(\w+)", head)
    return [(name, bit) for most, name in found for bit in range(int(most or 0) + 1)]


@contextmanager
def circuit(
    texts: Mapping[str, str], outputs: int, cut: bool = False, ties: Mapping[str, str] | None = None
) -> Iterator[Circuit]:
    """The circuit of module `TOP`, with registers that may begin with anything.

    Parameters
    ----------
    texts: Verilog, by file name.
    outputs: how many outputs ``broken_N`` there are; they come after all others.
    cut: whether multiplications and memories give anything at all, in place of what they do. What is proven then holds
        with them, too; a counterexample may be none.
    ties: wires of `TOP` and what of the design within, by its flat name, drives them.

    Raises ValueError for Verilog that yosys refuses or does not get through in ten minutes.
    """
    with tempfile.TemporaryDirectory(prefix="hwlut-proof-") as name:
        folder = Path(name)
        for file, text in texts.items():
            (folder / file).write_text(text)
        script = [
            f"read_verilog {' '.join(texts)}",
            f"hierarchy -check -top {TOP}",
            "proc",
            "flatten",
            *(f"connect -nounset -set {wire} {driver}" for wire, driver in (ties or {}).items()),
            "opt_expr",
            "opt_clean",
            "opt_mem",
            "memory_collect",
            *([_CUT] if cut else []),
            "setundef -undriven -anyseq",
            "memory_map",
            "opt -noff",
            "techmap",
            "dffunmap",
            "opt_expr",
            "aigmap",
            "opt_clean",
            "write_aiger -zinit -map names.txt design.aig",
        ]
        (folder / "script.ys").write_text("\n".join(script) + "\n")
        try:
            done = run_tool([find_yosys()[0], "-q", "script.ys"], cwd=folder, timeout=_BUILD_SECONDS)
        except subprocess.TimeoutExpired:
            raise ValueError(f"yosys does not get through the design in {_BUILD_SECONDS} seconds") from None
        if done.returncode:
            errors = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line] or ["no message"]
            raise ValueError(f"yosys cannot read the design: {errors[0].strip()}")
        graph = read_graph(folder / "design.aig", folder / "names.txt", _outputs(texts))
        if graph.registers:
            # Registers that are always equal become one, by induction: most promises are proven by that alone.
            first = graph.ports["broken_0", 0]
            cone = f"cone -s -O {first} -R {outputs}"
            _abc(
                folder, ["read_aiger design.aig", cone, "scleanup", "scorr", "write_aiger reduced.aig"], _BUILD_SECONDS
            )
        yield Circuit(folder, graph, cut)
