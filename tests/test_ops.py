"""Operators: kernel, torch definition and units agree; builds fail without losing anything."""

import ctypes
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from hwlut import ops
from hwlut.errors import ToolError
from hwlut.fixed import Fixed
from hwlut.ops import registry
from hwlut.ops.build import library
from hwlut.units import Pwl, Requantize

TYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
SIZES = (0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127)

needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
DEVICES = [
    pytest.param("cpu", marks=needs_gxx),
    pytest.param("cuda", marks=[pytest.mark.cuda, needs_nvcc]),
]


@pytest.fixture(params=[*DEVICES, pytest.param("torch", id="torch")])
def device(request, monkeypatch):
    """Where the operator runs: in each kernel, and in torch."""
    if request.param == "torch":
        forget()
        monkeypatch.setenv("HWLUT_KERNELS", "torch")
        yield "cpu"
        forget()
        return
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    assert ops.implementation("lookup", request.param) == "kernel"
    yield request.param


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty cache and nothing chosen yet."""
    monkeypatch.setenv("HWLUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HWLUT_KERNELS", raising=False)
    forget()
    yield tmp_path
    forget()


def forget():
    registry._chosen.cache_clear()
    library.cache_clear()


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def random(dtype, size, seed=0):
    """Every value of the dtype equally likely."""
    limits = torch.iinfo(dtype)
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(limits.min, limits.max, (size,), dtype=dtype, generator=generator)


def expected(codes, table, low):
    """numpy's own look-up of the codes held to the table's range."""
    held = np.clip(codes.cpu().numpy().astype(np.int64), low, low + len(table) - 1)
    return torch.from_numpy(np.asarray(table.cpu().numpy()[held - low]))


def same(got, want):
    return got.dtype == want.dtype and got.shape == want.shape and torch.equal(got.cpu(), want)


@pytest.mark.parametrize("entry", TYPES, ids=str)
@pytest.mark.parametrize("code", TYPES, ids=str)
def test_every_pair_of_types(device, code, entry):
    for size in SIZES:
        for entries, low in ((256, -128), (256, 0), (1, 3), (5, -2), (77, 100), (1000, -300)):
            codes, table = random(code, size), random(entry, entries, seed=1)
            got = ops.lookup(codes.to(device), table.to(device), low)
            assert same(got, expected(codes, table, low)), (size, entries, low)


@pytest.mark.parametrize("code", [torch.int8, torch.uint8], ids=str)
def test_every_byte_reads_its_own_entry(device, code):
    low = torch.iinfo(code).min
    codes = torch.arange(low, low + 256).to(code)
    for position in range(256):
        table = torch.zeros(256, dtype=torch.int8)
        table[position] = 77
        got = ops.lookup(codes.to(device), table.to(device), low).cpu()
        assert got.nonzero().flatten().tolist() == [position] and got[position] == 77


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("code", [torch.int8, torch.int16], ids=str)
def test_threads_share_the_work(device, threads, code, count):
    threads(count)
    codes, table = random(code, 1_000_003), random(torch.int8, 256)
    assert same(ops.lookup(codes.to(device), table.to(device), -128), expected(codes, table, -128))


def test_wide_codes_are_held_to_the_ends(device):
    ends = torch.iinfo(torch.int64)
    codes = torch.tensor([ends.min, ends.min + 1, -4, -3, -2, -1, 0, ends.max])
    table = torch.tensor([10, 20, 30])
    got = ops.lookup(codes.to(device), table.to(device), -3)
    assert got.tolist() == [10, 10, 10, 10, 20, 30, 30, 30]


def test_strides_and_offsets(device):
    table = random(torch.int8, 256, seed=1).to(device)
    grid = random(torch.int8, 2 * 3 * 8 * 10).reshape(2, 3, 8, 10).to(device)
    cases = {
        "transposed": grid.transpose(1, 3),
        "channels last": grid.contiguous(memory_format=torch.channels_last),
        "every second": grid[..., ::2],
        "offset": grid.flatten()[1:],
        "offset by three": grid.flatten()[3:-2],
        "expanded": grid[0, 0, 0].expand(4, 10),
        "no dimension": grid[0, 0, 0, 0],
        "no element": grid[:, :0],
    }
    for label, codes in cases.items():
        got = ops.lookup(codes, table, -128)
        assert same(got, expected(codes, table, -128)), label
        assert got.stride() == torch.empty_like(codes).stride(), label
    assert same(ops.lookup(grid, table[::3], -40), expected(grid, table[::3], -40))


def test_arguments_are_refused_by_name(device):
    codes, table = torch.zeros(3, dtype=torch.int8, device=device), torch.zeros(4, dtype=torch.int32, device=device)
    cases = [
        (
            codes.float(),
            table,
            0,
            TypeError,
            "lookup codes must be uint8, int8, int16, int32 or int64, not torch.float32",
        ),
        (codes, table.bool(), 0, TypeError, "lookup table must be uint8, int8, int16, int32 or int64, not torch.bool"),
        ([1], table, 0, TypeError, "lookup codes must be a tensor, not list"),
        (codes, None, 0, TypeError, "lookup table must be a tensor, not NoneType"),
        (
            codes,
            table[:0],
            0,
            ValueError,
            "lookup table must have one dimension and at least one entry, not shape (0,)",
        ),
        (
            codes,
            table[None],
            0,
            ValueError,
            "lookup table must have one dimension and at least one entry, not shape (1, 4)",
        ),
        (codes, table, 1 << 32, ValueError, "lookup low must be from -2^31 to 2^31, not 4294967296"),
        (codes, table.to("meta"), 0, ValueError, f"lookup table must be on {codes.device} like the codes, not meta"),
    ]
    for codes, table, low, error, message in cases:
        with pytest.raises(error) as caught:
            ops.lookup(codes, table, low)
        assert str(caught.value) == message


def pwl(input_bits, signed=True, **changes):
    fields = dict(
        input={"bits": input_bits, "signed": signed},
        scales=(0, 3, 5),
        breakpoint_frac=6,
        breakpoints=(-150, -20, 64, 64, 190),
        slope={"bits": 8, "frac": 6},
        slopes=(0, -13, 27, 5, 80, 64),
        intercept={"bits": 16, "frac": 10},
        intercepts=(-3, -700, 12, 900, -400, 1),
    )
    return Pwl(**{**fields, **changes})


UNITS = {
    "accumulator": (pwl(8), 3, torch.int16),
    "int8": (pwl(8, output={"bits": 8, "signed": True, "frac": "input"}), 5, torch.int8),
    "uint8": (pwl(8, output={"bits": 8, "signed": False, "frac": 4}), 3, torch.uint8),
    "unsigned": (pwl(7, signed=False, output={"bits": 7, "signed": False, "frac": 4}), 0, torch.int8),
    "odd": (pwl(8, symmetry="odd", output={"bits": 9, "signed": True, "frac": 5}), 3, torch.int16),
    "identity": (pwl(12, symmetry="identity", output={"bits": 16, "signed": False, "frac": 2}), 0, torch.int32),
    "complement": (pwl(16, symmetry="complement", output={"bits": 33, "signed": True, "frac": 5}), 5, torch.int64),
    "one scale": (pwl(8, scales=(4,), output={"bits": 6, "signed": True, "frac": 3}), None, torch.int8),
    "requantize": (
        Requantize(
            input=Fixed(16),
            multipliers=(1518500250,),
            shifts=(38,),
            zero_point=7,
            output=Fixed(8, signed=False),
        ),
        None,
        torch.uint8,
    ),
}


@pytest.mark.parametrize("label", UNITS)
def test_units_by_their_tables(device, label):
    unit, scale, dtype = UNITS[label]
    codes = torch.arange(unit.input.min, unit.input.max + 1)
    want = unit(codes) if scale is None else unit(codes, scale=scale)
    assert want.unique().numel() > 3
    for type in TYPES:
        if torch.iinfo(type).min <= unit.input.min and unit.input.max <= torch.iinfo(type).max:
            got = ops.evaluate(unit, codes.to(device, type), scale)
            assert got.dtype == dtype
            assert torch.equal(got.cpu().long(), want.long())


def test_units_without_a_table():
    channels = UNITS["requantize"][0].replace(
        multipliers=(1,) * 256, shifts=(3,) * 256, input={"bits": 8, "signed": True}
    )
    with pytest.raises(ValueError, match=r"^table unit must have one channel, not 256$"):
        ops.table(channels)
    with pytest.raises(ValueError, match=r"^table unit must have at most 16 input bits, not 17$"):
        ops.table(pwl(17))
    with pytest.raises(TypeError, match=r"^table unit must be a unit of one input, not int$"):
        ops.table(3)
    with pytest.raises(ValueError, match="one must be given"):
        ops.evaluate(pwl(8), torch.zeros(1, dtype=torch.int8))


def arguments(device):
    codes = random(torch.int8, 24).reshape(2, 3, 4).to(device)
    return codes, random(torch.int16, 256).to(device), -128


@pytest.mark.parametrize("layout", ["plain", "transposed", "sliced", "empty"])
def test_opcheck(device, layout):
    codes, table, low = arguments(device)
    codes = {"plain": codes, "transposed": codes.mT, "sliced": codes[..., ::2], "empty": codes[:0]}[layout]
    torch.library.opcheck(torch.ops.hwlut.lookup.default, (codes, table, low))


class Layer(torch.nn.Module):
    def __init__(self, table, low):
        super().__init__()
        self.register_buffer("table", table)
        self.low = low

    def forward(self, codes):
        return ops.lookup(codes, self.table, self.low).to(torch.int32) * 2


def test_compile_and_export(device):
    codes, table, low = arguments(device)
    layer, want = Layer(table, low), expected(codes, table, low).to(torch.int32) * 2
    assert same(torch.compile(layer, fullgraph=True, backend="aot_eager")(codes), want)
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(layer, (codes,), dynamic_shapes=({0: batch},))
    assert any(node.target is torch.ops.hwlut.lookup.default for node in program.graph.nodes)
    longer = codes.repeat(3, 1, 1)
    assert same(program.module()(longer), want.repeat(3, 1, 1))


def test_implementation_refuses_unknown_names():
    with pytest.raises(ValueError, match=r"^implementation operator must be one of .*lookup.*, not 'look'$"):
        ops.implementation("look", "cpu")
    with pytest.raises(ValueError, match=r"^implementation device must be one of cpu, cuda, not 'tpu'$"):
        ops.implementation("lookup", "tpu")


def falls_back(match):
    """One warning at the first call, none at the second, and right results."""
    codes, table, low = arguments("cpu")
    with pytest.warns(RuntimeWarning, match=match) as caught:
        got = ops.lookup(codes, table, low)
    assert len(caught) == 1
    assert same(got, expected(codes, table, low))
    assert same(ops.lookup(codes, table, low), got)
    assert ops.implementation("lookup", "cpu") == "torch"


def test_without_compiler(fresh, monkeypatch):
    monkeypatch.setenv("PATH", str(fresh))
    falls_back(r"^hwlut lookup runs in torch on cpu, slowly: g\+\+: not found; apt install g\+\+$")


@needs_gxx
def test_cache_that_cannot_be_written(fresh, monkeypatch):
    (fresh / "file").write_text("kept")
    monkeypatch.setenv("HWLUT_CACHE", str(fresh / "file"))
    falls_back("kernel cache: .*set HWLUT_CACHE to a folder that can be written and run from$")
    assert (fresh / "file").read_text() == "kept"


@needs_gxx
def test_source_that_does_not_compile(fresh, monkeypatch):
    (fresh / "lookup.cpp").write_text("int hwlut_lookup( {\n")
    monkeypatch.setattr("hwlut.ops.build.share", lambda *parts: fresh / parts[-1])
    falls_back(r"g\+\+: .*lookup\.cpp:1:.*error: ")
    assert list((fresh / "cache" / "kernels").iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_without_gpu(fresh):
    with pytest.warns(RuntimeWarning, match="runs in torch on cuda, slowly: CUDA device: not found"):
        assert ops.implementation("lookup", "cuda") == "torch"


PROGRAM = """
import sys, torch
from hwlut import ops
codes = torch.arange(-128, 128, dtype=torch.int8)
assert torch.equal(ops.lookup(codes, codes.flip(0), -128), codes.flip(0))
print(ops.implementation("lookup", "cpu"))
"""


def start(cache):
    environment = {**os.environ, "HWLUT_CACHE": str(cache), "HWLUT_KERNELS": ""}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, text=True
    )


@needs_gxx
def test_two_processes_build_at_once_and_a_damaged_cache_heals(tmp_path):
    for process in [start(tmp_path), start(tmp_path)]:
        assert process.communicate()[0] == "kernel\n" and process.returncode == 0
    (built,) = (tmp_path / "kernels").iterdir()
    (binary,) = built.iterdir()
    content = binary.read_bytes()
    binary.write_bytes(b"damaged")
    process = start(tmp_path)
    assert process.communicate()[0] == "kernel\n" and process.returncode == 0
    assert len(binary.read_bytes()) == len(content)


@needs_gxx
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_kernel_shares_the_threads_of_torch():
    program = """
from hwlut import ops
assert ops.implementation("lookup", "cpu") == "kernel"
print(*sorted({line.split()[-1] for line in open("/proc/self/maps") if "libgomp" in line}))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert len(run.stdout.split()) == 1


@needs_nvcc
def test_cuda_source_compiles_and_reports_errors(fresh):
    function = library("lookup.cu", ((8, 0), (9, 0))).hwlut_lookup
    function.restype = ctypes.c_char_p
    error = function(None, 1, None, 1, ctypes.c_int64(1), ctypes.c_int64(0), None, ctypes.c_int64(0), 1 << 20, None)
    assert error


def test_without_cuda_compiler(fresh, monkeypatch):
    monkeypatch.setenv("PATH", str(fresh))
    with pytest.raises(ToolError, match=r"^nvcc: not found; install the CUDA toolkit and put nvcc on the PATH$"):
        library("lookup.cu", ((9, 0),))
