"""Piecewise-linear units: accuracy of the tables, and the time of the fit, the commands, the check and the look-up."""

import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import hwlut
from benchmarks.area import area_rows
from benchmarks.report import Row, report
from benchmarks.timing import medians
from hwlut.accuracy import accuracy
from hwlut.fit.genetic import Chords, Genetic
from hwlut.fit.lines import Moments
from hwlut.fit.slopes import Slopes
from hwlut.fixed import Fixed
from hwlut.functions import FUNCTIONS
from hwlut.hdl import generate
from hwlut.nn import PwlActivation
from hwlut.ops import implementation, lookup, table
from hwlut.program import range_reduced
from hwlut.quant import Quantizer
from hwlut.share import share
from hwlut.units import Pwl
from hwlut.units.operations import Apply
from hwlut.verify.beats import streams
from hwlut.verify.engine import Job
from hwlut.verify.stimulus import stimulus
from hwlut.verify.synthesis.flow import find_yosys
from hwlut.verify.tools import compiler, find_verilator
from hwlut.verify.verilator import run

_BEATS = 1 << 22
_GENERATIONS = 50
_PUBLISHED = "GQA-LUT's published table"


def _mse(unit: Pwl, domain: tuple[float, float] | None = None) -> float:
    return statistics.fmean(row.mse for row in accuracy(unit, domain))


def _shipped(name: str) -> Pwl:
    unit = hwlut.load(share("pretrained", f"{name}.json"))
    assert isinstance(unit, Pwl)
    return unit


def accuracy_rows() -> list[Row]:
    """Mean over scales 0 to 6 of the mean squared error over int8 codes.

    The baselines are the tables published with GQA-LUT (DAC 2024, arXiv 2403.19591), evaluated on the same codes.
    """
    rows = []
    for function, segments, domain, target, published in (
        ("gelu", 8, (-4.0, 4.0), 3.3e-5, 9.97e-5),
        ("gelu", 16, (-4.0, 4.0), 5.3e-6, 9.06e-5),
        ("hswish", 8, (-4.0, 4.0), 1.12e-4, 3.08e-4),
        ("hswish", 16, (-4.0, 4.0), 1.23e-5, 2.00e-4),
        ("silu", 8, (-4.0, 4.0), 3.7e-5, 3.09e-4),
        ("exp", 8, (-8.0, 0.0), 1.7e-5, 1.22e-4),
    ):
        unit = hwlut.fit(function, segments, domain=domain, slope_frac=6, intercept_bits=8, intercept_frac=6)
        name = f"{function}, {segments} segments, int8 slopes and intercepts, [{domain[0]:g}, {domain[1]:g}]"
        row = Row(name=name, unit="MSE", ours=_mse(unit, domain), baseline=published, against=_PUBLISHED, target=target)
        rows.append(row)
    for name, target, full in (
        ("gelu_8", 1.3e-5, 3.81e-5),
        ("gelu_16", 1.4e-6, 9.87e-6),
        ("hswish_8", 5.4e-5, 1.56e-4),
        ("hswish_16", 3.0e-6, 1.64e-5),
        ("silu_8", 5.3e-5, 3.96e-3),
        ("silu_16", 4.4e-6, None),
    ):
        against = None if full is None else _PUBLISHED
        ours = _mse(_shipped(name))
        rows.append(
            Row(
                name=f"{name} as shipped, all codes",
                unit="MSE",
                ours=ours,
                baseline=full,
                against=against,
                target=target,
            )
        )
    return rows


def reduced_rows() -> list[Row]:
    """Largest relative error over every positive code of a 16-bit input; 8 segments, int8 slopes, int16 intercepts."""
    rows = []
    for name, signed, target in (
        ("reciprocal", False, 2e-3),
        ("reciprocal", True, 2e-3),
        ("rsqrt", False, 3.5e-3),
        ("rsqrt", True, 3.5e-3),
    ):
        program = range_reduced(name, input=Fixed(16, 8, signed))
        codes = np.arange(1, program.input.max + 1)
        exact = FUNCTIONS[name](np.ldexp(codes.astype(np.float64), -program.input.frac))
        result = np.ldexp(program(torch.from_numpy(codes)).double().numpy(), -program.output.frac)
        ours = float(np.max(np.abs(result / exact - 1)))
        title = f"{name}, range-reduced, input {program.input}, output {program.output}, every code above 0"
        rows.append(Row(name=title, unit="relative error", ours=ours, target=target))
    program = range_reduced("exp", input=Fixed(16, 8))
    (core,) = (node.unit for node in program.nodes if isinstance(node, Apply) and isinstance(node.unit, Pwl))
    codes = np.arange(1 << 16)
    result = np.ldexp(core(torch.from_numpy(codes)).double().numpy(), -core.output_format(16).frac)
    ours = float(np.max(np.abs(result / np.exp2(np.ldexp(codes, -16)) - 1)))
    rows.append(
        Row(
            name="2^f on [0, 1), the table of exp, every code of 16 bits", unit="relative error", ours=ours, target=8e-4
        )
    )
    return rows


def fit_rows() -> list[Row]:
    """The fit in a running Python, and commands from a shell."""
    command = Path(sys.executable).with_name("hwlut")
    with tempfile.TemporaryDirectory() as folder:

        def shell(*arguments: str) -> Callable[[], object]:
            return lambda: subprocess.run([command, *arguments], cwd=folder, check=True, capture_output=True)

        (once_loaded,) = medians(15, lambda: hwlut.fit("gelu", 8))
        fit, help = medians(5, shell("fit", "gelu"), shell("--help"))
        return [
            Row(
                name="fit of gelu, 8 segments, int8 input, 7 scales, once loaded",
                unit="s",
                ours=once_loaded,
                target=0.1,
            ),
            Row(name="hwlut fit gelu", unit="s", ours=fit, target=1.5),
            Row(name="hwlut --help", unit="s", ours=help, target=0.5),
        ]


def genetic_rows() -> list[Row]:
    """The genetic fit against the same run with a loop over points, and polished against the optimum."""
    method = replace(hwlut.fit.published("gelu")["method"], generations=_GENERATIONS)
    gelu = FUNCTIONS["gelu"]
    grid = np.arange(*method.x_range, 0.01)
    points, targets = grid.tolist(), gelu(grid)
    moments = Moments.of(grid, targets, np.full(len(grid), 1 / len(grid)), np.arange(len(grid) + 1))
    chords = Chords(gelu, method.anchors, Slopes.of(Fixed(8, 6)), Fixed(8, 6))

    def vectorised(genes: np.ndarray) -> np.ndarray:
        return chords.errors(moments, lambda genes: np.searchsorted(grid, genes), genes)

    def scalar(genes: np.ndarray) -> np.ndarray:
        return np.array([_scalar_error(row, method.anchors, points, targets.tolist()) for row in genes.tolist()])

    def run(errors: Callable[[np.ndarray], np.ndarray]) -> None:
        found.append(method.evolve(errors, 7, method.search, 0))

    found: list[np.ndarray] = []
    ours, baseline = medians(1, lambda: run(vectorised), lambda: run(scalar))
    _passed(all(np.array_equal(found[0], other) for other in found))
    rows = [
        Row(
            name=f"genetic fit of gelu, 8 segments, published settings, {_GENERATIONS} generations",
            unit="s",
            ours=ours,
            baseline=baseline,
            against="same seed and result, a loop over points",
            target=1 / 20,
            bounds="ratio",
        )
    ]
    for function in ("gelu", "silu", "hswish"):
        preset = hwlut.fit.published(function)
        for label, settings in (
            ("all codes", {"function": function, "method": Genetic()}),
            ("published settings", preset),
        ):
            meta = hwlut.fit(**settings | {"method": replace(settings["method"], polish=True)}).meta
            rows.append(
                Row(
                    name=f"genetic fit of {function}, 8 segments, {label}, polished",
                    unit="MSE",
                    ours=meta["mse"],
                    baseline=meta["optimum_mse"],
                    against="certified optimum",
                    target=1.05,
                    bounds="ratio",
                )
            )
    return rows


def _scalar_error(genes: list[float], anchors: tuple[float, float], points: list[float], targets: list[float]) -> float:
    """Mean squared error of chords of gelu in 1/64, one point at a time."""
    x = [anchors[0], *genes, anchors[1]]
    y = [0.5 * at * math.erfc(-at / math.sqrt(2)) for at in x]
    slopes, intercepts = [], []
    for left, right, start, end in zip(x, x[1:], y, y[1:]):
        slope = (end - start) / (right - left) if right > left else 0.0
        slopes.append(min(max(round(slope * 64), -128), 127) / 64)
        intercepts.append(min(max(round((start - slope * left) * 64), -128), 127) / 64)
    total = 0.0
    for at, target in zip(points, targets):
        segment = 0
        for gene in genes:
            segment += at >= gene
        total += (slopes[segment] * at + intercepts[segment] - target) ** 2
    return total / len(points)


def _engine_row(unit: Pwl, scale: int | None, label: str) -> Row:
    rtl = generate(unit, scale=scale)
    described = streams(rtl.description).values()
    source = next(stream for stream in described if stream.input)
    sink = next(stream for stream in described if not stream.input)
    once = source.pack(stimulus(unit, scale, 0).inputs)
    beats = np.tile(once, (_BEATS // len(once), 1))
    job = Job(rtl=rtl, inputs={source.name: beats}, expected={sink.name: len(beats)}, independent=True)
    (seconds,) = medians(3, lambda: run([job]))
    return Row(
        name=f"batch engine on every core, 4 M beats of gelu_8, {label}",
        unit="vectors/s",
        ours=len(beats) / seconds,
        sense=">=",
        target=5e6,
    )


def simulation_rows() -> list[Row]:
    """The Verilated batch engine, on every core, and the check built on it."""
    unit = _shipped("gelu_8")
    (warm,) = medians(5, lambda: _passed(hwlut.check(unit).ok))
    return [
        _engine_row(unit, None, "a scale in each"),
        _engine_row(unit, 5, "hard-wired scale"),
        Row(name="check of gelu_8, every code and scale, warm cache", unit="s", ours=warm, target=1.0),
        Row(name="check of gelu_8, every code and scale, cold cache", unit="s", ours=_cold_check(), target=60.0),
    ]


def _cold_check() -> float:
    """Seconds of a check in a new process whose cache is empty."""
    code = (
        "import hwlut, torch; from hwlut.share import share;"
        "report = hwlut.check(hwlut.load(share('pretrained', 'gelu_8.json')));"
        "assert report.ok; print(report.seconds)"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"HWLUT_CACHE": folder}
        command = [sys.executable, "-c", code]
        return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def _passed(ok: bool) -> None:
    if not ok:
        raise RuntimeError("what was to be timed gives a wrong result")


def cuda_rows() -> list[Row]:
    """The CUDA kernels, which wait for a machine with a GPU."""
    name, limit = "look-up op (CUDA kernel), 64 M int8 codes, int8 results", 0.5
    if not torch.cuda.is_available():
        return [Row(name=name, unit="s", ours=None, target=limit, bounds="ratio")]
    floats = torch.randn(1 << 26, device="cuda")
    codes = torch.randint(-128, 128, (1 << 26,), device="cuda", dtype=torch.int8)
    entries = table(_shipped("gelu_8").replace(output=Fixed(8, 5)), 5, "cuda")

    def timed(run: Callable[[], torch.Tensor]) -> Callable[[], None]:
        return lambda: (run(), torch.cuda.synchronize())[1]

    ours, baseline = medians(
        50, timed(lambda: lookup(codes, entries, -128)), timed(lambda: torch.nn.functional.gelu(floats))
    )
    against = "torch gelu of 64 M float32"
    return [Row(name=name, unit="s", ours=ours, baseline=baseline, against=against, target=limit, bounds="ratio")]


def lookup_rows() -> list[Row]:
    """One thread, a million int8 codes against a million floats."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = [_lookup_row(Fixed(8, 5), "int8 results"), _lookup_row(None, "int32 accumulators")]
    torch.set_num_threads(threads)
    return rows


def _lookup_row(output: Fixed | None, label: str) -> Row:
    generator = torch.Generator().manual_seed(0)
    floats = torch.randn(1_000_000, generator=generator)
    codes = torch.randint(-128, 128, (1_000_000,), generator=generator, dtype=torch.int8)
    entries = table(_shipped("gelu_8").replace(output=output), 5)
    ours, baseline = medians(50, lambda: lookup(codes, entries, -128), lambda: torch.nn.functional.gelu(floats))
    return Row(
        name=f"look-up op ({implementation('lookup', 'cpu')}), 1 thread, 1 M int8 codes, {label}",
        unit="s",
        ours=ours,
        baseline=baseline,
        against="torch gelu of 1 M float32",
        target=0.5,
        bounds="ratio",
    )


def activation_rows() -> list[Row]:
    """One thread, a million floats through PwlActivation: quantized, looked up, dequantized."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    x = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    given = PwlActivation(_shipped("gelu_8"), Quantizer(Fixed(8, 5)))
    calibrated = PwlActivation(_shipped("gelu_8"))
    calibrated.quantizer.observe(x)
    rows = [
        _activation_row("forward, scale given", x, given),
        _activation_row("forward, scale calibrated", x, calibrated),
        _activation_row("forward and backward, scale calibrated", x.requires_grad_(), calibrated),
    ]
    torch.set_num_threads(threads)
    return rows


def _activation_row(label: str, x: torch.Tensor, module: PwlActivation) -> Row:
    def call(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], object]:
        if not x.requires_grad:
            return lambda: function(x)
        return lambda: torch.autograd.grad(function(x), x, torch.ones_like(x))

    ours, baseline = medians(50, call(module), call(torch.nn.functional.gelu))
    return Row(
        name=f"PwlActivation gelu_8 ({implementation('quantized_lookup', 'cpu')}), 1 thread, 1 M floats, {label}",
        unit="s",
        ours=ours,
        baseline=baseline,
        against="torch gelu, the same",
        target=1.5,
        bounds="ratio",
    )


if __name__ == "__main__":
    report(
        "pwl",
        [
            *accuracy_rows(),
            *reduced_rows(),
            *fit_rows(),
            *genetic_rows(),
            *simulation_rows(),
            *lookup_rows(),
            *cuda_rows(),
            *activation_rows(),
            *area_rows(),
        ],
        tools={
            "verilator": str(find_verilator()).removeprefix("Verilator "),
            "c++": compiler()[1],
            "yosys": find_yosys()[1],
        },
    )
