"""Parameter tables: what is written is read back, and nothing else is read."""

import copy
import dataclasses
import hashlib
import json
import pickle
import resource
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as pack
from safetensors.torch import save as pack_tensors
from tables import SCHEMAS

import hwlut.unit
from hwlut import Fixed, Pwl, Requantize, Unit, load
from hwlut.fields import array, integer

GELU = {
    "schema": "hwlut.pwl/1",
    "name": "gelu_3",
    "function": "gelu",
    "input": {"bits": 8, "signed": True},
    "scales": [0, 3],
    "breakpoint_frac": 4,
    "breakpoints": [-20, 30],
    "slope": {"bits": 8, "frac": 6},
    "slopes": [0, 33, 64],
    "intercept": {"bits": 16, "frac": 14},
    "intercepts": [-5, 120, 0],
    "symmetry": "none",
    "output": None,
    "rounding": "half_up",
    "meta": {},
}
RATIO = {
    "schema": "hwlut.requantize/1",
    "name": "ratio",
    "function": None,
    "input": {"bits": 32, "signed": True},
    "multipliers": [3, 5],
    "shifts": [2, 3],
    "zero_point": 0,
    "output": {"bits": 8, "signed": False},
    "rounding": "half_up",
    "meta": {},
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Block(Unit, schema="hwlut.block/1"):
    """A unit with arrays, known to `load` only inside these tests."""

    rows: np.ndarray = array(2)
    row: np.ndarray = array(1)
    number: int = integer(0, 9, default=1)


del hwlut.unit._KINDS["hwlut.block/1"]


@pytest.fixture
def blocks(monkeypatch):
    monkeypatch.setitem(hwlut.unit._KINDS, "hwlut.block/1", Block)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """One path, written again and again."""
    return tmp_path_factory.mktemp("scratch") / "table.json"


def store(path, content):
    path.write_text(json.dumps(content))
    return path


def refusal(path):
    """The message, less the path it starts with, with which a file is refused."""
    with pytest.raises(ValueError) as caught:
        load(path)
    message = str(caught.value)
    assert type(caught.value) is ValueError and message.startswith(f"{path}: ")
    assert "\n" not in message and len(message) < 400 + len(str(path))
    return message.removeprefix(f"{path}: ")


def canonical_digest(content):
    kept = {key: value for key, value in content.items() if key not in ("name", "function", "meta")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# Round trips.


@pytest.mark.parametrize("content", [GELU, RATIO], ids=["pwl", "requantize"])
def test_what_is_read_is_written(tmp_path, content):
    unit = load(store(tmp_path / "in.json", content))
    assert unit.save(tmp_path / "out.json") == tmp_path / "out.json"
    text = (tmp_path / "out.json").read_text()
    assert json.loads(text) == content and list(json.loads(text)) == list(content)
    assert len(text.splitlines()) == len(content)  # one key a line
    assert unit.digest == canonical_digest(content)


def test_fields_of_a_table(tmp_path):
    unit = load(store(tmp_path / "table.json", {**GELU, "output": {"bits": 8, "signed": True, "frac": "input"}}))
    assert type(unit) is Pwl and unit.name == "gelu_3" and unit.function == "gelu"
    assert unit.input == Fixed(8) and unit.slope == Fixed(8, 6) and unit.output == Fixed(8, None)
    assert unit.slopes == (0, 33, 64) and unit.output_format(3) == Fixed(8, 3)


names = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,62}_\Z")  # no keyword ends so
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
metas = st.dictionaries(st.text(), plain, max_size=4)
signed_32 = st.integers(-(1 << 31), (1 << 31) - 1)


@st.composite
def pwls(draw):
    segments = draw(st.integers(1, 20))
    scales = sorted(draw(st.sets(st.integers(0, 8), min_size=1)))
    output = {"bits": draw(st.integers(1, 32)), "signed": draw(st.booleans()), "frac": draw(st.integers(0, 10))}
    if draw(st.booleans()):
        output["frac"] = "input"
    return Pwl(
        name=draw(names),
        function=draw(st.none() | st.text()),
        meta=draw(metas),
        input=Fixed(draw(st.integers(2, 16))),
        scales=scales,
        breakpoint_frac=scales[-1] + draw(st.integers(0, 5)),
        breakpoints=sorted(draw(st.lists(signed_32, min_size=segments - 1, max_size=segments - 1))),
        slope=Fixed(16, draw(st.integers(0, 8))),
        slopes=draw(st.lists(st.integers(-32768, 32767), min_size=segments, max_size=segments)),
        intercept=Fixed(32, draw(st.integers(0, 8))),
        intercepts=draw(st.lists(signed_32, min_size=segments, max_size=segments)),
        symmetry=draw(st.sampled_from(["none", "identity", "odd", "even", "complement"])),
        output=draw(st.none() | st.just(output)),
        rounding=draw(st.sampled_from(["half_up", "half_even", "floor"])),
    )


@st.composite
def requantizes(draw):
    channels = draw(st.integers(1, 10))
    return Requantize(
        name=draw(names),
        function=draw(st.none() | st.text()),
        meta=draw(metas),
        input=Fixed(draw(st.integers(2, 32)), signed=draw(st.booleans())),
        multipliers=draw(st.lists(st.integers(0, (1 << 31) - 1), min_size=channels, max_size=channels)),
        shifts=draw(st.lists(st.integers(0, 62), min_size=channels, max_size=channels)),
        zero_point=draw(st.integers(0, 127)),
        output=Fixed(8, signed=draw(st.booleans())),
        rounding=draw(st.sampled_from(["half_up", "half_even", "floor"])),
    )


@settings(max_examples=100, deadline=None)
@given(unit=pwls() | requantizes())
def test_random_units_survive_files_pickles_and_copies(scratch, unit):
    first = unit.save(scratch).read_bytes()
    for twin in (load(scratch), pickle.loads(pickle.dumps(unit)), copy.deepcopy(unit), copy.copy(unit), unit.replace()):
        assert type(twin) is type(unit) and twin == unit and twin.meta == unit.meta and hash(twin) == hash(unit)
        for field in dataclasses.fields(unit):
            assert getattr(twin, field.name) == getattr(unit, field.name)
        assert twin.save(scratch).read_bytes() == first
    assert unit.digest == canonical_digest(json.loads(first))


# Digests and equality.


@pytest.mark.parametrize("content", [GELU, RATIO], ids=["pwl", "requantize"])
def test_digest_fills_in_defaults_and_ignores_names_and_order(tmp_path, content):
    digest = load(store(tmp_path / "a.json", content)).digest
    optional = {"symmetry", "output", "rounding", "meta", "zero_point"} & set(content)
    if content is RATIO:
        optional -= {"output"}
    for key in optional:
        short = {k: value for k, value in content.items() if k != key}
        assert load(store(tmp_path / "b.json", short)).digest == digest
    turned = {key: content[key] for key in reversed(content)}
    turned["input"] = {key: content["input"][key] for key in reversed(content["input"])}
    other = load(store(tmp_path / "b.json", {**turned, "name": "other", "function": "tanh", "meta": {"seed": 1}}))
    assert other.digest == digest


CHANGES = [
    {"input": {"bits": 9, "signed": True}},
    {"input": {"bits": 8, "signed": False}},
    {"scales": [0, 4]},
    {"scales": [3]},
    {"breakpoint_frac": 5},
    {"breakpoints": [-20, 31]},
    {"slope": {"bits": 9, "frac": 6}},
    {"slope": {"bits": 8, "frac": 5}},
    {"slopes": [0, 32, 64]},
    {"intercept": {"bits": 17, "frac": 14}},
    {"intercept": {"bits": 16, "frac": 13}},
    {"intercepts": [-5, 120, 1]},
    {"symmetry": "odd"},
    {"symmetry": "even"},
    {"output": {"bits": 8, "signed": True, "frac": 3}},
    {"output": {"bits": 8, "signed": True, "frac": "input"}},
    {"output": {"bits": 8, "signed": False, "frac": 3}},
    {"rounding": "floor"},
    {"rounding": "half_even"},
]


def test_every_parameter_changes_the_digest(tmp_path):
    units = [load(store(tmp_path / "table.json", {**GELU, **change})) for change in [{}, *CHANGES]]
    assert len({unit.digest for unit in units}) == len(units)
    assert {key for change in CHANGES for key in change} == {f.name for f in dataclasses.fields(Pwl)} - {
        "name",
        "function",
        "meta",
    }
    ratios = [load(store(tmp_path / "ratio.json", {**RATIO, **change})) for change in ({}, {"zero_point": 1})]
    assert ratios[0].digest != ratios[1].digest


def test_equality():
    fields = {key: value for key, value in GELU.items() if key != "schema"}
    unit = Pwl(**fields)
    assert unit == Pwl(**fields) and hash(unit) == hash(Pwl(**fields))
    assert unit == Pwl(**{**fields, "meta": {"seed": 3}})
    assert unit != Pwl(**{**fields, "name": "other"}) and unit != Pwl(**{**fields, "function": None})
    assert unit != Pwl(**{**fields, "rounding": "floor"}) and unit != 3
    assert Pwl(**{**fields, "name": ""}).name == "pwl"


def test_units_do_not_change():
    unit = Pwl(**{key: value for key, value in GELU.items() if key != "schema"})
    for change in (
        lambda: setattr(unit, "slopes", (1, 2, 3)),
        lambda: delattr(unit, "name"),
        lambda: unit.meta.update(seed=1),
    ):
        with pytest.raises(AttributeError):
            change()
    given_ = {"seed": [1]}
    kept = unit.replace(meta=given_)
    given_["seed"].append(2)
    assert kept.meta == {"seed": [1]}


def test_meta_and_function_are_checked():
    fields = {key: value for key, value in GELU.items() if key != "schema"}
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for change, error, message in (
        ({"meta": {"x": deep}}, ValueError, "Pwl meta must be plain JSON: maximum recursion depth exceeded"),
        ({"function": 3}, TypeError, "Pwl function must be a string or null, not 3"),
        ({"meta": []}, TypeError, "Pwl meta must be an object, not []"),
        (
            {"meta": {"x": {1}}},
            ValueError,
            "Pwl meta must be plain JSON: Object of type set is not JSON serializable",
        ),
        (
            {"meta": {"x": float("nan")}},
            ValueError,
            "Pwl meta must be plain JSON: Out of range float values are not JSON compliant",
        ),
    ):
        with pytest.raises(error) as caught:
            Pwl(**{**fields, **change})
        assert str(caught.value).startswith(message)


# Hostile files.


def test_impossible_contents(tmp_path):
    path = tmp_path / "table.json"
    hostile = [
        (b"", "not a parameter table: Expecting value: line 1 column 1 (char 0)"),
        (b"\xff{}", "not a parameter table: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"[]", "not a parameter table: expected an object, not []"),
        (b"NaN", "not a parameter table: NaN is no JSON number"),
        (b'{"meta": {"a": -Infinity}}', "not a parameter table: -Infinity is no JSON number"),
        (b'{"name": 1, "name": 2}', "not a parameter table: key 'name' stands twice"),
        (
            b'{"meta": {"' + b"k" * 90 + b'": 1, "' + b"k" * 90 + b'": 1}}',
            f"not a parameter table: key '{'k' * 59}...{'k' * 16}' stands twice",
        ),
        (b"[" * 100_000, "not a parameter table: nested too deeply"),
        (b'{"a":' * 100_000, "not a parameter table: nested too deeply"),
        (b"{}", f"schema must be one of {SCHEMAS}, not None"),
        (
            b'{"schema": "hwlut.pwl/2"}',
            f"schema must be one of {SCHEMAS}, not 'hwlut.pwl/2'",
        ),
        (
            b'{"schema": ["hwlut.pwl/1"]}',
            f"schema must be one of {SCHEMAS}, not ['hwlut.pwl/1']",
        ),
        (b'{"schema": "hwlut.requantize/1"}', "key 'function' is missing"),
    ]
    for data, message in hostile:
        path.write_bytes(data)
        assert refusal(path) == message
    path.write_bytes(b'{"meta": ' + b"9" * 5000 + b"}")
    assert refusal(path).startswith(
        "not a parameter table: Exceeds the limit (4300 digits) for integer string conversion"
    )


def test_truncated_files(tmp_path):
    path = tmp_path / "table.json"
    text = json.dumps(GELU)
    for length in range(len(text)):
        path.write_text(text[:length])
        assert refusal(path).startswith("not a parameter table: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"slope_bits": 8},
            "unknown key 'slope_bits'; hwlut.pwl/1 has name, function, meta, input, scales, breakpoint_frac,"
            " breakpoints, slope, slopes, intercept, intercepts, symmetry, output, rounding",
        ),
        ({"name": "a/b"}, "Pwl name must match [A-Za-z_][A-Za-z0-9_]{0,63}, not 'a/b'"),
        ({"name": "../../etc/passwd"}, "Pwl name must match [A-Za-z_][A-Za-z0-9_]{0,63}, not '../../etc/passwd'"),
        ({"name": "module"}, "Pwl name must not be a Verilog keyword, not 'module'"),
        ({"name": "x" * 65}, f"Pwl name must match [A-Za-z_][A-Za-z0-9_]{{0,63}}, not '{'x' * 65}'"),
        ({"name": ""}, "Pwl name must match [A-Za-z_][A-Za-z0-9_]{0,63}, not ''"),
        ({"name": None}, "Pwl name must be a string, not None"),
        ({"name": 0}, "Pwl name must be a string, not 0"),
        ({"function": ["gelu"]}, "Pwl function must be a string or null, not ['gelu']"),
        ({"meta": None}, "Pwl meta must be an object, not None"),
        ({"scales": [0, 3.0]}, "Pwl scales[1] must be an integer, not 3.0"),
        ({"scales": [0, True]}, "Pwl scales[1] must be an integer, not True"),
        ({"scales": "03"}, "Pwl scales must be a sequence of integers, not '03'"),
        ({"slopes": [[0, 33, 64]]}, "Pwl slopes[0] must be an integer, not [0, 33, 64]"),
        (
            {"slope": {"bits": 8, "frac": 6, "signed": True}},
            "Pwl slope must be an object of bits, frac, not {'bits': 8, 'frac': 6, 'signed': True}",
        ),
        ({"slope": {"bits": 8, "frac": None}}, "Pwl slope frac must be an integer, not None"),
        ({"slope": {"bits": "x" * 99, "frac": 6}}, f"Pwl slope bits must be an integer, not '{'x' * 59}...{'x' * 16}'"),
        ({"input": {}}, "Pwl input must be an object of bits, signed, not {}"),
        ({"input": {"bits": 8, "a\nb": 1}}, r"Pwl input must be an object of bits, signed, not {'bits': 8, 'a\nb': 1}"),
        ({"input": None}, "Pwl input must be an object of bits, signed, not None"),
        ({"output": 8}, "Pwl output must be an object of bits, signed, frac or null, not 8"),
        (
            {"output": {"bits": 8, "signed": True, "frac": None}},
            "Pwl output frac must be an integer or 'input', not None",
        ),
        ({"intercepts": [0] * 100_000}, "Pwl intercepts must be at most 4096 integers, not 100000"),
        ({"rounding": "none"}, "Pwl rounding must be one of half_up, half_even, floor, not 'none'"),
    ],
)
def test_impossible_values(tmp_path, change, message):
    assert refusal(store(tmp_path / "table.json", {**GELU, **change})) == message


def test_values_that_are_long_or_infinite(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({**GELU, "breakpoint_frac": 77}).replace("77", "1e400"))
    assert refusal(path) == "Pwl breakpoint_frac must be an integer, not inf"
    path.write_text(json.dumps({**GELU, "meta": {"x": 77}}).replace("77", "1e400"))
    assert refusal(path).startswith("Pwl meta must be plain JSON: Out of range float values are not JSON compliant")
    store(path, {**GELU, "breakpoints": [-20, 10**30]})
    assert refusal(path) == (
        "Pwl breakpoints[1] must be from -4611686018427387904 to 4611686018427387904,"
        " not 1000000000000000000000000000000"
    )
    path.write_text(json.dumps({**GELU, "name": 77}).replace("77", '"\\ud800"'))
    assert refusal(path) == r"Pwl name must match [A-Za-z_][A-Za-z0-9_]{0,63}, not '\ud800'"


@pytest.mark.parametrize("content", [GELU, RATIO], ids=["pwl", "requantize"])
def test_missing_keys(tmp_path, content):
    optional = {"symmetry", "rounding", "meta", "zero_point"} | ({"output"} if content is GELU else set())
    for key in content:
        if key not in optional and key != "schema":
            short = {k: value for k, value in content.items() if k != key}
            assert refusal(store(tmp_path / "table.json", short)) == f"key {key!r} is missing"


def test_every_depth_is_read_or_refused(tmp_path):
    path = tmp_path / "table.json"
    outcomes = set()
    for depth in [*range(1, 40, 13), *range(860, 1060), 3000]:
        for key in ("meta", "slopes", "name", "input", "schema", "new"):
            deep = ('{"a":' * depth + "1" + "}" * depth) if key == "meta" else "[" * depth + "]" * depth
            path.write_text(json.dumps({**GELU, key: "DEEP"}).replace('"DEEP"', deep))
            if key != "meta" or depth >= 3000:
                outcomes.add(refusal(path).partition(":")[2])
                continue
            try:
                assert load(path).name == "gelu_3"
                outcomes.add("loaded")
            except ValueError as error:
                assert str(error).startswith(f"{path}: ")
    assert {"loaded", " nested too deeply"} <= outcomes


def test_what_is_no_table_file(tmp_path):
    with open(tmp_path / "large.json", "wb") as file:
        file.truncate((16 << 20) + 1)
    assert refusal(tmp_path) == "not a regular file"
    assert refusal(Path("/dev/zero")) == "not a regular file"
    assert refusal(tmp_path / "none.json") == "no such file"
    assert refusal(tmp_path / "large.json") == "more than the 16777216 bytes allowed"
    assert refusal(tmp_path / ("x" * 300)) == "cannot be read: File name too long"


def test_many_keys_are_read_in_time(tmp_path):
    """A quadratic search for the doubled key would take hours."""
    keys = ", ".join(f'"{number}": 0' for number in range(300_000))
    path = tmp_path / "table.json"
    path.write_text(f'{{{keys}, "299999": 1}}')
    assert refusal(path) == "not a parameter table: key '299999' stands twice"


HOSTILE = [
    None,
    True,
    -1,
    0,
    2,
    63,
    1.5,
    10**30,
    "",
    "x",
    "input",
    "none",
    [],
    [1],
    [1.5],
    [True],
    [[1]],
    [None],
    [10**30],
    {},
    {"bits": 8},
    {"bits": 8, "signed": True},
    {"bits": -8, "signed": True},
    {"bits": 8, "frac": 6},
    {"bits": 64, "frac": 62},
    {"bits": 8, "signed": True, "frac": "input"},
    {"bits": [], "signed": {}, "frac": []},
]


@pytest.mark.parametrize("content", [GELU, RATIO], ids=["pwl", "requantize"])
def test_hostile_values_everywhere(scratch, content):
    """Every value, and every value inside it, replaced: the file loads again from what it saves, or is refused."""
    refused = 0
    for key, value in content.items():
        inside = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
        for inner in [None, *inside]:
            for hostile in HOSTILE:
                changed = copy.deepcopy(content)
                if inner is None:
                    changed[key] = hostile
                else:
                    changed[key][inner] = hostile
                refused += not loads_or_refuses(store(scratch, changed))
    assert refused > 200


def loads_or_refuses(path):
    """Whether the file loads; the only other way is a ValueError that names it in one line."""
    try:
        unit = load(path)
    except ValueError as error:
        assert type(error) is ValueError and str(error).startswith(f"{path}: ") and "\n" not in str(error)
        return False
    assert load(unit.save(path)) == unit
    return True


FRAGMENTS = [
    "",
    " ",
    "0",
    "-",
    "1e9",
    "9" * 30,
    "null",
    "true",
    "NaN",
    '"',
    "\\",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\ud7ff",
    "\0",
]
edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(FRAGMENTS) | st.text(max_size=3)),
    min_size=1,
    max_size=3,
)


@settings(max_examples=400, deadline=None)
@given(content=st.sampled_from([GELU, RATIO]), edits=edits)
@example(content=GELU, edits=[(0.0, 0, " ")])
def test_edited_files_load_or_are_refused(scratch, content, edits):
    text = json.dumps(content)
    for place, removed, inserted in edits:
        at = round(place * len(text))
        text = text[:at] + inserted + text[at + removed :]
    scratch.write_text(text)
    loads = loads_or_refuses(scratch)
    assert loads or text != json.dumps(content)


# Arrays.

ROWS = np.arange(-3000, 3000).reshape(60, 100)


def block(**changes):
    return Block(**{"name": "block", "rows": ROWS, "row": [1, 2, 3], **changes})


@pytest.mark.usefixtures("blocks")
def test_large_arrays_lie_beside_the_table(tmp_path):
    unit = block()
    unit.save(tmp_path / "any.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["any.json", "block.safetensors"]
    content = json.loads((tmp_path / "any.json").read_text())
    assert content["row"] == [1, 2, 3]
    assert content["rows"] == {
        "key": "rows",
        "shape": [60, 100],
        "dtype": "int16",
        "sha256": hashlib.sha256(ROWS.astype("<i2").tobytes()).hexdigest(),
    }
    twin = load(tmp_path / "any.json")
    assert twin == unit and twin.digest == canonical_digest(content)
    assert np.array_equal(twin.rows, ROWS) and twin.rows.dtype == np.int16 and not twin.rows.flags.writeable
    again = pickle.loads(pickle.dumps(unit))
    assert again == unit and not again.rows.flags.writeable
    assert unit.replace(rows=ROWS + 1).digest != unit.digest


@pytest.mark.usefixtures("blocks")
def test_small_arrays_stay_inside(tmp_path):
    unit = block(rows=ROWS.reshape(-1)[:4096].reshape(64, 64))
    unit.save(tmp_path / "any.json")
    assert [path.name for path in tmp_path.iterdir()] == ["any.json"]
    assert load(tmp_path / "any.json") == unit
    content = json.loads(unit.dumps())
    assert content["rows"][0][:3] == [-3000, -2999, -2998]
    # Written out by hand, more of them are taken too, and mean the same.
    store(tmp_path / "long.json", {**content, "rows": ROWS.tolist()})
    assert load(tmp_path / "long.json").digest == block().digest


@pytest.mark.usefixtures("blocks")
def test_both_arrays_large(tmp_path):
    unit = block(row=np.arange(5000, dtype=np.uint64), rows=ROWS.T)
    unit.save(tmp_path / "any.json")
    twin = load(tmp_path / "any.json")
    assert twin == unit and np.array_equal(twin.row, np.arange(5000)) and np.array_equal(twin.rows, ROWS.T)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([-128, 127], np.int8),
        ([128], np.int16),
        ([-32769], np.int32),
        ([1 << 31], np.int64),
        (np.array([255], np.uint8), np.int16),
        (np.array([(1 << 63) - 1], np.uint64), np.int64),
        (np.array([7], ">i4"), np.int8),
    ],
)
def test_arrays_take_the_smallest_type(values, dtype):
    unit = block(row=values)
    assert unit.row.dtype == dtype and unit.row.tolist() == list(values)
    assert unit == block(row=np.array(values, dtype=np.int64))


def test_arrays_are_copies():
    given_ = np.array([1, 2])
    unit = block(row=given_)
    given_[0] = 9
    assert unit.row.tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        unit.row[0] = 5


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ([1.5], TypeError, "Block row must be an array of integers, not of float64"),
        ([True], TypeError, "Block row must be an array of integers, not of bool"),
        ([1, True], TypeError, "Block row must be an array of integers, not of bool"),
        ([], TypeError, "Block row must be an array of integers, not of float64"),
        ("abc", TypeError, "Block row must be an array of integers, not of <U3"),
        ([1 << 70], TypeError, "Block row must be an array of integers, not of object"),
        ({"key": "row"}, TypeError, "Block row must be an array of integers, not of object"),
        ([[1, 2], [3]], ValueError, "Block row must be a regular array of integers, not [[1, 2], [3]]"),
        ([[1]], ValueError, "Block row must be a non-empty 1-dimensional array, not of shape (1, 1)"),
        ([1 << 63], ValueError, "Block row must be below 2^63, not 9223372036854775808"),
    ],
)
def test_impossible_arrays(row, error, message):
    with pytest.raises(error) as caught:
        block(row=row)
    assert str(caught.value) == message


@pytest.fixture
def saved(blocks, tmp_path):
    block().save(tmp_path / "block.json")
    return tmp_path / "block.json"


def arrays_of(path):
    return path.with_name("block.safetensors")


def test_other_arrays_are_refused(saved):
    side = arrays_of(saved)
    other = f"rows: the array in {side} is not the one described (shape, dtype or sha256 differ)"
    for array_, message in (
        (ROWS.astype(np.int16) + 1, other),
        (ROWS.astype(np.int32), other),
        (ROWS.astype(np.float32), other),
        (ROWS.astype(np.int16).T.copy(), other),
        (ROWS.astype(np.int16).reshape(-1), other),
    ):
        side.write_bytes(pack({"rows": array_}))
        assert refusal(saved) == message
    side.write_bytes(pack({"row": ROWS.astype(np.int16)}))
    assert refusal(saved) == f"rows: {side} has no array 'rows'"
    side.write_bytes(pack_tensors({"rows": torch.zeros(60, 100, dtype=torch.bfloat16)}))
    assert refusal(saved).startswith(f"rows: {side} is no safetensors file of integers: ")
    side.unlink()
    assert refusal(saved) == f"{side}: no such file"
    side.mkdir()
    assert refusal(saved) == f"{side}: not a regular file"


def test_damaged_arrays_are_refused(saved):
    side = arrays_of(saved)
    whole = side.read_bytes()
    for length in (0, 4, 8, 60, len(whole) - 1):
        side.write_bytes(whole[:length])
        assert refusal(saved).startswith(f"rows: {side} is no safetensors file of integers: ")
    for position in (8, 40, len(whole) // 2, len(whole) - 1):
        side.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        assert refusal(saved).startswith("rows: ")
    side.write_bytes(whole)
    assert load(saved) == block()


def test_impossible_references(saved):
    content = json.loads(saved.read_text())
    reference = content["rows"]
    keys = "rows must be an array or an object of key, shape, dtype, sha256"
    side = arrays_of(saved)
    other = f"rows: the array in {side} is not the one described (shape, dtype or sha256 differ)"
    for changed, message in (
        ({}, keys),
        ({**reference, "offset": 0}, keys),
        ({**reference, "key": "row"}, f"rows: {side} has no array 'row'"),
        ({**reference, "key": ["rows"]}, f"rows: {side} has no array ['rows']"),
        ({**reference, "sha256": "0" * 64}, other),
        ({**reference, "dtype": "int32"}, other),
        ({**reference, "shape": [6000]}, other),
    ):
        assert refusal(store(saved, {**content, "rows": changed})) == message
    store(saved, {**content, "name": "../block"})
    assert refusal(saved) == "Block name must match [A-Za-z_][A-Za-z0-9_]{0,63}, not '../block'"


def test_a_full_disk_keeps_both_files(saved):
    before = {path.name: path.read_bytes() for path in saved.parent.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            block(rows=ROWS + 1).save(saved)  # the table would fit, the arrays do not
        with pytest.raises(OSError, match="File too large"):
            block(rows=ROWS[:41], meta={"long": "x" * 9000}).save(saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in saved.parent.iterdir()} == before
    assert load(saved) == block()


def test_saving_over_a_folder_keeps_the_arrays(blocks, tmp_path):
    block().save(tmp_path / "block.json")
    before = (tmp_path / "block.safetensors").read_bytes()
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(IsADirectoryError):
        block(rows=ROWS + 1).save(tmp_path / "folder.json")
    assert (tmp_path / "block.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["block.json", "block.safetensors", "folder.json"]
