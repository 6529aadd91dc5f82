"""What tests share: how a missing tool skips a test, and when that is no excuse."""

import contextlib
import importlib.util
import os
import re
import shutil

import pytest

with contextlib.suppress(ImportError):  # tests on other machines' GPUs do without
    from hypothesis import settings

    settings.register_profile("long", max_examples=20_000)

INSTALLED = (
    "aeon",
    "chromium-headless-shell",
    "cocotb",
    "cocotbext",
    "datasets",
    "distributed",
    "g++",
    "gcc",
    "hatchling",
    "hypothesis",
    "iverilog",
    "make",
    "mkdocs",
    "mkdocstrings",
    "mlxtend",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "perl",
    "qflow-tech-osu018",
    "sklearn",
    "sta",
    "tensorboard",
    "torch_pruning",
    "transformers",
    "verilator",
    "yosys",
)
"""Tools and packages that ./dev installs: where CI is set, no test may be skipped for want of one."""


@pytest.fixture
def need():
    """Skips the test unless a command or a Python package of each name is there."""

    def require(*names):
        for name in names:
            if shutil.which(name) is None and importlib.util.find_spec(name) is None:
                pytest.skip(f"needs {name}")

    return require


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA GPU")


def _refuse_excuses(report):
    """Turns a skip for want of an installed tool into a failure."""
    if os.environ.get("CI") and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if any(re.search(rf"(?<![\w+]){re.escape(name)}(?![\w+])", reason) for name in INSTALLED):
            report.outcome = "failed"
            report.longrepr = f"{reason}: ./dev installs it, so no test may be skipped for it"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _refuse_excuses((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _refuse_excuses((yield))
