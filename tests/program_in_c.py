"""Programs as C files: compiled strictly, loaded and called."""

import ctypes
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fPIC", "-shared"]
PROMISED = 77


def compiled(text, folder, *flags):
    """The library of C `text`."""
    folder = Path(tempfile.mkdtemp(dir=folder))  # a library is loaded once by each path
    source, library = folder / "net.c", folder / "net.so"
    source.write_text(text)
    run = subprocess.run(["cc", *STRICT, *(flags or ["-O1"]), str(source), "-o", str(library)],
                         capture_output=True, text=True)  # fmt: skip
    assert run.returncode == 0, run.stderr
    return ctypes.CDLL(str(library))


def called(program, text, library, *codes):
    """What the C function makes of `codes` [batch, ...], int64, each in the shape that its file tells."""
    ports = re.findall(r"^   (input|output) \w+: (\w+)_t \[batch((?:, \d+)*)\]", text, re.M)
    kinds = [(np.dtype(kind), [int(size) for size in sizes.split(", ")[1:]]) for _, kind, sizes in ports]
    batch, buffers = len(codes[0]), []
    for each, (kind, sizes) in zip(codes, kinds):
        assert each[0].numel() == np.prod(sizes, dtype=int)
        buffers.append(np.ascontiguousarray(each.numpy().astype(kind)))
    outputs = [np.full(batch * np.prod(sizes, dtype=int) + 1, PROMISED, kind) for kind, sizes in kinds[len(codes) :]]
    workspace = np.full(1 << 20, -1, np.int64)
    function = library[program.name]
    function.restype = None
    arrays = [*buffers, *outputs, workspace]
    function(ctypes.c_size_t(batch), *(each.ctypes.data_as(ctypes.c_void_p) for each in arrays))
    assert all(each[-1] == PROMISED for each in outputs)
    shapes = [[batch, *sizes] for _, sizes in kinds[len(codes) :]]
    return [torch.from_numpy(each[:-1].astype(np.int64)).reshape(shape) for each, shape in zip(outputs, shapes)]
