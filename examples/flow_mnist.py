"""One flow: a float network of digits becomes a smaller tile, trained, costed, verified, and beside a plain one.

    python -m examples.flow_mnist [--network lenet5 vit] [--seed 0] [--images 100] [--jobs 2] [--folder build/flow]

Float; pruned and of few bits in one training; a multiplier for each operation; units for softmax, normalization and
activations; trained by the integer program; a tile of the size with the least area times cycles; its Verilog with so
many digits, every code compared; and all that beside the uniform design of 8 bits with exact products. Everything lies
in the folder, from which a run that was stopped goes on. About 15 minutes on two cores.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import hwlut
from examples.accelerator_mnist import program_accuracy
from examples.data import Digits, mnist
from examples.models import LeNet5, VisionTransformer
from hwlut.accel import fit_tile, generate_tile, simulate, tile_area, trace
from hwlut.explore.arrays import estimates
from hwlut.explore.choices import HELD_OUT, Array, Network
from hwlut.explore.costs import cycles_of
from hwlut.explore.network import make
from hwlut.files import write_atomic
from hwlut.fixed import Fixed
from hwlut.program.ports import encoded
from hwlut.records import write_record
from hwlut.report import write_report
from hwlut.search import quantize_uniform
from hwlut.search.dense import start
from hwlut.train import Finetune, Task, load_state
from hwlut.train.processes import processes
from hwlut.train.request import check_request
from hwlut.units import Multiplier, Program, Tile
from hwlut.workers import spawned

__all__ = ["RECIPES", "Design", "Outcome", "Recipe", "flow", "table"]

ARRAYS = tuple(
    Array(rows=rows, columns=columns) for rows in (4, 8, 16) for columns in (4, 6, 8, 16, 32) if rows * columns <= 256
)
"""The sizes that a design is chosen from."""

PLAIN = Array(rows=8, columns=8)

APPROXIMATE: dict[str, dict[str, Any]] = {
    "columns_2": {"family": "truncate_columns", "columns": 2},
    "columns_3": {"family": "truncate_columns", "columns": 3},
    "or_4": {"family": "or_columns", "columns": 4},
    "operands_1_1": {"family": "truncate_operands", "a_drop": 1, "b_drop": 1},
}
"""The multipliers that an operation may have in the place of the exact one."""

WINDOW = range(200)
"""Cycles of a layer whose waveform is kept."""


@dataclass(frozen=True)
class Recipe:
    """What a network is made by: epochs of the float network and of the compression, and the latter's rate."""

    model: Callable[[], nn.Module]
    dense: int
    epochs: int
    rate: float
    network: Network
    signed: bool

    def task(self, name: str, seed: int) -> Task:
        """The digits, and the float network."""
        train, test = mnist()
        dense = Finetune(epochs=self.dense, learning_rate=2e-3, seed=seed)
        return Task(name=name, model=self.model, train=Digits(train, moved=True), test=Digits(test), dense=dense)

    @property
    def told(self) -> dict[str, Any]:
        """What decides the result, as JSON."""
        figures = {"dense": self.dense, "epochs": self.epochs, "rate": self.rate}
        units = {unit.name: unit.digest for unit in self.multipliers}
        return figures | {"network": self.network.to_json(), "multipliers": units}

    @property
    def multipliers(self) -> list[Multiplier]:
        """The approximate ones that each operation may have."""
        bits = self.network.bits[1]
        a, b = Fixed(bits, signed=self.signed), Fixed(bits)
        return [Multiplier(name=name, a=a, b=b, **family) for name, family in APPROXIMATE.items()]


RECIPES = {
    "lenet5": Recipe(LeNet5, 25, 35, 2e-3, Network(sparsity=0.35, bits=(3, 5)), signed=False),
    "vit": Recipe(VisionTransformer, 40, 25, 1e-3, Network(sparsity=0.55, bits=(4, 5), segments=8), signed=True),
}


@dataclass(frozen=True, kw_only=True)
class Design:
    """A tile for a network: accuracy in percent on the test digits, cycles a digit, area in kGE, RAM in kbit."""

    name: str
    array: str
    accuracy: float
    cycles: float
    area: float
    ram: float

    @property
    def product(self) -> float:
        """kGE times thousands of cycles."""
        return self.area * self.cycles / 1e3


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the flow came to for a network. designs: two plain ones and two of the flow, 8 x 8 and of the best size.
    equal: whether all codes and cycles of the digits that were simulated are the program's and the model's."""

    network: str
    seed: int
    float_accuracy: float
    designs: tuple[Design, ...]
    multipliers: dict[str, str]
    images: int
    equal: bool
    seconds: float

    @classmethod
    def load(cls, path: Path) -> "Outcome":
        """Read what `flow` wrote."""
        content = json.loads(path.read_text())
        return cls(**content | {"designs": tuple(Design(**each) for each in content["designs"])})


def flow(name: str, seed: int, images: int, folder: Path) -> Outcome:
    """All of a network's flow, in a folder of its own, from which one that is finished is read; ValueError for one of
    another recipe or of another number of images."""
    recipe, place = RECIPES[name], folder / f"{name}_{seed}"
    torch.set_num_threads(1)
    began = time.monotonic()
    with processes("cpu") as group:
        check_request(place / "request.json", recipe.told | {"seed": seed, "images": images}, group)
        if (place / "outcome.json").exists():
            return Outcome.load(place / "outcome.json")
        task = recipe.task(name, seed)
        weights = start(task, None, HELD_OUT, seed, place, group)
    assert weights is not None
    training = Finetune(epochs=recipe.epochs, learning_rate=recipe.rate, seed=seed)
    made = make(
        task,
        recipe.network,
        place / "network",
        weights=weights,
        training=training,
        multipliers=recipe.multipliers,
        device="cpu",
        progress=lambda done, steps, text: print(f"{name}: {done} of {steps} steps, {text}", flush=True),
    )
    plain = _plain(recipe, weights, seed, place / "plain.json")
    programs = {"8 bits, exact": (plain, program_accuracy(plain)), "flow": (made.program, 100 * made.metric)}
    designs, tiles = [], []
    for label, (program, accuracy) in programs.items():
        best = estimates(program, ARRAYS)[0].array
        for array in (PLAIN, best):
            design, tile = _design(label, program, accuracy, array, place)
            print(f"{name}: {design}", flush=True)
            designs.append(design)
            tiles.append(tile)
    report = _verified(task.name, made.program, tiles[-1], images, place)
    outcome = Outcome(
        network=name,
        seed=seed,
        float_accuracy=100 * made.float_accuracy,
        designs=tuple(designs),
        multipliers=dict(made.multipliers),
        images=images,
        equal=report,
        seconds=time.monotonic() - began,
    )
    write_report(place, place / "report.html", title=f"{name}, seed {seed}")
    write_atomic(place / "outcome.json", json.dumps(asdict(outcome), indent=1) + "\n")
    return outcome


def _plain(recipe: Recipe, weights: str | Path, seed: int, path: Path) -> Program:
    """The float network in 8 bits everywhere, with exact products."""
    if not path.exists():
        model = recipe.model()
        load_state(Path(weights), model)
        images = mnist()[0][0]
        shown = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:500]]
        quantize_uniform(model, shown.split(100))
        hwlut.export(model.eval(), shown, name="plain").save(path)
    program = hwlut.load(path)
    assert isinstance(program, Program)
    return program


def _design(label: str, program: Program, accuracy: float, array: Array, place: Path) -> tuple[Design, Tile]:
    name = f"{label.split()[-1]}_{array.label}"
    tile = fit_tile(program, name=name, rows=array.rows, columns=array.columns)
    tile.save(place / f"{name}.tile.json")
    found = tile_area(tile)
    write_record(place / f"{name}.synth.json", "area", "hwlut.synth/1", found.to_dict())
    assert found.gate_equivalents is not None
    design = Design(
        name=label,
        array=array.label,
        accuracy=accuracy,
        cycles=cycles_of(program, tile),
        area=found.gate_equivalents / 1e3,
        ram=found.ram_bits / 1e3,
    )
    return design, tile


def _verified(task: str, program: Program, tile: Tile, images: int, place: Path) -> bool:
    """Verilog of the tile, what it makes of test digits, and a waveform of its first layer; whether all is equal."""
    generate_tile(tile).save(place, force=True)
    digits, labels = (part[:images] for part in mnist()[1])
    codes = encoded(program.inputs[0], digits)
    report = simulate(program, tile, codes, folder=place / "run")
    layer, waves = report.layers[0].name, place / f"{tile.name}.vcd"
    cycles = trace(program, tile, codes, layer, window=WINDOW, waves=waves, activity=waves.with_suffix(".csv"))
    metric = float((report.outputs[0].argmax(1) == labels).float().mean())
    traced = {"layer": layer, "first": cycles.start, "end": cycles.stop, "waves": waves.name}
    told = {"name": program.name, "digest": program.digest, "task": task, "metric": metric} | report.to_dict()
    told |= {"traced": traced | {"activity": waves.with_suffix(".csv").name}}
    write_record(place / "run.json", "run", "hwlut.run/1", told)
    return report.ok


def table(outcomes: Iterable[Outcome]) -> list[str]:
    """All designs, a Markdown row each."""
    lines = [
        "| network, design | rows x columns | accuracy (float) | cycles | kGE | kGE x kcycles | RAM, kbit |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for outcome in outcomes:
        for design in outcome.designs:
            lines.append(
                f"| {outcome.network}, {design.name} | {design.array.replace('x', ' x ')}"
                f" | {design.accuracy:.1f} ({outcome.float_accuracy:.1f}) | {design.cycles:,.0f} | {design.area:.1f}"
                f" | {design.product:,.0f} | {design.ram:,.0f} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("build/flow"))
    given = parser.parse_args()
    began = time.monotonic()
    with spawned(given.jobs) as pool:
        waiting = [pool.submit(flow, name, given.seed, given.images, given.folder) for name in given.network]
        outcomes = [each.result() for each in waiting]
    print("\n".join(table(outcomes)))
    for outcome in outcomes:
        plain, best_plain, _, best = outcome.designs
        print(
            f"{outcome.network}: {plain.product / best.product:.2f} times less area x cycles than 8 x 8,"
            f" {best_plain.product / best.product:.2f} times less than its best size;"
            f" {outcome.images} digits in Verilog: {'all codes equal' if outcome.equal else 'DIFFERENT'}"
        )
    used = os.times()
    print(f"{time.monotonic() - began:.0f} seconds, {used.children_user + used.children_system:.0f} of processors")


if __name__ == "__main__":
    main()
