"""What integer programs make of small models of many families.

``python -m tests.lowered_families`` writes the table of docs/export.md anew.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves, tree_map

from hwlut import Fixed
from hwlut.files import write_atomic
from hwlut.lowering import Simulation
from hwlut.nn import Approximate, convert
from hwlut.nn.quantized import quantized_operations
from hwlut.program.ports import decoded, encoded
from hwlut.quant import Quantizer
from hwlut.quant.calibration import called
from hwlut.search import quantize_uniform
from hwlut.units import Multiplier
from hwlut.units.products import Weighted
from tests.pruned_families import FAMILIES, family

__all__ = ["PAGE", "Family", "certain", "coded", "larger", "lines", "lowered", "tensors"]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "export.md"

_BOUNDS = 0.001, 0.005, 0.01, 0.02


def coded(name):
    """The model of a family with all products of 8 bits, in evaluation mode, and its sample.

    Transposed convolutions are by an exact multiplier, for lack of quantized ones.
    """
    model, sample = family(name)
    exact = Approximate(Multiplier(family="exact", a=Fixed(8), b=Fixed(8)), Quantizer(Fixed(8)))
    if any(isinstance(module, nn.ConvTranspose2d) for module in model.modules()):
        convert(model, {nn.ConvTranspose2d: exact}, [sample])
    quantize_uniform(model, [sample], "8/8")
    return model.eval(), sample


@dataclass(frozen=True)
class Family:
    """A family as a program.

    gap: the greatest difference of its results from the fake-quantized model's, of their greatest. equal: whether the
    simulation gives what the definition of its program does, on a batch of another size. cosine: of gradients of the
    simulation and of the model, for the weight of the first layer.
    """

    name: str
    stages: int
    nodes: int
    weights: int
    results: int
    gap: float
    equal: bool
    cosine: float

    def line(self):
        """The row of the table."""
        bound = next(f"below {100 * bound:g} %" for bound in _BOUNDS if self.gap < bound)
        numbers = " | ".join(f"{each:,}" for each in (self.stages, self.nodes, self.weights))
        return f"| {self.name} | {numbers} | {bound} | {'yes' if self.equal else 'no'} |"


def tensors(value):
    return [each for each in tree_leaves(value) if isinstance(each, torch.Tensor)]


def larger(sample):
    """Its last entries once more, in reverse order, behind it."""
    return tree_map(lambda each: torch.cat([each, each.flip(0)[:1]]), sample)


def _gradient(model, sample, weight):
    """As float64, of length 1."""
    results = tensors(called("sample", model, sample))
    (gradient,) = torch.autograd.grad(results[0].square().mean(), weight)
    return F.normalize(gradient.double().flatten(), dim=0, eps=0.0)


def lowered(name):
    """What becomes of a family."""
    model, sample = coded(name)
    simulation = Simulation(model, sample)
    program = simulation.program
    with torch.no_grad():
        wanted = tensors(called("sample", model, sample))
        given = tensors(called("sample", simulation, sample))
        gap = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(given, wanted))
        more = larger(sample)
        values = program.values(*(encoded(port, each) for port, each in zip(program.inputs, tensors(more))))
        defined = [decoded(port, values[port.name]) for port in program.outputs]
        equal = all(torch.equal(a, b) for a, b in zip(defined, tensors(called("sample", simulation, more))))
    first = next(each for each in quantized_operations(model).values() if hasattr(each, "weight"))
    gradients = [_gradient(each, sample, first.weight) for each in (simulation, model)]
    assert all(bool(each.isfinite().all()) for each in gradients)
    return Family(
        name=name,
        stages=len(simulation.lowering.stages),
        nodes=len(program.nodes),
        weights=sum(node.weights.size for node in program.nodes if isinstance(node, Weighted)),
        results=len(wanted) if len(wanted) == len(program.outputs) else 0,
        gap=gap,
        equal=equal,
        cosine=float(gradients[0] @ gradients[1]),
    )


def certain(line):
    """The cells of a row that do not depend on how sums of real numbers are rounded."""
    cells = line.split("|")
    return cells[:5] + cells[6:]


def lines(text):
    """The rows of the table in the page."""
    table = text.partition("| family |")[2].partition("\n\n")[0]
    return [line for line in table.splitlines()[2:] if re.match(r"\| ", line)]


def _write():
    text = PAGE.read_text()
    head, mark, rest = text.partition("| family |")
    heading, rule, *_ = rest.splitlines()
    after = rest.partition("\n\n")[2]
    rows = [lowered(name).line() for name in FAMILIES]
    write_atomic(PAGE, "\n".join([f"{head}{mark}{heading}", rule, *rows, "", after]))


if __name__ == "__main__":
    _write()
