"""Networks of choices as trained programs: steps that are kept, what stands in for parts, and what is refused."""

import itertools
import json

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hwlut import Fixed, Multiplier
from hwlut.accel import fit_tile
from hwlut.explore.assigned import assign_cells
from hwlut.explore.choices import LookUps, Network
from hwlut.explore.network import make
from hwlut.explore.substitution import common_operands, multiplied, multiply, piecewise
from hwlut.nn import PwlSoftmax
from hwlut.nn.quantized import quantized_operations
from hwlut.program.ports import decoded, encoded
from hwlut.prune import Joint, compress
from hwlut.search import Block, CostTable
from hwlut.train import Finetune, Task
from hwlut.train.models.encoder import Block as Encoder

TRAINING = Finetune(steps=24, batch=50, learning_rate=1e-2)


def data(shape, classes):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(400, *shape, generator=generator)
    targets = (inputs.flatten(1)[:, :2].sum(1) > 0).long() % classes
    return TensorDataset(inputs[:300], targets[:300]), TensorDataset(inputs[300:], targets[300:])


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))


@pytest.fixture
def compressed(tmp_path):
    """A small network of at most 5 bits, and its task."""
    options = Joint(sparsity=0, weight_bits=(5, 5), activation_bits=(5, 5))
    return compress(task(), options, TRAINING, tmp_path / "compressed", device="cpu").model, task()


class Tokens(nn.Module):
    """An encoder block with products of activations, softmax, normalization and GELU."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.block, self.norm, self.head = Encoder(8, 2), nn.LayerNorm(8), nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.norm(self.block(x)).mean(1))


def task(model=mlp, shape=(8,)):
    train, test = data(shape, 2)
    return Task(name="small", model=model, train=train, test=test, dense=Finetune(steps=30, learning_rate=1e-2))


def agrees(made, inputs, targets):
    """What a program's own definition scores on inputs."""
    (port,), (output,) = made.program.inputs, made.program.outputs
    scores = decoded(output, made.program(encoded(port, inputs)))
    return float((scores.argmax(1) == targets).double().mean())


def test_a_network_is_a_program_and_is_read_again(tmp_path):
    problem, network = task(), Network(sparsity=0.25, bits=(3, 5))
    made = make(problem, network, tmp_path, training=TRAINING, device="cpu")
    inputs, targets = problem.test.tensors
    assert made.metric == agrees(made, inputs, targets) and made.metric > 0.7
    assert set(made.multipliers.values()) == {"exact_s5_s5"} or set(made.multipliers.values()) == {"exact_u5_s5"}
    (unit,) = {node.multiplier.digest for node in made.program.nodes if hasattr(node, "multiplier")}
    weights = [node.weights for node in made.program.nodes if hasattr(node, "weights")]
    assert max(abs(int(each.min())) for each in weights) <= 16 and weights[0].shape[0] < 16
    steps = []
    assert make(problem, network, tmp_path, training=TRAINING, device="cpu", progress=lambda *each: steps.append(each))
    assert not steps
    with pytest.raises(ValueError, match="run must be of sparsity 0.5, not 0.25"):
        make(problem, Network(sparsity=0.5, bits=(3, 5)), tmp_path, training=TRAINING, device="cpu")


def test_a_run_that_stopped_goes_on_to_the_same_program(tmp_path):
    problem, network = task(), Network(sparsity=0.25, bits=(3, 5))
    whole = make(problem, network, tmp_path / "whole", training=TRAINING, device="cpu")

    class Stopped(Exception):
        pass

    def stop(done, steps, text):
        raise Stopped

    with pytest.raises(Stopped):
        make(problem, network, tmp_path / "parts", training=TRAINING, device="cpu", progress=stop)
    seen = []
    for limit in itertools.count(1):

        def later(done, steps, text, limit=limit):
            seen.append((done, steps))
            if len(seen) % 3 == limit % 3:
                raise Stopped

        try:
            parts = make(problem, network, tmp_path / "parts", training=TRAINING, device="cpu", progress=later)
            break
        except Stopped:
            assert limit < 20
    assert parts.program.digest == whole.program.digest and parts.metric == whole.metric


def test_a_transformer_has_units_and_its_own_multiplier(tmp_path):
    problem = task(Tokens, (4, 8))
    drum = Multiplier(name="drum", family="drum", a=Fixed(6), b=Fixed(6), k=4)
    network = Network(sparsity=0.1, bits=(4, 6), multiplier=drum, segments=8)
    made = make(problem, network, tmp_path, training=TRAINING, device="cpu")
    assert set(made.multipliers.values()) == {"drum"} and len(made.multipliers) == 7
    digests = {node.multiplier.digest for node in made.program.nodes if hasattr(node, "multiplier")}
    assert digests == {drum.digest}
    assert made.metric == agrees(made, *problem.test.tensors)
    tile = fit_tile(made.program, rows=2, columns=2)
    assert len(tile.operators) == 2 and [each.digest for each in tile.multipliers] == [drum.digest]


def test_steps_stay_where_magnitudes_have_as_many_bits_and_double_for_each_that_is_lost(compressed):
    model, _ = compressed
    assert common_operands(model, 5) == (Fixed(5), Fixed(5))  # of the first layer, whose inputs have signs
    before = {
        path: [(float(each.quantizer(each.selected).step.detach()), each.selected) for each in operation.choices]
        for path, operation in quantized_operations(model).items()
    }
    multiply(model, Multiplier(family="exact", a=Fixed(4), b=Fixed(6)))
    for path, ((weight, _), (activation, format)) in before.items():
        layer = model.get_submodule(path)
        lost = max(0, format.bits - format.signed - 3)
        assert float(layer.weight_quantizer.step) == weight
        assert float(layer.activation_quantizer.step) == activation * 2**lost
    assert {format.signed for _, (_, format) in before.values()} == {True, False}


def test_operations_take_what_a_cell_needs_least_area_for(compressed, tmp_path):
    model, problem = compressed
    a, b = common_operands(model, 5)
    families = {
        "whole": {"family": "exact"},
        "fine": {"family": "truncate_columns", "columns": 1},
        "none": {"family": "truncate_columns", "columns": 8},
    }
    units = {name: Multiplier(name=name, a=a, b=b, **family) for name, family in families.items()}
    told = {"gate_equivalents": None, "delay": None, "registers": 0, "form": "", "liberty": "", "tool": ""}
    areas = CostTable(
        {
            units[name].digest: Block(name=name, area=area, **told)
            for name, area in {"whole": 100.0, "fine": 60.0, "none": 10.0}.items()
        }
    )
    multiply(model, units["whole"])
    batches = [problem.test.tensors]
    options = {"areas": areas, "file": tmp_path / "harms.json"}
    found = assign_cells(model, list(units.values()), problem, batches, harm=0.02, **options)
    assert {unit.name for unit in multiplied(model).values()} == {"fine"} and found.assignment.sensitivity <= 0.02
    measured = json.loads((tmp_path / "harms.json").read_text())["values"]
    assert len(measured) == 9
    with pytest.raises(ValueError, match="must do harm of at most -1 in all operations; none do"):
        assign_cells(model, list(units.values())[2:], problem, batches, harm=-1, **options | {"file": tmp_path / "o"})


def test_softmaxes_read_one_table(tmp_path):
    model = nn.Sequential(Encoder(8, 2), Encoder(8, 2)).eval()
    with torch.no_grad():
        model[1].attention.inputs.weight *= 6
    assert piecewise(model, 8, [torch.randn(20, 4, 8)], tmp_path)
    scales = {int(each.exp.quantizer.current_scale()) for each in model.modules() if isinstance(each, PwlSoftmax)}
    assert len(scales) == 1
    assert not piecewise(mlp(), 8, [torch.randn(4, 8)], tmp_path)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            Network(bits=(4, 6), segments=8),
            "Network segments must be left out for a model without modules of such functions",
        ),
        (
            Network(bits=(4, 6), multiplier=Multiplier(family="exact", bits=6)),
            "0: multiplier must take negative operands, not u6",
        ),
    ],
)
def test_what_a_task_cannot_have_is_told(network, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        make(task(), network, tmp_path, training=TRAINING, device="cpu")


def test_look_ups_need_a_layer_between(tmp_path):
    def two():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))

    words = "Network look_ups must be left out for a model without a layer between the first and the last"
    with pytest.raises(ValueError, match=words):
        make(
            task(two),
            Network(bits=(4, 6), look_ups=LookUps(k=4, v=4)),
            tmp_path / "two",
            training=TRAINING,
            device="cpu",
        )
    made = make(
        task(),
        Network(bits=(4, 6), look_ups=LookUps(k=4, v=4, encoder="tree")),
        tmp_path / "mlp",
        training=TRAINING,
        device="cpu",
    )
    assert sorted(made.multipliers) == ["0", "4"]
    assert [type(node).__name__ for node in made.program.nodes].count("LookUp") == 1
