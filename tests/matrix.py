"""The wheel in empty environments, outside the checkout: `./dev matrix [PYTHON ...]`.

A PYTHON is a version, whose interpreter is looked for on the PATH, or an interpreter; without any, all from 3.10 on. uv
makes the environments: its own variables hold (`UV_TORCH_BACKEND=cpu` spares gigabytes of CUDA).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = [f"3.{minor}" for minor in range(10, 16)]
COMPILERS = ("g++", "gcc", "c++", "cc", "clang", "clang++", "nvcc", "make", "gmake")
TESTS = (
    "test_ops.py", "test_nn.py", "test_quant.py", "test_program_engine.py", "test_lowering.py", "test_training.py",
    "test_files.py",
)  # fmt: skip


class Place(NamedTuple):
    """An environment. resolution: of uv, for what the wheel requires. sim: with that extra. hidden: commands."""

    name: str
    python: str
    resolution: str = "highest"
    sim: bool = True
    hidden: tuple[str, ...] = ()
    tested: bool = False

    @property
    def tools(self):
        """Of g++ and verilator, those that are there."""
        there = {"g++": "g++" not in self.hidden, "verilator": self.sim or "verilator" not in self.hidden}
        return [tool for tool, found in there.items() if found]


def places(pythons):
    """All environments: each Python, the oldest of all packages, and without tools."""
    first, last = pythons[0], pythons[-1]
    return [
        *(
            Place(f"Python {Path(python).name.removeprefix('python')}", python, tested=python is last)
            for python in pythons
        ),
        Place("oldest packages", first, resolution="lowest-direct", tested=True),
        Place("no compiler", first, hidden=COMPILERS),
        Place("no Verilator", first, sim=False, hidden=("verilator",)),
    ]


def called(*command, **options):
    """What a command prints; an error with its last words where it fails."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name}: {(done.stdout + done.stderr)[-3000:].strip()}")
    return done.stdout


def path_without(hidden, folder):
    """A folder of links to the commands of the PATH, but for those."""
    folder.mkdir()
    for each in map(Path, os.environ["PATH"].split(os.pathsep)):
        for command in each.iterdir() if each.is_dir() else ():
            if command.name not in hidden and not (folder / command.name).is_symlink():
                (folder / command.name).symlink_to(command)
    return folder


def installed(place, wheel, folder):
    """A new environment with the wheel."""
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    environment = folder / "environment"
    called(uv, "venv", "--quiet", "--python", place.python, environment)
    extra = ["--extra", "sim"] if place.sim else []
    python = ["--python", environment / "bin" / "python"]
    wanted = folder / "requirements.txt"
    compiled = ["--quiet", "--resolution", place.resolution, "--output-file", wanted]
    called(uv, "pip", "compile", *compiled, *python, *extra, ROOT / "pyproject.toml")
    tests = ["hypothesis", "pytest"] if place.tested else []
    called(uv, "pip", "install", "--quiet", *python, "--requirements", wanted, wheel, *tests)
    return environment / "bin"


def tried(place, wheel, folder):
    """What the smoke script finds in a place, and the tests' last line."""
    folder.mkdir()
    programs = installed(place, wheel, folder)
    work = folder / "work"
    work.mkdir()
    path = path_without(place.hidden, folder / "path") if place.hidden else os.environ["PATH"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HWLUT", "PYTHON", "XDG"))}
    environment |= {"HOME": str(folder), "HWLUT_CACHE": str(folder / "cache"), "PATH": f"{programs}{os.pathsep}{path}"}
    script = ROOT / "tests" / "smoke.py"
    found = json.loads(called(programs / "python", script, work, *place.tools, cwd=work, env=environment))
    if place.tested:
        for package in ("examples", "tests"):  # are found, and no hwlut beside them
            (work / package).symlink_to(ROOT / package)
        command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *(ROOT / "tests" / test for test in TESTS)]
        found["tests"] = called(programs / "python", *command, cwd=work, env=environment).splitlines()[-1]
    return found


def interpreters(given):
    """Those that are there, and the names of the others."""
    found, missing = [], []
    for each in given or VERSIONS:
        python = shutil.which(each if "python" in each else f"python{each}")
        works = python and subprocess.run([python, "-c", "import ensurepip"], capture_output=True).returncode == 0
        (found if works else missing).append(python if works else each)
    return found, missing


def main():
    parser = argparse.ArgumentParser(prog="./dev matrix", description=__doc__)
    parser.add_argument("pythons", nargs="*", metavar="PYTHON")
    parser.add_argument("--only", metavar="TEXT", default="", help="environments with this in their name")
    asked = parser.parse_args()
    pythons, missing = interpreters(asked.pythons)
    print(f"not here: {', '.join(missing) or 'none'}")
    failed, first = False, None
    with tempfile.TemporaryDirectory(prefix="hwlut-matrix-") as name:
        folder = Path(name)
        called(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
        (wheel,) = folder.glob("*.whl")
        for number, place in enumerate(places(pythons) if pythons else ()):
            if asked.only not in place.name:
                continue
            try:
                found = tried(place, wheel, folder / str(number))
                first = first or found["written"]
                if found["written"] != first:
                    raise RuntimeError(f"other files of Verilog: {found['written']}, not {first}")
                told = f"Python {found['python']}, " + ", ".join(map(" ".join, found["versions"].items()))
                print(f"{place.name}: {told}; sim: {found['sim']}; tests: {found.get('tests', 'none')}", flush=True)
            except RuntimeError as error:
                failed = True
                print(f"{place.name}: FAIL: {error}", flush=True)
            shutil.rmtree(folder / str(number), ignore_errors=True)
    return int(failed or not pythons)


if __name__ == "__main__":
    sys.exit(main())
