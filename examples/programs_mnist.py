"""Trained networks become integer programs: quantized, approximate, pruned, with look-ups and piecewise-linear.

    python -m examples.programs_mnist [--model lenet5 vit] [--folder build/programs]

For each variant of a network the accuracy on the test digits of the float network, of the variant, and of its program;
whether the program's codes are those of the exact training forward on every test digit; and how long the program takes
beside the variant in torch. Minutes on two cores.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import hwlut
from examples.data import Digits, Split, mnist
from examples.models import LeNet5, VisionTransformer, accuracy, train
from hwlut.files import write_atomic
from hwlut.nn import Approximate, Lookup, PwlLayerNorm, PwlSoftmax, convert
from hwlut.program.engine import Engine
from hwlut.program.ports import decoded, encoded
from hwlut.prune import Joint, compress
from hwlut.quant import Quantizer
from hwlut.search import quantize_uniform
from hwlut.share import share
from hwlut.train import Finetune, Task

Change = Callable[[nn.Module, list[Tensor]], nn.Module]

MODELS: dict[str, Callable[[], nn.Module]] = {"lenet5": LeNet5, "vit": VisionTransformer}
EPOCHS = {"lenet5": 8, "vit": 40}
DRUM = hwlut.Multiplier(name="mul8s_drum_4", family="drum", bits=8, signed=True, k=4)
LOOKED_UP = {"lenet5": ("3", "7"), "vit": ("blocks.1.mlp.0", "blocks.1.mlp.2")}
"""The layers that the variant with look-ups replaces."""


def dense(name: str, folder: Path, activation: type[nn.Module] | None = None) -> nn.Module:
    """The trained float network, with another activation where one is given."""
    torch.manual_seed(0)
    model = MODELS[name]()
    if activation is not None:
        convert(model, {nn.ReLU: lambda _: activation()})
    path = folder / f"{name}{'_' + activation.__name__ if activation else ''}.pt"
    if path.is_file():
        model.load_state_dict(torch.load(path, weights_only=True))
    else:
        train(model, mnist()[0], EPOCHS[name], 2e-3)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), path)
    return model.eval()


def quantized(model: nn.Module, batches: list[Tensor]) -> nn.Module:
    """Every layer and product in 8 bits."""
    quantize_uniform(model, batches)
    return model


def approximate(model: nn.Module, batches: list[Tensor], multiplier: hwlut.Multiplier = DRUM) -> nn.Module:
    """Every layer by the multiplier, products of activations in 8 bits."""
    spec = Approximate(
        multiplier,
        activations=Quantizer(multiplier.a, steps="real", method="percentile"),
        weights=Quantizer(multiplier.b, steps="real", granularity="channel", method="minmax"),
    )
    try:
        quantize_uniform(model, batches, include=("*quantized_products*",))
    except ValueError:  # a network without such products
        pass
    convert(model, {(nn.Linear, nn.Conv2d): spec}, data=batches)
    return model


def looked_up(name: str) -> Change:
    """Two layers by look-ups, the rest in 8 bits."""

    def made(model: nn.Module, batches: list[Tensor]) -> nn.Module:
        quantize_uniform(model, batches, exclude=LOOKED_UP[name])
        convert(model, {layer: Lookup(k=16) for layer in LOOKED_UP[name]}, data=batches)
        return model

    return made


def piecewise_linear(model: nn.Module, batches: list[Tensor]) -> nn.Module:
    """Activations, softmax and normalization by shipped units of 8 segments, the rest in 8 bits."""
    exp, reciprocal, rsqrt = (
        hwlut.load(share("pretrained", f"{name}_8.json")) for name in ("exp", "reciprocal", "rsqrt")
    )
    units = {
        nn.GELU: "gelu_8",
        nn.Tanh: "tanh_8",
        nn.Softmax: lambda old: PwlSoftmax(exp, reciprocal, old.dim),
        nn.LayerNorm: lambda old: PwlLayerNorm(old, rsqrt),
    }
    present = {type(module) for module in model.modules()}
    convert(model, {kind: unit for kind, unit in units.items() if kind in present}, data=batches)
    quantize_uniform(model, batches)
    return model


def pruned(name: str, folder: Path) -> nn.Module:
    """A third of the channels removed and 4 to 8 bits, in one training."""
    train_set, test_set = mnist()
    task = Task(
        name=f"programs_{name}",
        model=MODELS[name],
        train=Digits(train_set, moved=True),
        test=Digits(test_set),
    )
    training = Finetune(epochs=12, learning_rate=1e-3)
    options = Joint(sparsity=0.3, weight_bits=(4, 8), activation_bits=(4, 8))
    weights = folder / f"{name}.safetensors"
    if not weights.is_file():
        from hwlut.train import save_state

        save_state(weights, dense(name, folder))
    return compress(task, options, training, folder / f"{name}_pruned", weights=weights).model.eval()


def finetuned(model: nn.Module, batches: list[Tensor], data: Split) -> nn.Module:
    """Two epochs of training whose forward is the program."""
    simulation = hwlut.Simulation(model, torch.cat(batches))
    train(simulation, data, 2, 2e-4)
    return model.eval()


def seconds(run: Callable[[], object]) -> float:
    """The median of five runs."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@torch.no_grad()
def figures(model: nn.Module, batches: list[Tensor], test: Split) -> dict[str, float | int | bool]:
    """What is measured of a variant."""
    images, labels = test
    simulation = hwlut.Simulation(model, torch.cat(batches))
    program = simulation.program
    (port,), (output,) = program.inputs, program.outputs
    engine = Engine(program)
    codes = encoded(port, images)
    exact = torch.cat([simulation(part) for part in images.split(100)])
    found = torch.cat([engine(part) for part in codes.split(100)])
    part, real = codes[:200], images[:200]
    defined = program(part[:20])
    return {
        "variant": accuracy(model, test),
        "program": 100 * float((decoded(output, found).argmax(1) == labels).float().mean()),
        "exact": torch.equal(decoded(output, found), exact) and torch.equal(defined, found[:20]),
        "ratio": seconds(lambda: engine(part)) / seconds(lambda: model(real)),
        "nodes": len(program.nodes),
        "kilobytes": program.cost().storage_bits / 8192,
    }


def variants(name: str, folder: Path) -> dict[str, Callable[[], tuple[float, nn.Module]]]:
    """By name, what gives the float accuracy and the variant of a network."""
    train_set, test_set = mnist()
    torch.manual_seed(0)
    batches = list(train_set[0][torch.randperm(len(train_set[0]))[:500]].split(100))

    def of(make: Change, tune: bool = True) -> Callable[[], tuple[float, nn.Module]]:
        def made() -> tuple[float, nn.Module]:
            smooth = nn.Tanh if make is piecewise_linear and name == "lenet5" else None
            model = dense(name, folder, smooth)
            before = accuracy(model, test_set)
            changed = make(copy.deepcopy(model), batches)
            return before, finetuned(changed, batches, train_set) if tune else changed.eval()

        return made

    return {
        "8 bits": of(quantized, tune=False),
        "approximate": of(approximate),
        "pruned, 4 to 8 bits": lambda: (accuracy(dense(name, folder), test_set), pruned(name, folder)),
        "look-ups": of(looked_up(name)),
        "piecewise linear": of(piecewise_linear),
    }


def measured(name: str, folder: Path) -> dict[str, dict[str, float | int | bool]]:
    """The figures of every variant of a network; those in the folder are not measured again."""
    path = folder / f"{name}.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    train_set, test_set = mnist()
    torch.manual_seed(0)
    batches = list(train_set[0][torch.randperm(len(train_set[0]))[:500]].split(100))
    for label, make in variants(name, folder).items():
        if label not in found:
            before, model = make()
            found[label] = {"float": before} | figures(model, batches, test_set)
            write_atomic(path, json.dumps(found, indent=1) + "\n")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--folder", type=Path, default=Path("build/programs"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| network, variant | float | variant | program | equal | nodes | KiB | time |")
    print("| --- | ----: | ----: | ----: | --- | ----: | ----: | ----: |")
    for name in given.model:
        for label, each in measured(name, given.folder).items():
            equal = "yes" if each["exact"] else "no"
            print(
                f"| {name}, {label} | {each['float']:.1f} | {each['variant']:.1f} | {each['program']:.1f} | {equal}"
                f" | {each['nodes']} | {each['kilobytes']:.0f} | {each['ratio']:.2f} x |"
            )


if __name__ == "__main__":
    main()
