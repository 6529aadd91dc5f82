"""Approximate matrix products: every path, in kernels and in torch, against the sum of the products one by one."""

import functools
import importlib
import io
import pickle
import shutil
import warnings

import cuda_on_cpu
import numpy as np
import pytest
import torch

from hwlut import ops
from hwlut.fixed import Fixed
from hwlut.ops import approx_terms, registry
from hwlut.ops.approx_factors import approx_factors, pack
from hwlut.ops.approx_table import approx_table, sum_of_products
from hwlut.units import Multiplier

module = importlib.import_module("hwlut.ops.approx_matmul")  # not the function of that name

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
DEVICES = [
    pytest.param("cpu", marks=pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")),
    pytest.param(
        "cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")]
    ),
    pytest.param("cuda on cpu", marks=pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")),
    pytest.param("torch"),
]
SHAPES = [
    (1, 1, 1),
    (1, 7, 300),
    (97, 31, 17),
    (130, 9, 65),
    (33, 6, 301),
    (3000, 23, 1),
    (0, 3, 2),
    (2, 0, 3),
    (3, 2, 0),
]
# a row of every circuit that matters: one term and several, signs, widths, tables that only a table computes
MULTIPLIERS = {
    "exact unsigned": dict(family="exact"),
    "exact signed": dict(family="exact", signed=True),
    "drum": dict(family="drum", k=4),
    "truncated columns": dict(family="truncate_columns", columns=5, signed=True),
    "roba": dict(family="roba", signed=True),
    "unsigned by signed": dict(family="exact", a=Fixed(8, signed=False), b=Fixed(8)),
    "8 by 4 bits": dict(family="ssm", a=Fixed(8, signed=False), b=Fixed(4), m=4),
    "2 bits": dict(family="exact", bits=2, signed=True),
    "12 bits": dict(family="truncate_operands", bits=12, signed=True, a_drop=2, b_drop=3),
    "16 bits": dict(family="exact", bits=16),
    "16 bits signed": dict(family="drum", bits=16, signed=True, k=6),
}


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch):
    """Where the operators run: in each kernel, in what a GPU runs done by the processor, and in torch."""
    if request.param == "torch":
        registry._chosen.cache_clear()
        monkeypatch.setenv("HWLUT_KERNELS", "torch")
        yield "cpu"
        registry._chosen.cache_clear()
        return
    if request.param == "cuda on cpu":
        cuda_on_cpu.install(monkeypatch)
        yield "cpu"
        cuda_on_cpu.forget()
        return
    for name in ("approx_table", "approx_factors"):
        assert ops.implementation(name, request.param) == "kernel"
    yield request.param


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def random_table(low=0, high=65025, seed=0, shape=(256, 256), signed=False):
    """A table of no structure, which has no few factors."""
    products = np.random.default_rng(seed).integers(low, high + 1, shape)
    a, b = (Fixed(int(size).bit_length() - 1, signed=signed) for size in shape)
    return Multiplier(family="table", a=a, b=b, products=products)


def integers(low, high, *shape, seed=0, dtype=torch.int64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high + 1, shape, generator=generator).to(dtype)


def codes(format, *shape, seed=0, dtype=torch.int64):
    """Random codes, a quarter of them at the ends of the format."""
    random = integers(format.min, format.max, *shape, seed=seed)
    ends = torch.where(integers(0, 1, *shape, seed=seed + 1) == 0, format.min, format.max)
    return torch.where(integers(0, 3, *shape, seed=seed + 2) == 0, ends, random).to(dtype)


def expected(a, b, multiplier):
    """The sum over k of what the multiplier itself gives, a hundred k at a time."""
    a, b = a.cpu()[..., None], b.cpu()[..., None, :, :]
    pairs = zip(a.split(100, dim=-2), b.split(100, dim=-2))
    return sum(multiplier(left, right).sum(-2) for left, right in pairs)


def same(got, want):
    return got.shape == want.shape and torch.equal(got.cpu().long(), want)


def by(path, monkeypatch):
    monkeypatch.setattr(module, "approx_matmul_path", lambda *arguments: path)


@pytest.mark.parametrize("name", MULTIPLIERS)
def test_every_multiplier_by_every_path(device, name, monkeypatch):
    multiplier = Multiplier(**MULTIPLIERS[name])
    for m, k, n in SHAPES:
        a, b = codes(multiplier.a, m, k), codes(multiplier.b, k, n, seed=9)
        want = expected(a, b, multiplier)
        for path in ("factors", "torch", "table")[: 3 if max(multiplier.a.bits, multiplier.b.bits) <= 8 else 2]:
            by(path, monkeypatch)
            got = ops.approx_matmul(a.to(device), b.to(device), multiplier)
            assert same(got, want), (path, m, k, n)
            assert got.dtype == (torch.int32 if multiplier.exact_bound(k) < 1 << 31 else torch.int64)


@pytest.mark.parametrize("low, high", [(0, 65025), (-16256, 16384), (5, 5), (-(1 << 15), (1 << 15) - 1), (-1, 99999)])
def test_any_table(device, low, high):
    multiplier = random_table(low, high)
    for m, k, n in SHAPES:
        a, b = codes(multiplier.a, m, k), codes(multiplier.b, k, n, seed=9)
        assert same(ops.approx_matmul(a.to(device), b.to(device), multiplier), expected(a, b, multiplier)), (m, k, n)


@pytest.mark.parametrize("shape", [(16, 256), (256, 4), (8, 8)], ids=str)
def test_tables_of_fewer_codes(device, shape, monkeypatch):
    multiplier = random_table(-300, 300, shape=shape, signed=True)
    by("table", monkeypatch)
    for m, k, n in SHAPES:
        a, b = codes(multiplier.a, m, k), codes(multiplier.b, k, n, seed=9)
        assert same(ops.approx_matmul(a.to(device), b.to(device), multiplier), expected(a, b, multiplier)), (m, k, n)


def test_tables_differ(device):
    a, b = codes(Fixed(8, signed=False), 5, 6), codes(Fixed(8, signed=False), 6, 7, seed=9)
    results = [ops.approx_matmul(a.to(device), b.to(device), random_table(seed=seed)) for seed in (1, 2)]
    assert not torch.equal(*results)


@pytest.mark.parametrize("a_dtype", INTEGERS, ids=str)
def test_dtypes(device, a_dtype, monkeypatch):
    multiplier = Multiplier(family="drum", a=Fixed(7, signed=False), b=Fixed(7, signed=False), k=3)
    for b_dtype in INTEGERS:
        a, b = codes(multiplier.a, 9, 11, dtype=a_dtype), codes(multiplier.b, 11, 40, seed=9, dtype=b_dtype)
        for path in ("factors", "table", "torch"):
            by(path, monkeypatch)
            got = ops.approx_matmul(a.to(device), b.to(device), multiplier)
            assert same(got, expected(a, b, multiplier)), (b_dtype, path)


@pytest.mark.parametrize("path", ["factors", "table", "torch"])
def test_codes_outside_are_held_to_the_ends(device, path, monkeypatch):
    multiplier = Multiplier(family="exact", bits=6, signed=True)
    by(path, monkeypatch)
    for dtype in (torch.int8, torch.int16, torch.int64):
        limits = torch.iinfo(dtype)
        a = torch.tensor([[limits.min, -33, -32, 31, 32, limits.max]], dtype=dtype)
        got = ops.approx_matmul(a.to(device), a.T.to(device), multiplier)
        assert got.item() == 3 * 32 * 32 + 3 * 31 * 31


@pytest.mark.parametrize("path", ["factors", "table", "torch"])
def test_batches_broadcast(device, path, monkeypatch):
    multiplier = Multiplier(family="roba", signed=True)
    by(path, monkeypatch)
    for left, right in (
        *(((2, 3), (2, 3)), ((2, 3), ()), ((), (4,)), ((2, 1), (1, 3)), ((3,), (2, 3)), ((5,), (1, 1))),
        *(((0,), (0,)), ((2, 0), ()), ((1,), (3,))),
    ):
        a, b = codes(multiplier.a, *left, 5, 6), codes(multiplier.b, *right, 6, 21, seed=9)
        want = expected(a, b, multiplier)
        assert same(ops.approx_matmul(a.to(device), b.to(device), multiplier), want), (left, right)
        expanded = ops.expand_weights(b.to(device), multiplier)
        assert same(ops.approx_matmul(a.to(device), expanded, multiplier), want), (left, right)


@pytest.mark.parametrize("path", ["factors", "table", "torch"])
def test_strides(device, path, monkeypatch):
    multiplier = Multiplier(family="roba", signed=True)
    by(path, monkeypatch)
    grid = codes(multiplier.a, 2, 24, 30, dtype=torch.int8).to(device)
    for a, b in (
        (grid[0].T, grid[1]),
        (grid[0, :, ::3], grid[1, :10]),
        (grid[0, 1:, 1:21], grid[1, :20].T[:20]),
        (grid[0, :1].expand(9, 30), grid[1].T),
        (grid.transpose(1, 2), grid),
    ):
        assert same(ops.approx_matmul(a, b, multiplier), expected(a, b, multiplier)), a.stride()


@pytest.mark.parametrize("path", ["factors", "table"])
def test_sums_beyond_a_float(device, path, monkeypatch):
    """K = 4608 of the largest uint8 products: beyond 2^24, where float32 is wrong."""
    by(path, monkeypatch)
    multiplier = Multiplier(family="exact")
    a, b = torch.full((3, 4608), 255, dtype=torch.uint8), torch.full((4608, 17), 255, dtype=torch.uint8)
    a[0, 7] = b[9, 1] = 254
    got = ops.approx_matmul(a.to(device), b.to(device), multiplier)
    assert got.dtype == torch.int32
    assert same(got, a.long() @ b.long())
    assert got[2, 2] == 4608 * 65025


@pytest.mark.parametrize("path", ["factors", "table", "torch"])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_sums_beyond_32_bits(device, path, signed, monkeypatch):
    by(path, monkeypatch)
    multiplier = Multiplier(family="exact", signed=signed)
    k = 33027 if not signed else 131073  # one more than int32 holds of the largest products
    end = multiplier.a.min if signed else multiplier.a.max
    a, b = torch.full((2, k), end), torch.full((k, 18), end)
    a[1, : k // 2] = b[k // 3 :, 3] = 1
    got = ops.approx_matmul(a.to(device), b.to(device), multiplier)
    assert got.dtype == torch.int64
    assert same(got, a @ b)
    assert got[0, 0] == k * end * end > (1 << 31) - 1


@pytest.mark.parametrize("high", [65025, (1 << 24) - 1])
def test_wide_sums_of_any_table(device, high):
    multiplier = random_table(-high, high)
    k = 40000
    a, b = codes(multiplier.a, 2, k), codes(multiplier.b, k, 3, seed=9)
    got = ops.approx_matmul(a.to(device), b.to(device), multiplier)
    assert got.dtype == torch.int64 and same(got, expected(a, b, multiplier))


@pytest.mark.parametrize("ends", [(-(1 << 31), 9), (-(1 << 31), (1 << 31) - 1), ((1 << 31) - 1,)])
def test_tables_of_the_widest_products(device, ends, monkeypatch):
    """Of which no two fit int32 together."""
    by("table", monkeypatch)
    products = np.random.default_rng(0).choice(ends, (8, 16))
    multiplier = Multiplier(family="table", a=Fixed(3), b=Fixed(4, signed=False), products=products)
    for m, k, n in ((3, 1, 4), (2, 9, 5)):
        a, b = codes(multiplier.a, m, k), codes(multiplier.b, k, n, seed=9)
        assert same(ops.approx_matmul(a.to(device), b.to(device), multiplier), expected(a, b, multiplier)), (m, k, n)


@pytest.mark.parametrize("name", ["16 bits", "16 bits signed", "12 bits"])
def test_wide_operands_at_their_ends(device, name):
    multiplier = Multiplier(**MULTIPLIERS[name])
    for end in (multiplier.a.min, multiplier.a.max):
        a, b = torch.full((3, 1300), end), torch.full((1300, 5), multiplier.b.max)
        want = 1300 * int(multiplier(torch.tensor(end), torch.tensor(multiplier.b.max)))
        got = ops.approx_matmul(a.to(device), b.to(device), multiplier)
        assert got.dtype == torch.int64 if multiplier.exact_bound(1300) >= 1 << 31 else torch.int32
        assert (got == want).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_threads_share_the_work(device, threads, count, monkeypatch):
    threads(count)
    multiplier = Multiplier(family="roba", signed=True)
    for left, right in (
        ((200, 60), (60, 100)),
        ((3, 100, 60), (3, 60, 70)),
        ((1, 900), (900, 1300)),
        ((600, 1900), (1900, 1)),
    ):
        a, b = codes(multiplier.a, *left), codes(multiplier.b, *right, seed=9)
        for path in ("factors", "table"):
            by(path, monkeypatch)
            assert same(ops.approx_matmul(a.to(device), b.to(device), multiplier), expected(a, b, multiplier))


def test_wide_families_without_factors():
    multiplier = Multiplier(family="mitchell", bits=12)
    a, b = codes(multiplier.a, 4, 9), codes(multiplier.b, 9, 3, seed=9)
    assert ops.approx_matmul_path(multiplier, 4, 9, 3) == "torch"
    assert same(ops.approx_matmul(a, b, multiplier), expected(a, b, multiplier))


def test_the_cheaper_path_is_chosen():
    exact, any_table = Multiplier(family="exact"), random_table()
    assert ops.approx_matmul_path(exact, 256, 512, 512) == "factors"
    assert ops.approx_matmul_path(any_table, 256, 512, 512) == "table"
    assert ops.approx_matmul_path(Multiplier(family="exact", bits=16), 256, 512, 512) == "factors"
    assert ops.approx_matmul_path(random_table(-1, 99999), 8, 8, 8) == "table"


def test_a_table_that_is_there_serves_small_products_too(monkeypatch):
    monkeypatch.setattr(module, "_TABULATED", 1 << 8)
    monkeypatch.setattr(module, "_tables", {})
    calls, product = [], Multiplier.__call__
    monkeypatch.setattr(Multiplier, "__call__", lambda self, a, b: calls.append(self) or product(self, a, b))
    multipliers = [Multiplier(family="mitchell", bits=5, name=name) for name in "abc"]
    small, large = [(codes(Fixed(5, signed=False), m, 9), codes(Fixed(5, signed=False), 9, 3)) for m in (2, 40)]
    for multiplier in multipliers[:2]:
        for operands, count in ((small, 1), (large, 2), (small, 2), (large, 2)):
            got = module.definition(*operands, multiplier)
            assert calls.count(multiplier) == count
            assert same(got, sum_of_products(*operands, functools.partial(product, multiplier)))
    module.definition(*large, multipliers[2])
    assert [multiplier.name for multiplier, _ in module._tables] == ["b", "c"]


def test_the_definition_holds_few_products(monkeypatch):
    monkeypatch.setattr("hwlut.ops.approx_table._AT_ONCE", 50)
    multiplier = Multiplier(family="exact")
    a, b = codes(multiplier.a, 2, 7, 11), codes(multiplier.b, 11, 13, seed=9)
    assert same(module.definition(a, b, multiplier), a @ b)


@pytest.mark.parametrize("name", ["drum", "16 bits"])
def test_expanded_weights_are_kept(device, name):
    multiplier = Multiplier(**MULTIPLIERS[name])
    a, b = codes(multiplier.a, 6, 20), codes(multiplier.b, 20, 18, seed=9)
    expanded = ops.expand_weights(b.to(device), multiplier)
    assert expanded.shape == (20, 18)
    want = expected(a, b, multiplier)
    moved = expanded.to("cpu").to(device)
    for weights in (expanded, expanded, moved, pickle.loads(pickle.dumps(expanded))):
        assert same(ops.approx_matmul(a.to(device), weights, multiplier), want)
    held = io.BytesIO()
    torch.save(expanded, held)
    held.seek(0)
    assert same(ops.approx_matmul(a.to(device), torch.load(held, weights_only=False), multiplier), want)


def test_shared_factors_become_one_term():
    """The digits of 16-bit operands: u whole, v in its digits or, without the limit, whole too; or all in digits."""
    factors = Multiplier(family="exact", bits=16, signed=True).factors()
    a = np.arange(-(1 << 15), 1 << 15)
    for limit, dtype in ((1 << 22, np.int16), (1 << 30, np.int16), (1 << 30, np.int8)):
        total = factors.p[:, None] + factors.q[None, ::4099]
        for group in approx_terms.groups(factors, limit, dtype):
            assert group.u.dtype == group.v.dtype == dtype
            for u, v in zip(group.u.astype(np.int64), group.v.astype(np.int64)):
                assert np.abs(u).max() * np.abs(v).max() <= limit
            total = total + group.weight * (group.u.T.astype(np.int64) @ group.v[:, ::4099].astype(np.int64))
        assert (total == a[:, None] * a[None, ::4099]).all()


def test_operators_trace():
    a, b = integers(0, 255, 2, 5, 6, dtype=torch.uint8), integers(0, 255, 1, 6, 7, dtype=torch.uint8)
    table = integers(-99, 99, 256, 256, dtype=torch.int16)
    torch.library.opcheck(approx_table, (a, b, table, 0, 0, 3))
    u, v = integers(-99, 99, 256, 3, dtype=torch.int16), integers(-99, 99, 2, 6, 3, 7, dtype=torch.int16)
    p, q = integers(-99, 99, 256, dtype=torch.int32), integers(-99, 99, 2, 7, dtype=torch.int32)
    torch.library.opcheck(approx_factors, (a, u, p, pack(v), q, 0))


@pytest.mark.parametrize("name", ["drum", "16 bits"])
def test_expanded_weights_compile(name):
    multiplier = Multiplier(**MULTIPLIERS[name])
    a, b = codes(multiplier.a, 3, 6, 20), codes(multiplier.b, 20, 18, seed=9)
    expanded = ops.expand_weights(b, multiplier)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.compile(lambda a: 2 * ops.approx_matmul(a, expanded, multiplier), backend="eager")
        assert same(compiled(a), 2 * expected(a, b, multiplier))


def test_arguments_are_refused_by_name():
    multiplier = Multiplier(family="exact")
    a, b = torch.zeros(3, 4, dtype=torch.uint8), torch.zeros(4, 5, dtype=torch.uint8)
    other = ops.expand_weights(b, Multiplier(family="exact", signed=True))
    start = "approx_matmul"
    for arguments, error, message in (
        (([1], b, multiplier), TypeError, f"{start} a must be a tensor, not list"),
        ((a, None, multiplier), TypeError, f"{start} b must be a tensor, not NoneType"),
        (
            (a.float(), b, multiplier),
            TypeError,
            f"{start} a must be uint8, int8, int16, int32 or int64, not torch.float32",
        ),
        ((a, b.bool(), multiplier), TypeError, f"{start} b must be uint8, int8, int16, int32 or int64, not torch.bool"),
        ((a[0], b, multiplier), ValueError, f"{start} a must have at least two dimensions, not shape (4,)"),
        ((a, b, "exact"), TypeError, f"{start} multiplier must be a Multiplier, not str"),
        ((a, a, multiplier), ValueError, f"{start} a must be [..., M, 3] beside b, not [3, 4]"),
        (
            (a.expand(2, 3, 4), b.expand(3, 4, 5), multiplier),
            ValueError,
            f"{start} a and b must broadcast in their leading dimensions, not [2, 3, 4] and [3, 4, 5]",
        ),
        ((a, b.to("meta"), multiplier), ValueError, f"{start} b must be on cpu like a, not meta"),
        ((a, other, multiplier), ValueError, f"{start} multiplier must be the one that the weights were expanded for"),
    ):
        with pytest.raises(error) as caught:
            ops.approx_matmul(*arguments)
        assert str(caught.value) == message


def test_operator_arguments_are_refused_by_name():
    a, b, table = torch.zeros(1, 3, 4).byte(), torch.zeros(1, 4, 5).byte(), torch.zeros(256, 256).short()
    u, p, v, q = (
        torch.zeros(256, 1).short(),
        torch.zeros(0).int(),
        torch.zeros(1, 1, 2, 16, 2).short(),
        torch.zeros(1, 5).int(),
    )
    for operator, arguments, error, message in (
        (approx_table, (a, b, table.int(), 0, 0, 0), TypeError, "approx_table table must be int16, not torch.int32"),
        (
            approx_table,
            (a[0], b, table, 0, 0, 0),
            ValueError,
            "approx_table a must have three dimensions, not shape (3, 4)",
        ),
        (
            approx_table,
            (a, b, table[:, :0], 0, 0, 0),
            ValueError,
            "approx_table table must be of 1 to 256 rows and columns, not (256, 0)",
        ),
        (
            approx_table,
            (a, b[:, 1:], table, 0, 0, 0),
            ValueError,
            "approx_table b must be [1 or 1, 4, N] beside a, not [1, 3, 5]",
        ),
        (
            approx_factors,
            (a.float(), u, p, v, q, 0),
            TypeError,
            "approx_factors a must be uint8, int8, int16, int32 or int64, not torch.float32",
        ),
        (approx_factors, (a, u.int(), p, v, q, 0), TypeError, "approx_factors u must be torch.int16, not torch.int32"),
        (
            approx_factors,
            (a, u, p, v[0], q, 0),
            ValueError,
            "approx_factors v must have 5 dimensions, not shape (1, 2, 16, 2)",
        ),
        (
            approx_factors,
            (a, u, p, v[:, :, 1:], q, 0),
            ValueError,
            "approx_factors v must be [1, 1, 2, 16, 2], not [1, 1, 1, 16, 2]",
        ),
        (
            approx_factors,
            (a, u[:0], p, v, q, 0),
            ValueError,
            "approx_factors u must have an entry and a term, not shape (0, 1)",
        ),
        (
            approx_factors,
            (a, u, torch.zeros(3).int(), v, q, 0),
            ValueError,
            "approx_factors p must have 0 or 256 entries, not 3",
        ),
    ):
        with pytest.raises(error) as caught:
            operator(*arguments)
        assert str(caught.value) == message
