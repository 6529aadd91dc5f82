"""A vision transformer whose whole softmax, gelu and a product run in Verilated hardware, also while it is trained.

    python -m examples.rtl_in_the_loop [--steps 20]

float -> units in software -> the same units in RTL, compared with them -> finetuning in RTL. A minute on one core.
"""

import argparse
import copy
import time

import torch
from torch import nn

import hwlut
from examples.data import Split, mnist
from examples.models import VisionTransformer, accuracy, train
from hwlut import Fixed, Program
from hwlut.nn import ApproxLinear, InRtl, PwlActivation, RtlLayer, convert
from hwlut.program import softmax
from hwlut.program.ports import decoded, encoded
from hwlut.quant import Quantizer
from hwlut.share import share

BATCH = 100
SCORES = Fixed(12)
SHARES = Fixed(16, 15, signed=False)
PATCHES = 16  # places of a row of scores


class SoftmaxInSoftware(nn.Module):
    """Softmax along the last axis by a program's definition: slow, and without a gradient."""

    def __init__(self, program: Program):
        super().__init__()
        self.program = program

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return decoded(self.program.outputs[0], self.program(encoded(self.program.inputs[0], x)))


@torch.no_grad()
def whole_softmax(model: nn.Module, images: torch.Tensor) -> Program:
    """The program of softmax whose input has the scale that suits all scores of the images best."""
    quantizer = Quantizer(SCORES)
    hooks = [
        module.register_forward_pre_hook(lambda module, scores: quantizer.observe(scores[0]))
        for module in model.modules()
        if isinstance(module, nn.Softmax)
    ]
    model.eval()(images)
    for hook in hooks:
        hook.remove()
    scores = Fixed(SCORES.bits, int(quantizer.current_scale()))
    return softmax(input=scores, output=SHARES, most=PATCHES)


def on_units(model: nn.Module, images: torch.Tensor) -> Program:
    """Softmax, gelu and the last product of the first attention by units, calibrated on the images; that of softmax."""
    program, drum = whole_softmax(model, images), hwlut.load(share("pretrained", "mul8s_drum_4.json"))
    mapping = {
        nn.Softmax: lambda old: SoftmaxInSoftware(program),
        nn.GELU: "gelu_8",
        "blocks.0.attention.output": drum,
    }
    convert(model, mapping, images.split(BATCH))
    return program


def in_rtl(model: nn.Module, program: Program) -> nn.Module:
    """A copy of the model whose units compute in hardware."""
    hardware = copy.deepcopy(model)
    print(convert(hardware, {SoftmaxInSoftware: InRtl(program), (PwlActivation, ApproxLinear): InRtl()}))
    return hardware


def run(train_set: Split, test_set: Split, epochs: int, steps: int, width: int = 64) -> dict[str, float]:
    """Accuracy in percent on the test digits after each step; `steps` are those of the finetuning."""
    torch.manual_seed(0)
    model = VisionTransformer(width)
    train(model, train_set, epochs, rate=2e-3)
    figures = {"float": accuracy(model, test_set)}
    program = on_units(model, train_set[0][:: len(train_set[0]) // BATCH])
    figures["units in software"] = accuracy(model, test_set)

    hardware = in_rtl(model, program)
    images = test_set[0][:BATCH]
    for mode in (False, True):
        with torch.no_grad():
            equal = torch.equal(hardware.train(mode)(images), model.train(mode)(images))
        assert equal, "the design must compute what its unit does"
    print(f"{len(images)} digits in RTL: every result is that of the units in software, bit for bit")
    figures["units in RTL"] = accuracy(hardware, test_set)

    few = tuple(part[torch.randperm(len(part), generator=torch.Generator().manual_seed(1))] for part in train_set)
    start = time.perf_counter()
    train(hardware, (few[0][: steps * BATCH], few[1][: steps * BATCH]), epochs=1, rate=5e-4)
    layers = sum(isinstance(module, RtlLayer) for module in hardware.modules())
    print(f"{steps} steps with {layers} layers and a product in RTL: {time.perf_counter() - start:.1f} s")
    figures["finetuned in RTL"] = accuracy(hardware, test_set)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12, help="of the training in float")
    parser.add_argument("--steps", type=int, default=20, help="of the finetuning, batches of 100")
    options = parser.parse_args()
    torch.set_num_threads(1)  # sums in the same order on every number of cores
    start = time.perf_counter()
    figures = run(*mnist(), options.epochs, options.steps)
    print("\n| step | accuracy, % |\n| --- | ---: |")
    for step, figure in figures.items():
        print(f"| {step} | {figure:.1f} |")
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
