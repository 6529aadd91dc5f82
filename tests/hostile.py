"""Hostile files: valid ones in which something is wrong, and what a reader may do with them."""

import contextlib
import copy
import json
import resource
import time
from pathlib import Path

from hypothesis import strategies as st

__all__ = ["MEMORY", "damaged", "damaged_json", "examples", "limited_memory", "taken"]

MEMORY = 400 << 20
"""Bytes that reading a small file may take beside those that are there."""

_SECONDS = 5.0
"""Of a core, most that reading a small file may take: a loop without an end takes longer."""

_RAW = {"@nan": "NaN", "@infinity": "-Infinity", "@beyond": "1e999", "@digits": "9" * 5000, "@nothing": "-0.0"}
_ATOMS = (
    *(None, True, False, -1, 0, 1, 2, 3, 7, 64, 255, 4097, 2**31, 2**40, 2**63, 2**64, -(2**70), 10**400, 0.5, 1e300),
    *("", "x", "abs", "\n\x1b[31m", "../x", "\ud800", "é" * 5000, [], {}, [[]], [0] * 5000, [[1, 2], [3]], {"a": 1}),
    *({"key": "x", "shape": [2**40], "dtype": "int8", "sha256": "0"}, *_RAW),
)


def _places(content):
    """Every (container, key) in a JSON value."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield content, key
        yield from _places(value)


@st.composite
def damaged_json(draw, contents):
    """The bytes of one of these JSON values with up to three things wrong: a key dropped, doubled or renamed, a value
    of another kind, out of every range, or of elsewhere; and of text that is not whole, or no UTF-8."""
    content = copy.deepcopy(draw(st.sampled_from(list(contents))))
    for _ in range(draw(st.integers(0, 3))):
        places = list(_places(content))
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(("value", "value", "drop", "rename", "swap", "nest", "longer")))
        if change == "drop" or change == "rename" and isinstance(container, dict):
            kept = container.pop(key)
            if change == "rename":
                container[draw(st.sampled_from(("x", "schema", "name", key + " ")))] = kept
        elif change == "swap":
            container[key] = copy.deepcopy(draw(st.sampled_from([box[name] for box, name in places])))
        elif change == "nest":
            container[key] = [container[key]]
        elif change == "longer" and isinstance(container[key], list):
            container[key] = container[key] * draw(st.sampled_from((2, 50)))
        else:
            container[key] = copy.deepcopy(draw(st.sampled_from(_ATOMS)))
    text = json.dumps(content)
    for name, raw in _RAW.items():
        text = text.replace(f'"{name}"', raw)
    data = text.encode("utf-8", "surrogatepass")
    how = draw(st.sampled_from(("whole",) * 5 + ("twice", "cut", "bom", "utf-16", "deep", "bytes")))
    if how == "twice" and b'": ' in data:
        key = data[: data.index(b'": ')].rpartition(b'"')[2]
        return data.replace(b'"' + key + b'": ', b'"' + key + b'": 0, "' + key + b'": ', 1)
    if how == "cut":
        return data[: draw(st.integers(0, len(data)))]
    if how == "deep":
        return b"[" * 100_000
    if how == "bytes":
        return draw(damaged([data]))
    return {"bom": b"\xef\xbb\xbf" + data, "utf-16": text.encode("utf-16", "surrogatepass")}.get(how, data)


@st.composite
def damaged(draw, contents):
    """One of these contents with up to four places overwritten, cut out or put in, and perhaps cut off."""
    data = bytearray(draw(st.sampled_from(list(contents))))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 8))] = draw(
            st.binary(max_size=8)
            | st.sampled_from([b"\xff" * 8, b"\0" * 8, b"9" * 20, b"-1", b"1e999", b"\n", b"]", b"("])
        )
    if draw(st.integers(0, 5)) == 0:
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


@contextlib.contextmanager
def limited_memory(beside=MEMORY):
    """Within, the process gets so many bytes beside those that it has, and MemoryError for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + beside, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def taken(read, path, named=None):
    """What `read` makes of the file at `path`; None where it refuses it, in one line that names it (or `named`).

    Anything else fails: another error, many lines, much time, much memory.
    """
    start = time.process_time()
    try:
        with limited_memory():
            return read(path)
    except (OSError, TypeError, ValueError) as error:
        message = str(error)
        assert type(error) in (OSError, TypeError, ValueError) or isinstance(error, OSError), repr(error)
        assert str(named or path) in message and message.isprintable(), message
        assert len(message) < 1000 + len(str(path)), message
        return None
    finally:
        assert time.process_time() - start < _SECONDS


def examples(number):
    """Settings of a test of so many examples: the same in each run, or many new ones with --hypothesis-profile=long."""
    from hypothesis import HealthCheck, settings

    long = settings.default.max_examples > 1000
    many = {} if long else {"max_examples": number, "derandomize": True, "database": None}
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    return settings(deadline=None, suppress_health_check=[*slow, HealthCheck.function_scoped_fixture], **many)
