"""Networks of look-ups outside Python: files of units, and C equal to units and layers bit for bit."""

import copy
import ctypes
import itertools
import subprocess

import numpy as np
import pytest
import torch
from lut_layers import ENCODERS, awkward, converted, quick, with_ties
from lut_units import random_unit
from torch import nn

from hwlut import Fixed, LutMatmul, Requantize, load
from hwlut.lutnn import c_source, save_units, units, write_c
from hwlut.quant import Quantizer

STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-ffp-contract=off"]
TYPES = {"int8": np.int8, "uint8": np.uint8, "int16": np.int16, "int32": np.int32, "uint32": np.uint32}


@pytest.fixture
def built(need, tmp_path):
    """Compiles C text to a library."""
    need("gcc")

    def build(text, level="-O2"):
        source, library = tmp_path / "net.c", tmp_path / "net.so"
        source.write_text(text)
        compiled(["gcc", "-std=c99", level, "-fPIC", "-shared", str(source), "-o", str(library), "-lm"])
        return ctypes.CDLL(str(library))

    return build


def compiled(command):
    run = subprocess.run([*command, *STRICT], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def called(function, x, shape, kind, *sizes):
    """What a C function writes for the array `x`, into an array with one number more than it may write."""
    x, out = np.ascontiguousarray(x), np.full(np.prod(shape, dtype=int) + 1, 77, kind)
    function.restype = None
    function(x.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), *map(ctypes.c_size_t, sizes))
    assert out[-1] == 77
    return torch.from_numpy(out[:-1].reshape(shape).astype(np.int64 if kind != np.float32 else kind))


def in_c(library, unit, codes):
    """Results of int8 codes [rows, features] by the function net_NAME."""
    kind = np.int32
    if unit.requantize is not None:
        kind = TYPES[f"{'' if unit.output.signed else 'u'}int{next(b for b in (8, 16, 32) if unit.output.bits <= b)}"]
    codes = codes.numpy().astype(np.int8)
    return called(library[f"net_{unit.name}"], codes, (len(codes), unit.outputs), kind, len(codes))


def real_in_c(library, name, x, shape, *sizes):
    return called(library[f"net_{name}_f32"], x.detach().numpy(), shape, np.float32, *sizes)


def test_every_kind_of_unit_in_c(built):
    made = {}
    shapes = [(4, 3, 7, 5), (16, 4, 32, 6), (2, 1, 3, 1), (32, 9, 40, 33)]
    choices = itertools.product(ENCODERS, (8, 4), (False, True), shapes)
    for number, (encoder, bits, bias, (k, v, features, outputs)) in enumerate(choices):
        made[f"u{number}"] = random_unit(
            number, encoder=encoder, k=k, v=v, features=features, outputs=outputs, table_bits=bits, bias=bias,
            ties=number % 3 == 0, extreme=number % 5 == 0,
        ).replace(name=f"u{number}")  # fmt: skip
    library = built(c_source(made, "net"))
    generator = torch.Generator().manual_seed(0)
    for unit in made.values():
        codes = torch.randint(-128, 128, (40, unit.features), generator=generator)
        codes[:20] = torch.randint(-3, 4, (20, unit.features), generator=generator)  # where ties are
        codes[20], codes[21] = -128, 127
        assert torch.equal(in_c(library, unit, codes), unit(codes).long()), unit.name
        assert in_c(library, unit, codes[:0]).shape == (0, unit.outputs)


def test_every_code_in_c(built):
    made = {e: random_unit(3, encoder=e, k=16, v=1, features=1, outputs=2).replace(name=e) for e in ENCODERS}
    made["wide"] = random_unit(4, encoder="l2", k=256, v=1, features=1, outputs=300, table_bits=4).replace(name="wide")
    library = built(c_source(made, "net"), "-O3")
    codes = torch.arange(-128, 128)[:, None]
    for unit in made.values():
        assert torch.equal(in_c(library, unit, codes), unit(codes).long()), unit.name


def test_ties_by_hand_in_c(built):
    # 0 is as near to 1 as to -1, in every distance; the lower index, 1, is where -1 stands.
    made = {
        encoder: LutMatmul(name=encoder, encoder=encoder, features=1, v=1,
                           prototypes=[[[9], [-1], [1], [-1]]], table=[[[10], [11], [12], [13]]])
        for encoder in ENCODERS[:3]
    }  # fmt: skip
    library = built(c_source(made, "net"))
    for unit in made.values():
        assert in_c(library, unit, torch.tensor([[0], [1], [-1]])).flatten().tolist() == [11, 12, 11]


@pytest.mark.parametrize("rounding", ["half_up", "half_even", "floor"])
def test_requantized_units_in_c(built, rounding):
    made = {}
    outputs = [Fixed(8), Fixed(8, signed=False), Fixed(12), Fixed(32), Fixed(32, signed=False), Fixed(1)]
    for number, output in enumerate(outputs):
        for channels, name in ((1, f"one{number}"), (5, f"each{number}")):
            after = Requantize(
                input=Fixed(32), multipliers=[3, (1 << 31) - 1, 1 << 30, 0, 5][:channels],
                shifts=[1, 31, 62, 0, 2][:channels], output=output, rounding=rounding,
                zero_point=min(1, output.max),
            )  # fmt: skip
            unit = random_unit(number, encoder="l1", k=16, v=2, features=9, outputs=5)
            made[name] = unit.replace(name=name, requantize=after)
    # The greatest product and the longest shift, and its negative.
    end = np.array([[[-(1 << 31)], [(1 << 31) - 1]]])
    after = Requantize(
        input=Fixed(32), multipliers=[(1 << 31) - 1], shifts=[62], output=Fixed(8), rounding=rounding
    )  # fmt: skip
    made["ends"] = LutMatmul(
        name="ends", encoder="l1", features=1, v=1, prototypes=[[[0], [9]]], table=np.zeros((1, 2, 2), int),
        bias=end.flatten(), requantize=after,
    )  # fmt: skip
    library = built(c_source(made, "net"))
    for unit in made.values():
        codes = torch.randint(-128, 128, (60, unit.features), generator=torch.Generator().manual_seed(1))
        assert torch.equal(in_c(library, unit, codes), unit(codes).long()), unit.name


LOOKUPS = {
    **{encoder: quick(k=8, v=3, encoder=encoder) for encoder in ENCODERS},
    "int4": quick(k=4, v=5, table_bits=4),
    "int4 tree, one scale": quick(k=4, v=2, encoder="tree", table_bits=4, per_output=False),
    "per output": quick(k=16, v=4, per_output=True),
    "symmetric power of two": quick(k=4, v=3, activations=Quantizer(Fixed(8))),
    "learned": quick(k=4, v=3, activations=Quantizer(Fixed(8), steps="real", symmetric=False, source="learned")),
}


def test_linear_layers_in_c(built):
    names = {key: f"l{number}" for number, key in enumerate(LOOKUPS)}
    model = nn.ModuleDict({name: nn.Linear(11, 7, bias=name != "l0") for name in names.values()})
    model.forward = lambda x: [layer(x) for layer in model.values()]
    converted(model, {names[key]: lookup for key, lookup in LOOKUPS.items()}, (64, 11))
    with_ties(model["l1"])
    library = built(c_source(model, "net"))
    for name, layer in model.items():
        x = awkward(layer, 50, 11)
        with torch.no_grad():
            expected = layer(x)
        assert torch.equal(real_in_c(library, name, x, (50, 7), 50), expected), name
        codes = layer.activation_quantizer.codes(x)
        assert torch.equal(in_c(library, layer.unit(name), codes), layer.accumulators(x).long())


CONVOLUTIONS = {
    "plain": (nn.Conv2d(3, 5, 3), (4, 3, 6, 7)),
    "padded": (nn.Conv2d(3, 5, 3, padding=1), (4, 3, 6, 7)),
    "pointwise": (nn.Conv2d(6, 5, 1, bias=False), (4, 6, 5, 5)),
    "strided": (nn.Conv2d(2, 5, (3, 2), stride=(2, 3), dilation=(1, 2), padding=(2, 1)), (4, 2, 9, 8)),
    "same": (nn.Conv2d(2, 3, (2, 4), padding="same", dilation=(3, 1)), (4, 2, 6, 6)),
    "mirrored": (nn.Conv2d(2, 3, 3, padding=2, padding_mode="reflect"), (4, 2, 5, 6)),
    "edges": (nn.Conv2d(2, 3, 3, padding=(4, 1), padding_mode="replicate", stride=2), (4, 2, 2, 6)),
    "around": (nn.Conv2d(2, 3, 3, padding=(2, 1), padding_mode="circular"), (4, 2, 4, 6)),
    "line": (nn.Conv1d(3, 5, 3, padding=2, dilation=2), (8, 3, 12)),
    "ring": (nn.Conv1d(3, 4, 4, padding="same", padding_mode="circular"), (8, 3, 9)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("encoder, bits", [("l2", 8), ("tree", 4)])
def test_convolutions_in_c(built, encoder, bits):
    models = {}
    for name, (dense, shape) in CONVOLUTIONS.items():
        models[name] = converted(
            nn.Sequential(copy.deepcopy(dense)), {"0": quick(k=8, encoder=encoder, table_bits=bits)}, shape
        )[0]
    library = built(c_source(nn.ModuleDict(models), "net"))
    for name, (_, shape) in CONVOLUTIONS.items():
        x = awkward(models[name], *shape)
        with torch.no_grad():
            expected = models[name](x)
        found = real_in_c(library, name, x, expected.shape, len(x), *shape[2:])
        assert torch.equal(found, expected), name


def test_images_that_are_too_small_are_left_alone(built):
    layers = {}
    for name in ("plain", "mirrored", "line"):
        dense, shape = CONVOLUTIONS[name]
        layers[name] = converted(nn.Sequential(copy.deepcopy(dense)), {"0": quick(k=8)}, shape)[0]
    library = built(c_source(nn.ModuleDict(layers), "net"))
    x = torch.ones(100)
    for name, sizes in (("plain", (1, 2, 9)), ("plain", (1, 9, 2)), ("mirrored", (1, 3, 2)), ("line", (1, 0))):
        assert real_in_c(library, name, x, (50,), *sizes).eq(77).all()


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)[0]


def test_projections_of_attention_in_c(built):
    model = converted(Block(), {nn.MultiheadAttention: quick(k=16, v=4)}, (4, 10, 12))
    assert list(units(model)) == [f"attention.{each}_proj" for each in ("q", "k", "v", "out")]
    library = built(c_source(model, "net"))
    x = torch.randn(9, 12)
    with torch.no_grad():
        expected = model.attention.v_proj(x)
    assert torch.equal(real_in_c(library, "attention_v_proj", x, (9, 12), 9), expected)


def test_a_program_calls_the_file(need, tmp_path):
    need("g++", "gcc")
    model = converted(nn.Sequential(nn.Linear(6, 4), nn.Conv1d(4, 3, 3, padding=1, padding_mode="reflect")),
                      {"0": quick(k=4, v=3)}, (8, 4, 6))  # fmt: skip
    path = write_c(model, tmp_path / "net.c")
    assert path.read_text() == c_source(model, "net")
    expected = model[0].unit()(torch.arange(6)[None]).flatten().tolist()
    with torch.no_grad():
        expected += model[0](torch.tensor([torch.nan, torch.inf, -torch.inf, 1e30, 0.0, 1.0])).tolist()
    (tmp_path / "main.c").write_text("""
#define net_PROTOTYPES
#include "net.c"
#include <math.h>
#include <stdio.h>

int main(void)
{
    const int8_t codes[6] = {0, 1, 2, 3, 4, 5};
    const float x[6] = {NAN, INFINITY, -INFINITY, 1e30f, 0.0f, 1.0f};
    int32_t sums[4];
    float y[4];
    net_layer_0(codes, sums, 1);
    net_layer_0_f32(x, y, 1);
    for (int m = 0; m < 4; ++m)
        printf("%d ", (int)sums[m]);
    for (int m = 0; m < 4; ++m)
        printf("%.9g ", y[m]);
    return 0;
}
""")
    # What C leaves undefined, such as NaN as an integer, ends the program.
    undefined = ["-fsanitize=undefined", "-fsanitize=float-cast-overflow", "-fsanitize-undefined-trap-on-error"]
    for options in (["gcc", "-std=c99"], ["g++", "-x", "c++", "-std=c++11"]):
        program = tmp_path / options[0]
        sources = [str(tmp_path / "main.c"), str(path), "-x", "none"]
        compiled([*options, *undefined, *sources, "-o", str(program), "-lm"])
        run = subprocess.run([program], capture_output=True, text=True, check=True)
        assert run.stdout.split() == [f"{np.float32(each):.9g}" for each in expected]


def test_the_head_tells_what_is_in_the_file():
    model = converted(nn.Sequential(nn.Linear(10, 4)), {"0": quick(k=8, v=4, table_bits=4)}, (64, 10))
    head = c_source(model, "net").partition("#ifndef")[0]
    assert "layer_0: 10 to 4, v 4, k 8, l2, 4 bits; prototypes 96, table 48, bias 16\n" in head
    assert model[0].unit().digest in head and "-ffp-contract=off" in head
    integers = c_source(units(model), "net")
    assert "_f32" not in integers and "math.h" not in integers


def test_units_of_a_network_are_files(tmp_path):
    model = nn.Sequential(nn.Linear(64, 40), nn.Sequential(nn.ReLU(), nn.Linear(40, 3)))
    converted(model, {nn.Linear: quick(k=16)}, (64, 64))
    found = units(model)
    assert {path: unit.name for path, unit in found.items()} == {"0": "layer_0", "1.1": "layer_1_1"}
    paths = save_units(model, tmp_path / "units")
    assert [path.name for path in paths] == ["layer_0.json", "layer_1_1.json"]
    assert [load(path) for path in paths] == list(found.values())
    assert (tmp_path / "units" / "layer_0.safetensors").exists()


def test_names_of_layers_are_legal_and_differ():
    layer = converted(nn.Sequential(nn.Linear(4, 2)), {"0": quick(k=2, v=2)}, (8, 4))[0]
    model = nn.ModuleDict({key: copy.deepcopy(layer) for key in ("wire", "a_b", "a-b", "x" * 70, "fc")})
    model["shared"] = model["fc"]
    names = [unit.name for unit in units(model).values()]
    assert names[:2] == ["layer_wire", "a_b"] and names[2].startswith("a_b_") and names[-1] == "fc"
    assert len(set(names)) == 5 and max(map(len, names)) == 64
    assert [unit.name for unit in units(layer).values()] == ["layer"]


def test_what_cannot_be_written_is_refused():
    unit = random_unit(0, encoder="l1", k=2, v=1, features=1, outputs=1)
    for model, name, error, message in (
        (nn.Sequential(nn.Linear(2, 2)), "net", ValueError, "model must have a layer of look-ups, which hwlut.nn.conv"),
        (3, "net", TypeError, "model must be a module of torch, not int"),
        ({"a": 3}, "net", TypeError, "c_source units must be LutMatmul, not int"),
        ({"a": unit}, "1x", ValueError, r"c_source name must match \[A-Za-z_\]"),
        ({"a": unit, "b": unit}, "net", ValueError, "c_source names of units must differ, not 'lut_l1' twice"),
        ({"a": unit.replace(name="code")}, "net", ValueError, "c_source name of a layer must not be 'code', which st"),
        (
            {name: unit.replace(name=name) for name in ("fc", "fc_f32")},
            "net",
            ValueError,
            "c_source names of layers must not clash in C, as 'fc' and 'fc_f32' do",
        ),
    ):
        with pytest.raises(error, match=f"^{message}"):
            c_source(model, name)
