"""Networks on accelerators: agreement, speed of simulation, use of the array, areas; random programs.

The networks are those of examples.accelerator_mnist, which trains what is not in build/accel.
"""

from pathlib import Path

import torch

from benchmarks.accel_random import agreement
from benchmarks.report import Row, report
from examples.accelerator_mnist import VARIANTS, made, measured, program_accuracy
from examples.programs_mnist import MODELS
from hwlut.accel import Report, fit_tile, tile_area
from hwlut.accel.compiler import compile_program
from hwlut.accel.model import profile
from hwlut.units import Program, Tile
from hwlut.units.products import Convolve
from hwlut.verify.tools import find_verilator

_FOLDER = Path("build/accel")
_IMAGES = 100
_SPEED = 20e6
_IN_USE = 0.7
_LAYERS = 200
_ARRAY = ("multipliers", "accumulators", "encoders")
"""Blocks of the array, entries picked in its cells included."""


def _network(name: str, label: str, before: float, program: Program) -> list[Row]:
    _, found = measured(program, _IMAGES, _FOLDER)
    what = f"{name}, {label}, 8 x 8"
    rows = [
        Row(
            name=f"{what}: first difference of {_IMAGES} digits' codes, or of a layer's cycles, from program and model",
            unit="differences",
            ours=float(not found.ok),
            target=0,
        ),
        Row(
            name=f"{what}: accuracy of the program",
            unit="%",
            ours=program_accuracy(program),
            against="float",
            baseline=before,
        ),
        Row(
            name=f"{what}: {'products and entries' if label == 'look-ups' else 'products'} simulated on one thread",
            unit="/s",
            ours=found.macs_per_second,
            sense=">=",
            target=_SPEED,
        ),
        Row(name=f"{what}: cycles a digit, with half of the last batch", unit="cycles", ours=found.cycles_per_sample),
        Row(name=f"{what}: cells in use, all cycles", unit="", ours=found.utilisation),
    ]
    return rows + _convolutions(what, program, found, label == "look-ups")


def _convolutions(what: str, program: Program, found: Report, looked_up: bool) -> list[Row]:
    kinds = {node.name: node for node in program.nodes}
    tile = fit_tile(program)
    layers = zip(compile_program(program, tile).layers, found.layers)
    own = [each for layer, each in layers if any(isinstance(kinds.get(name), Convolve) for name in layer.nodes)]
    return [
        Row(
            name=f"{what}: cells in use in the layer of {each.name}, a convolution",
            unit="",
            ours=each.utilisation,
            sense=">=",
            target=None if looked_up else _IN_USE,
        )
        for each in own
    ]


def _cycles(program: Program, tile: Tile) -> float:
    """Of a sample, by the model."""
    return (profile(tile, compile_program(program, tile).words(1))[-1].cycles) / tile.rows


def _areas(name: str, programs: dict[str, Program]) -> list[Row]:
    """Of each variant's tile with as many columns as take no more cycles than exact multipliers do."""
    rows = []
    exact = _Size.of(fit_tile(programs["exact"], name=f"{name}_exact"), programs["exact"])
    for label, program in programs.items():
        size = exact if label == "exact" else _equal(f"{name}_{label}".replace("-", "_"), program, exact.cycles)
        what = f"{name}, {label}, 8 x {size.columns}"
        parts = (("tile", size.whole, exact.whole), ("cells and encoders of the tile", size.array, exact.array))
        for part, ours, baseline in parts:
            rows.append(
                Row(name=f"{what}: area of the {part}", unit="kGE", ours=ours, against="exact", baseline=baseline)
            )
        rows += [
            Row(name=f"{what}: RAM", unit="kbit", ours=size.ram, against="exact", baseline=exact.ram),
            Row(
                name=f"{what}: cycles a digit of full batches",
                unit="cycles",
                ours=size.cycles,
                against="exact",
                baseline=exact.cycles,
            ),
        ]
    return rows


class _Size:
    """Columns, areas in kGE, RAM in kbit and cycles of a sample."""

    def __init__(self, tile: Tile, cycles: float):
        found = tile_area(tile)
        self.columns, self.cycles, self.blocks = tile.columns, cycles, found.blocks
        self.whole = (found.gate_equivalents or 0) / 1e3
        self.array = sum(block.gate_equivalents or 0 for block in found.blocks if block.name in _ARRAY) / 1e3
        self.ram = found.ram_bits / 1e3

    @classmethod
    def of(cls, tile: Tile, program: Program) -> "_Size":
        return cls(tile, _cycles(program, tile))


def _equal(name: str, program: Program, cycles: float) -> _Size:
    for columns in range(1, 9):
        tile = fit_tile(program, name=f"{name}_{columns}", columns=columns)
        if (own := _cycles(program, tile)) <= 1.01 * cycles:
            return _Size(tile, own)
    return _Size(tile, own)


def _blocks(name: str, program: Program) -> list[Row]:
    size = _Size.of(fit_tile(program, name=f"{name}_exact"), program)
    return [
        Row(
            name=f"{name}, exact, 8 x 8: {block.count} {block.name}",
            unit="kGE",
            ours=(block.gate_equivalents or 0) / 1e3,
            against="the tile",
            baseline=size.whole,
        )
        for block in size.blocks
    ]


def _random() -> list[Row]:
    found = agreement(_LAYERS, 0, "verilator")
    return [
        Row(
            name=f"random programs on five tiles of odd shapes: {found.programs} programs, {found.layers} layers,"
            f" {found.codes} codes, {found.cycles} cycles",
            unit="differences",
            ours=len(found.differences),
            target=0,
        )
    ]


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    networks: dict[str, dict[str, Program]] = {}
    for name in MODELS:
        for label in VARIANTS:
            program, before = made(name, label, _FOLDER)
            networks.setdefault(name, {})[label] = program
            rows += _network(name, label, before, program)
    rows += _random()
    for name, programs in networks.items():
        rows += _blocks(name, programs["exact"])
        rows += _areas(name, programs)
    report("accel", rows, {"verilator": str(find_verilator()).removeprefix("Verilator ")})


if __name__ == "__main__":
    main()
