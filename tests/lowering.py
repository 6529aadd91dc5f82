"""What the tests of lowering share: models with integer operands, and how their programs are held against them."""

import pytest
import torch
from torch import nn

from hwlut import Fixed
from hwlut.lowering import Simulation, export
from hwlut.program.engine import Engine
from hwlut.program.ports import decoded, encoded
from hwlut.search import quantize_uniform
from hwlut.units import Multiplier
from tests.lowered_families import tensors

__all__ = ["MULTIPLIERS", "Of", "S8", "coded", "held", "kinds", "norm_of", "refused", "rms"]


S8 = Fixed(8)


class Of(nn.Module):
    """A function as a module, with the tensors and layers that it takes."""

    def __init__(self, function, **own):
        super().__init__()
        self.function = function
        for name, value in own.items():
            if isinstance(value, nn.Module | nn.Parameter):
                setattr(self, name, value)
            else:
                self.register_buffer(name, value)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def coded(model, *sample, precision="8/8", operands=None):
    """The model with quantized products, calibrated by the sample."""
    torch.manual_seed(1)
    quantize_uniform(model, [sample], precision, operands=operands)
    return model.eval()


def held(model, *sample, near=0.0, steps=2):
    """The simulation of a model, whose results are those of its program, and within some steps of the model's."""
    simulation = Simulation(model.eval(), sample)
    program = simulation.program
    more = [torch.cat([each, each[:1]]) for each in sample]
    codes = [encoded(port, each) for port, each in zip(program.inputs, more)]
    values = program.values(*codes)
    fast = Engine(program).values(*codes, keep=[port.name for port in program.outputs])
    with torch.no_grad():
        given, wanted = tensors(simulation(*more)), tensors(model(*more))
    assert len(given) == len(wanted) == len(program.outputs)
    for port, result, real in zip(program.outputs, given, wanted):
        assert torch.equal(values[port.name], fast[port.name].long())
        assert torch.equal(result, decoded(port, values[port.name]))
        assert result.shape == real.shape
        allowed = steps * port.scale + near * float(real.abs().max())
        assert float((result - real).abs().max()) <= allowed, (float((result - real).abs().max()), allowed)
    return simulation


def refused(text, model, *sample):
    with pytest.raises(ValueError, match=f"^{text}"):
        export(model.eval(), sample)


def kinds(simulation):
    return [node.op for node in simulation.program.nodes]


MULTIPLIERS = {
    "exact": Multiplier(family="exact", a=S8, b=S8),
    "drum": Multiplier(family="drum", bits=8, signed=True, k=4),
    "mitchell": Multiplier(family="mitchell", bits=8, signed=True),
    "mitchell u8": Multiplier(family="mitchell", bits=8, signed=False),
}


def rms(x, eps=1e-6):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def norm_of(channels, affine=True):
    norm = nn.BatchNorm2d(channels, affine=affine)
    with torch.no_grad():
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
        if affine:
            norm.weight.copy_(torch.linspace(-1, 1.5, channels))
            norm.bias.uniform_(-1, 1)
    return norm
