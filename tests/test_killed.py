"""kill -9 at any moment leaves whole files, and the same command then comes to the very same ones."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from searches import TASK
from test_accel_run import IMAGES, NET, TILE

import hwlut
from hwlut import files
from hwlut.hdl.convert import is_edited
from hwlut.hdl.description import read_description
from hwlut.prune import Compression
from hwlut.search import Configuration
from hwlut.train import Finetune, finetune
from hwlut.train.states import read_tensors

ALL, SOME = slice(None), slice(1, None, 10)
LEFT = re.compile(r"\.hwlut-[0-9a-f]{16}\.tmp|\.build-.*")
DENSE = TASK.replace("import Task", "import Finetune, Task").replace(
    "y[80:]))", "y[80:]),\n                dense=Finetune(epochs=2, batch=20, learning_rate=1e-2))"
)
SHORT = ["--task", "product.py", "--max-steps", "8", "--train-batch-size", "20", "--threads", "1", "--eval-steps", "4"]


class Killer:
    """Runs commands by killing.py, in `folder`, which is made anew from `start` each time that it is to be."""

    def __init__(self, folder, cache):
        self.folder, self.start, self.cache = folder / "work", folder / "start", cache
        self._server = None

    def __enter__(self):
        program = Path(__file__).with_name("killing.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [sys.executable, str(program)], env=environment, cwd=self.folder.parent, **pipes
        )
        return self

    def __exit__(self, *error):
        self._server.communicate()

    def begin(self, **texts):
        """A new `start`, of files of these names and Python texts."""
        shutil.rmtree(self.start, ignore_errors=True)
        self.start.mkdir()
        for name, text in texts.items():
            (self.start / f"{name}.py").write_text(text)
        self.anew()

    def anew(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.start, self.folder)

    def __call__(self, *arguments, moment=0):
        """How many moments there were; None where it was killed."""
        command = {
            "arguments": list(map(str, arguments)),
            "folder": str(self.folder),
            "cache": str(self.cache),
            "moment": moment,
        }
        self._server.stdin.write(json.dumps(command) + "\n")
        self._server.stdin.flush()
        told = json.loads(self._server.stdout.readline())
        if told["signal"]:
            assert told["signal"] == signal.SIGKILL and moment
            return None
        output = (self.folder.parent / "output.log").read_text()
        assert told["told"] and told["told"][0] == 0, output
        return told["told"][1]

    def contents(self):
        """The files by their names, but for what was left."""
        found = {path.relative_to(self.folder): path for path in self.folder.rglob("*") if path.is_file()}
        return {str(name): held(path) for name, path in found.items() if not any(map(LEFT.fullmatch, name.parts))}


@pytest.fixture(scope="module")
def killer(tmp_path_factory):
    with Killer(tmp_path_factory.mktemp("killed"), tmp_path_factory.mktemp("cache")) as found:
        yield found


def held(path):
    """All that a file holds; of tensors without the order of the words beside them, which is one of a hash."""
    if path.suffix != ".safetensors":
        return path.read_bytes()
    tensors, words = read_tensors(path)
    return {name: (tensor.dtype, tensor.numpy().tobytes()) for name, tensor in tensors.items()}, words


def check_whole(path):
    """A file that the reader of its kind takes."""
    name = path.name
    if name.endswith(".safetensors"):
        read_tensors(path)
    elif name.endswith(".rtl.json"):
        read_description(path)
    elif name.endswith(".json"):
        schema = json.loads(path.read_text()).get("schema")
        if schema == "hwlut.quantization/1":
            Configuration.load(path)
        elif schema == "hwlut.compression/1":
            Compression.load(path)
        elif "digest" in path.read_text() or schema in ("hwlut.pwl/1", "hwlut.multiplier/1", "hwlut.lut_matmul/1"):
            hwlut.load(path)
    elif name.endswith(".v"):
        assert not is_edited(path.read_bytes())
    elif name.endswith(".npz"):
        with np.load(path) as held:
            assert all(held[each] is not None for each in held)
    elif name.endswith(".png"):
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
    elif name.endswith(".jsonl"):
        *lines, last = path.read_text().split("\n")
        assert all(map(json.loads, lines))  # what follows the last of them is the line that was being written
    else:
        assert path.suffix in (".py", ".h", ".npy")  # what a command is given


def killed_at(killer, arguments, resumed=(), moments=ALL):
    """Kill a command at each moment, or some, look at what is left, and at what it makes of that when called again.

    resumed: what is added then. Returns how many moments there are.
    """
    for _ in range(2):  # the first may have kernels to build
        killer.anew()
        count = killer(*arguments)
    whole = killer.contents()
    assert count >= 3
    for moment in range(1, count + 1)[moments]:
        killer.anew()
        assert killer(*arguments, moment=moment) is None
        for path in killer.folder.rglob("*"):
            if path.is_file() and not any(map(LEFT.fullmatch, path.relative_to(killer.folder).parts)):
                check_whole(path)
        killer(*arguments, *resumed)
        assert killer.contents() == whole, moment
    return count


def test_fit(killer):
    killer.begin()
    fit = ["fit", "gelu", "-o", "gelu_8.json"]
    assert killed_at(killer, fit) == 3
    bred = ["--method", "genetic", "--generations", 10, "--population", 10, "--checkpoint", "state.json"]
    assert killed_at(killer, [*fit, *bred], moments=slice(None, None, 2)) == 18  # five states, a table: each 3 moments


def test_gen_rtl(killer):
    """Into a folder of nothing, of the same, and of another design; what is generated is in the cache."""
    killer.begin()
    generate = ["gen-rtl", "gelu_8", "-o", "rtl"]
    assert killed_at(killer, generate) == 6
    killer.start = shutil.copytree(killer.folder, killer.folder.with_name("same"))
    killed_at(killer, generate)
    killer(*generate, "--scale", 5, "--force")
    killer.start = shutil.copytree(killer.folder, killer.folder.with_name("other"))
    killed_at(killer, [*generate, "--force"])


def test_import_of_arrays_beside_a_table(killer):
    killer.begin()
    killer("export", "mul8s_drum_4", "--format", "adapt", "--order", "value", "-o", "products.h")
    shutil.copy(killer.folder / "products.h", killer.start)
    assert killed_at(killer, ["import", "products.h", "--order", "value", "--signed"]) == 6
    assert {"products.json", "products.safetensors"} <= set(killer.contents())


def test_a_pair_of_files_over_an_older_one(killer):
    """Between its two moves there is one of each: it is refused, and the same command mends it."""
    killer.begin()
    make = ["import", "products.h", "--order", "value", "--signed"]
    for table in ("mul8s_exact", "mul8s_drum_4"):
        killer("export", table, "--format", "adapt", "--order", "value", "-o", "products.h")
        if table == "mul8s_exact":
            killer(*make)
    killer.start = shutil.copytree(killer.folder, killer.folder.with_name("older"))
    older = digest(killer.folder / "products.json")
    killer(*make)
    newer, whole, seen = digest(killer.folder / "products.json"), killer.contents(), []
    for moment in range(1, 7):
        killer.anew()
        assert killer(*make, moment=moment) is None
        seen.append(digest(killer.folder / "products.json"))
        killer(*make)
        assert killer.contents() == whole
    assert seen == [older] * 3 + ["refused"] * 2 + [newer] and older != newer


def digest(path):
    """Of a table; "refused" where its arrays are not those that it was made with."""
    try:
        return hwlut.load(path).digest
    except ValueError as error:
        assert "sha256 differ" in str(error)
        return "refused"


def test_search(killer):
    killer.begin(product=DENSE)
    killed_at(
        killer, ["search", *SHORT, "--target-bits", 5, "--search-space", "2,4,8", "--log-steps", 1], ["--resume"], SOME
    )


def test_compress(killer):
    killer.begin(product=DENSE)
    killed_at(killer, ["compress", *SHORT[:3], 24, *SHORT[4:], "--sparsity", 0.5], ["--resume"], SOME)


def test_lutnn(killer):
    killer.begin(product=DENSE)
    train = ["lutnn", "train", "product.py", "--epochs", 2, "--batch", 20, "--k", 8, "--v", 4, "--threads", 1]
    killed_at(killer, train, ["--resume"], SOME)


def test_run_on_a_tile(killer):
    killer.begin()
    NET.save(killer.start / "net.json")
    TILE.save(killer.start / "tiny.json")
    np.save(killer.start / "images.npy", IMAGES.numpy())
    run = ["run", "net.json", "--tile", "tiny.json", "--engine", "model", "--inputs", "images.npy", "--folder", "kept"]
    assert killed_at(killer, [*run, "-o", "out.safetensors"], moments=slice(2, None, 5)) >= 18  # 4 chunks, 2 others


def test_gen_rtl_from_an_empty_cache(killer, monkeypatch):
    """No entry of a cache is there by halves either."""
    killer.begin()
    monkeypatch.setattr(killer, "cache", killer.folder / "cache")
    assert killed_at(killer, ["gen-rtl", "mul8s_exact", "-o", "rtl"], moments=slice(None, 6)) >= 10
    assert {"top.v", "top.rtl.json"} <= {Path(name).name for name in killer.contents()}


KERNEL = 'extern "C" int answer() { return 42; }'
HALF = """#!/bin/sh
case "$*" in
*kernel.cpp*) for each; do test "$last" = -o && printf half >"$each"; last=$each; done; exec sleep 60;;
*) exec {compiler} "$@";;
esac
"""
BUILD = "import sys; from hwlut.ops.build import library_of; print(library_of(sys.argv[1]).answer())"


def test_a_kernel_of_which_half_was_written(tmp_path, need):
    need("g++")
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "g++").write_text(HALF.format(compiler=shutil.which("g++")))
    (slow / "g++").chmod(0o755)
    environment = os.environ | {"HWLUT_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", BUILD, KERNEL]
    path = f"{slow}{os.pathsep}{os.environ['PATH']}"
    build = subprocess.Popen(command, env=environment | {"PATH": path}, start_new_session=True)
    until(lambda: [each.read_text() for each in tmp_path.rglob("kernel.so")] == ["half"])
    os.killpg(build.pid, signal.SIGKILL)
    build.wait()
    (left,) = (tmp_path / "cache" / "kernels").iterdir()
    assert left.name.startswith(".build-")
    assert subprocess.run(command, env=environment, check=True, capture_output=True).stdout == b"42\n"
    (made,) = {*(tmp_path / "cache" / "kernels").iterdir()} - {left}
    assert sorted(path.name for path in made.iterdir()) == ["kernel.cpp", "kernel.so"]


def until(holds, seconds=300):
    """Wait for what comes."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


POOL = """
import os, time
from hwlut.workers import spawned

with spawned(2, os.getpid) as pool:
    pool.submit(time.sleep, 600)
    pool.submit(os.getpid).result()
    print(*pool._processes, flush=True)
"""


def test_workers_end_with_the_process_that_began_them():
    """Both one that works and one that waits for work."""
    with subprocess.Popen([sys.executable, "-c", POOL], stdout=subprocess.PIPE, text=True) as parent:
        workers = [int(each) for each in parent.stdout.readline().split()]
        assert len(workers) == 2 and all(map(runs, workers))
        parent.kill()
    until(lambda: not any(map(runs, workers)))


def runs(process):
    """Whether there is such a process, and not what is left of one that nobody waited for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_all_workers_are_begun_in_one_place():
    sources = Path(hwlut.__file__).parent.rglob("*.py")
    assert [path.name for path in sources if "ProcessPoolExecutor" in path.read_text()] == ["workers.py"]


def test_content_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    """Of files and of cache entries: each is synchronized, by its inode, before it is moved."""
    synchronized, moved = set(), []
    sync, replace, rename = os.fsync, os.replace, os.rename
    monkeypatch.setenv("HWLUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "fsync", lambda file: (synchronized.add(os.fstat(file).st_ino), sync(file)))

    def moves(move, source, target):
        inner = [path for path in Path(source).rglob("*") if path.is_file()] or [Path(source)]
        moved.extend(path.name for path in inner)
        assert {path.stat().st_ino for path in inner} <= synchronized
        move(source, target)

    monkeypatch.setattr(os, "replace", lambda source, target: moves(replace, source, target))
    monkeypatch.setattr(os, "rename", lambda source, target: moves(rename, source, target))
    files.write_together({tmp_path / "a": "a", tmp_path / "b": b"b"})

    def build(folder):
        (folder / "inside").mkdir()
        (folder / "inside" / "c").write_text("c")
        (folder / "d").write_text("d")

    files.build_once("things", "key", build)
    assert len(moved) == 4 and {"c", "d"} < set(moved)


def test_a_checkpoint_has_its_step_in_a_log_that_is_on_the_disk(tmp_path, monkeypatch):
    """So a resumed log lacks no line."""
    log, sync, replace = tmp_path / "log.jsonl", os.fsync, os.replace
    synchronized, steps = {}, []

    def syncs(file):
        sync(file)
        synchronized[os.fstat(file).st_ino] = os.fstat(file).st_size

    def moves(source, target):
        if Path(target).name == "checkpoint.safetensors":
            assert synchronized[log.stat().st_ino] == log.stat().st_size
            steps.append(json.loads(log.read_text().splitlines()[-1])["step"])
        replace(source, target)

    monkeypatch.setattr(os, "fsync", syncs)
    monkeypatch.setattr(os, "replace", moves)
    exec(TASK, names := {})
    task = names["task"]()
    finetune(task.model(), task, Finetune(steps=4, batch=20, evaluate_every=2), folder=tmp_path, device="cpu")
    assert steps == [2, 4]


def test_what_killed_processes_left_goes_after_a_day(tmp_path, monkeypatch):
    monkeypatch.setenv("HWLUT_CACHE", str(tmp_path / "cache"))
    things = tmp_path / "cache" / "things"
    old, recent = (tmp_path / f".hwlut-{digit * 16}.tmp" for digit in "01")
    new, other = things / ".build-new", tmp_path / "a.tmp"
    (things / ".build-old" / "inside").mkdir(parents=True)
    new.mkdir()
    for path in (old, recent, other):
        path.touch()
    for path in (old, other, things / ".build-old"):
        os.utime(path, (0, time.time() - 25 * 3600))
    files.write_atomic(tmp_path / "file", "text")
    files.build_once("things", "key", lambda folder: (folder / "part").touch())
    assert {path.name for path in tmp_path.iterdir()} == {recent.name, other.name, "file", "cache"}
    assert {path.name for path in things.iterdir()} == {"key", ".build-new"}
