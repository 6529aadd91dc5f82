"""Files appear whole or not at all, whoever writes at the same time."""

import contextlib
import hashlib
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hwlut.files import build_once, cache_root, digest_of, read_bytes, write_atomic, write_together
from hwlut.names import check_name


@contextlib.contextmanager
def full_disk(size):
    """Writes beyond `size` bytes of a file fail."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_write_and_read(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_atomic(path, "µ\n")
    assert contents(path.parent) == {"file": b"\xc2\xb5\n"}
    write_atomic(path, b"\x00\xff")
    assert contents(path.parent) == {"file": b"\x00\xff"}
    assert read_bytes(path, 2) == b"\x00\xff"


def test_new_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    write_atomic(tmp_path / "ours", "")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_failed_writes_leave_what_was_there(tmp_path):
    (tmp_path / "kept").write_text("old")
    with full_disk(1 << 20), pytest.raises(OSError, match="File too large"):
        write_atomic(tmp_path / "kept", bytes(2 << 20))
    with pytest.raises(UnicodeEncodeError):
        write_atomic(tmp_path / "kept", "\ud800")
    assert contents(tmp_path) == {"kept": b"old"}
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path / "folder", "new")
    with pytest.raises((FileExistsError, NotADirectoryError)):
        write_atomic(tmp_path / "kept" / "file", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "kept"]
    assert (tmp_path / "kept").read_text() == "old"


def test_files_written_together_all_stay_when_one_fails(tmp_path):
    write_together({tmp_path / "a": "1", tmp_path / "b": "2"})
    with full_disk(1 << 20), pytest.raises(OSError, match="File too large"):
        write_together({tmp_path / "a": "new", tmp_path / "b": bytes(2 << 20)})
    assert contents(tmp_path) == {"a": b"1", "b": b"2"}


def test_threads_write_the_same_file(tmp_path):
    path = tmp_path / "file"
    texts = [letter * 100_000 for letter in "abcdefgh"]
    errors, start = [], threading.Barrier(len(texts))

    def write(text):
        start.wait()
        try:
            for _ in range(20):
                write_atomic(path, text)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert path.read_text() in texts and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_is_not_a_file_of_bearable_size(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(pipe, bytes(11))  # whoever reads it does not wait
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "large").write_bytes(bytes(11))
    long = tmp_path / ("x" * 300)
    for path, message in (
        (tmp_path / "none", "no such file"),
        (tmp_path / "nul\0", "no such file"),
        (tmp_path / "loop", "no such file"),
        (tmp_path / "large" / "inside", "no such file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "pipe", "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path / "large", "more than the 10 bytes allowed"),
        (long, "cannot be read: File name too long"),
    ):
        with pytest.raises(ValueError) as caught:
            read_bytes(path, 10)
        assert str(caught.value) == f"{path}: {message}"
    os.close(pipe)
    assert read_bytes(tmp_path / "large", 11) == bytes(11)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_unreadable_files(tmp_path):
    (tmp_path / "secret").touch(mode=0)
    with pytest.raises(ValueError, match="secret: cannot be read: Permission denied$"):
        read_bytes(tmp_path / "secret", 10)


def test_cache_root(monkeypatch):
    monkeypatch.setenv("HOME", "/home/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("HWLUT_CACHE", "/ours")
    assert cache_root() == Path("/ours")
    monkeypatch.setenv("HWLUT_CACHE", "")
    assert cache_root() == Path("/xdg/hwlut")
    monkeypatch.delenv("HWLUT_CACHE")
    assert cache_root() == Path("/xdg/hwlut")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_root() == Path("/home/one/.cache/hwlut")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path("/home/one/.cache/hwlut")


def test_digest_of_parts():
    assert digest_of(b"ab") == hashlib.sha256((2).to_bytes(8, "little") + b"ab").hexdigest()
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    parts = [(), (b"",), (b"", b""), (b"ab", b"c"), (b"a", b"bc"), (b"abc",), ("abc",), (1,), ("1",), (None,), ([1],)]
    assert len({digest_of(*part) for part in parts}) == len(parts)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HWLUT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_build_once_builds_once(cache):
    built = []

    def build(folder):
        assert folder.is_dir() and not any(folder.iterdir())
        built.append(folder)
        (folder / "part").write_text("done")

    for _ in range(3):
        assert build_once("things", "k" * 64, build) == cache / "things" / ("k" * 40)
    assert len(built) == 1
    assert contents(cache / "things" / ("k" * 40)) == {"part": b"done"}
    build_once("things", "other", build)
    build_once("others", "other", build)
    assert len(built) == 3
    assert sorted(path.name for path in (cache / "things").iterdir()) == ["k" * 40, "other"]


def test_failed_builds_leave_nothing(cache):
    def fail(folder):
        (folder / "half").write_text("half")
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="^no luck$"):
        build_once("things", "key", fail)
    assert list((cache / "things").iterdir()) == []
    assert build_once("things", "key", lambda folder: (folder / "whole").touch()) == cache / "things" / "key"
    assert contents(cache / "things" / "key") == {"whole": b""}


def test_a_file_in_the_way_is_an_error(cache):
    (cache / "things").mkdir(parents=True)
    (cache / "things" / "key").write_text("in the way")
    with pytest.raises(OSError):
        build_once("things", "key", lambda folder: (folder / "part").touch())
    assert contents(cache / "things") == {"key": b"in the way"}


def test_threads_that_build_at_once(cache):
    count = 6
    start, inside = threading.Barrier(count), threading.Barrier(count)
    results = []

    def build(folder):
        (folder / "a").write_text("a")
        inside.wait(timeout=20)  # all of them build
        (folder / "b").write_text("b")

    def work():
        start.wait()
        folder = build_once("things", "key", build)
        results.append(contents(folder))

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [{"a": b"a", "b": b"b"}] * count
    assert [path.name for path in (cache / "things").iterdir()] == ["key"]


PROGRAM = """
import sys
from hwlut.files import build_once

def build(folder):
    (folder / "a").write_text("a")
    print("building", flush=True)
    sys.stdin.readline()
    (folder / "b").write_text("b")

folder = build_once("things", "key", build)
print(sorted(path.name for path in folder.iterdir()))
"""


def test_processes_that_build_at_once(cache):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", PROGRAM], **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "building\n"
    for process in processes:
        assert process.communicate("\n", timeout=20)[0] == "['a', 'b']\n" and process.returncode == 0
    assert [path.name for path in (cache / "things").iterdir()] == ["key"]


@pytest.mark.parametrize("name", ["a", "_", "Gelu_8", "x" * 64, "Module", "input_"])
def test_names(name):
    assert check_name(name, "Pwl name") is name


@pytest.mark.parametrize(
    "name", ["", "8a", "a-b", "a b", "a\n", "a.json", "../a", "a/b", "a\\b", "é", "a\0", "$a", "."]
)
def test_names_with_other_characters(name):
    with pytest.raises(ValueError) as caught:
        check_name(name, "Pwl name")
    assert str(caught.value) == f"Pwl name must match [A-Za-z_][A-Za-z0-9_]{{0,63}}, not {name!r}"


def test_names_that_are_too_long_taken_or_none():
    for name, error, message in (
        ("x" * 65, ValueError, f"Pwl name must match [A-Za-z_][A-Za-z0-9_]{{0,63}}, not '{'x' * 65}'"),
        ("module", ValueError, "Pwl name must not be a Verilog keyword, not 'module'"),
        ("always_ff", ValueError, "Pwl name must not be a Verilog keyword, not 'always_ff'"),
        (None, TypeError, "Pwl name must be a string, not None"),
        (["x" * 100], TypeError, f"Pwl name must be a string, not ['{'x' * 58}...{'x' * 15}']"),
    ):
        with pytest.raises(error) as caught:
            check_name(name, "Pwl name")
        assert str(caught.value) == message
