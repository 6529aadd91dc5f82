"""Convolutional networks on approximate multipliers: quantized, multiplied approximately, retrained with each gradient.

    python -m examples.cnn_mnist [--model lenet5|resnet] [--seeds 3]

float -> 8-bit integers with the exact multiplier -> with three approximate ones -> each retrained. Some 10 minutes.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Iterator

import torch
from torch import nn

from examples.data import Split, mnist
from examples.models import LeNet5, ResNet, accuracy, train
from hwlut import Multiplier
from hwlut.nn import Approximate, convert

MODELS = {"lenet5": LeNet5, "resnet": ResNet}
MULTIPLIERS = {
    "drum 3": Multiplier(family="drum", k=3, signed=True),
    "booth_truncated 8": Multiplier(family="booth_truncated", columns=8, signed=True),
    "or_columns 10": Multiplier(family="or_columns", columns=10, signed=True),
}
GRADIENTS = ("ste", "lre", "date")


def converted(model: nn.Module, multiplier: Multiplier, gradient: str, batches: list[torch.Tensor]) -> nn.Module:
    """A copy of `model` whose convolutions and linear layers multiply by `multiplier`, calibrated on `batches`."""
    approximate = copy.deepcopy(model)
    convert(approximate, Approximate(multiplier, gradient=gradient), batches)
    return approximate


def steps(model: nn.Module, seed: int, train_set: Split, test_set: Split) -> Iterator[tuple[str, float]]:
    """Each step's name and its accuracy in percent on the test digits."""
    torch.manual_seed(seed)
    batches = list(train_set[0][torch.randperm(len(train_set[0]))[:500]].split(100))
    train(model, train_set, epochs=15, rate=2e-3)
    yield "float", accuracy(model, test_set)
    yield "int8, exact", accuracy(converted(model, Multiplier(family="exact", signed=True), "ste", batches), test_set)
    for name, multiplier in MULTIPLIERS.items():
        for gradient in GRADIENTS:
            approximate = converted(model, multiplier, gradient, batches)
            if gradient == GRADIENTS[0]:
                yield name, accuracy(approximate, test_set)
            torch.manual_seed(seed)
            train(approximate, train_set, epochs=3, rate=5e-4)
            yield f"{name}, retrained, {gradient}", accuracy(approximate, test_set)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="lenet5")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on")
    given = parser.parse_args()
    torch.set_num_threads(1)  # sums in the same order on every number of cores
    start = time.perf_counter()
    runs = []
    for seed in range(given.seeds):
        torch.manual_seed(seed)
        figures = {}
        for step, figure in steps(MODELS[given.model](), seed, *mnist()):
            figures[step] = figure
            print(f"seed {seed}, {step}: {figure:.1f}", flush=True)
        runs.append(figures)
    width = max(map(len, runs[0]))
    print(f"\n| {given.model:{width}} | {' | '.join(f'seed {seed}' for seed in range(given.seeds))} |  mean | spread |")
    print(f"| {'-' * width} | {' | '.join('-----:' for _ in runs)} | ----: | -----: |")
    for step in runs[0]:
        found = [figures[step] for figures in runs]
        cells = " | ".join(f"{figure:6.1f}" for figure in found)
        print(f"| {step:{width}} | {cells} | {statistics.fmean(found):5.2f} | {max(found) - min(found):6.1f} |")
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
