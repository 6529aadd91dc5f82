"""Rows of the program part: softmax and normalizations as programs, beside I-BERT's kernels on the same codes."""

import torch
from torch.nn import functional

from benchmarks import ibert
from benchmarks.report import Row
from hwlut.fixed import Fixed
from hwlut.hdl import generate
from hwlut.program import layer_norm, rms_norm, softmax
from hwlut.program.row_errors import normalization_errors, softmax_errors
from hwlut.units import Port, Program
from hwlut.units.nodes import format_of
from hwlut.units.operations import Constant
from hwlut.verify.synthesis import map_verilog

__all__ = ["rows"]

_IBERT = "I-BERT's kernel"
_INPUTS = (Fixed(8, 4), Fixed(8, 5), Fixed(12, 8), Fixed(16, 10))
_SHARES = Fixed(16, 15, signed=False)
_PLACES = 197
_MOST = 1024
_NORMALIZED = Fixed(16, 10)
_SIZE = 768
_SOFTMAX = (
    ("largest", "largest error", "absolute error", 2e-3),
    ("row_sum", "error of a row's sum", "absolute error", 1e-2),
    ("divergence", "divergence", "nats", 1e-3),
)


def rows() -> list[Row]:
    """Errors, then costs by arithmetic, then gates."""
    return [*_softmax_rows(), *_norm_rows(), *_cost_rows(), *_exp_rows(), *_whole_rows()]


def _codes(reals: torch.Tensor, format: Fixed) -> torch.Tensor:
    """Nearest codes but for the lowest, which softmax takes for minus infinity."""
    return (reals * 2**format.frac).round().clamp(format.min + 1, format.max).long()


def _real(codes: torch.Tensor, format: Fixed) -> torch.Tensor:
    return codes.double() / 2**format.frac


def _softmax_rows() -> list[Row]:
    """2,000 rows of 197 normal logits of standard deviation 2; exact is float64 of the same codes."""
    drawn = torch.randn(2000, _PLACES, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    found = []
    for input in _INPUTS:
        codes = _codes(drawn, input)
        exact = _real(codes, input).softmax(-1)
        theirs = softmax_errors(_real(ibert.softmax(codes, 2.0**-input.frac, _SHARES.frac), _SHARES), exact)
        for segments in (None, 4, 8, 16):
            program = softmax(input=input, output=_SHARES, most=_MOST, segments=segments)
            if segments is None and program.meta["powers"] != "truth table":
                continue
            ours = softmax_errors(_real(program(codes), _SHARES), exact)
            for key, what, unit, target in _SOFTMAX[: 1 if segments in (8, 16) else None]:
                powers = program.meta["powers"]
                row = Row(
                    name=f"softmax {input} to {_SHARES}, powers by {powers}, {_PLACES} places: {what}",
                    unit=unit,
                    ours=getattr(ours, key),
                    baseline=getattr(theirs, key),
                    against=_IBERT,
                    target=target,
                )
                found.append(row)
    return found


def _norm_rows() -> list[Row]:
    """500 rows of normal numbers, of standard deviations from 1/4 to 2 and means near 0; no weight, no bias."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(500, _SIZE, generator=generator, dtype=torch.float64)
    drawn *= 2 ** torch.linspace(-2, 1, 500, dtype=torch.float64)[:, None]
    drawn += torch.randn(500, 1, generator=generator, dtype=torch.float64) / 4
    found = []
    for input in _INPUTS:
        codes = _codes(drawn, input)
        exact = functional.layer_norm(_real(codes, input), (_SIZE,), eps=1e-5)
        theirs = normalization_errors(_real(ibert.layer_norm(codes, _NORMALIZED.frac), _NORMALIZED), exact)
        given = {"input": input, "output": _NORMALIZED, "size": _SIZE, "eps": 1e-5}
        for segments in (4, 8, 16):
            program = layer_norm(segments=segments, **given)
            ours = normalization_errors(_real(program(codes), _NORMALIZED), exact)
            for key in ("largest", "rms")[: 2 if segments == 8 else 1]:
                row = Row(
                    name=f"layer_norm {input} to {_NORMALIZED}, {segments} segments, {_SIZE} places: {key} error",
                    unit="relative error",
                    ours=getattr(ours, key),
                    baseline=getattr(theirs, key),
                    against=_IBERT,
                    target=1e-2,
                )
                found.append(row)
        exact = functional.rms_norm(_real(codes, input), (_SIZE,), eps=1e-5)
        ours = normalization_errors(_real(rms_norm(**given)(codes), _NORMALIZED), exact)
        name = f"rms_norm {input} to {_NORMALIZED}, 8 segments, {_SIZE} places: largest error"
        found.append(Row(name=name, unit="relative error", ours=ours.largest, target=1e-2))
    return found


def _cost_rows() -> list[Row]:
    """By arithmetic alone. I-BERT's division is restoring, with a bit of the quotient a step."""
    found = []
    for input in _INPUTS:
        ours = softmax(input=input, output=_SHARES, most=_MOST).cost()
        theirs = ibert.softmax_program(input, _SHARES.frac, _MOST).cost()
        for key in ("multiplier_bits", "adder_bits", "latency"):
            found.append(
                Row(
                    name=f"softmax {input} to {_SHARES}, rows of up to {_MOST}: {key}",
                    unit="cycles" if key == "latency" else "bits",
                    ours=getattr(ours, key),
                    baseline=getattr(theirs, key),
                    against=_IBERT,
                )
            )
    return found


def _exp_rows() -> list[Row]:
    """The power of one place, from its distance to the highest of its row: tables against i-exp."""
    found = []
    for input in _INPUTS:
        baseline = ibert.exp_program(Fixed(input.bits, input.frac, signed=False))
        codes = torch.arange(1 << input.bits)
        exact = (-_real(codes, input)).exp()
        powers, scale = ibert.exp(-codes, 2.0**-input.frac)
        _same(baseline(codes).long(), powers)
        for segments in (None, 4) if input.bits == 8 else (4,):
            whole = softmax(input=input, output=_SHARES, most=_PLACES, segments=segments)
            program = _part(whole, "distance", "power", input)
            off, theirs = ((y - exact).abs().max() for y in (program(codes).double() / 2**16, powers * scale))
            row = Row(
                name=f"exp of minus {baseline.input}, {whole.meta['powers']}, off by {off:.2g}, I-BERT by {theirs:.2g}",
                unit="GE",
                ours=_gates(program),
                baseline=_gates(baseline),
                against=_IBERT,
            )
            found.append(row)
    return found


def _whole_rows() -> list[Row]:
    """Gates of whole operators, without the RAM of their row buffers. I-BERT's layer_norm, with its square root by
    iteration, has no program."""
    input = _INPUTS[0]
    found = [
        Row(
            name=f"softmax {input} to {_SHARES}, rows of up to {_MOST}, as streaming hardware",
            unit="GE",
            ours=_gates(softmax(input=input, output=_SHARES, most=_MOST)),
            baseline=_gates(ibert.softmax_program(input, _SHARES.frac, _MOST)),
            against=_IBERT,
        )
    ]
    given = {"input": input, "output": _NORMALIZED, "size": 192, "eps": 1e-5}
    for name, make in (("layer_norm", layer_norm), ("rms_norm", rms_norm)):
        title = f"{name} {input} to {_NORMALIZED}, 192 places, as streaming hardware"
        found.append(Row(name=title, unit="GE", ours=_gates(make(**given))))
    return found


def _part(program: Program, start: str, end: str, input: Fixed) -> Program:
    """The nodes of codes between two values of a program."""
    names = [node.name for node in program.nodes]
    between = program.nodes[names.index(start) + 1 : names.index(end) + 1]
    needed = {operand for node in between for operand in node.operands}
    early = program.nodes[: names.index(start)]
    constants = [node for node in early if isinstance(node, Constant) and node.name in needed]
    return Program(
        name="table_exp",
        inputs=(Port(start, Fixed(input.bits, input.frac, signed=False)),),
        nodes=(*constants, *between),
        outputs=(Port(end, format_of(program.spans[end])),),
    )


def _gates(program: Program) -> float:
    """Gate equivalents in OSU's 180 nm cells, before layout."""
    gates = map_verilog(generate(program).verilog, program.name).gate_equivalents
    assert gates is not None
    return gates


def _same(one: torch.Tensor, other: torch.Tensor) -> None:
    if not torch.equal(one, other):
        raise ValueError("the program of I-BERT's exp must be its kernel on every code, which it is not")
