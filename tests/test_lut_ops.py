"""Look-up products: every path of the kernels, and torch, against the units; the codes of real numbers."""

import functools
import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lut_units import random_unit

from hwlut import Fixed, LutMatmul, Requantize, ops
from hwlut.ops import lut_tables as tables_of
from hwlut.ops import registry
from hwlut.ops.lut_pack import _definition as packed_in_torch
from hwlut.ops.lut_pack import lut_pack
from hwlut.quant.affine import held_codes

ENCODERS = ["l2", "l1", "chebyshev", "tree"]
needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def _has(*flags):
    flagged = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else ()
    return all(flag in flagged for flag in flags)


PATHS = [
    pytest.param(
        "",
        id="avx512",
        marks=[
            needs_gxx,
            pytest.mark.skipif(not _has("avx512vbmi", "avx512_vnni"), reason="needs a processor with AVX-512 VBMI"),
        ],
    ),
    pytest.param("avx2", marks=[needs_gxx, pytest.mark.skipif(not _has("avx2"), reason="needs a processor with AVX2")]),
    pytest.param("plain", marks=needs_gxx),
    "torch",
]


def forget():
    registry._chosen.cache_clear()
    importlib.import_module("hwlut.ops.lut_tables")._kept.cache_clear()


@pytest.fixture(params=PATHS)
def path(request, monkeypatch):
    """The instructions that the kernels use; in torch, none."""
    forget()
    monkeypatch.setenv("HWLUT_CPU", request.param)
    monkeypatch.setenv("HWLUT_KERNELS", "torch" if request.param == "torch" else "")
    assert ops.implementation("lut_matmul", "cpu") == ("torch" if request.param == "torch" else "kernel")
    yield request.param
    forget()


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def random_codes(*shape, seed=0):
    return torch.randint(-128, 128, shape, generator=torch.Generator().manual_seed(seed)).to(torch.int8)


def check(unit, codes, want=None, indices=None):
    """All three operators give what the unit gives."""
    want = unit(codes) if want is None else want
    got = ops.lut_encode(codes, unit)
    assert got.dtype == torch.uint8 and torch.equal(got.long(), unit.encode(codes) if indices is None else indices)
    got = ops.lut_scan(got, unit)
    assert got.shape == want.shape and torch.equal(got.to(want.dtype), want)
    if unit.requantize is None:
        assert got.dtype == torch.int32
    fused = ops.lut_matmul(codes, unit)
    assert fused.dtype == got.dtype and torch.equal(fused, got)


CASES = (  # v, features, outputs, rows
    (1, 5, 3, 1),
    (3, 10, 17, 65),
    (8, 64, 64, 100),
    (9, 100, 70, 33),
    (33, 140, 300, 17),
    (4, 300, 16, 130),
    (2, 77, 129, 64),
    (21, 62, 40, 15),
    (16, 130, 5, 49),
    (26, 27, 1, 2),
)


@functools.cache
def example(encoder, k, case):
    """A unit, codes, and what the unit makes of them: computed once for all paths."""
    v, features, outputs, rows = CASES[case]
    rows = min(rows, 30) if k > 100 and case != 2 else rows
    seed = 100 * k + case
    unit = random_unit(
        seed,
        encoder=encoder,
        k=k,
        v=v,
        features=features,
        outputs=outputs,
        ties=case % 2 == 0,
        extreme=case % 3 == 0,
        bias=case % 4 != 1,
        table_bits=4 if case % 5 == 4 else 8,
        requantize=[False, True, "channels"][case % 3],
    )
    codes = random_codes(rows, features, seed=seed)
    if case % 2 == 0:
        codes[: rows // 2] = codes[: rows // 2].clamp(-3, 3)
    return unit, codes, unit(codes), unit.encode(codes)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("k", [2, 4, 8, 16, 32, 64, 128, 256])
def test_against_the_unit(path, encoder, k):
    for case in range(len(CASES) if path != "torch" or k < 64 else 3):
        check(*example(encoder, k, case))


@functools.cache
def every_width(encoder):
    sizes = [(v, 5 * v - (v > 2)) for v in range(1, 34)]
    units = [
        random_unit(v, encoder=encoder, k=8, v=v, features=features, outputs=6, ties=v % 2 == 0)
        for v, features in sizes
    ]
    codes = [random_codes(9, features, seed=v) for v, features in sizes]
    return [(unit, each, unit(each), unit.encode(each)) for unit, each in zip(units, codes)]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_width_of_a_sub_vector(path, encoder):
    for given in every_width(encoder):
        check(*given)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("k", [2, 16, 256])
def test_every_code(path, encoder, k):
    unit = random_unit(k, encoder=encoder, k=k, v=1, features=3, outputs=4)
    check(unit, torch.arange(-128, 128).to(torch.int8)[:, None].repeat(1, 3))


@functools.cache
def every_pair(encoder, k, ties):
    unit = random_unit(k, encoder=encoder, k=k, v=2, features=2, outputs=1, ties=ties)
    every = torch.arange(-128, 128).to(torch.int8)
    codes = torch.cartesian_prod(every, every)
    return unit, codes, unit(codes), unit.encode(codes)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("k, ties", [(4, True), (16, False)])
def test_every_pair_of_codes(path, encoder, k, ties):
    check(*every_pair(encoder, k, ties))


@pytest.mark.parametrize("k", [16, 64])
@pytest.mark.parametrize("entry", [-128, 127])
def test_the_longest_sums(path, k, entry):
    """Of 600 codebooks: no narrower accumulator overflows."""
    codebooks, outputs = 600, 70
    table = np.full((codebooks, k, outputs), entry)
    points = {"thresholds": np.zeros((codebooks, k - 1), int)}
    points["dimensions"] = np.zeros((codebooks, k.bit_length() - 1), int)
    unit = LutMatmul(encoder="tree", features=codebooks, v=1, table=table, **points)
    assert (ops.lut_matmul(random_codes(20, codebooks), unit) == 600 * entry).all()


@pytest.mark.parametrize("k, v", [(16, 2064), (16, 2065), (256, 129), (256, 130), (2, 4096)])
def test_the_longest_distances(path, k, v):
    """Where index and squared distance still fit one number, and where they do not."""
    rng = np.random.default_rng(0)
    prototypes = rng.choice([-128, 127], (2, k, v))
    prototypes[:, k // 2 :] = prototypes[:, : k - k // 2]  # ties
    unit = LutMatmul(encoder="l2", features=2 * v, v=v, prototypes=prototypes, table=rng.integers(-9, 9, (2, k, 3)))
    codes = torch.from_numpy(rng.choice([-128, 127], (5, 2 * v))).to(torch.int8)
    codes[0], codes[1] = -128, 127
    codes[2, :v], codes[2, v:] = -unit_row(prototypes[0, 0]) - 1, -unit_row(prototypes[1, 1]) - 1  # the farthest
    check(unit, codes)


def unit_row(values):
    return torch.from_numpy(values).to(torch.int8)


@pytest.mark.parametrize("rounding", ["half_up", "half_even", "floor"])
@pytest.mark.parametrize("channels", [1, 37])
@pytest.mark.parametrize(
    "bits, signed", [(8, True), (8, False), (4, False), (16, True), (20, False), (32, True), (32, False)]
)
def test_requantized(path, rounding, channels, bits, signed):
    """Sums over all of int32, every place of the shift, ties among them."""
    rng = np.random.default_rng(bits)
    unit = random_unit(3, encoder="tree", k=16, v=2, features=16, outputs=37, bias=False)
    ends = rng.integers(-(1 << 31) + 1024, (1 << 31) - 1024, 37)
    ends[:4] = -(1 << 31) + 1024, (1 << 31) - 1024, 0, 1
    multipliers, shifts = rng.integers(0, 1 << 31, channels), rng.integers(0, 63, channels)
    multipliers[0], shifts[0] = (1 << 31) - 1, 24
    if channels > 1:
        multipliers[1:9], shifts[1:9] = 1 << 30, range(26, 34)  # halves are common
        multipliers[9], shifts[9], shifts[10] = 3, 0, 62
        ends[1:17] = rng.integers(-1000, 1000, 16)
    output = Fixed(bits, signed=signed)
    after = Requantize(
        input=Fixed(32),
        multipliers=multipliers.tolist(),
        shifts=shifts.tolist(),
        zero_point=output.min + (output.max - output.min) // 3,
        output=output,
        rounding=rounding,
    )
    unit = unit.replace(bias=ends, requantize=after)
    got = ops.lut_matmul(random_codes(70, 16), unit)
    widths = {(8, True): torch.int8, (8, False): torch.uint8, (4, False): torch.int8, (16, True): torch.int16}
    assert got.dtype == widths.get((bits, signed), torch.int64 if (bits, signed) == (32, False) else torch.int32)
    check(unit, random_codes(70, 16))


def test_strides_and_shapes(path):
    unit = random_unit(5, encoder="l2", k=16, v=3, features=20, outputs=9)
    grid = random_codes(2, 3, 20, 20)
    for codes in (
        grid,
        grid.transpose(2, 3),
        grid[..., ::2, :].flip(0),
        grid[0, 0, 0],
        grid[0, 0, 0].expand(4, 20),
        grid[:, :0],
        grid.flatten()[7:-13].view(-1, 20),
    ):
        check(unit, codes)
    indices = ops.lut_encode(grid, unit)
    assert torch.equal(ops.lut_scan(indices.transpose(0, 2), unit), ops.lut_scan(indices, unit).transpose(0, 2))


@pytest.mark.parametrize("k", [16, 32])
def test_indices_are_read_modulo_k(path, k):
    unit = random_unit(6, encoder="tree", k=k, v=2, features=18, outputs=70)
    indices = torch.randint(0, 256, (50, 9), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert torch.equal(ops.lut_scan(indices, unit), unit.scan(indices.long() % k))


def test_dimensions_are_held_to_the_sub_vector(path):
    unit = random_unit(6, encoder="tree", k=16, v=2, features=8, outputs=3)
    fields = {"encoder": "tree", "features": 8, "v": 2, "table": torch.tensor(unit.table).to(torch.int8)}
    fields["thresholds"] = torch.tensor(unit.thresholds).to(torch.int8)
    beyond = torch.tensor(unit.dimensions).int() * 2000 - 1000
    codes = random_codes(9, 8)
    got = ops.lut_encode(codes, ops.LutTables(**fields, dimensions=beyond))
    assert torch.equal(got, ops.lut_encode(codes, ops.LutTables(**fields, dimensions=beyond.clamp(0, 1))))
    assert torch.equal(got.long(), unit.encode(codes))


@pytest.mark.parametrize("k", [16, 64])
def test_threads_share_the_work(path, threads, k):
    unit = random_unit(7, encoder="l2", k=k, v=4, features=64, outputs=80, requantize=True)
    codes, want = random_codes(700, 64), None
    for count in (1, 2, 3):
        threads(count)
        indices = ops.lut_encode(codes, unit)
        got = (indices, ops.lut_scan(indices, unit), ops.lut_matmul(codes, unit), lut_pack(unit_table(unit)))
        want = want or got
        assert all(map(torch.equal, got, want))
    assert torch.equal(want[2].int(), unit(codes))


def unit_table(unit):
    return torch.tensor(unit.table).to(torch.int8)


@needs_gxx
@pytest.mark.parametrize("k, outputs", [(4, 64), (16, 7), (64, 130)])
def test_every_path_reads_every_layout(monkeypatch, k, outputs):
    unit = random_unit(8, encoder="l1", k=k, v=3, features=31, outputs=outputs)
    codes, table = random_codes(70, 31), unit_table(unit)
    packed = {"torch": packed_in_torch(table)}
    for name in ("plain", "avx2", ""):
        monkeypatch.setenv("HWLUT_CPU", name)
        packed[name] = lut_pack(table)
    assert torch.equal(packed["plain"], packed["torch"]) and torch.equal(packed["avx2"], packed["torch"])
    for name in ("plain", "avx2", ""):
        monkeypatch.setenv("HWLUT_CPU", name)
        for each in packed.values():
            tables = ops.LutTables(
                encoder="l1",
                features=31,
                v=3,
                zero_point=unit.zero_point,
                prototypes=torch.tensor(unit.prototypes).to(torch.int8),
                table=table,
                bias=torch.tensor(unit.bias).int(),
            )
            object.__setattr__(tables, "_packed", each)
            assert torch.equal(ops.lut_matmul(codes, tables), unit(codes))


def test_tables_of_a_unit_are_kept(path):
    unit = random_unit(9, encoder="tree", k=4, v=2, features=6, outputs=3)
    assert tables_of(unit) is tables_of(unit.replace()) and tables_of(unit).packed is tables_of(unit).packed


def made(unit, **changes):
    """`LutTables` from tensors."""
    fields = {
        "encoder": unit.encoder.value,
        "features": unit.features,
        "v": unit.v,
        "zero_point": unit.zero_point,
        "table": unit_table(unit),
        "bias": torch.tensor(unit.bias).int(),
        "requantize": unit.requantize,
    }
    for label, dtype in (("prototypes", torch.int8), ("thresholds", torch.int8), ("dimensions", torch.int32)):
        values = getattr(unit, label)
        fields[label] = None if values is None else torch.tensor(values).to(dtype)
    return ops.LutTables(**fields | changes)


@pytest.mark.parametrize("encoder", ["l2", "tree"])
def test_opcheck(path, encoder):
    unit = random_unit(10, encoder=encoder, k=4, v=2, features=7, outputs=5, requantize="channels")
    tables, codes = made(unit), random_codes(3, 2, 7)
    first = (tables.points, tables.dimensions, encoder, 7, 2, unit.zero_point)
    then = (tables.table, tables.packed, tables.bias, tables.ratios, tables.after)
    for given in (codes.transpose(0, 1), codes[:0]):
        indices = ops.lut_encode(given, tables)
        torch.library.opcheck(torch.ops.hwlut.lut_encode.default, (given, *first))
        torch.library.opcheck(torch.ops.hwlut.lut_scan.default, (indices, *then))
        torch.library.opcheck(torch.ops.hwlut.lut_matmul.default, (given, *first, *then))
    torch.library.opcheck(torch.ops.hwlut.lut_pack.default, (tables.table,))


class Layer(torch.nn.Module):
    """A training layer's use: tables of its buffers, made anew in each call."""

    def __init__(self, unit):
        super().__init__()
        self.unit = unit
        for label, dtype in (("prototypes", torch.int8), ("table", torch.int8), ("bias", torch.int32)):
            self.register_buffer(label, torch.tensor(getattr(unit, label)).to(dtype))

    def forward(self, x, step):
        tables = ops.LutTables(
            encoder="l2",
            features=self.unit.features,
            v=self.unit.v,
            zero_point=self.unit.zero_point,
            prototypes=self.prototypes,
            table=self.table,
            bias=self.bias,
        )
        return ops.lut_matmul(ops.quantize_codes(x, step), tables) * 2


def test_compile(path):
    unit = random_unit(11, encoder="l2", k=16, v=3, features=14, outputs=6)
    x, step = torch.randn(5, 14), torch.tensor(0.01)
    layer = Layer(unit)
    want = unit((x / step).clamp(-128, 127).round().int()) * 2
    assert torch.equal(layer(x, step), want)
    assert torch.equal(torch.compile(layer, fullgraph=True, backend="aot_eager")(x, step), want)


def test_arguments_are_refused_by_name(path):
    unit = random_unit(12, encoder="tree", k=4, v=2, features=7, outputs=5)
    tables, codes = made(unit), random_codes(3, 7)
    indices = ops.lut_encode(codes, tables)
    for call, given, error, message in (
        (ops.lut_matmul, ([1], tables), TypeError, "lut_matmul codes must be a tensor, not list"),
        (ops.lut_matmul, (codes, 3), TypeError, "lut_matmul tables must be a LutTables or a LutMatmul, not int"),
        (ops.lut_matmul, (codes.int(), tables), TypeError, "lut_encode codes must be torch.int8, not torch.int32"),
        (ops.lut_matmul, (codes[0, 0], tables), ValueError, "lut_encode codes must be [..., 7], not []"),
        (ops.lut_encode, (codes[:, 1:], unit), ValueError, "lut_encode codes must be [..., 7], not [3, 6]"),
        (ops.lut_encode, (codes.to("meta"), tables), ValueError, "lut_encode codes must be on cpu, not meta"),
        (ops.lut_scan, (indices.int(), tables), TypeError, "lut_scan indices must be torch.uint8, not torch.int32"),
        (ops.lut_scan, (indices[:, :3], tables), ValueError, "lut_scan indices must be [..., 4], not [3, 3]"),
        (tables_of, (3,), TypeError, "lut_tables unit must be a LutMatmul, not int"),
    ):
        with pytest.raises(error) as caught:
            call(*given)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"encoder": "cosine"}, ValueError, "encoder must be one of l2, l1, chebyshev, tree, not 'cosine'"),
        ({"v": 2.0}, TypeError, "v must be an integer, not 2.0"),
        ({"zero_point": 128}, ValueError, "zero_point must be from -128 to 127, not 128"),
        ({"table": None}, TypeError, "table must be a tensor, not NoneType"),
        ({"table": torch.zeros(3, 4, 5)}, ValueError, "table must be [4, K, M], not [3, 4, 5]"),
        (
            {"table": torch.zeros(4, 3, 5)},
            ValueError,
            "table must have a power of two from 2 to 256 entries a codebook, not 3",
        ),
        ({"table": torch.zeros(4, 4, 5)}, TypeError, "table must be torch.int8, not torch.float32"),
        ({"thresholds": None}, ValueError, "thresholds must be given with encoder tree"),
        ({"prototypes": torch.zeros(4, 4, 2)}, ValueError, "prototypes must not be given with encoder tree"),
        ({"dimensions": torch.zeros(4, 2)}, TypeError, "dimensions must be torch.int32, not torch.float32"),
        ({"dimensions": torch.zeros(4, 3).int()}, ValueError, "dimensions must be [4, 2], not [4, 3]"),
        ({"bias": [1, 2]}, TypeError, "bias must be torch.int32, not list"),
        ({"bias": torch.zeros(5).int().to("meta")}, ValueError, "bias must be on cpu like the table, not meta"),
        ({"requantize": 3}, TypeError, "requantize must be a Requantize, not int"),
        (
            {"requantize": Requantize(input=Fixed(32), multipliers=(1, 1), shifts=(0, 0), output=Fixed(8))},
            ValueError,
            "requantize must have 1 channel or 5, not 2",
        ),
    ],
)
def test_impossible_tables_are_refused(changes, error, message):
    unit = random_unit(12, encoder="tree", k=4, v=2, features=7, outputs=5)
    with pytest.raises(error) as caught:
        made(unit, **changes)
    assert str(caught.value) == f"LutTables {message}"


@pytest.mark.parametrize("low, high, zero", [(-128, 127, None), (-128, 127, -7), (-8, 7, 7), (0, 127, 0), (-1, 0, -1)])
@pytest.mark.parametrize("step", [0.1, 2.0**-4, 1e-30, 3e10])
def test_codes_of_real_numbers(path, threads, low, high, zero, step):
    generator = torch.Generator().manual_seed(0)
    size = torch.tensor(step)
    ties = (torch.arange(-300, 300) / 2) * size
    special = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -0.0, 3e38, 1e-45])
    x = torch.cat([torch.randn(40_000, generator=generator) * 100 * size, ties, special])
    given = None if zero is None else torch.tensor([zero], dtype=torch.int32)
    bits = {(-128, 127): Fixed(8), (-8, 7): Fixed(4), (0, 127): Fixed(7, signed=False), (-1, 0): Fixed(1)}
    want = held_codes(x, size, given, bits[low, high])
    for count in (1, 2):
        threads(count)
        got = ops.quantize_codes(x, size, given, low, high)
        assert got.dtype == torch.int8 and torch.equal(got.int(), want)
    for part in (x[:7], x[3:40], x[::3], x[:0], x[:40].view(5, 8).T):
        got = ops.quantize_codes(part, size, given, low, high)
        assert torch.equal(got.int(), held_codes(part, size, given, bits[low, high]))


def test_codes_of_real_numbers_trace(path):
    x, zero = torch.randn(3, 4), torch.tensor(3, dtype=torch.int32)
    for given in (x.T, x[:0]):
        torch.library.opcheck(torch.ops.hwlut.quantize_codes.default, (given, torch.tensor(0.1), zero, -128, 127))
        torch.library.opcheck(torch.ops.hwlut.quantize_codes.default, (given, torch.tensor(0.1), None, -8, 7))


def test_real_numbers_are_refused_by_name(path):
    x, step, zero = torch.zeros(3), torch.tensor(1.0), torch.tensor(0, dtype=torch.int32)
    for given, error, message in (
        (([1.0], step), TypeError, "x must be a tensor, not list"),
        ((x.double(), step), TypeError, "x must be torch.float32, not torch.float64"),
        ((x, step.double()), TypeError, "step must be torch.float32, not torch.float64"),
        ((x, x), ValueError, "step must be one number, not shape (3,)"),
        ((x, step, zero.long()), TypeError, "zero_point must be torch.int32, not torch.int64"),
        ((x, step.to("meta")), ValueError, "step must be on cpu like x, not meta"),
        ((x, step, zero, 0, 255), ValueError, "low and high must be from -128 to 127 in order, not 0 and 255"),
    ):
        with pytest.raises(error) as caught:
            ops.quantize_codes(*given)
        assert str(caught.value) == f"quantize_codes {message}"
