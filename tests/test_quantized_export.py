"""What a search leaves can be exported: a static graph whose steps follow no input, its state, its integers."""

import logging

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from examples.models import LeNet5, ResNet, VisionTransformer
from hwlut import Fixed
from hwlut.nn.quantized import Operands, integers, quantize, quantized_operations
from hwlut.quant import calibrate, parse_format
from hwlut.quant.precision import Precision
from hwlut.search import Search, load_integers, open_search, save_integers, search
from hwlut.train import Finetune, Task

RANGES = {"aminmax", "amin", "amax", "min", "max", "argmin", "argmax", "sort", "histc", "quantile", "std", "var"}
MODELS = {"cnn": LeNet5, "resnet": ResNet, "transformer": lambda: VisionTransformer(width=16, depth=1, heads=2)}


def noise(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(
        torch.randn(count, 1, 28, 28, generator=generator), torch.randint(10, (count,), generator=generator)
    )


def following(program):
    """Nodes of a program that take a range of what comes in, that divide by what follows from it, or need hwlut."""
    inputs = set(program.graph_signature.user_inputs)
    tainted, found = {node for node in program.graph.nodes if node.name in inputs}, []
    assert tainted
    for node in program.graph.nodes:
        if node.op != "call_function" or tainted.isdisjoint(node.all_input_nodes):
            continue
        name = node.target.__name__.partition(".")[0]
        if name == "__and__":  # the exponent of each value, by which a Minifloat rounds it: no step
            continue
        tainted.add(node)
        scaled = name in ("div", "div_") and node.args[1] in tainted
        if name in RANGES or scaled or "hwlut" in str(node.target):
            found.append(str(node.target))
    return found


def exported(model, images, **options):
    return torch.export.export(model, (images,), **options)


@pytest.mark.parametrize("kind", MODELS)
def test_a_search_leaves_a_static_model(kind, tmp_path):
    task = Task(name="noise", model=MODELS[kind], train=noise(40, 0), test=noise(10, 1))
    formats = [parse_format(name) for name in ("s8", "e2m1", "u4")]
    powers = {"steps": "power_of_two", "source": "learned"}
    quantizers = Operands(powers, powers | {"symmetric": False}) if kind == "resnet" else Operands()
    options = Search(formats=formats, target_bits=6, calibration=20, quantizers=quantizers)
    model = search(task, options, Finetune(steps=2, batch=10), tmp_path, device="cpu").model
    fixed = kind == "transformer"  # whose own forward reads the length of its batch
    images, others = noise(3, 2).tensors[0], noise(3 if fixed else 5, 3).tensors[0]
    program = exported(model, images, dynamic_shapes=None if fixed else ({0: torch.export.Dim("batch")},))
    assert following(program) == []
    assert torch.equal(program.module()(others), model(others))
    opened = open_search(tmp_path, task)[2]
    assert torch.equal(opened(others), model(others))
    found = integers(model, images)
    assert list(found) == list(quantized_operations(opened))
    assert all(each.accumulator is not None for each in found.values())
    assert all((each.weight.shifts is None) == (kind != "resnet") for each in found.values())
    save_integers(opened, tmp_path, images)
    assert all(
        each.accumulator == found[name].accumulator
        and (each.codes is None or torch.equal(each.codes, found[name].codes))
        for name, each in load_integers(tmp_path).items()
    )


@pytest.mark.parametrize("granularity", ["tensor", "token"])
def test_steps_that_follow_inputs_are_seen(granularity):
    """The check above is one: a dynamic model fails it."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    given = {"steps": "real", "source": "dynamic", "granularity": granularity}
    quantize(model, {"1": [Precision.parse("s8")]}, Operands(activations=given))
    images = noise(3, 2).tensors[0]
    calibrate(model, [images])
    assert following(exported(model.eval(), images))


@pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning")
def test_integer_formats_as_onnx(monkeypatch):
    """By torch's own exporter, in standard operators; steps are powers of two, so that every sum is exact."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(7)
    layers = nn.Conv2d(1, 3, 5, stride=3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(192, 4, bias=False)
    model, images = nn.Sequential(*layers), noise(3, 2).tensors[0]
    powers = {"steps": "multiplier", "multiplier_bits": 1}
    each = {"0": [Precision(Fixed(4), Fixed(8))], "3": [Precision(Fixed(8), Fixed(4, signed=False))]}
    quantize(model, each, Operands(powers, powers | {"symmetric": False}))
    calibrate(model, [images])
    monkeypatch.setattr(logging.getLogger("torch.onnx._internal.exporter._registration"), "level", logging.ERROR)
    proto = torch.onnx.export(model.eval(), (images,), dynamo=True, verbose=False).model_proto
    assert {node.domain for node in proto.graph.node} == {""}
    session = runtime.InferenceSession(proto.SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    assert torch.equal(torch.from_numpy(found), model(images))
