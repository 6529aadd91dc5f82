"""Commands of hwlut in processes that are killed at a moment that is told: before, amid or after something they write.

Started once, since torch takes seconds to load; each line of stdin is a command, which runs in a process forked off.
"""

import builtins
import io
import json
import math
import os
import signal
import subprocess
import sys


class Moments:
    """Counts what a process does to files; at the moment of this number it is killed."""

    def __init__(self, last):
        self.count, self._last = 0, last

    def passes(self):
        self.count += 1
        return self.count == self._last

    def passed(self):
        if self.passes():
            os.kill(os.getpid(), signal.SIGKILL)


class Torn:
    """A file of which half of a write is there when its process is killed."""

    def __init__(self, file, moments):
        self._file, self._moments = file, moments

    def write(self, data):
        if self._moments.passes():
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()


def watch(moments):
    """Let each write of a file, each move of one and each start of another process be moments."""
    opened, start = io.open, subprocess.Popen.__init__

    def opens(file, mode="r", *arguments, **options):
        found = opened(file, mode, *arguments, **options)
        return Torn(found, moments) if set(mode) & set("wxa") and isinstance(file, (str, os.PathLike)) else found

    def moving(move):
        def moves(*arguments, **options):
            moments.passed()
            move(*arguments, **options)
            moments.passed()

        return moves

    def starts(process, *arguments, **options):
        start(process, *arguments, **options)
        moments.passed()

    builtins.open = io.open = opens
    os.replace, os.rename = moving(os.replace), moving(os.rename)
    subprocess.Popen.__init__ = starts


def run(command):
    """In the process that is killed: a group of its own, with its output in a pipe."""
    from hwlut.cli import main

    os.setsid()
    os.chdir(command["folder"])
    os.environ["HWLUT_CACHE"] = command["cache"]
    moments = Moments(command["moment"])
    watch(moments)
    status = main(command["arguments"])
    return status, moments.count


def serve():
    import hwlut.cli.compress_run
    import hwlut.cli.search_run
    import hwlut.fit
    import hwlut.hdl
    import hwlut.importers
    import hwlut.lutnn
    import hwlut.plot.prune
    import hwlut.plot.search
    import hwlut.prune
    import hwlut.verify  # noqa: F401
    from hwlut.accel.simulation import run as chunks
    from hwlut.train import training

    chunks._CHUNK_CYCLES = 1  # a batch a chunk
    training._SECONDS = math.inf  # no line or checkpoint that depends on how long steps take
    for line in sys.stdin:
        reading, writing = os.pipe()
        process = os.fork()
        if not process:
            os.dup2(os.open("output.log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
            os.dup2(2, 1)
            os.write(writing, json.dumps(run(json.loads(line))).encode())
            os._exit(0)
        os.close(writing)
        with open(reading) as pipe:
            told = pipe.read()
        _, status = os.waitpid(process, 0)
        try:
            os.killpg(process, signal.SIGKILL)  # compilers that it started
        except ProcessLookupError:
            pass
        print(json.dumps({"signal": os.WTERMSIG(status), "told": told and json.loads(told)}), flush=True)


if __name__ == "__main__":
    serve()
