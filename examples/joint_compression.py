"""Joint compression beside pruning by magnitude with the best uniform bits, over several seeds.

    python -m examples.joint_compression --folder DIR [--models digits resnet20 vgg7 vit vowels] [--seeds 3]

For each seed a dense network is trained; from its weights every variant is trained for the same steps. Runs that are in
the folder already are taken from there. About a minute on one core for each model, variant and seed; the pictures of
the fronts, MODEL.png, are written to the folder too.
"""

import argparse
import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch

from examples import compress_digits, compress_resnet20_mnist, compress_vgg7_mnist, search_vit_mnist, search_vowels
from examples.mixed_precision import dense, interval
from hwlut import Fixed
from hwlut.plot.prune import front_figure
from hwlut.prune import Compression, Joint, Sequential, compress
from hwlut.search import Search
from hwlut.train import Finetune

TASKS = {
    "digits": compress_digits.task,
    "resnet20": compress_resnet20_mnist.task,
    "vgg7": compress_vgg7_mnist.task,
    "vit": search_vit_mnist.task,
    "vowels": search_vowels.task,
}
EPOCHS = {"digits": 30, "resnet20": 12, "vgg7": 12, "vit": 12, "vowels": 30}


def joint(sparsity: float, bits: tuple[int, int], activations: bool = True, target: float | None = None) -> Joint:
    """Pruning and quantization in one training, bits in their range, or also within so many bit operations."""
    return Joint(sparsity=sparsity, weight_bits=bits, activation_bits=bits if activations else None, target=target)


def uniform(sparsity: float, bits: int) -> Sequential:
    """Pruning by magnitude, and then these bits everywhere."""
    search = Search(formats=[Fixed(bits)], method="uniform", target_bits=bits, warmup=0.1, held_out=0.01)
    return Sequential(sparsity=sparsity, search=search)


WEIGHTS_ONLY = "joint 0.5, weights 4-8"
RANGES = {
    WEIGHTS_ONLY: joint(0.5, (4, 8), activations=False),
    "joint 0.5, 4-8": joint(0.5, (4, 8)),
    "joint 0.7, 4-8": joint(0.7, (4, 8)),
}
UNIFORM = {f"uniform {k}, {bits} bits": uniform(k, bits) for k, bits in ((0.5, 3), (0.5, 4), (0.5, 6), (0.7, 3))}
EQUAL = {f"joint as {name}": name for name in UNIFORM}
"""Joint compression of the same sparsity, to as many bit operations as these came to."""

SERIES = {"joint": "joint", "magnitude, uniform bits": "uniform"}


_FEW = ("uniform 0.5, 3 bits", "uniform 0.5, 4 bits")


def variants_of(name: str) -> tuple[str, ...]:
    """Those that are run for a model: all for the digits, and a few for the others."""
    few = (*_FEW, *(each for each, beside in EQUAL.items() if beside in _FEW))
    return (*RANGES, *UNIFORM, *EQUAL) if name == "digits" else few


def options_of(name: str, seed: int, variant: str, folder: Path) -> Joint | Sequential:
    """How a variant compresses."""
    if variant in EQUAL:
        beside = measured(name, seed, EQUAL[variant], folder)
        return joint(UNIFORM[EQUAL[variant]].sparsity, (2, 8), target=beside.after.bit_operations)
    return RANGES[variant] if variant in RANGES else UNIFORM[variant]


def place_of(name: str, seed: int, variant: str, folder: Path) -> Path:
    """The folder of a run."""
    return folder / f"{name}-{seed}-{variant.replace(' ', '_').replace(',', '')}"


def measured(name: str, seed: int, variant: str, folder: Path) -> Compression:
    """What a variant comes to, trained unless it is in the folder."""
    place = place_of(name, seed, variant, folder)
    if not (place / "compression.json").exists():
        task = TASKS[name]()
        assert task.dense is not None
        weights = dense(task, seed, folder / f"{name}-{seed}-dense.safetensors")
        training = Finetune(
            epochs=EPOCHS[name], batch=task.dense.batch, learning_rate=1e-3, ema=0.0, seed=seed, evaluate_every=1 << 20
        )
        options = options_of(name, seed, variant, folder)
        compress(dataclasses.replace(task, dense=None), options, training, place, weights=weights)
    return Compression.load(place / "compression.json")


def point(runs: Sequence[Compression]) -> tuple[float, float, float]:
    """Of the runs of all seeds, mean relative bit operations and accuracy, and the standard deviation of this."""
    accuracies = [each.metric for each in runs]
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    return statistics.fmean(each.relative for each in runs), statistics.fmean(accuracies), spread


def reached(points: Sequence[tuple[float, float, float]], budget: float) -> float | None:
    """The best mean accuracy of a front within relative bit operations; None where nothing is within them."""
    return max((accuracy for relative, accuracy, _ in points if relative <= budget * (1 + 1e-9)), default=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", choices=TASKS, nargs="+", default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3, choices=range(1, 11), help="how many seeds, from 0 on")
    parser.add_argument("--folder", type=Path, required=True, help="of the runs")
    given = parser.parse_args()
    torch.set_num_threads(1)  # sums in the same order on every number of cores
    found: dict[tuple[str, str], list[Compression]] = {}
    for seed in range(given.seeds):
        for name in given.models:
            for variant in variants_of(name):
                each = measured(name, seed, variant, given.folder)
                found.setdefault((name, variant), []).append(each)
                shown = f"{100 * each.metric:.1f} % at {100 * each.relative:.3f} % of the bit operations"
                print(f"{name}, seed {seed}, {variant}: {shown}", flush=True)
    print("\n| model | variant | bit operations, % | accuracy of each seed | mean |\n| --- | --- | ---: | --- | ---: |")
    for (name, variant), runs in found.items():
        relative, mean, _ = point(runs)
        each = " ".join(f"{100 * run.metric:.1f}" for run in runs)
        print(f"| {name} | {variant} | {100 * relative:.3f} | {each} | {100 * mean:.2f} |")
    print("\n| model | beside | accuracy, joint less uniform, 95 % | loss, 95 % |\n| --- | --- | ---: | ---: |")
    for name in given.models:
        for variant, beside in EQUAL.items():
            pairs = list(zip(found.get((name, variant), ()), found.get((name, beside), ())))
            if pairs:
                accuracy = interval([100 * (ours.metric - theirs.metric) for ours, theirs in pairs])
                print(f"| {name} | {beside} | {accuracy} | {interval([a.loss - b.loss for a, b in pairs])} |")
    print("\n| model | budget, % | joint | magnitude, uniform bits |\n| --- | ---: | ---: | ---: |")
    for name in given.models:
        series = {
            label: [point(found[name, each]) for each in variants_of(name) if each.startswith(start)]
            for label, start in SERIES.items()
        }
        front_figure(series, name).savefig(given.folder / f"{name}.png")
        for budget in sorted(relative for points in series.values() for relative, _, _ in points):
            best = [reached(points, budget) for points in series.values()]
            shown = " | ".join("-" if each is None else f"{100 * each:.2f}" for each in best)
            print(f"| {name} | {100 * budget:.3f} | {shown} |")


if __name__ == "__main__":
    main()
