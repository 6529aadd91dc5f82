"""A vision transformer, trained, quantized to 8 bits and moved onto piecewise-linear units, step by step.

    python -m examples.vit_mnist [--seeds 3]

float -> quantization-aware training -> gelu, softmax and layer norm by units -> finetuning. Minutes on two cores.
"""

import argparse
import copy
import statistics
import time

import torch
from torch import nn

import hwlut
from examples.data import mnist
from examples.models import QuantizedLinear, VisionTransformer, accuracy, train
from hwlut.nn import PwlLayerNorm, PwlSoftmax, convert
from hwlut.share import share

STEPS = (
    "float",
    "quantized to 8 bits, calibrated",
    "quantization-aware training",
    "the same training again (control)",
    "gelu by gelu_8",
    "and softmax, layer norm by exp_8, reciprocal_8, rsqrt_8",
    "finetuned",
)


def run(seed: int) -> dict[str, float]:
    """Accuracy in percent on the test digits after each step."""
    torch.manual_seed(seed)
    train_set, test_set = mnist()
    batches = train_set[0][torch.randperm(len(train_set[0]))[:500]].split(100)
    exp, reciprocal, rsqrt = (
        hwlut.load(share("pretrained", f"{name}_8.json")) for name in ("exp", "reciprocal", "rsqrt")
    )

    model = VisionTransformer()
    train(model, train_set, epochs=40, rate=2e-3)
    figures = [accuracy(model, test_set)]

    convert(model, {nn.Linear: QuantizedLinear}, batches)
    figures.append(accuracy(model, test_set))
    train(model, train_set, epochs=10, rate=5e-4)
    figures.append(accuracy(model, test_set))

    control = copy.deepcopy(model)
    torch.manual_seed(seed)
    train(control, train_set, epochs=10, rate=5e-4)
    figures.append(accuracy(control, test_set))

    convert(model, {nn.GELU: "gelu_8"}, batches)
    figures.append(accuracy(model, test_set))
    normalization = {
        nn.Softmax: lambda old: PwlSoftmax(exp, reciprocal, old.dim),
        nn.LayerNorm: lambda old: PwlLayerNorm(old, rsqrt),
    }
    convert(model, normalization, batches)
    figures.append(accuracy(model, test_set))
    torch.manual_seed(seed)
    train(model, train_set, epochs=10, rate=5e-4)
    figures.append(accuracy(model, test_set))
    return dict(zip(STEPS, figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on")
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)  # sums in the same order on every number of cores
    start = time.perf_counter()
    runs = []
    for seed in seeds:
        runs.append(run(seed))
        print(f"seed {seed}: " + ", ".join(f"{figure:.1f}" for figure in runs[-1].values()), flush=True)
    width = max(map(len, STEPS))
    print(f"\n| {'step':{width}} | {' | '.join(f'seed {seed}' for seed in seeds)} |  mean | spread |")
    print(f"| {'-' * width} | {' | '.join('-----:' for _ in seeds)} | ----: | -----: |")
    for step in STEPS:
        figures = [figures[step] for figures in runs]
        cells = " | ".join(f"{figure:6.1f}" for figure in figures)
        spread = max(figures) - min(figures)
        print(f"| {step:{width}} | {cells} | {statistics.fmean(figures):5.2f} | {spread:6.1f} |")
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
