"""The CUDA side of matrix products: its source compiles, and computes the right thing on the processor.

tests/test_approx_matmul.py runs all of its operators, on a GPU where there is one.
"""

import ctypes
import importlib
import shutil

import cuda_on_cpu
import numpy as np
import pytest
import torch

from hwlut import ops
from hwlut.decomposition import Factors
from hwlut.fixed import Fixed
from hwlut.ops import approx_int8, approx_table, approx_terms, build, registry
from hwlut.units import Multiplier

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def integers(low, high, *shape, dtype=torch.int64, seed=0):
    return torch.randint(low, high + 1, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@needs_nvcc
def test_source_compiles_and_reports_errors():
    function = build.library("approx_table.cu", ((8, 0), (9, 0))).hwlut_approx_table
    function.argtypes, function.restype = [*approx_table._ARGUMENTS, ctypes.c_int, ctypes.c_void_p], ctypes.c_char_p
    assert function(None, 1, 0, None, 1, 0, 0, None, 1, 1, 0, None, 0, 0, 0, 0, 1 << 20, None)


@needs_gxx
@pytest.mark.parametrize(
    "processors, shared_bytes", [(3, 227 << 10), (40, 227 << 10), (2, 64 << 10)], ids=["large", "split over k", "small"]
)
@pytest.mark.parametrize("order", [0, 1], ids=["forwards", "backwards"])
def test_table_kernel(processors, shared_bytes, order):
    """On a device of few tiles a processor, of more processors than tiles, and without room for the table."""
    cuda_on_cpu.library().emulate(processors, shared_bytes, order)
    run = approx_table._on(cuda_on_cpu.launch)
    for z, shared, m, k, n, rows, columns in (
        (1, 1, 1, 1, 1, 256, 256),
        (2, 1, 130, 70, 129, 256, 256),
        (2, 2, 5, 1031, 131, 256, 16),
        (1, 1, 257, 65, 128, 3, 5),
        (1, 1, 3, 0, 2, 256, 256),
        (3, 3, 8, 519, 33, 1, 256),
    ):
        for dtype, low in zip(INTEGERS, (0, -128, -128, 7, -300)):
            a = integers(max(low - 9, torch.iinfo(dtype).min), min(low + rows, torch.iinfo(dtype).max), z, m, k)
            b = integers(low, low + columns - 1, shared, k, n, seed=1)
            table = integers(-(1 << 15), (1 << 15) - 1, rows + 1, columns, dtype=torch.int16)[1:]  # often unaligned
            arguments = (a.to(dtype), b.to(dtype), table, low, low, 70000)
            assert torch.equal(run(*arguments), approx_table._definition(*arguments)), (z, m, k, n, dtype)
    cuda_on_cpu.library().emulate(3, 227 << 10, 0)


@pytest.mark.parametrize("terms", [*range(1, 9), 13, 22])
def test_int8_factors_are_packed_and_unpacked(terms):
    for z, k, n in ((1, 1, 1), (2, 17, 16), (1, 0, 3), (2, 32, 40)):
        v = integers(-128, 127, z, k, terms, n, dtype=torch.int8)
        packed = approx_int8.pack(v)
        assert packed.shape == approx_int8.packed_shape(z, k, terms, n)
        assert torch.equal(approx_int8.unpacked(packed, k, terms, n), v.flatten(1, 2))


@pytest.mark.parametrize("terms, at_once, exact", [(1, 1, 1 << 17), (7, 1 << 12, 130), (11, 1 << 28, 1 << 17)])
def test_int8_products(terms, at_once, exact, monkeypatch):
    """Blocks of rows and of k are summed: however much is held at once, and may be summed without overflow."""
    monkeypatch.setattr(approx_int8, "_AT_ONCE", at_once)
    monkeypatch.setattr(approx_int8, "_EXACT", exact)
    a, u = integers(-3, 258, 2, 70, 65), integers(-128, 127, 256, terms, dtype=torch.int8)
    for z in (1, 2):
        v, out = integers(-128, 127, z, 65, terms, 19, dtype=torch.int8), integers(-9, 9, 2, 70, 19, dtype=torch.int32)
        places, p = a.clamp(0, 255), integers(-999, 999, 256, dtype=torch.int32)
        want = out + p[places].sum(2, keepdim=True) + u[places].flatten(2).long() @ v.flatten(1, 2).long()
        approx_int8.add_products(out, a, u, p, approx_int8.pack(v), 0)
        assert torch.equal(out.long(), want)


def test_int8_products_of_the_longest_sums():
    """Each product of bytes fits int32 by itself: the tensor cores may hold a sum to its ends, where int32 wraps."""
    ((_, width),) = approx_int8._words(8)
    step = approx_int8._EXACT // width // 16 * 16
    assert step * width * 128 * 128 < 1 << 31 <= (step + 16) * width * 128 * 128


def test_terms_of_minus_128():
    """Their signs cannot be turned, nor can they be put together."""
    u = np.array([[-128, 127], [-128, 5]], np.int8)
    v = np.array([[-128, 64, 0], [-64, 32, 0]], np.int8)
    factors = Factors(u=u, v=v, weights=np.array([1, 3]), p=np.zeros(2, np.int64), q=np.zeros(3, np.int64))
    want = np.einsum("t,ta,tb->ab", factors.weights, u.astype(np.int64), v.astype(np.int64))
    for dtype in (np.int8, np.int16):
        found = approx_terms.groups(factors, 1 << 30, dtype)
        got = sum(group.weight * (group.u.T.astype(np.int64) @ group.v.astype(np.int64)) for group in found)
        assert (got == want).all() and all(group.u.dtype == group.v.dtype == dtype for group in found)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
@pytest.mark.parametrize("name", ["approx_table", "approx_factors"])
def test_without_gpu(name):
    registry._chosen.cache_clear()
    with pytest.warns(RuntimeWarning, match=f"hwlut {name} runs in torch on cuda, slowly: CUDA device: not found"):
        assert ops.implementation(name, "cuda") == "torch"


@pytest.fixture
def other_gpu():
    """Not the current one, where there are two."""
    return torch.device("cuda", torch.cuda.device_count() - 1)


@pytest.mark.cuda
@needs_nvcc
@pytest.mark.parametrize("path", ["factors", "table"])
def test_large_products_on_a_side_stream(other_gpu, path, monkeypatch):
    """More tiles than processors, unaligned sizes, operands made on another stream of the device."""
    monkeypatch.setattr(importlib.import_module("hwlut.ops.approx_matmul"), "approx_matmul_path", lambda *_: path)
    multiplier = Multiplier(family="truncate_columns", a=Fixed(8), b=Fixed(8), columns=4)
    left, right = integers(-128, 127, 2111, 1037), integers(-128, 127, 1037, 1999, seed=1)
    stream = torch.cuda.Stream(other_gpu)
    with torch.cuda.stream(stream):
        a, b = (codes.to(torch.int8).to(other_gpu, non_blocking=True) for codes in (left, right))
        got = ops.approx_matmul(a, b, multiplier)
        kept = ops.approx_matmul(a, ops.expand_weights(b, multiplier), multiplier)
    stream.synchronize()
    assert got.device == other_gpu and torch.equal(got, kept)
    assert torch.equal(got.cpu(), ops.approx_matmul(left, right, multiplier))


@pytest.mark.cuda
@needs_nvcc
def test_no_call_waits_for_the_gpu(other_gpu):
    """Once tables, factors and weights are there."""
    multipliers = [Multiplier(family="truncate_columns", signed=True, columns=4), Multiplier(family="mitchell")]
    a, b = integers(0, 100, 300, 70).to(other_gpu), integers(0, 100, 70, 130).to(other_gpu)
    weights = [ops.expand_weights(b, multiplier) for multiplier in multipliers]
    first = [ops.approx_matmul(a, *pair) for pair in zip(weights, multipliers)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        second = [ops.approx_matmul(a, *pair) for pair in zip(weights, multipliers)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(map(torch.equal, first, second))


@pytest.mark.cuda
@needs_nvcc
@pytest.mark.parametrize("enabled", [False, True], ids=["plain", "autocast"])
def test_autocast_changes_nothing(enabled):
    multiplier = Multiplier(family="drum", k=4)
    a, b = integers(0, 255, 40, 70), integers(0, 255, 70, 30, seed=1)
    with torch.autocast("cuda", enabled=enabled):
        got = ops.approx_matmul(a.cuda(), b.cuda(), multiplier)
    assert got.dtype == torch.int32 and torch.equal(got.cpu(), ops.approx_matmul(a, b, multiplier))
