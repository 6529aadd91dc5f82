"""Whatever is wrong with a file of arrays, it is read whole or refused in one line that names the file."""

import io
import json

import numpy as np
import pytest
import torch
from accel_tiles import TILES
from hostile import damaged, damaged_json, examples, taken
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

import hwlut
from hwlut import Multiplier
from hwlut.accel.simulation.kept import Kept
from hwlut.accel.stream_file import CommandStream, load_stream, save_stream
from hwlut.accel.streams import streams
from hwlut.arrays import parse_npy
from hwlut.cli.tensors import read_tensors
from hwlut.fit.activations import Activations
from hwlut.importers import multipliers
from hwlut.train.states import read_tensors as read_state
from hwlut.train.states import write_tensors as write_state

TILE = TILES["least"]
DTYPES = ("<i4", "|u1", "<f8", "<f4", "|b1", ">i2", "<f2", "<u8", "<c8", "|O", "|S0", "<U3", "<i3", "<M8[s]")
SIDES = (0, 1, 2, 3, 6, 2**31, 2**40, 2**63, 10**30, -1)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


ARRAY = npy(np.arange(6, dtype="<i4").reshape(2, 3))
HEADER = "{{'descr': {!r}, 'fortran_order': {}, 'shape': {}, }}"


@st.composite
def npys(draw):
    """A .npy file whose header says something else than it holds."""
    shape = tuple(draw(st.lists(st.sampled_from(SIDES), max_size=4)))
    header = HEADER.format(
        draw(st.sampled_from(DTYPES)), draw(st.sampled_from(("True", "False", "None", "f()"))), shape
    )
    size = draw(st.sampled_from([len(header) + 1] * 4 + [0, 65535]))
    data = b"\x93NUMPY\x01\x00" + size.to_bytes(2, "little") + header.encode() + b"\n" + bytes(draw(st.integers(0, 48)))
    return draw(damaged([data])) if draw(st.integers(0, 4)) == 0 else data


@st.composite
def safetensors(draw, data):
    """A .safetensors file whose header says something else than it holds."""
    size = int.from_bytes(data[:8], "little")
    header = draw(damaged_json([json.loads(data[8 : 8 + size])]))
    told = draw(st.sampled_from([len(header)] * 6 + [0, 1, 2**31, 2**40, 2**63, 2**64 - 1]))
    made = told.to_bytes(8, "little") + header + data[8 + size :]
    return draw(damaged([made])) if draw(st.integers(0, 4)) == 0 else made


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


@pytest.mark.parametrize("dtype", ["<i4", "|u1", "<f8", "<f4", "|b1", ">i2", "<f2"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 3)])
def test_arrays_of_numbers_are_what_numpy_wrote(dtype, shape):
    plain = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    for array in (plain, plain.T):
        found = parse_npy(npy(array))
        assert found.shape == array.shape and found.dtype == array.dtype.newbyteorder("=") and (found == array).all()


@examples(120)
@given(data=npys())
def test_npy(scratch, data):
    path = scratch / "a.npy"
    path.write_bytes(data)
    for read in (lambda path: read_tensors(path, ["x"]), Activations.load):
        taken(read, path)
    taken(lambda path: multipliers.read(path, "torchapprox", order="value", signed=False, bits=2), path)
    try:
        found = parse_npy(data)
    except ValueError:
        return
    assert found.nbytes <= len(data)
    np.testing.assert_array_equal(found, np.load(io.BytesIO(data)))


@examples(60)
@given(data=safetensors(save({"x": torch.arange(6).reshape(2, 3), "y": torch.ones(2, dtype=torch.bfloat16)})))
def test_tensors_of_commands(scratch, data):
    path = scratch / "a.safetensors"
    path.write_bytes(data)
    found = taken(lambda path: read_tensors(path, ["x", "y"]), path)
    assert found is None or sum(each.nbytes for each in found) <= len(data)


@pytest.fixture(scope="module")
def state(scratch):
    write_state(scratch / "state.safetensors", {"w": torch.arange(6.0)}, {"schema": "x", "state": "[1, 2.0, []]"})
    return (scratch / "state.safetensors").read_bytes()


@examples(60)
@given(data=st.data())
def test_states(scratch, state, data):
    path = scratch / "b.safetensors"
    path.write_bytes(data.draw(safetensors(state)))
    found = taken(read_state, path)
    assert found is None or all(isinstance(word, str) for word in found[1].values())


@pytest.fixture(scope="module")
def stream(scratch):
    return save_stream(scratch / "c", TILE, CommandStream(*streams(TILE, 1), "abc")).read_bytes()


@examples(40)
@given(data=st.data())
def test_streams(scratch, stream, data):
    path = scratch / "c.commands"
    path.write_bytes(data.draw(safetensors(stream)))
    found = taken(lambda path: load_stream(path, TILE), path)
    assert found is None or found.data.shape[1] == TILE.beat_bytes


@pytest.fixture(scope="module")
def large(scratch):
    unit = Multiplier(family="table", bits=7, signed=False, products=np.zeros((128, 128), np.int64), name="many")
    path = unit.save(scratch / "many.json")
    return path.read_bytes(), path.with_suffix(".safetensors").read_bytes()


@examples(40)
@given(data=st.data())
def test_tables_with_arrays_beside_them(scratch, large, data):
    path = scratch / "many.json"
    text, arrays = large
    if data.draw(st.booleans()):
        text = data.draw(damaged_json([json.loads(text)]))
    else:
        arrays = data.draw(safetensors(arrays))
    path.write_bytes(text)
    path.with_suffix(".safetensors").write_bytes(arrays)
    unit = taken(hwlut.load, path)
    assert unit is None or len(unit.digest) == 64


@examples(30)
@given(data=st.data())
def test_finished_chunks(scratch, data):
    path = scratch / "run" / "chunk-0.npz"
    kept = Kept(path.parent, {"program": "a"})
    file = io.BytesIO()
    np.savez_compressed(file, **{"output-0": np.zeros((2, 3), np.int64), "counters": np.zeros((1, 2), np.int64)})
    path.write_bytes(data.draw(damaged([file.getvalue()])))
    found = taken(lambda path: kept.load(0, [(2, 3), (1, 2)]), path)
    assert found is None or found.counters.shape == (1, 2)
