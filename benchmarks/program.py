"""Programs: errors and costs of softmax and normalization beside I-BERT's kernels, and how fast networks run.

Times are on one thread, but for hardware in the loop, which has two. Accuracies of networks as programs are of
`./dev bench program_accuracy`.
"""

import copy
import os
from collections.abc import Callable

import torch
from torch import nn

import hwlut
from benchmarks import program_rows, rtl_layer
from benchmarks.report import Row, report
from benchmarks.timing import medians
from examples.data import mnist
from examples.models import LeNet5, ResNet, VisionTransformer
from hwlut.program.engine import Engine
from hwlut.program.ports import encoded
from hwlut.search import quantize_uniform
from hwlut.verify.tools import find_verilator

_REPEATS = 15
_IMAGES = 500
_MODELS: dict[str, Callable[[], nn.Module]] = {
    "LeNet-5": LeNet5,
    "ResNet": lambda: ResNet(16, (2, 2)),
    "vision transformer": VisionTransformer,
}


def _speed(name: str) -> list[Row]:
    """A program, and the exact training forward, beside the fake-quantized model in torch, of 8 bits each."""
    images = mnist()[1][0][:_IMAGES]
    torch.manual_seed(0)
    model = _MODELS[name]()
    quantize_uniform(model.eval(), [images[:100]])
    simulation = hwlut.Simulation(model, images[:100])
    program = simulation.program
    engine, codes = Engine(program), encoded(program.inputs[0], images)
    trained, exact = copy.deepcopy(model).train(), hwlut.Simulation(copy.deepcopy(model), images[:100])
    batch = images[:100]

    def step(forward: nn.Module) -> None:
        for parameter in forward.parameters():
            parameter.grad = None
        forward(batch).square().mean().backward()
        with torch.no_grad():
            next(forward.parameters()).add_(0.0)  # as a step of an optimizer would, so that nothing is kept

    with torch.no_grad():
        program_s, model_s = medians(_REPEATS, lambda: engine(codes), lambda: model(images))
    exact_s, plain_s = medians(_REPEATS, lambda: step(exact), lambda: step(trained))
    return [
        Row(
            name=f"{name}, {_IMAGES} digits: program",
            unit="ms",
            ours=1e3 * program_s,
            against="fake-quantized in torch",
            baseline=1e3 * model_s,
            target=3.0,
            bounds="ratio",
        ),
        Row(
            name=f"{name}, 100 digits: forward and backward with the exact forward",
            unit="ms",
            ours=1e3 * exact_s,
            against="fake-quantized in torch",
            baseline=1e3 * plain_s,
        ),
    ]


def main() -> None:
    torch.set_num_threads(1)
    rows = program_rows.rows()
    for name in _MODELS:
        rows += _speed(name)
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    rows += rtl_layer.rtl_rows()
    report("program", rows, {"verilator": str(find_verilator())})


if __name__ == "__main__":
    main()
