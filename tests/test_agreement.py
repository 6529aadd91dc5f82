"""Every shipped unit, every code, every engine: the same integers."""

import pytest

import hwlut
from hwlut.share import share

TABLES = sorted(path.stem for path in share("pretrained").glob("*.json"))


@pytest.fixture(params=TABLES)
def unit(request):
    return hwlut.load(share("pretrained", f"{request.param}.json"))


def agrees(report, vectors):
    return report.ok and report.exhaustive and report.vectors == vectors


def test_tables_are_shipped():
    functions = {"exp", "gelu", "hswish", "sigmoid", "silu", "softplus", "tanh"}
    assert set(TABLES) >= {f"{name}_{segments}" for name in functions for segments in (8, 16)}


def test_verilator_with_the_scale_on_each_beat(unit):
    report = hwlut.check(unit, "verilator")
    assert agrees(report, 7 * 256), report


@pytest.mark.parametrize("scale", [0, 6])
def test_pysim_at_a_hard_wired_scale(unit, scale):
    report = hwlut.check(unit, "pysim", scale=scale)
    assert agrees(report, 256), report


def test_cpu_kernel(unit):
    report = hwlut.check(unit, "cpu")
    assert agrees(report, 7 * 256), report


@pytest.mark.cuda
def test_cuda_kernel(unit):
    report = hwlut.check(unit, "cuda")
    assert agrees(report, 7 * 256), report


@pytest.mark.parametrize("scale", range(7))
def test_verilator_at_every_hard_wired_scale(scale):
    report = hwlut.check(hwlut.load(share("pretrained", "gelu_8.json")), "verilator", scale=scale)
    assert agrees(report, 256), report


def test_cocotb(need):
    need("cocotb", "cocotbext", "make", "perl")
    report = hwlut.check(hwlut.load(share("pretrained", "gelu_8.json")), "cocotb")
    assert agrees(report, 7 * 256), report
