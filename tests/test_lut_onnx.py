"""Networks of look-ups as ONNX: run by onnxruntime, layers equal bit for bit."""

import importlib.util
import re

import pytest
import torch
from lut_layers import ENCODERS, awkward, converted, quick, with_ties
from torch import nn

from hwlut import Fixed, ToolError, load
from hwlut.lutnn import export_onnx, units
from hwlut.lutnn.standard import standard
from hwlut.nn import PwlActivation
from hwlut.quant import Quantizer
from hwlut.share import share


def session(path, integers=False):
    """onnxruntime on the file; with `integers`, its outputs are the int32 sums whose products with a step they are."""
    import onnx
    import onnxruntime

    model = onnx.load_from_string(path.read_bytes())
    onnx.checker.check_model(model, full_check=True)
    assert {each.domain for each in model.opset_import} == {""}
    if integers:
        made = {name: node for node in model.graph.node for name in node.output}
        sums = []
        for output in model.graph.output:
            node = made[output.name]
            while node.op_type != "Cast":
                node = made[node.input[0]]
            sums.append(onnx.helper.make_tensor_value_info(node.input[0], onnx.TensorProto.INT32, None))
        del model.graph.output[:]
        model.graph.output.extend(sums)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def run(session, *inputs):
    names = [each.name for each in session.get_inputs()]
    return [torch.from_numpy(y) for y in session.run(None, {n: x.numpy() for n, x in zip(names, inputs)})]


class Each(nn.Module):
    """Layers side by side, each on the first features or channels of the input."""

    def __init__(self, **layers):
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.widths = {name: getattr(each, "in_channels", 0) or each.in_features for name, each in layers.items()}
        self.lines = [name for name, each in layers.items() if isinstance(each, nn.Conv1d)]

    def forward(self, x):
        return [self.layers[name](part) for name, part in self.parts(x)]

    def parts(self, x):
        for name, width in self.widths.items():
            yield name, x[:, :width, 0] if name in self.lines else x[:, :width]


LOOKUPS = {
    **{encoder: quick(k=8, v=3, encoder=encoder) for encoder in ENCODERS},
    "int4": quick(k=4, v=5, table_bits=4),
    "int4_tree": quick(k=2, v=2, encoder="tree", table_bits=4, per_output=False),
    "per_output": quick(k=16, v=4, per_output=True),
    "power_of_two": quick(k=4, v=3, activations=Quantizer(Fixed(8))),
    "long": quick(k=4, v=150),
}


@pytest.fixture(scope="module")
def linear():
    """Linear layers of every kind."""
    sizes = {name: 300 if name == "long" else 11 for name in LOOKUPS}
    layers = {name: nn.Linear(size, 7, bias=name != "l1") for name, size in sizes.items()}
    model = converted(Each(**layers), {f"layers.{name}": each for name, each in LOOKUPS.items()}, (64, 300))
    for encoder in ENCODERS[:3]:
        with_ties(model.layers[encoder])
    return model


@pytest.fixture(scope="module")
def linear_file(linear, tmp_path_factory):
    for name in ("onnx", "onnxruntime", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}")
    return export_onnx(linear, torch.randn(3, 300), tmp_path_factory.mktemp("onnx") / "linear.onnx")


@pytest.mark.parametrize("batch", [1, 3, 40])
def test_linear_layers_are_equal(linear, linear_file, batch):
    x = torch.cat([awkward(linear.layers["l2"], batch, 290), awkward(linear.layers["tree"], batch, 10)], 1)
    for layer in linear.layers.values():  # half-way cases of every layer
        step = layer.activation_quantizer.quantize(torch.zeros(1)).step
        x[batch // 2, : layer.features] = torch.randint(-300, 300, (layer.features,)) * 0.5 * step
        with torch.no_grad():
            expected = linear(x)
        for name, found, wanted in zip(linear.layers, run(session(linear_file), x), expected):
            assert torch.equal(found, wanted), name
    for (name, part), found in zip(linear.parts(x), run(session(linear_file, integers=True), x)):
        assert found.dtype == torch.int32 and torch.equal(found, linear.layers[name].accumulators(part)), name


def test_the_lowest_index_wins(linear):
    for encoder in ENCODERS[:3]:
        layer = linear.layers[encoder]
        x = layer.prototypes.flatten(2)[:, -2:].transpose(0, 1).flatten(1)[:, :11].detach()
        plain = standard(layer)
        rows = nn.functional.pad(plain.codes(x), (0, plain.padding)).view(-1, plain.codebooks, plain.v)
        assert (plain.encoder(rows) < 2).all() and (layer.indices(x) < 2).all()


def test_long_squares_are_exact():
    # 128 * 128 + 2 * 128 * 128 an input: 341 of them are below 2^24.
    for v, dtype in ((341, torch.float32), (342, torch.float64)):
        layer = converted(nn.Sequential(nn.Linear(v, 2)), {"0": quick(k=2, v=v, activations=Quantizer(Fixed(8)))},
                          (4, v))[0]  # fmt: skip
        step = layer.activation_quantizer.quantize(torch.zeros(1)).step
        with torch.no_grad():
            layer.prototypes.fill_(-128 * step)
            layer.prototypes[0, 1, 0] = -127 * step
        plain = standard(layer)
        assert plain.encoder.products.dtype is dtype
        x = torch.full((3, v), 1000.0) * step
        x[1], x[2, 0] = -x[1], -127 * step
        with torch.no_grad():
            assert torch.equal(plain(x), layer(x))


CONVOLUTIONS = {
    "padded": nn.Conv2d(3, 5, 3, padding=1),
    "strided": nn.Conv2d(2, 5, (3, 2), stride=(2, 3), dilation=(1, 2), padding=(2, 1)),
    "mirrored": nn.Conv2d(2, 3, 3, padding=2, padding_mode="reflect"),
    "around": nn.Conv2d(2, 3, 3, padding="same", padding_mode="circular"),
    "line": nn.Conv1d(3, 5, 3, padding=2, dilation=2),
}


def test_convolutions_are_equal(need, tmp_path):
    need("onnx", "onnxruntime", "onnxscript")
    encoders = dict(zip(CONVOLUTIONS, ["l2", "tree", "l1", "chebyshev", "l2"]))
    mapping = {f"layers.{name}": quick(k=8, encoder=encoder) for name, encoder in encoders.items()}
    model = converted(Each(**CONVOLUTIONS), mapping, (4, 3, 7, 8))
    path = export_onnx(model, torch.randn(1, 3, 7, 8), tmp_path / "net.onnx")
    for batch in (1, 5):
        x = awkward(model.layers["padded"], batch, 3, 7, 8)
        with torch.no_grad():
            expected = model(x)
        for name, found, wanted in zip(model.layers, run(session(path), x), expected):
            assert torch.equal(found, wanted), name


def close(path, model, *shapes):
    """Results of both, which must be near, and of the same greatest class."""
    torch.manual_seed(1)
    for batch in (1, 7):
        inputs = [torch.randn(batch, *shape) for shape in shapes]
        with torch.no_grad():
            expected = model(*inputs)
        (found,) = run(session(path), *inputs)
        assert (found - expected).abs().mean() < 1e-3 * expected.abs().mean()
        assert torch.equal(found.argmax(-1), expected.argmax(-1))


def test_a_convolutional_network(need, tmp_path):
    need("onnx", "onnxruntime", "onnxscript")
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Dropout(), nn.Linear(96, 5),
    )  # fmt: skip
    model = converted(model, {"4": quick(k=16), "8": quick(k=8, encoder="tree")}, (8, 1, 10, 10)).train()
    path = export_onnx(model, torch.randn(2, 1, 10, 10), tmp_path / "net.onnx")
    assert model.training and type(model[4]).__name__ == "LutConv2d"
    close(path, model.eval(), (1, 10, 10))
    import onnx

    content = path.read_bytes()
    held = {each.key: each.value for each in onnx.load_from_string(content).metadata_props}
    assert held == {f"hwlut.{unit.name}": unit.digest for unit in units(model).values()}
    assert str(tmp_path.parts[1]).encode() not in content and b"stack_trace" not in content


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(12, 3, 16, batch_first=True)
        self.classes = nn.Linear(12, 5)

    def forward(self, x, place):
        return self.classes(self.encoder(x + place).mean(1))


def test_a_transformer_of_two_inputs(need, tmp_path):
    need("onnx", "onnxruntime", "onnxscript")
    model = converted(Block(), {nn.Linear: quick(k=8, v=4), nn.MultiheadAttention: quick(k=8, v=4)},
                      (4, 6, 12), (4, 1, 12))  # fmt: skip
    path = export_onnx(model, (torch.randn(1, 6, 12), torch.randn(1, 1, 12)), tmp_path / "net.onnx")
    close(path, model, (6, 12), (1, 12))


def test_what_cannot_be_exported_is_refused(linear, tmp_path, monkeypatch):
    x = torch.randn(3, 300)
    with_pwl = nn.Sequential(linear.layers["l2"], PwlActivation(load(share("pretrained", "gelu_8.json"))))
    for model, sample, error, message in (
        (nn.Linear(3, 3), x, ValueError, "model must have a layer of look-ups, which hwlut.nn.convert makes"),
        (linear, [x], TypeError, "export_onnx sample must be a tensor or a tuple of tensors, not list"),
        (linear, x[:0], ValueError, "export_onnx sample must have a batch of at least one, not shape [0, 300]"),
        (linear, (x, x[:2]), ValueError, "export_onnx samples must have one batch, not [2, 3]"),
        (with_pwl, x, ValueError, "export_onnx module '1' must be of torch or look up, not PwlActivation"),
    ):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            export_onnx(model, sample, tmp_path / "net.onnx")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(ToolError, match=r"^onnxscript: not found; install it with: pip install 'hwlut\[onnx\]'$"):
        export_onnx(linear, x, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


class OfThree(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x).view(3, 7)


def test_a_network_of_one_batch_is_refused(need, linear, tmp_path):
    need("onnx", "onnxscript")
    with pytest.raises(ValueError, match="^export_onnx model must take any batch, not 3 alone$"):
        export_onnx(OfThree(linear.layers["l2"]), torch.randn(3, 11), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
