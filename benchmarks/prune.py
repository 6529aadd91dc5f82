"""Pruning: how long the analysis of a graph and a step of the optimizer take.

On one thread. Accuracies beside pruning by magnitude with uniform bits are of `./dev bench prune_accuracy`.
"""

import time

import torch
from torch import nn

from benchmarks.report import Row, report
from benchmarks.timing import medians
from examples.data import mnist
from examples.models import ResNet, VisionTransformer
from hwlut import Fixed
from hwlut.nn.quantized import Operands, quantize, quantized_operations
from hwlut.prune import Joint, JointOptimizer, groups, quantize_ranged
from hwlut.quant import calibrate
from hwlut.quant.precision import Precision
from hwlut.search import space_of
from hwlut.train import Finetune
from hwlut.train.models import model as named_model
from hwlut.train.models.inputs import Images
from hwlut.train.optimizers import optimizer_of

_STEPS, _STAGE = 400, 100
_REPEATS = 30
_MODELS = {"ResNet-20": lambda: ResNet(8, depths=(3, 3, 3)), "vision transformer": VisionTransformer}
_BITS = (4, 8)


def _analysis() -> Row:
    model = named_model("resnet50", Images(3, 224, 224), 1000)
    start = time.perf_counter()
    found = groups(model, torch.randn(1, 3, 224, 224))
    spent = time.perf_counter() - start
    name = f"groups of ResNet-50 at 224 x 224: {len(found.couplings)} couplings, {len(found):,} groups"
    return Row(name=name, unit="s", ours=spent, target=10.0)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor) -> None:
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()


def _steps(name: str) -> list[Row]:
    """A training step in each stage, weights and activations quantized, beside one with learned steps of 8 bits."""
    (images, labels), _ = mnist()
    images, labels = images[:100], labels[:100]
    training = Finetune(steps=_STEPS, learning_rate=1e-4)
    torch.manual_seed(0)
    plain = _MODELS[name]()
    space = space_of(plain, images[:1], (Fixed(8),))
    precisions = {each: (Precision(Fixed(8), Fixed(8)),) for each in space.shapes}
    quantize(plain, precisions, Operands(), space.owners)
    calibrate(plain, [images])
    base = optimizer_of(plain, training)
    model = _MODELS[name]()
    found = groups(model, images[:1])
    quantize_ranged(model, images[:1], [images], activations=True)
    stages = dict.fromkeys(("warm_up", "projection", "joint"), _STAGE)
    optimizer = JointOptimizer(model, found, Joint(weight_bits=_BITS, activation_bits=_BITS, **stages), training)
    rows = []
    assert len(quantized_operations(model)) == len(quantized_operations(plain))
    for stage in (*stages, "cool_down"):
        while optimizer.stage != stage:
            _step(model, optimizer, images, labels)
        ours, theirs = medians(
            _REPEATS,
            lambda: _step(model, optimizer, images, labels),
            lambda: _step(plain, base, images, labels),
        )
        assert optimizer.stage == stage
        label = f"training step, {name}, {len(found)} groups, {stage.replace('_', '-')}"
        against = "quantization-aware training, AdamW"
        row = {"unit": "ms", "ours": 1e3 * ours, "baseline": 1e3 * theirs, "against": against}
        rows.append(Row(name=label, target=1.4, bounds="ratio", **row))
    return rows


def main() -> None:
    torch.set_num_threads(1)
    report("prune", [_analysis(), *(row for name in _MODELS for row in _steps(name))], {})


if __name__ == "__main__":
    main()
