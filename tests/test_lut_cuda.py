"""The CUDA side of look-up products: its sources compile, and compute the right thing on the processor."""

import ctypes
import functools
import importlib
import shutil

import cuda_on_cpu
import pytest
import torch
from lut_units import random_unit

from hwlut import Fixed, Requantize, ops
from hwlut.ops import build, lut_launch, lut_pack, lut_tables, registry

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
packing = importlib.import_module("hwlut.ops.lut_pack")
products = importlib.import_module("hwlut.ops.lut_matmul")


@needs_nvcc
@pytest.mark.parametrize("name", ["lut_matmul", "quantize_codes"])
def test_source_compiles_and_reports_errors(name):
    function = build.library(f"{name}.cu", ((8, 0), (9, 0)))[f"hwlut_{name}"]
    given = importlib.import_module(f"hwlut.ops.{'lut_launch' if name == 'lut_matmul' else name}")._ARGUMENTS
    function.argtypes, function.restype = [*given, ctypes.c_int, ctypes.c_void_p], ctypes.c_char_p
    nothing = [None if kind is ctypes.c_void_p else 0 for kind in given]
    assert function(*nothing, 1 << 20, None)


def run(encoder, table, codes, indices, out):
    """What `lut_launch.builders` makes of the kernel of a GPU."""
    if codes is not None and indices is None:
        indices = torch.full((codes.numel() // codes.shape[-1], table[0]), 255, dtype=torch.uint8)
    pointers = (None if tensor is None else tensor.data_ptr() for tensor in (codes, indices, out))
    out_type = 0 if out is None else lut_launch.INTEGERS[out.dtype]
    rows = len(codes if codes is not None else indices)
    cuda_on_cpu.launch(None, *encoder, *table, *pointers, out_type, rows, name="lut_matmul")


@functools.cache
def operators():
    names = ("hwlut.ops.lut_encode", "hwlut.ops.lut_scan", "hwlut.ops.lut_matmul")
    return [importlib.import_module(name)._on(run) for name in names]


@needs_gxx
@pytest.mark.parametrize("order", [0, 1], ids=["forwards", "backwards"])
@pytest.mark.parametrize("encoder", ["l2", "l1", "chebyshev", "tree"])
def test_kernel(encoder, order):
    """On the processor, tensor cores emulated."""
    cuda_on_cpu.library("lut_matmul").emulate(3, 227 << 10, order)
    encode, scan, matmul = operators()
    for case, (k, v, features, outputs, rows) in enumerate(
        (
            (16, 3, 50, 70, 70),
            (16, 2, 8, 64, 64),
            (2, 1, 5, 3, 1),
            (8, 5, 81, 9, 17),
            (4, 7, 20, 65, 5),
            (32, 3, 31, 130, 19),
            (256, 2, 7, 20, 9),
        )
    ):
        unit = random_unit(
            case, encoder=encoder, k=k, v=v, features=features, outputs=outputs, ties=case % 2 == 0, extreme=case == 1
        )
        if case % 3:
            rounding = ("half_up", "half_even", "floor")[case % 3]
            channels = outputs if case % 2 else 1
            after = {"input": Fixed(32), "multipliers": [3 << 20] * channels, "shifts": [24] * channels}
            unit = unit.replace(requantize=Requantize(**after, output=Fixed(8, signed=False), rounding=rounding))
        codes = torch.randint(-128, 128, (rows, features), generator=torch.Generator().manual_seed(case)).to(torch.int8)
        tables = lut_tables(unit)
        before, packed = products._encoder(tables), packing.on_gpu(tables.table)
        after = (tables.table, packed, tables.bias, tables.ratios, tables.after)
        indices = encode(codes, *before)
        assert torch.equal(indices.long(), unit.encode(codes)), (k, v)
        assert torch.equal(scan(indices, *after).int(), unit(codes).int()), (k, v)
        assert torch.equal(matmul(codes, *before, *after).int(), unit(codes).int()), (k, v)
    cuda_on_cpu.library("lut_matmul").emulate(3, 227 << 10, 0)


@needs_gxx
@pytest.mark.parametrize("k", [4, 16])
def test_the_layout_of_a_gpu_is_that_of_permutes(k):
    """Where the processor permutes too; elsewhere its kernels read it not."""
    table = torch.randint(-128, 128, (7, k, 70), generator=torch.Generator().manual_seed(0)).to(torch.int8)
    packed, other = packing.on_gpu(table), lut_pack.lut_pack(table)
    if other[0] == 1:
        assert torch.equal(packed, other)
    entries = packed[64:].view(32, 2, 4, 4, 16)  # outputs in fours, groups, outputs, codebooks, entries
    for output, codebook, entry in ((0, 0, 0), (69, 6, k - 1), (33, 4, 2)):
        held = entries[output // 4, codebook // 4, output % 4, codebook % 4, entry]
        assert held.view(torch.int8) == table[codebook, entry, output]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
@pytest.mark.parametrize("name", ["lut_encode", "lut_scan", "lut_matmul", "lut_pack", "quantize_codes"])
def test_without_gpu(name):
    registry._chosen.cache_clear()
    with pytest.warns(RuntimeWarning, match=f"hwlut {name} runs in torch on cuda, slowly: CUDA device: not found"):
        assert ops.implementation(name, "cuda") == "torch"


@pytest.mark.cuda
@needs_nvcc
@pytest.mark.parametrize("k", [16, 64])
def test_on_a_gpu(k):
    unit = random_unit(1, encoder="l2", k=k, v=4, features=300, outputs=200, requantize="channels")
    codes = torch.randint(-128, 128, (1000, 300), generator=torch.Generator().manual_seed(0)).to(torch.int8)
    assert torch.equal(ops.lut_matmul(codes.cuda(), unit).cpu().int(), unit(codes))
    x, step = torch.randn(1000), torch.tensor(0.02)
    assert torch.equal(ops.quantize_codes(x.cuda(), step.cuda()).cpu(), ops.quantize_codes(x, step))
