"""Random programs on tiles of odd shapes: every code is the definition's, and every layer takes the model's cycles.

python -m benchmarks.accel_random [--layers N] [--seed S] [--engine verilator|model]
"""

import argparse
import itertools
from dataclasses import dataclass

import numpy as np
import torch

from hwlut.accel import simulate
from hwlut.accel.compiler import compile_program
from hwlut.accel.model import check
from hwlut.accel.programs import random_program
from hwlut.fixed import Fixed
from hwlut.program import layer_norm, range_reduced, softmax
from hwlut.units import Multiplier, Tile

__all__ = ["TILES", "Agreement", "agreement"]

_EXACT = Multiplier(family="exact", bits=8, signed=True)
_MIXED = Multiplier(family="exact", a=Fixed(8, signed=False), b=Fixed(6))
_NARROW = Multiplier(family="exact", bits=4, signed=True)
_DRUM = Multiplier(family="drum", bits=6, signed=True, k=3)
_ROBA = Multiplier(family="roba", bits=8, signed=False)
_SOFTMAX = softmax(input=Fixed(8, 4), output=Fixed(8, 8, signed=False), most=16)
_EXP = range_reduced("exp", input=Fixed(8, 4), output=Fixed(16, 8))
_NORM = layer_norm(input=Fixed(8, 4), output=Fixed(8, 5), size=7, eps=1e-5)
_SMALL = {"inputs": 512, "weights": 96, "constants": 48}

TILES = (
    Tile(
        name="odd_3x5", rows=3, columns=5, multipliers=(_EXACT, _MIXED, _DRUM), operators=(_SOFTMAX, _NORM, _EXP),
        table_inputs=8, table_outputs=9, tables=2, operands=64, **_SMALL,
    ),
    Tile(
        name="odd_2x4", rows=2, columns=4, multipliers=(_NARROW,), entries=8, encoder="tree", entry_bits=4,
        accumulator_bits=24, value_bits=27, loops=4, **_SMALL,
    ),
    Tile(
        name="odd_5x3", rows=5, columns=3, multipliers=(_EXACT,), entries=16, encoder="l2", operands=40,
        accumulator_bits=20, value_bits=24, table_inputs=6, table_outputs=8, operations=("add", "multiply", "less"),
        loops=3, **_SMALL,
    ),
    Tile(
        name="odd_1x1", rows=1, columns=1, multipliers=(_EXACT, _ROBA), accumulator_bits=48, value_bits=48,
        input_bits=12, operands=32, loops=5, **_SMALL,
    ),
    Tile(name="odd_8x8", rows=8, columns=8, multipliers=(_EXACT, _MIXED), operands=48, **_SMALL),
)  # fmt: skip
"""Of all kinds of arrays, with few words of weights and constants, so that layers need several loads."""


@dataclass(frozen=True)
class Agreement:
    """How many random programs ran, their layers, the codes that were compared, the cycles that the tiles moved, and
    what differed or failed, in words."""

    programs: int
    layers: int
    codes: int
    cycles: int
    differences: tuple[str, ...]


def agreement(layers: int, seed: int, engine: str) -> Agreement:
    """Run random programs of at least so many layers in all, tile after tile, with several batches and, in Verilator,
    pauses on all ports in half of them."""
    programs = done = codes = cycles = 0
    differences: list[str] = []
    for number, tile in enumerate(itertools.cycle(TILES)):
        if done >= layers:
            return Agreement(programs, done, codes, cycles, tuple(differences))
        rng = np.random.default_rng((seed, number))
        label = f"tile {tile.name}, seed {seed}, program {number}"
        program = random_program(tile, (seed << 20) + number, nodes=int(rng.integers(1, 16)))
        try:
            words = compile_program(program, tile).words(2)
            check(tile, words)
            samples = int(rng.integers(1, 3 * tile.rows + 1))
            given = [
                torch.from_numpy(rng.integers(port.format.min, port.format.max + 1, (samples, *port.shape)))
                for port in program.inputs
            ]
            pauses = {}
            if engine == "verilator" and rng.random() < 0.5:
                pauses = {"idle": float(rng.uniform(0, 0.6)), "stall": float(rng.uniform(0, 0.6)), "seed": number}
            report = simulate(program, tile, given, engine=engine, **pauses)
        except (RuntimeError, ValueError) as error:
            differences.append(f"{label}: {error}")
            done += 1
            continue
        if not report.ok:
            differences.append(f"{label}: {report.difference}")
        programs += 1
        done += len(report.layers)
        codes += sum(output.numel() for output in report.outputs)
        cycles += report.cycles
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(description="Random programs on tiles of odd shapes.")
    parser.add_argument("--layers", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("verilator", "model"), default="verilator")
    given = parser.parse_args()
    found = agreement(given.layers, given.seed, given.engine)
    for difference in found.differences:
        print(difference)
    print(
        f"{found.programs} programs, {found.layers} layers, {found.codes} codes, {found.cycles} cycles, "
        f"{len(found.differences)} differences"
    )
    raise SystemExit(bool(found.differences))


if __name__ == "__main__":
    main()
