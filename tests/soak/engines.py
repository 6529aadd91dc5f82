"""What computes a case beside its definition, each compared with that; and its files."""

import dataclasses
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from onnx_programs import run as run_onnx
from program_in_c import called, compiled
from random_programs import random_codes

import hwlut
from hwlut.accel import simulate
from hwlut.ops import requantize
from hwlut.program import c_source, export_onnx
from hwlut.program.engine import Engine
from hwlut.units import LutMatmul, Program, Requantize
from hwlut.units.nodes import Extent
from hwlut.verify.rows import row_stimulus
from hwlut.verify.stimulus import stimulus
from soak.case import Case
from soak.difference import Difference
from soak.plain import plain
from soak.sizes import sized

__all__ = ["SOFTWARE", "share_of"]

_PLAIN = 24
_SAMPLES = (1, 5)

_PROGRAMS = ("codes", "rows", "network")
_UNITS = ("pwl", "direct", "requantize", "multiplier", "sum", "lut_matmul")


def _files(case: Case, about: int) -> int:
    """Saved and loaded, a unit is equal and has its digest."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "unit.json")
        case.unit.save(path)
        there = hwlut.load(path)
    if there != case.unit or there.digest != case.unit.digest or there.name != case.unit.name:
        raise Difference("a file gives another unit")
    return 1


def _stimulus(case: Case, about: int):
    with sized(about):
        return stimulus(case.unit, None, case.seed)


def _by_integers(case: Case, about: int) -> int:
    if isinstance(case.unit, LutMatmul):
        found = row_stimulus(case.unit, 16, case.seed)
        vectors = [{"x": row.tolist()} for row in found.inputs["x"]]
    else:
        found = _stimulus(case, about)
        names = list(found.labels)
        vectors = [dict(zip(names, row)) for row in zip(*(found.labels[name].tolist() for name in names))]
    results = found.results("reference").reshape(len(vectors), -1)
    order = random.Random(case.seed).sample(range(len(vectors)), min(_PLAIN, len(vectors)))
    for at in order:
        if (wanted := plain(case.unit, vectors[at])) != (got := results[at].tolist()):
            raise Difference(f"{vectors[at]}: plain integers give {wanted}, the definition {got}")
    return len(order)


def _kernel(device: str) -> Callable[[Case, int], int]:
    def run(case: Case, about: int) -> int | None:
        found = _stimulus(case, about)
        with sized(about):
            wanted = found.results("reference")
            if not isinstance(case.unit, Requantize):
                got = found.results(device)
            elif case.unit.input.max < 1 << 31:
                got = _requantized(case.unit, found.inputs["acc"], device)
            else:  # beyond what the kernel takes
                return None
        wrong = np.flatnonzero(wanted != got)
        if len(wrong) or wanted.shape != got.shape:
            at = int(wrong[0])
            shown = {name: values[at].item() for name, values in found.labels.items()}
            raise Difference(f"{len(wrong)} results differ, first {shown}: {wanted[at]}, not {got[at]}")
        return found.vectors

    return run


def _requantized(unit: Requantize, acc: np.ndarray, device: str) -> np.ndarray:
    """By `hwlut.ops.requantize`, for every channel of each code in turn."""
    ends = unit.zero_point, unit.output.min, unit.output.max, unit.rounding
    codes = torch.from_numpy(acc).reshape(-1, unit.channels).to(device)
    constants = (torch.tensor(each, device=device) for each in (unit.multipliers, unit.shifts))
    return requantize(codes, *constants, *ends).cpu().long().reshape(-1).numpy()


def _given(case: Case) -> tuple[Program, list[torch.Tensor]]:
    """A program whose ports have shapes, and codes of a few samples for it."""
    r, program = random.Random(case.seed), case.unit
    if program.extent is not Extent.TENSORS:
        places = r.choice([1, 3, 7])
        ports = (dataclasses.replace(port, shape=(places,)) for port in program.inputs)
        program = program.replace(inputs=tuple(ports))
    samples = r.randint(*_SAMPLES)
    return program, [random_codes(r, port, (samples, *port.shape)) for port in program.inputs]


def _definition(program, codes) -> list[torch.Tensor] | None:
    """Results; None where the codes' rows are longer than a sum of the program allows."""
    try:
        found = program(*codes)
    except (RuntimeError, IndexError, ValueError):
        return None
    return list(found) if isinstance(found, tuple) else [found]


def _equal(program, wanted, got) -> int:
    for port, mine, theirs in zip(program.outputs, wanted, got):
        if mine.dtype != theirs.dtype or not torch.equal(mine, theirs.reshape(mine.shape)):
            wrong = (mine.long() != theirs.reshape(mine.shape).long()).nonzero()
            at = tuple(wrong[0].tolist()) if len(wrong) else ()
            raise Difference(
                f"{port.name}{list(at)}: {mine[at].flatten()[:1].tolist()} {mine.dtype}, "
                f"not {theirs.reshape(mine.shape)[at].flatten()[:1].tolist()} {theirs.dtype}"
            )
    return sum(each.numel() for each in wanted)


def _program(compute: Callable) -> Callable[[Case, int], int | None]:
    def run(case: Case, about: int) -> int | None:
        program, codes = _given(case)
        wanted = _definition(program, codes)
        return None if wanted is None else _equal(program, wanted, compute(program, codes))

    return run


def _engine(program_compiled: bool, device: str = "cpu") -> Callable:
    def compute(program, codes):
        found = Engine(program, device, compiled=program_compiled)(*(each.to(device) for each in codes))
        return [each.cpu() for each in (found if isinstance(found, tuple) else (found,))]

    return compute


def _c(program, codes):
    text = c_source(program)
    with tempfile.TemporaryDirectory() as folder:
        found = called(program, text, compiled(text, folder, "-O0"), *codes)
    return [mine.to(each.dtype) for mine, each in zip(found, _definition(program, codes))]


def _onnx(program, codes):
    with tempfile.TemporaryDirectory() as folder:
        path = export_onnx(program, Path(folder, "program.onnx"), real=False)
        types = [torch.int32 if port.format.max < 1 << 31 else torch.int64 for port in program.inputs]
        return run_onnx(path, *(each.to(type) for each, type in zip(codes, types)))


def _on_tile(engine: str) -> Callable[[Case, int], int]:
    def run(case: Case, about: int) -> int:
        _, codes = _given(case)
        pauses = {"idle": case.idle, "stall": case.stall, "seed": case.seed} if engine == "verilator" else {}
        report = simulate(case.unit, case.tile, codes, engine=engine, **pauses)
        if not report.ok:
            raise Difference(str(report.difference))
        return sum(each.numel() for each in report.outputs)

    return run


SOFTWARE: dict[str, tuple[tuple[str, ...], float, Callable[[Case, int], int | None]]] = {
    "files": (_UNITS + _PROGRAMS, 1, _files),
    "integers": (_UNITS, 1, _by_integers),
    "cpu": (_UNITS, 1, _kernel("cpu")),
    "engine": (_PROGRAMS, 1, _program(_engine(False))),
    "compiled": (_PROGRAMS, 0.05, _program(_engine(True))),
    "c": (_PROGRAMS, 0.25, _program(_c)),
    "onnx": (_PROGRAMS, 0.25, _program(_onnx)),
    "model": (("network",), 1, _on_tile("model")),
    "tile": (("network",), 0.5, _on_tile("verilator")),
}
"""Of each engine the kinds that it computes, how many of these, and what compares it: the number of results, None where
it is not for this unit; raises `Difference`."""

if torch.cuda.is_available():
    SOFTWARE["cuda"] = (_UNITS, 1, _kernel("cuda"))
    SOFTWARE["cuda engine"] = (_PROGRAMS, 1, _program(_engine(False, "cuda")))


def share_of(case: Case, engine: str, share: float) -> bool:
    """Whether a case is among the share of those that an engine is run on."""
    return random.Random(f"{case.seed} {engine}").random() < share
