"""Files of command streams: what was written comes back, and what is damaged is refused in one line."""

import json

import numpy as np
import pytest
from accel_tiles import TILES
from safetensors.numpy import load, save

from hwlut.accel.stream_file import CommandStream, load_stream, save_stream
from hwlut.accel.streams import streams

TILE = TILES["least"]


@pytest.fixture
def saved(tmp_path):
    return save_stream(tmp_path / "some.commands", TILE, CommandStream(*streams(TILE, 1), "abc"))


def test_a_stream_comes_back(saved):
    words, data = streams(TILE, 1)
    stream = load_stream(saved, TILE)
    assert (stream.words.dtype, stream.data.dtype) == (np.uint64, np.uint8)
    assert stream.words.tolist() == words.tolist()
    assert stream.data.tolist() == data.tolist()
    assert stream.program == "abc"
    assert [each.name for each in saved.parent.iterdir()] == ["some.commands"]


def test_another_tile_is_refused(saved):
    with pytest.raises(ValueError, match=r"some.commands: must be for the tile [0-9a-f]{12}, not '[0-9a-f]{64}'$"):
        load_stream(saved, TILES["wide"])


def rewritten(path, arrays=None, **changes):
    """The file with other arrays, or with changes to what its metadata says."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    described = json.loads(header["__metadata__"]["stream"]) | changes
    held = load(data) | (arrays or {})
    path.write_bytes(save(held, {"stream": json.dumps(described)}))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"schema": "hwlut.commands/2"}, "must be a command stream of schema hwlut.commands/1, not {.*"),
        ({"more": 1}, "metadata must be of schema, tile, program, words, beats, beat_bytes, sha256, not {.*"),
        ({"program": 1}, "metadata must be of schema, .*"),
        ({"words": 1 << 60}, r"words must be U64 \[1152921504606846976\], not U64 \[\d+\]"),
        ({"beats": "many"}, r"data must be U8 \['many', 4\], not U8 \[\d+, 4\]"),
        ({"sha256": "0"}, "words and data must be as they were written; their sha256 is another"),
        ({"arrays": {"words": np.zeros(3, np.int64)}}, r"words must be U64 \[\d+\], not I64 \[3\]"),
        ({"arrays": {"other": np.zeros(3)}}, r"must have the arrays words and data, not \['data', 'other', 'words'\]"),
    ],
)
def test_what_it_says_must_be_so(saved, changes, message):
    rewritten(saved, **changes)
    with pytest.raises(ValueError, match=f"^{saved}: {message}$"):
        load_stream(saved, TILE)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda data: data[:-1], "must be a safetensors file of a command stream: .*"),
        (lambda data: data[:5], "must be a safetensors file of a command stream: .*"),
        (lambda data: b"", "must be a safetensors file of a command stream: .*"),
        (lambda data: b"\xff" * 8 + data[8:], "must be a safetensors file of a command stream: .*"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "words and data must be as they were written; .*"),
        (lambda data: save({"words": np.zeros(1)}), "must be a command stream of schema hwlut.commands/1"),
    ],
)
def test_damaged_files(saved, damage, message):
    saved.write_bytes(damage(saved.read_bytes()))
    with pytest.raises(ValueError, match=f"^{saved}: {message}$") as caught:
        load_stream(saved, TILE)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match="none: no such file$"):
        load_stream(tmp_path / "none", TILE)
    with pytest.raises(ValueError, match="not a regular file$"):
        load_stream(tmp_path, TILE)


def test_only_what_is_defined_is_written(tmp_path):
    words, data = streams(TILE, 1)
    for wrong, message in (
        (CommandStream(words[:-1], data), "Tile commands must end with END$"),
        (CommandStream(words[1:], data), "Tile command 0: must follow a START$"),
        (CommandStream(words, data[:-1]), r"Tile data must be \[\d+, 4\], what the commands take, not \[\d+, 4\]$"),
    ):
        with pytest.raises(ValueError, match=message):
            save_stream(tmp_path / "some.commands", TILE, wrong)
    assert not list(tmp_path.iterdir())
