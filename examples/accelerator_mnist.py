"""Networks on an accelerator: exact and approximate multipliers and look-ups, cycle by cycle.

    python -m examples.accelerator_mnist [--model lenet5 vit] [--images 100] [--folder build/accel]

Each variant of a network becomes a program, for which a tile of 8 x 8 is made; test digits then go through its Verilog
in Verilator, and every code is compared with the program's. Minutes on two cores.
"""

import argparse
import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import hwlut.accel
from examples.data import mnist
from examples.models import accuracy, train
from examples.programs_mnist import DRUM, LOOKED_UP, MODELS, approximate, dense, finetuned, quantized
from hwlut import Multiplier, Program
from hwlut.accel import Report
from hwlut.nn import Lookup, convert
from hwlut.program.engine import Engine
from hwlut.program.ports import decoded, encoded
from hwlut.search import quantize_uniform
from hwlut.units import Tile

__all__ = ["VARIANTS", "made", "measured", "program_accuracy"]

MULTIPLIERS = {
    "drum_4": DRUM,
    "truncate_operands_2_2": Multiplier(
        name="mul8s_truncate_operands_2_2", family="truncate_operands", bits=8, signed=True, a_drop=2, b_drop=2
    ),
    "truncate_columns_6": Multiplier(
        name="mul8s_truncate_columns_6", family="truncate_columns", bits=8, signed=True, columns=6
    ),
}


def looked_up(model: nn.Module, batches: list[Tensor], name: str) -> nn.Module:
    """The largest layers by look-ups with trees, the rest in 8 bits."""
    quantize_uniform(model, batches, exclude=LOOKED_UP[name])
    convert(model, {layer: Lookup(k=16, encoder="tree") for layer in LOOKED_UP[name]}, data=batches)
    return model


VARIANTS: dict[str, Callable[[nn.Module, list[Tensor], str], nn.Module]] = {
    "exact": lambda model, batches, _: quantized(model, batches),
    **{
        label: lambda model, batches, _, each=each: approximate(model, batches, each)
        for label, each in MULTIPLIERS.items()
    },
    "look-ups": looked_up,
}


def made(name: str, label: str, folder: Path) -> tuple[Program, float]:
    """The program of a variant, and the accuracy of the float network in percent.

    What is in the folder is not made again.
    """
    path = folder / f"{name}_{label.replace('-', '_')}.json"
    model = dense(name, folder)
    before = accuracy(model, mnist()[1])
    if not path.is_file():
        train_set, _ = mnist()
        torch.manual_seed(0)
        batches = list(train_set[0][torch.randperm(len(train_set[0]))[:500]].split(100))
        changed = VARIANTS[label](copy.deepcopy(model), batches, name)
        if label == "look-ups":
            train(changed, train_set, 8, 1e-3)
        if label != "exact":
            finetuned(changed, batches, train_set)
        hwlut.export(changed.eval(), torch.cat(batches)).replace(name=path.stem).save(path)
    program = hwlut.load(path)
    assert isinstance(program, Program)
    return program, before


def measured(
    program: Program, images: int, folder: Path, rows: int = 8, columns: int = 8, threads: int = 1
) -> tuple[Tile, Report]:
    """The tile of the program, and what its Verilog makes of so many test digits."""
    tile = hwlut.accel.fit_tile(program, name=f"{program.name}_{columns}", rows=rows, columns=columns)
    tile.save(folder / f"{tile.name}.tile.json")
    codes = encoded(program.inputs[0], mnist()[1][0][:images])
    return tile, hwlut.accel.simulate(program, tile, codes, threads=threads)


def program_accuracy(program: Program) -> float:
    """Of all test digits, in percent."""
    (port,), (output,) = program.inputs, program.outputs
    images, labels = mnist()[1]
    engine = Engine(program)
    found = torch.cat([decoded(output, engine(part)).argmax(1) for part in encoded(port, images).split(100)])
    return 100 * float((found == labels).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("build/accel"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| network, variant | float | program | codes | cycles a digit | array in use | M MAC/s |")
    print("| --- | ----: | ----: | --- | ----: | ----: | ----: |")
    for name in given.model:
        for label in VARIANTS:
            program, before = made(name, label, given.folder)
            _, report = measured(program, given.images, given.folder, threads=given.threads)
            print(
                f"| {name}, {label} | {before:.1f} | {program_accuracy(program):.1f}"
                f" | {report.difference or 'equal'} | {report.cycles_per_sample:.0f} | {100 * report.utilisation:.0f} %"
                f" | {report.macs_per_second / 1e6:.0f} |"
            )


if __name__ == "__main__":
    main()
