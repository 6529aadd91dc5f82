"""The shipped tables: what fitting gives, and as accurate as promised."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import hwlut
from hwlut.accuracy import accuracy
from hwlut.fit import catalogue
from hwlut.functions import FUNCTIONS
from hwlut.share import share
from hwlut.units.multiplier_catalogue import write_multipliers


def test_shipped_tables_are_what_fitting_gives(tmp_path):
    steps = []
    paths = catalogue.fit_catalogue(tmp_path / "new", progress=lambda *step: steps.append(step))
    shipped = {path.name: path.read_bytes() for path in share("pretrained").iterdir() if path.name[:3] != "mul"}
    assert {path.name: path.read_bytes() for path in paths} == shipped
    total = len(catalogue.CATALOGUE)
    assert [step[:2] for step in steps] == [(done, total) for done in range(1, total + 1)]
    assert [step[2] for step in steps] == [path.stem for path in paths]


def test_shipped_multipliers_are_those_listed(tmp_path):
    written = {path.name: path.read_bytes() for path in write_multipliers(tmp_path)}
    assert {path.name: path.read_bytes() for path in share("pretrained").glob("mul*")} == written
    assert {name[:5] for name in written} == {"mul8u", "mul8s"} and "mul8s_booth_truncated_6.json" in written


def test_fits_run_on_the_executor_given(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "CATALOGUE", (("tanh", 8),))
    with ThreadPoolExecutor(1) as executor:
        (path,) = catalogue.fit_catalogue(tmp_path, executor)
    assert path.read_bytes() == share("pretrained", "tanh_8.json").read_bytes()


GELU = np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))), otypes=[float])


@pytest.mark.parametrize(
    "name, target, most",
    [
        ("gelu_8", GELU, 1.3e-5),
        ("gelu_16", GELU, 1.4e-6),
        ("hswish_8", lambda x: x * np.clip(x + 3, 0, 6) / 6, 5.4e-5),
        ("hswish_16", lambda x: x * np.clip(x + 3, 0, 6) / 6, 3.0e-6),
        ("silu_8", lambda x: x / (1 + np.exp(-x)), 5.3e-5),
        ("silu_16", lambda x: x / (1 + np.exp(-x)), 4.4e-6),
    ],
)
def test_accuracy_over_all_codes(name, target, most):
    unit = hwlut.load(share("pretrained", f"{name}.json"))
    codes = torch.arange(-128, 128)
    errors = []
    for scale in range(7):
        result = unit(codes, scale=scale).double() / 2 ** unit.output_format(scale).frac
        errors.append(np.mean((result.numpy() - target(codes.numpy() / 2**scale)) ** 2))
    assert np.mean(errors) <= most
    assert unit.meta["mse"] == pytest.approx(np.mean(errors), rel=1e-5)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_recorded_errors(function):
    """By the torch definition. In theory lines half as long err 16 times less in the square."""
    errors = {}
    for segments in (8, 16):
        unit = hwlut.load(share("pretrained", f"{function}_{segments}.json"))
        rows = accuracy(unit)
        errors[segments] = math.fsum(row.mse for row in rows) / len(rows)
        assert (unit.scales, str(unit.input), unit.function) == (tuple(range(7)), "s8", function)
        assert unit.meta["certified"] and unit.meta["mse"] == pytest.approx(errors[segments], rel=1e-5)
    assert errors[16] < errors[8] / 4


@pytest.mark.parametrize(
    "function, segments, scales, most",
    [
        ("reciprocal", 8, (5,), 1.28e-5),
        ("reciprocal", 16, (5,), 7.55e-7),
        ("rsqrt", 8, (0, 1, 2, 3, 4, 5), 1.405e-5),
        ("rsqrt", 16, (0, 1, 2, 3, 4, 5), 1.155e-6),
    ],
    ids=["reciprocal_8", "reciprocal_16", "rsqrt_8", "rsqrt_16"],
)
def test_domains_of_the_published_fits(function, segments, scales, most):
    """What another program found for slopes of 8 and intercepts of 16 bits on GQA-LUT's domains."""
    unit = hwlut.fit(function, segments, scales=scales, breakpoint_frac=6)
    assert unit.meta["mse"] <= most
