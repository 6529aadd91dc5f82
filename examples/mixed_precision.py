"""Mixed precision that was searched beside uniform precision of the same cost, over several seeds.

    python -m examples.mixed_precision --folder DIR [--models cnn resnet vit vowels] [--seeds 5] [--floats]

For each seed a dense network is trained; from its weights every variant is trained for the same steps, quantized. Runs
that are in the folder already are taken from there. Some minutes on one core for each model and seed.
"""

import argparse
import dataclasses
import math
import statistics
from pathlib import Path

import torch

from examples import search_cnn_mnist, search_resnet_mnist, search_vit_mnist, search_vowels
from hwlut.quant.formats import Format, parse_format
from hwlut.search import Search, open_search, search
from hwlut.train import Finetune, Task, finetune, save_state
from hwlut.train.evaluation import mean_loss

TASKS = {
    "cnn": search_cnn_mnist.task,
    "resnet": search_resnet_mnist.task,
    "vit": search_vit_mnist.task,
    "vowels": search_vowels.task,
}
EPOCHS = {"cnn": 16, "resnet": 16, "vit": 16, "vowels": 40}
FLOATS = ("e2m0", "e2m1", "e2m2", "e3m2", "e4m3")
VARIANTS = {
    "uniform int3": (("3",), 3.0),
    "searched, 3 bits": (("2", "3", "4"), 3.0),
    "uniform int4": (("4",), 4.0),
    "searched, 4 bits": (("3", "4", "5"), 4.0),
}
FLOAT_VARIANTS = {
    "uniform e2m1": (("e2m1",), 4.0),
    "searched floats, 4 bits": (FLOATS, 4.0),
}
PAIRS = (
    ("searched, 3 bits", "uniform int3"),
    ("searched, 4 bits", "uniform int4"),
    ("uniform e2m1", "uniform int4"),
    ("searched floats, 4 bits", "searched, 4 bits"),
)
QUANTILES = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""97.5 % points of Student's t, by the number of pairs."""


def dense(task: Task, seed: int, path: Path) -> Path:
    """The file of a dense network's weights, trained unless it is there."""
    if not path.exists():
        torch.manual_seed(seed)
        model = task.model()
        assert task.dense is not None
        finetune(model, task, dataclasses.replace(task.dense, seed=seed, evaluate_every=1 << 20))
        save_state(path, model)
    return path


def place_of(name: str, seed: int, variant: str, folder: Path) -> Path:
    """The folder of a run."""
    return folder / f"{name}-{seed}-{variant.replace(' ', '_').replace(',', '')}"


def measured(name: str, seed: int, variant: str, folder: Path) -> tuple[float, float]:
    """Accuracy in percent and loss on the test data."""
    formats, bits = (VARIANTS | FLOAT_VARIANTS)[variant]
    task, place = TASKS[name](), place_of(name, seed, variant, folder)
    if not (place / "config.json").exists():
        weights = dense(task, seed, folder / f"{name}-{seed}-dense.safetensors")
        chosen: list[Format | None] = [parse_format(each) for each in formats]
        method = "uniform" if len(chosen) == 1 else "oneshot"
        options = Search(formats=chosen, method=method, operands="separate", target_bits=bits)
        assert task.dense is not None
        training = Finetune(
            epochs=EPOCHS[name], batch=task.dense.batch, learning_rate=1e-3, ema=0.0, seed=seed, evaluate_every=1 << 20
        )
        search(dataclasses.replace(task, dense=None), options, training, place, weights=weights)
    configuration, _, model = open_search(place, task)
    return 100 * configuration.metric, mean_loss(model, task)


def half_width(differences: list[float]) -> float:
    """Of the 95 % interval of their mean, half the width."""
    return QUANTILES[len(differences)] * statistics.stdev(differences) / math.sqrt(len(differences))


def interval(differences: list[float]) -> str:
    """Their mean, and half the width of its 95 % interval."""
    mean = f"{statistics.fmean(differences):+.4f}"
    return mean if len(differences) < 2 else f"{mean} +- {half_width(differences):.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", choices=TASKS, nargs="+", default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=5, choices=range(1, 11), help="how many seeds, from 0 on")
    parser.add_argument("--bits", type=int, choices=(3, 4), nargs="+", default=[3, 4], help="of the uniform networks")
    parser.add_argument("--floats", action="store_true", help="small floating point too")
    parser.add_argument("--folder", type=Path, required=True, help="of the runs")
    given = parser.parse_args()
    torch.set_num_threads(1)  # sums in the same order on every number of cores
    variants = [variant for variant, (_, bits) in VARIANTS.items() if bits in given.bits]
    variants += FLOAT_VARIANTS if given.floats else []
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for seed in range(given.seeds):
        for name in given.models:
            for variant in variants:
                each = measured(name, seed, variant, given.folder)
                found.setdefault((name, variant), []).append(each)
                print(f"{name}, seed {seed}, {variant}: {each[0]:.1f} %, loss {each[1]:.4f}", flush=True)
    print("\n| model | variant | accuracy of each seed | mean | mean loss |\n| --- | --- | --- | ---: | ---: |")
    for (name, variant), runs in found.items():
        each = " ".join(f"{accuracy:.1f}" for accuracy, _ in runs)
        means = [statistics.fmean(figures) for figures in zip(*runs)]
        print(f"| {name} | {variant} | {each} | {means[0]:.2f} | {means[1]:.4f} |")
    print("\n| model | loss of | less that of | mean, 95 % | better in |\n| --- | --- | --- | ---: | ---: |")
    for name in given.models:
        for one, other in PAIRS:
            if one in variants and other in variants:
                pairs = zip(found[name, one], found[name, other])
                differences = [a - b for (_, a), (_, b) in pairs]
                better = sum(each < 0 for each in differences)
                print(f"| {name} | {one} | {other} | {interval(differences)} | {better} of {len(differences)} |")


if __name__ == "__main__":
    main()
