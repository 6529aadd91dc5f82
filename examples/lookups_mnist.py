"""Networks for digits on look-ups: sub-vectors, encoders and table bits beside dense integers, over several seeds.

    python -m examples.lookups_mnist [--model vit|cnn] [--seeds 3]

A dense network is trained; every linear layer and convolution but the first and the last is then replaced, and each
variant is finetuned alike, the dense network its teacher. An hour and more on one core for each model.
"""

import argparse
import copy
import dataclasses
import statistics
import time
from collections.abc import Iterator

import torch
from torch import nn

from examples import lut_cnn_mnist, lut_vit_mnist
from hwlut import Fixed, Multiplier
from hwlut.lutnn import Costs, costs, replace
from hwlut.nn import Approximate, Lookup, convert
from hwlut.quant import Quantizer
from hwlut.train import Finetune, Task, evaluate, finetune, sample

TASKS = {"vit": lut_vit_mnist.task, "cnn": lut_cnn_mnist.task}
EPOCHS = {"vit": 30, "cnn": 10}  # of finetuning
LOOKUPS = {
    **{f"l2, v={v}": Lookup(v=v) for v in (4, 8, 16)},
    **{f"tree, v={v}": Lookup(v=v, encoder="tree") for v in (4, 8, 16)},
    "l2, v=16, int4 table": Lookup(v=16, table_bits=4),
}
INT4 = "dense, int4 weights"
SHOWN = 1000  # digits that layers learn from


def finetuning(model: str, seed: int) -> Finetune:
    """How every variant is finetuned, and measured at the end alone."""
    options = {"learning_rate": 1e-2, "weight_decay": 0.0, "clip": None, "distill": 0.5}
    return Finetune(epochs=EPOCHS[model], seed=seed, evaluate_every=1 << 20, **options)


def shown(task: Task, seed: int) -> list[torch.Tensor]:
    """Batches of training digits."""
    places = torch.randperm(len(task.train), generator=torch.Generator().manual_seed(seed))[:SHOWN]
    return [torch.stack([task.train[place][0] for place in part.tolist()]) for part in places.split(100)]


def integers(model: nn.Module, bits: int, batches: list[torch.Tensor]) -> nn.Module:
    """A copy of `model` with weights of so many bits, a step for each output, in every layer between the first and the
    last, and int8 activations there."""
    multiplier = Multiplier(family="exact", a=Fixed(8), b=Fixed(bits))
    activations = Quantizer(Fixed(8), steps="real", symmetric=False)
    weights = Quantizer(Fixed(bits), steps="real", granularity="channel", source="dynamic")
    names = [name for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    quantized = copy.deepcopy(model)
    convert(quantized, {name: Approximate(multiplier, activations, weights) for name in names[1:-1]}, batches)
    return quantized


def variants(model: str, seed: int) -> Iterator[tuple[str, float, Costs | int]]:
    """Each variant's name, its accuracy in percent, and its costs, or how many bits its weights have."""
    task = TASKS[model]()
    torch.manual_seed(seed)
    dense = task.model()
    assert task.dense is not None
    finetune(dense, task, dataclasses.replace(task.dense, seed=seed, evaluate_every=1 << 20))
    batches = shown(task, seed)
    yield "dense, float", 100 * evaluate(dense, task), 32
    yield "dense, int8", 100 * evaluate(integers(dense, 8, batches), task), 8
    for name, lookup in LOOKUPS.items():
        student = copy.deepcopy(dense)
        replace(student, lookup, batches)
        yield f"{name}, converted", 100 * evaluate(student, task), costs(student, sample(task))
        finetune(student, task, finetuning(model, seed), teacher=dense)
        yield name, 100 * evaluate(student, task), costs(student, sample(task))
    student = integers(dense, 4, batches)
    finetune(student, task, finetuning(model, seed), teacher=dense)
    yield INT4, 100 * evaluate(student, task), 4


def figures(found: Costs | int, like: Costs) -> list[str]:
    """Bytes, operations, look-ups and cycles of the layers that are replaced, for one digit."""
    replaced = [layer for layer in (like if isinstance(found, int) else found).layers if layer.kind != "dense"]
    if isinstance(found, int):
        weights = [layer.dense.macs // layer.dense.rows for layer in replaced]
        biases = sum(layer.dense.bytes for layer in replaced) - sum(weights)
        macs = sum(layer.dense.macs for layer in replaced)
        return [f"{sum(weights) * found // 8 + biases:,}", f"{macs:,}", "0", "-"]
    cost = [layer.cost for layer in replaced]
    cycles = sum(layer.cycles or 0 for layer in replaced)
    sums = (sum(each.bytes for each in cost), sum(each.operations for each in cost), sum(each.lookups for each in cost))
    return [f"{number:,}" for number in (*sums, cycles)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=TASKS, default="vit")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on")
    given = parser.parse_args()
    torch.set_num_threads(1)  # sums in the same order on every number of cores
    start = time.perf_counter()
    runs: list[dict[str, float]] = []
    spent: dict[str, Costs | int] = {}
    for seed in range(given.seeds):
        runs.append({})
        for name, accuracy, cost in variants(given.model, seed):
            runs[-1][name], spent[name] = accuracy, cost
            print(f"seed {seed}, {name}: {accuracy:.1f}, {time.perf_counter() - start:.0f} s", flush=True)
    like = next(cost for cost in spent.values() if isinstance(cost, Costs))
    width = max(map(len, runs[0]))
    seeds = " | ".join(f"seed {seed}" for seed in range(given.seeds))
    print(f"\n| {given.model:{width}} | {seeds} | mean | spread | bytes | operations | look-ups | cycles |")
    print(f"| {'-' * width} |{' -----: |' * (given.seeds + 6)}")
    for name in runs[0]:
        found = [run[name] for run in runs]
        cells = [*(f"{figure:.1f}" for figure in found), f"{statistics.fmean(found):.2f}"]
        cells += [f"{max(found) - min(found):.1f}", *figures(spent[name], like)]
        print(f"| {name:{width}} | {' | '.join(cells)} |")
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
