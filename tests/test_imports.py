"""Imports only run down, and nothing heavy is loaded before it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hwlut

PACKAGE = Path(hwlut.__file__).parent

LAYERS = [
    {"errors", "share", "files", "fixed", "pareto", "workers"},
    {"fields"},
    {"arrays", "names", "records"},
    {"decomposition"},
    {"unit"},
    {"units"},
    {"functions", "ops"},
    {"quant"},
    {"accuracy", "importers"},
    {"fit", "codebooks", "hdl", "plot"},
    {"program", "verify"},
    {"nn"},
    {"graph"},
    {"lowering"},
    {"train"},
    {"search"},
    {"prune", "lutnn", "accel"},
    {"explore"},
    {"report"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

ONLY_IN = {"amaranth": {"hdl", "verify", "accel"}, "cocotb": {"verify"}, "cocotb_tools": {"verify"}, "typer": {"cli"}}


def imports(path):
    """Dotted names that a module imports anywhere, functions and type checking included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            if node.module == "hwlut":
                yield from (f"hwlut.{alias.name}" for alias in node.names if not alias.name.startswith("__"))
            else:
                yield node.module


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_down(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "hwlut":
            other = rest.partition(".")[0]
            assert other == own or RANK[other] < RANK[own], f"{own} must not import {name}"
        assert own in ONLY_IN.get(top, {own}), f"{own} must not import {name}"


def loaded_by(statement):
    program = f"import sys; {statement}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "statement, absent",
    [
        ("import hwlut", {"numpy", "torch", "amaranth", "cocotb", "matplotlib", "typer", "rich"}),
        ("import hwlut.units", {"torch", "amaranth", "cocotb", "matplotlib", "typer", "rich"}),
        ("import hwlut.fit", {"torch", "amaranth", "cocotb", "matplotlib", "typer", "rich"}),
        (
            "import hwlut.program",
            {"torch", "onnx", "onnxscript", "onnxruntime", "amaranth", "cocotb", "matplotlib", "typer", "rich"},
        ),
        ("import hwlut.hdl", {"torch", "cocotb", "matplotlib", "typer", "rich"}),
        (
            "import hwlut.lutnn",
            {"onnx", "onnxscript", "onnxruntime", "amaranth", "cocotb", "matplotlib", "typer", "rich"},
        ),
        ("import hwlut.cli", {"numpy", "torch", "amaranth", "cocotb", "matplotlib", "rich"}),
    ],
)
def test_heavy_packages_wait(statement, absent):
    assert loaded_by(statement) & absent == set()


def test_names_of_the_package():
    assert hwlut.Pwl.__name__ == "Pwl"
    with pytest.raises(AttributeError, match=r"^module 'hwlut' has no attribute 'nonsense'$"):
        hwlut.nonsense  # noqa: B018
