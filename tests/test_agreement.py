"""Every shipped unit, every code, every engine: the same integers."""

import pytest

import hwlut
from hwlut.functions import FUNCTIONS
from hwlut.share import share
from hwlut.units.multiplier_catalogue import multipliers

MULTIPLIERS = [unit.name for unit in multipliers()]
TABLES = sorted({path.stem for path in share("pretrained").glob("*.json")} - set(MULTIPLIERS))
every_multiplier = pytest.mark.parametrize("name", MULTIPLIERS)
every_table = pytest.mark.parametrize("name", TABLES)


def shipped(name):
    return hwlut.load(share("pretrained", f"{name}.json"))


def agrees(report, vectors):
    return report.ok and report.exhaustive and report.vectors == vectors


def test_tables_are_shipped():
    assert set(TABLES) == {f"{name}_{segments}" for name in FUNCTIONS for segments in (8, 16)}


@pytest.mark.parametrize("name", [name for name in TABLES if name.endswith("_8")])
def test_verilator_with_the_scale_on_each_beat(name):
    report = hwlut.check(shipped(name), "verilator")
    assert agrees(report, 7 * 256), report


@pytest.mark.parametrize("name", [name for name in TABLES if name.endswith("_16")])
def test_pysim_at_a_hard_wired_scale(name):
    report = hwlut.check(shipped(name), "pysim", scale=4)
    assert agrees(report, 256), report


@pytest.mark.parametrize("scale", [0, 6])
def test_pysim_at_the_ends_of_the_scales(scale):
    report = hwlut.check(shipped("gelu_16"), "pysim", scale=scale)
    assert agrees(report, 256), report


@every_table
def test_cpu_kernel(name):
    report = hwlut.check(shipped(name), "cpu")
    assert agrees(report, 7 * 256), report


@pytest.mark.cuda
@every_table
def test_cuda_kernel(name):
    report = hwlut.check(shipped(name), "cuda")
    assert agrees(report, 7 * 256), report


@pytest.mark.parametrize("scale", range(7))
def test_verilator_at_every_hard_wired_scale(scale):
    report = hwlut.check(shipped("gelu_8"), "verilator", scale=scale)
    assert agrees(report, 256), report


@every_multiplier
def test_verilator_multiplies(name):
    report = hwlut.check(shipped(name), "verilator")
    assert agrees(report, 1 << 16), report


@every_multiplier
def test_cpu_kernels_multiply(name):
    report = hwlut.check(shipped(name), "cpu")
    assert agrees(report, 1 << 16), report


@pytest.mark.cuda
@every_multiplier
def test_cuda_kernels_multiply(name):
    report = hwlut.check(shipped(name), "cuda")
    assert agrees(report, 1 << 16), report


def test_cocotb(need):
    need("cocotb", "cocotbext", "make", "perl")
    report = hwlut.check(shipped("gelu_8"), "cocotb")
    assert agrees(report, 7 * 256), report
