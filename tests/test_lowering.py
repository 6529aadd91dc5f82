"""Whole models as programs: training, results, state, and what is refused."""

import copy
import pickle

import pytest
import torch
from lowering import MULTIPLIERS, Of, coded, held, norm_of, refused, rms
from torch import nn
from torch.nn import functional as F

from hwlut import Fixed
from hwlut.lowering import Simulation, export
from hwlut.nn import (
    ApproxLinear,
)
from hwlut.nn.quantized import quantize
from hwlut.program.ports import decoded, encoded
from hwlut.quant import calibrate
from hwlut.quant.precision import Precision
from hwlut.units import Direct
from hwlut.units.operations import Apply


def test_constants_that_grow_with_the_batch():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4)
    own = {"token": nn.Parameter(torch.randn(1, 1, 4)), "windows": torch.randn(3, 1, 4)}

    def function(self, x):
        tokens = torch.cat([self.token.expand(len(x), -1, -1), x], 1)[:, :3] + torch.ones(len(x), 1, 1)
        rows = tokens.reshape(-1, 1, 4) + self.windows.repeat(len(x), 1, 1)
        return (rows * self.windows.repeat(len(x), 1, 1)).reshape(len(x), -1)

    held(Of(function, **own), x, near=2**-12)


def test_what_differs_from_sample_to_sample_is_no_constant():
    x = torch.randn(2, 3)
    refused(
        "Of: add must have constants that are the same for every sample",
        Of(lambda s, x: x + torch.arange(len(x))[:, None]),
        x,
    )


def test_several_results_and_an_input_that_is_one():
    torch.manual_seed(0)
    x, y = torch.randn(2, 4), torch.randn(2, 3)
    model = Of(lambda self, x, y: {"a": (self.layer(x), y), "b": x}, layer=nn.Linear(4, 3))
    program = held(coded(model, x, y), x, y).program
    assert len(program.outputs) == 3 and [port.shape for port in program.inputs] == [(4,), (3,)]


@pytest.mark.parametrize("model", ["ResNet", "VisionTransformer"])
def test_training_changes_the_program_and_stays_exact(model):
    from examples import models

    torch.manual_seed(0)
    network = models.ResNet(4) if model == "ResNet" else models.VisionTransformer(16, 1, 2)
    x, labels = torch.randn(6, 1, 28, 28), torch.randint(0, 10, (6,))
    network.train()(x)
    simulation = held(coded(network, x), x, near=0.05)
    optimizer = torch.optim.Adam(simulation.parameters(), 1e-3)
    before, losses = simulation.program, []
    for _ in range(4):
        loss = F.cross_entropy(simulation.train()(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    after = simulation.program
    assert losses[-1] < losses[0] and before != after
    codes = encoded(after.inputs[0], x)
    assert torch.equal(simulation(x), decoded(after.outputs[0], after(codes)))
    assert simulation.program is after


def test_a_step_that_is_next_to_nothing_saturates():
    torch.manual_seed(0)
    x = torch.randn(4, 6)
    model = coded(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), x)
    with torch.no_grad():
        model[2].input_choice.quantizer(model[2].input_choice.selected).step.fill_(1e-30)
    simulation = Simulation(model, x)
    assert torch.equal(
        simulation(x),
        decoded(simulation.program.outputs[0], simulation.program(encoded(simulation.program.inputs[0], x))),
    )


def test_gradients_are_at_the_numbers_of_the_program():
    torch.manual_seed(0)
    x = torch.randn(4, 6)
    model = Of(lambda self, x: self.weight * torch.exp(x), weight=nn.Parameter(torch.rand(6)))
    simulation = held(model, x, near=2**-9)
    simulation(x).sum().backward()
    nodes = [node for node in simulation.program.nodes if isinstance(node, Apply)]
    [table] = [node.name for node in nodes if isinstance(node.unit, Direct)]
    number = next(each for each in simulation.lowering.lowered().numbers.values() if each.name == table)
    values = simulation.program.values(encoded(simulation.program.inputs[0], x))[table]
    assert torch.allclose(model.weight.grad, number.real(values).sum(0), rtol=1e-6)
    assert not torch.allclose(model.weight.grad, torch.exp(x).sum(0), rtol=1e-6)


REFUSALS = {
    "0: linear has no form in integers; let hwlut.nn.quantized.quantize": nn.Sequential(nn.Linear(4, 4)),
    "Of: cumsum has no form in integers; convert it": Of(lambda self, x: x.cumsum(1)),
    "Of: matmul has no form in integers; let": Of(lambda self, x: x[:, None] @ x[..., None]),
    "Of: div must be by what follows from the model alone": Of(lambda self, x: x / x.exp()),
    "Of: pad must have mode constant, not circular": Of(lambda self, x: F.pad(x[:, None], (1, 1), mode="circular")),
    "Of: sum must not be over the batch": Of(lambda self, x: x.sum(0)),
    "Of: slice must not cut the batch": Of(lambda self, x: x[1:]),
    "Of: flip must not move the batch": Of(lambda self, x: x.flip(0)),
    "Of: cat must not be along the batch": Of(lambda self, x: torch.cat([x, x])),
    "Of: flatten shape must have the batch in one place, not": Of(lambda self, x: (x[:, None] - x[None]).flatten(1)),
    "output 'own' of the model must follow from its inputs": Of(lambda self, x: (x, self.own), own=torch.ones(3)),
}


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals_name_the_module_and_the_operator(text):
    refused(text, REFUSALS[text], torch.randn(2, 4))


def test_inputs_that_a_program_cannot_take():
    x, index = torch.randn(2, 4), torch.tensor([1, 0])
    refused("Of: index must be by indices that follow from the model alone", Of(lambda self, x, i: x[:, i]), x, index)
    refused("input 'inputs_1' of the model must be used", Of(lambda self, x, i: x + 1), x, index)


@pytest.mark.filterwarnings("ignore:Using padding")
def test_layers_that_are_not_ready():
    x, unit = torch.randn(3, 4), MULTIPLIERS["exact"]
    refused(
        "0: add activations must have one step that is kept, not s8",
        nn.Sequential(ApproxLinear(4, 3, multiplier=unit)),
        x,
    )
    model = nn.Sequential(nn.Linear(4, 3))
    quantize(model, {"0": [Precision.parse("8")]})
    refused("0: activations must be calibrated, by hwlut.quant.calibrate", model, x)
    circular = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"))
    refused(
        "0: padding_mode must be zeros, not circular", coded(circular, torch.randn(2, 2, 5, 5)), torch.randn(2, 2, 5, 5)
    )
    even = nn.Sequential(nn.Conv2d(2, 3, 2, padding="same"))
    refused("0: padding must be the same on both sides", coded(even, torch.randn(2, 2, 5, 5)), torch.randn(2, 2, 5, 5))
    wide = coded(nn.Sequential(nn.Linear(64, 3)), torch.randn(3, 64), precision="16/16")
    refused(
        "0: linear accumulator must have at most 32 bits to be rescaled, not 3.; give its", wide, torch.randn(3, 64)
    )
    deeper = coded(nn.Sequential(nn.Linear(64, 3), nn.Linear(3, 2)), torch.randn(3, 64), precision="16/16")
    refused(
        "0: linear accumulator must have at most 32 bits to be rescaled, not 3.; give its", deeper, torch.randn(3, 64)
    )


def test_samples_and_calls_that_do_not_fit():
    simulation = Simulation(coded(nn.Sequential(nn.Linear(4, 3)), torch.randn(2, 4)), torch.randn(2, 4))
    with pytest.raises(TypeError, match="arguments must have 1 tensors, as the sample has, not 2"):
        simulation(torch.randn(2, 4), torch.randn(2, 4))
    with pytest.raises(TypeError, match="arguments must be those of the sample, not x"):
        simulation(x=torch.randn(2, 4))


def test_modes_copies_and_devices_of_numbers():
    torch.manual_seed(0)
    x = torch.randn(3, 4)
    model = coded(nn.Sequential(nn.Linear(4, 6), nn.Dropout(), nn.Linear(6, 3)), x)
    simulation = held(model, x, near=0.01)
    result, program = simulation(x), simulation.program
    assert torch.equal(simulation.train()(x), result) and simulation.program is program
    other = copy.deepcopy(simulation)
    with torch.no_grad():
        other.model[0].weight.mul_(0.5)
    assert torch.equal(simulation(x), result) and not torch.equal(other(x), result)
    assert simulation.program is program and other.program != program
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(simulation(x), result) and simulation(x).dtype == torch.float32
    with pytest.raises(TypeError, match="Simulation cannot be pickled; keep its model's state_dict"):
        pickle.dumps(simulation)


@pytest.mark.cuda
def test_simulation_on_a_gpu():
    torch.manual_seed(0)
    x = torch.randn(3, 4, 6, 6)
    model = coded(nn.Sequential(nn.Conv2d(4, 6, 3), norm_of(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)), x)
    expected = Simulation(model, x)(x)
    simulation = Simulation(model.cuda(), x.cuda())
    assert torch.equal(simulation(x.cuda()).cpu(), expected)
    simulation(x.cuda()).square().sum().backward()


class Beside(nn.Module):
    """Operators that write in place."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 4, 3, padding=1), norm_of(4), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        y = F.relu_(self.norm(self.first(x)))
        z = self.second(y)
        z += y
        return F.relu(z, inplace=True).mean((2, 3))


class Twice(nn.Module):
    """A layer that is called twice."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(F.relu(self.layer(x)))


@pytest.mark.parametrize("first", [True, False])
def test_an_encoder_of_torch(first):
    torch.manual_seed(0)
    x = torch.randn(2, 6, 8)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=first)
    held(coded(nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), x), x, near=0.01)


@pytest.mark.parametrize("kind", [Beside, Twice])
def test_models_that_write_in_place_or_call_a_layer_twice(kind):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6) if kind is Beside else torch.randn(4, 8)
    held(coded(kind(), x), x, near=0.005)


OTHERWISE = {
    "the size of the batch": lambda self, x: x * x.size(0),
    "casts": lambda self, x: (x * 3).to(torch.int32).float(),
    "random numbers": lambda self, x: x + torch.rand(4),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_the_trace_changes_is_refused(name):
    torch.manual_seed(0)
    x = torch.randn(3, 4)
    refused("output '.*' must be what the model computes for the sample", Of(OTHERWISE[name]), x)
    model = coded(nn.Sequential(Of(OTHERWISE[name]), nn.Linear(4, 2)), x)
    refused("1 input must be what the model computes for the sample", model, x)


@pytest.mark.parametrize("function", [lambda self, x: (x * 2, x.relu(), x), lambda self, x: (x + 1,) * 2])
def test_results_that_are_one_value_have_names_of_their_own(function):
    torch.manual_seed(0)
    program = held(Of(function), torch.randn(3, 4)).program
    assert len({port.name for port in (*program.inputs, *program.outputs)}) == 1 + len(program.outputs)


def test_a_model_that_returns_its_input_is_a_program():
    held(nn.Identity(), torch.randn(3, 4))


@pytest.mark.parametrize("kind", [torch.uint8, torch.int8])
@pytest.mark.parametrize("function", [lambda x: (x / 255 - 0.5) / 0.2, lambda x: x.float() * 3 - 100])
def test_images_of_bytes(kind, function):
    torch.manual_seed(0)
    ends = torch.iinfo(kind)
    x = torch.randint(ends.min, ends.max + 1, (3, 1, 4, 4), dtype=kind)
    model = coded(Of(lambda self, x: self.layer(function(x)), layer=nn.Conv2d(1, 2, 3)), x)
    assert held(model, x).program.inputs[0].format == Fixed(8, signed=kind == torch.int8)


def test_samples_beyond_their_formats():
    half = Of(lambda self, x: x / 2)
    refused("input 'inputs_0' must be from 0 to 16777215, not from -1 to 3", half, torch.tensor([[-1, 3]]))
    refused("input 'inputs_0' must be from 0 to 16777215, not from 0 to", half, torch.tensor([[0, 1 << 24]]))
    refused("sample must give finite numbers at input 'inputs_0'", half, torch.full((2, 3), torch.nan))
    inner = Of(lambda self, x: self.inner(x), inner=Of(lambda self, x: torch.log(x)))
    refused("sample must give finite numbers at inner", inner, torch.full((2, 3), -1.0))


BOUNDS = {
    "above all": lambda x: x.clamp(min=20),
    "below all": lambda x: F.hardtanh(x, -30, -20),
    "far below all": lambda x: x.clamp(max=-1e6),
    "below what is bounded": lambda x: x.relu().clamp(-3, -2),
    "infinite": lambda x: x.clamp(-torch.inf, 0.5),
    "infinite above": lambda x: x.clamp(-0.5, torch.inf),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_beyond_what_there_is_are_the_results(name):
    torch.manual_seed(0)
    held(Of(lambda self, x: BOUNDS[name](x)), torch.randn(3, 4))


GREAT = {
    "sum": lambda x: x * 1e5 + x,
    "function": lambda x: torch.tanh(x * 1e5) * 1e5,
    "layer norm": lambda x: F.layer_norm(x * 1e6, (4,), eps=1e11),
    "mean of squares": lambda x: rms(x * 1e6, 1e11),
}


@pytest.mark.parametrize("name", GREAT)
def test_great_numbers_have_steps_above_one(name):
    torch.manual_seed(0)
    x = torch.randn(3, 4)
    simulation = held(Of(lambda self, x: GREAT[name](x)), x, near=2**-9)
    with torch.no_grad():  # twice the range is held
        assert torch.allclose(simulation(1.9 * x), simulation.model(1.9 * x), rtol=0.01, atol=0.01 * float(x.max()))


@pytest.mark.parametrize("function", [lambda x: (x * 1e5).softmax(-1), lambda x: torch.sqrt(x.abs() * 1e6)])
def test_great_arguments_of_programs_are_refused(function):
    refused("Of: numbers must have steps from 2.-62 to 1, not", Of(lambda self, x: function(x)), torch.randn(3, 4))


def test_operands_of_a_sum_hold_twice_what_was_seen():
    for reach in (31.0, 33.0, 63.0, 2000.0):
        for signed in (1, -1):
            x = torch.tensor([[reach, 1.0]]) * signed
            simulation = held(Of(lambda self, x: torch.add(30 * x, x, alpha=-29.99)), x, near=2**-9)
            with torch.no_grad():
                assert torch.allclose(simulation(1.9 * x), simulation.model(1.9 * x), rtol=0.02, atol=1e-3 * reach)


def test_too_wide_sums_are_named_behind_what_moves_them():
    torch.manual_seed(0)
    x = torch.randn(3, 64)
    model = coded(nn.Sequential(nn.Linear(64, 4), nn.Unflatten(1, (2, 2)), nn.ReLU()), x, precision="16/16")
    refused("0: linear accumulator must have at most 32 bits", model, x)


@pytest.mark.parametrize("size", [97, 194, 97 * 101])
def test_sizes_that_look_like_a_batch(size):
    torch.manual_seed(0)
    x = torch.randn(2, size, 2)
    held(Of(lambda self, x: x.transpose(1, 2).reshape(-1, 2 * size)[:, :5] * 2), x)
    wide = coded(nn.Sequential(nn.Linear(2, 97), nn.ReLU(), nn.Unflatten(-1, (1, 97))), x[:, :3])
    held(wide, x[:, :3])


def test_rows_of_scores_far_below_those_seen_have_shares():
    x, y = torch.tensor([[8.0] * 4, [0.1] * 4]), torch.tensor([[0.1, 0.2, 0.3, 0.1], [8.0] * 4])
    simulation = held(Of(lambda self, x, y: (x * y).softmax(-1)), x, y, near=2**-8)
    with torch.no_grad():
        far = torch.full((1, 4), -8.0), torch.tensor([[7.0, 7.1, 7.2, 7.3]])
        assert torch.allclose(simulation(*far), simulation.model(*far), atol=2**-8)


def test_other_formats_and_modules_make_another_program():
    torch.manual_seed(0)
    x = torch.randn(4, 6)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    quantize(model, {"0": [Precision.parse("8"), Precision.parse("4")], "2": [Precision.parse("8")]})
    calibrate(model, [x])
    simulation = Simulation(model.eval(), x)
    programs = [simulation.program]
    choice = model[0].weight_choice
    choice.select(choice.formats[1])
    programs.append(simulation.program)
    lowering = simulation.lowering
    choice.settle()
    assert simulation.program == programs[-1] and simulation.lowering is lowering
    model[1] = nn.Tanh()
    programs.append(simulation.program)
    assert programs[0] != programs[1] != programs[2] == export(model, x)
    with torch.no_grad():
        assert (simulation(x) - model(x)).abs().max() < 0.02 * model(x).abs().max()


def test_truths_that_are_added_as_numbers_are_no_truths():
    x, order = torch.randn(3, 4), torch.arange(4)
    held(Of(lambda self, x: x + ((self.order > 0).long() + (self.order > 1).long()), order=order), x)
