"""The quantized look-up: kernel and torch definition against numpy, gradients, tracing, refusals."""

import shutil

import numpy as np
import pytest
import torch

from hwlut import ops
from hwlut.ops import registry

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
REALS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

DEVICES = [
    pytest.param("cpu", marks=pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")),
    pytest.param(
        "cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")]
    ),
    pytest.param("torch"),
]


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch):
    """Where the operator runs: in each kernel, and in torch."""
    if request.param == "torch":
        registry._chosen.cache_clear()
        monkeypatch.setenv("HWLUT_KERNELS", "torch")
        yield "cpu"
        registry._chosen.cache_clear()
        return
    assert ops.implementation("quantized_lookup", request.param) == "kernel"
    yield request.param


def random_table(dtype, entries, seed=0):
    limits = torch.iinfo(dtype)
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(limits.min, limits.max, (entries,), dtype=dtype, generator=generator)


def exponents(*values, device="cpu"):
    return torch.tensor(values, dtype=torch.int32, device=device)


def expected(x, table, scale, frac, low):
    """numpy's own: rint is round half to even, and float64 holds every product exactly."""
    real = x.double().numpy()
    dtype = np.float64 if x.dtype == torch.float64 else np.float32
    with np.errstate(invalid="ignore"):
        codes = np.clip(np.rint(np.ldexp(real, scale)), low, low + len(table) - 1)
        places = np.where(np.isnan(codes), 0, codes - low).astype(np.int64)
    found = np.ldexp(table.numpy()[places].astype(dtype), -frac)
    return torch.from_numpy(np.asarray(np.where(np.isnan(real), np.nan, found))).to(x.dtype)


def same(got, want):
    assert got.dtype == want.dtype and got.shape == want.shape
    torch.testing.assert_close(got.cpu(), want, rtol=0, atol=0, equal_nan=True)


def numbers(scale, count=1001):
    """Reals in and around the codes, with every tie between them and what is no number."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(count, generator=generator, dtype=torch.float64) * 100
    ties = torch.arange(-140, 140) + 0.5
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1e30, -1e30])
    return torch.cat([torch.cat([spread, ties]) * 2.0**-scale, special])


@pytest.mark.parametrize("real", REALS, ids=str)
@pytest.mark.parametrize("entry", INTEGERS, ids=str)
def test_against_numpy(device, real, entry):
    for scale, frac, entries, low in ((5, 0, 256, -128), (0, 14, 256, 0), (-3, 62, 1, 7), (62, -4, 4096, -2048)):
        x, table = numbers(scale).to(real), random_table(entry, entries)
        if real == torch.float16:
            x, frac = x.clamp(-60000, 60000), 20
        got = ops.quantized_lookup(x.to(device), table.to(device), exponents(scale, frac, device=device), low)
        same(got, expected(x, table, scale, frac, low))


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 65, 1_000_003])
def test_every_length(device, count):
    x, table = torch.linspace(-5, 5, count), random_table(torch.int16, 256)
    for threads in (1, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        got = ops.quantized_lookup(x.to(device), table.to(device), exponents(5, 3, device=device), -128)
        torch.set_num_threads(before)
        same(got, expected(x, table, 5, 3, -128))


def test_strides(device):
    grid, table = torch.randn(2, 3, 8, 10), random_table(torch.int32, 256)
    given = table.to(device), exponents(5, 20, device=device)
    for x in (
        grid.transpose(1, 3),
        grid.contiguous(memory_format=torch.channels_last),
        grid[..., ::2],
        grid.flatten()[1:],
        grid[0, 0, 0].expand(4, 10),
        grid[0, 0, 0, 0],
    ):
        got = ops.quantized_lookup(x.to(device), *given, -128)
        same(got, expected(x, table, 5, 20, -128))
        assert got.stride() == torch.empty_like(x).stride()
    got = ops.quantized_lookup(grid.to(device), given[0][::2], exponents(5, 9, 20, 9, device=device)[::2], -60)
    same(got, expected(grid, table[::2], 5, 20, -60))


def test_gradient_is_the_slope_at_the_code(device):
    slopes = torch.arange(10, 22)  # codes -6 .. 5, of a table of codes -5 .. 4
    x = torch.tensor([-9.0, -5.51, -5.49, -0.6, 0.24, 4.5, 4.51, 99.0], requires_grad=True, device=device)
    table = random_table(torch.int8, 10).to(device)
    y = ops.quantized_lookup(x, table, exponents(0, 0, 1, device=device), -5, slopes.to(device))
    (y * 3).sum().backward()
    # The codes are -9, -6, -5, -1, 0, 4, 5, 99, the ends held to -6 and 5; the slope at code q is (16 + q) / 2.
    assert x.grad.tolist() == [15, 15, 16.5, 22.5, 24, 30, 31.5, 31.5]


def test_no_gradient_without_slopes(device):
    x = torch.ones(3, requires_grad=True, device=device)
    y = ops.quantized_lookup(x, random_table(torch.int8, 4).to(device), exponents(0, 0, device=device), 0)
    with pytest.raises(RuntimeError, match=r"^quantized_lookup has a gradient only where slopes are given$"):
        y.sum().backward()


@pytest.mark.parametrize("layout", ["plain", "transposed", "empty"])
def test_opcheck(device, layout):
    x = torch.randn(2, 3, 4, device=device)
    x = {"plain": x, "transposed": x.mT, "empty": x[:0]}[layout].detach().requires_grad_()
    table, slopes = random_table(torch.int32, 256).to(device), random_table(torch.int32, 258).to(device)
    given = (x, table, exponents(5, 16, 24, device=device), -128, slopes)
    torch.library.opcheck(torch.ops.hwlut.quantized_lookup.default, given)


def test_arguments_are_refused_by_name(device):
    x, table = torch.zeros(3, device=device), torch.zeros(4, dtype=torch.int32, device=device)
    pair, triple = exponents(0, 0, device=device), exponents(0, 0, 0, device=device)
    integers = "uint8, int8, int16, int32 or int64"
    cases = [
        ((x.int(), table, pair, 0), TypeError, "x must be float16, bfloat16, float32 or float64, not torch.int32"),
        ((x, table.float(), pair, 0), TypeError, f"table must be {integers}, not torch.float32"),
        ((x, table, pair.long(), 0), TypeError, "exponents must be int32, not torch.int64"),
        (([1.0], table, pair, 0), TypeError, "x must be a tensor, not list"),
        ((x, table, triple, 0), ValueError, "exponents must be 2 numbers, scale and frac, not shape (3,)"),
        (
            (x, table, pair, 0, table),
            ValueError,
            "exponents must be 3 numbers, scale, frac and the slopes' frac, not shape (2,)",
        ),
        (
            (x, table, triple, 0, table),
            ValueError,
            "slopes must be 6, two more than the table, not 4",
        ),
        (
            (x, table[None], pair, 0),
            ValueError,
            "table must have one dimension and at least one entry, not shape (1, 4)",
        ),
        ((x, table, pair, 1 << 23), ValueError, "codes must be from -2^23 to 2^23, not from 8388608 to 8388611"),
        ((x, table.to("meta"), pair, 0), ValueError, f"table must be on {x.device} like x, not meta"),
    ]
    for given, error, message in cases:
        with pytest.raises(error) as caught:
            ops.quantized_lookup(*given)
        assert str(caught.value) == f"quantized_lookup {message}"
