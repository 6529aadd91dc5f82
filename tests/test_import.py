"""GQA-LUT's files as units: what they compute, code by code, and what is refused."""

import json
import math
import random

import pytest
import torch

import hwlut
from hwlut import Fixed
from hwlut.cli import main
from hwlut.functions import function
from hwlut.importers import gqa_lut

LINES = {"slopes": [-0.015625, 0.5, 1.25, 1.0], "intercepts": [0.0, 0.25, -0.046875, 0.0]}
POINTS = [-1.3125, -0.0625, 0.40625]


def rounded(points, scales, lines=LINES):
    """What GQA-LUT writes of real breakpoints: rounded to each scale, Python's round being half to even."""
    return {str(s): {"breakpoints": [round(p * 2**s) / 2**s for p in points]} | lines for s in scales}


def computed(row, scale, q, tie):
    """The operator in floats: it is exact for these numbers."""
    x = q / 2**scale
    segment = sum(x >= p if tie == "ge" else x > p for p in row["breakpoints"])
    return row["slopes"][segment] * x + row["intercepts"][segment]


def reals(unit, scale, codes):
    return [math.ldexp(y, -unit.output_format(scale).frac) for y in unit(torch.tensor(codes), scale=scale).tolist()]


@pytest.fixture
def write(tmp_path):
    """Writes JSON content, or text, and returns the path."""

    def file(content, name="gelu_pwl_3.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return file


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs a command line in a folder of its own; returns status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        return main([str(argument) for argument in arguments]), *capsys.readouterr()

    return command


# What is read


@pytest.mark.parametrize("scales", [(0, 1, 2, 3, 4, 5, 6), (5,), (0, 2, 5)], ids=["all", "one", "some"])
@pytest.mark.parametrize("seed", range(6))
def test_every_code_at_every_scale(write, seed, scales):
    """Breakpoints of ten fraction bits, so that roundings of one number, ties and equal ones all occur."""
    draw = random.Random(seed)
    points = sorted(draw.randrange(-3000, 3000) / 2**10 for _ in range(7))
    lines = {key: [draw.randrange(-128, 128) / 64 for _ in range(8)] for key in ("slopes", "intercepts")}
    content = {"gelu": rounded(points, scales, lines)}
    (unit,) = gqa_lut.read(write(content))
    singles = gqa_lut.read(write(content), tie="gt")
    assert unit.scales == scales and [single.scales for single in singles] == [(s,) for s in scales]
    codes = list(range(-128, 128))
    for s, single in zip(scales, singles):
        row = content["gelu"][str(s)]
        assert reals(unit, s, codes) == [computed(row, s, q, "ge") for q in codes]
        assert reals(single, s, codes) == [computed(row, s, q, "gt") for q in codes]


@pytest.mark.parametrize("seed", range(8))
def test_breakpoint_frac_is_the_smallest(write, seed):
    draw = random.Random(seed)
    scales = sorted(draw.sample(range(5), 3))
    points = sorted(draw.randrange(-40, 40) / 2 ** draw.randrange(7) for _ in range(3))
    (unit,) = gqa_lut.read(write({"f": rounded(points, scales)}))

    def possible(frac):
        def gives_all(point):
            wanted = [round(point * 2**s) for s in scales]
            return any([round(p * 2.0 ** (s - frac)) for s in scales] == wanted for p in range(-42 << frac, 42 << frac))

        return all(map(gives_all, points))

    least = next(frac for frac in range(scales[-1], scales[-1] + 4) if possible(frac))
    assert unit.breakpoint_frac == least


def test_breakpoint_frac_by_hand(write):
    """1.25 is 1 at scale 0 and, by a tie, 2 at scale 1: 2 at frac 1 gives both. But 1.5 at scale 1 and 1 at
    scale 0 come of numbers between 1.25 and 1.5 only, the first of which is 11 at frac 3."""
    (unit,) = gqa_lut.read(write({"f": rounded([1.25], [0, 1], {"slopes": [0, 1], "intercepts": [0, 0]})}))
    assert (unit.breakpoint_frac, unit.breakpoints) == (1, (2,))
    rows = {"0": {"breakpoints": [1.0]}, "1": {"breakpoints": [1.5]}}
    (unit,) = gqa_lut.read(write({"f": {s: rows[s] | {"slopes": [0, 1], "intercepts": [0, 0]} for s in rows}}))
    assert (unit.breakpoint_frac, unit.breakpoints) == (3, (11,))


def test_formats(write):
    def formats(slopes, intercepts):
        content = {"f": {"0": {"breakpoints": [0], "slopes": slopes, "intercepts": intercepts}}}
        (unit,) = gqa_lut.read(write(content))
        got = [[math.ldexp(k, -unit.slope.frac) for k in unit.slopes]]
        got += [[math.ldexp(b, -unit.intercept.frac) for b in unit.intercepts]]
        assert got == [slopes, intercepts]
        return str(unit.slope), str(unit.intercept)

    assert formats([0, 0], [-2, 1.984375]) == ("s8.6", "s8.6")
    assert formats([1, 0], [-2, 0]) == ("s8.6", "s8.6")
    assert formats([2, 0], [-2.015625, 0]) == ("s3.0", "s9.6")  # 2 is 128 / 64, -2.015625 is -129 / 64
    assert formats([1 / 128, -1], [0, 1e15]) == ("s8.7", "s51.0")
    assert formats([2**-40, 0], [0, 2.0**-62]) == ("s2.40", "s2.62")


def test_fields(write):
    rows = rounded(POINTS, [5, 0, 3])
    mixed = {
        s: {key: rows[s][key] for key in order} for s, order in zip(rows, [list(rows["0"])[::-1], LINES | rows["0"]])
    }
    path = write({"gelu": mixed | {"3": rows["3"]}})
    (unit,) = gqa_lut.read(path)
    assert (unit.name, unit.function, unit.segments, unit.scales) == ("gelu_4", "gelu", 4, (0, 3, 5))
    assert (unit.input, unit.symmetry.value, unit.output) == (Fixed(8), "none", None)
    assert unit.meta == {
        "method": "import",
        "format": "GQA-LUT",
        "file": "gelu_pwl_3.json",
        "tie": "ge",
        "hwlut": hwlut.__version__,
    }
    assert hwlut.load(unit.save(path.with_name("x.json"))) == unit
    assert [single.name for single in gqa_lut.read(path, "gt")] == ["gelu_4_s0", "gelu_4_s3", "gelu_4_s5"]
    (wide,) = gqa_lut.read(path, input=Fixed(10, signed=False))
    assert str(wide.input) == "u10"


@pytest.mark.parametrize(
    ("key", "name"), [("reci", "reciprocal"), ("sqrt_reci", "rsqrt"), ("silu", "silu"), ("my_own", "my_own")]
)
def test_names_of_functions(write, key, name):
    (unit,) = gqa_lut.read(write({key: rounded(POINTS, [5])}))
    assert (unit.name, unit.function) == (f"{name}_4", name)


def test_negative_zero_and_equal_breakpoints(write):
    text = json.dumps({"f": {"1": {"breakpoints": [-0.0, 0.0, 0.5], "slopes": [-0.0, 7, 1, 1], "intercepts": [0] * 4}}})
    assert "-0.0, 0.0" in text
    (unit,) = gqa_lut.read(write(text))
    assert unit.breakpoints == (0, 0, 1) and unit.slopes[0] == 0
    assert reals(unit, 1, [-1, 0, 1]) == [0, 0, 0.5]


def test_one_segment(write):
    (unit,) = gqa_lut.read(write({"f": {"0": {"breakpoints": [], "slopes": [1], "intercepts": [0.5]}}}))
    assert (unit.name, unit.breakpoints, reals(unit, 0, [3])) == ("f_1", (), [3.5])


def test_several_functions(write):
    path = write({"gelu": rounded(POINTS, [5]), "silu": rounded(POINTS, [4])})
    assert gqa_lut.read(path, function="silu")[0].scales == (4,)
    for given, told in ((None, "one must be given"), ("tanh", "not 'tanh'")):
        with pytest.raises(ValueError) as caught:
            gqa_lut.read(path, function=given)
        assert str(caught.value) == f"{path}: function must be one of ['gelu', 'silu']: {told}"


def test_lines_may_differ_where_each_scale_is_a_table(write):
    content = {"f": rounded(POINTS, [4]) | rounded(POINTS, [5], LINES | {"slopes": [1, 1, 1, 1]})}
    assert [unit.slopes[0] for unit in gqa_lut.read(write(content), "gt")] == [-1, 64]


# What is refused

ROW = {"breakpoints": [-1.0, 0.5], "slopes": [0, 1, 2], "intercepts": [0, 0, 0]}


def at_scale_1(**changes):
    return {"f": {"1": ROW | changes}}


REFUSED = {
    "list": ([1], "not a parameter table: expected an object, not [1]"),
    "nan": (
        at_scale_1(slopes=[float("nan")] * 3),
        "not a parameter table: NaN is no JSON number",
    ),
    "twice": ('{"f": {"1": 1, "1": 2}}', "not a parameter table: key '1' stands twice"),
    "empty": ({}, "not a file of GQA-LUT: expected an object of functions, each an object of scales"),
    "a table of hwlut": (
        {"schema": "hwlut.pwl/1", "input": {}},
        "not a file of GQA-LUT: expected an object of functions, each an object of scales",
    ),
    "no scales": ({"f": {}}, "'f' must have at least one scale"),
    "scale name": ({"f": {"five": ROW}}, "scale must be from 0 to 24, not 'five'"),
    "scale with a zero": ({"f": {"05": ROW}}, "scale must be from 0 to 24, not '05'"),
    "negative scale": ({"f": {"-1": ROW}}, "scale must be from 0 to 24, not '-1'"),
    "scale too large": ({"f": {"25": ROW}}, "scale must be from 0 to 24, not '25'"),
    "scale of other digits": ({"f": {"٣": ROW}}, "scale must be from 0 to 24, not '٣'"),
    "missing key": (
        {"f": {"1": {"breakpoints": [], "slopes": [1]}}},
        "scale 1 must be an object of breakpoints, slopes, intercepts, not {'breakpoints': [], 'slopes': [1]}",
    ),
    "another key": (
        {"f": {"1": ROW | {"x": 1}}},
        "scale 1 must be an object of breakpoints, slopes, intercepts, not {",
    ),
    "no object": ({"f": {"1": [1]}}, "scale 1 must be an object of breakpoints, slopes, intercepts, not [1]"),
    "no list": (at_scale_1(slopes="abc"), "scale 1 slopes must be a list of numbers, not 'abc'"),
    "text": (at_scale_1(slopes=[0, "1", 2]), "scale 1 slopes must be numbers, not '1'"),
    "truth": (at_scale_1(slopes=[0, True, 2]), "scale 1 slopes must be numbers, not True"),
    "null": (at_scale_1(intercepts=[0, None, 2]), "scale 1 intercepts must be numbers, not None"),
    "infinite": (
        json.dumps(at_scale_1(slopes=[0, 111, 2])).replace("111", "1e999"),
        "scale 1 slopes must be finite, not inf",
    ),
    "counts": (
        at_scale_1(breakpoints=[1.0]),
        "scale 1 must have one breakpoint fewer than slopes, and an intercept a slope, not 1, 3 and 3",
    ),
    "no slopes": (
        at_scale_1(breakpoints=[], slopes=[], intercepts=[]),
        "scale 1 must have one breakpoint fewer than slopes, and an intercept a slope, not 0, 0 and 0",
    ),
    "too many": (at_scale_1(slopes=[0] * 4097), "scale 1 slopes must be at most 4096 numbers, not 4097"),
    "off the grid": (
        at_scale_1(breakpoints=[-1.0, 0.25]),
        "scale 1 breakpoints[1] must be a multiple of 2^-1, not 0.25",
    ),
    "order": (at_scale_1(breakpoints=[0.5, -1.0]), "Pwl breakpoints must be non-decreasing, not (1, -2)"),
    "huge breakpoint": (at_scale_1(breakpoints=[0, 1e300]), "Pwl breakpoints[1] must be from -4611686018427387904 to "),
    "huge integer": (at_scale_1(breakpoints=[0, 10**400]), "Pwl breakpoints[1] must be from -4611686018427387904 to "),
    "huge slope": (
        at_scale_1(slopes=[0, 0, 1e300]),
        "slopes must fit in 64 bits, at most 62 of them fraction; they need 998 and 0",
    ),
    "tiny intercept": (
        at_scale_1(intercepts=[0, 0, 2.0**-1000]),
        "intercepts must fit in 64 bits, at most 62 of them fraction; they need 2 and 1000",
    ),
    "too wide": (at_scale_1(slopes=[0, 0, 2.0**60]), "Pwl accumulator must stay below 63 bits; at scale 1 it does not"),
    "other lines": (
        {"f": {"0": ROW | {"breakpoints": [-1, 0]}, "1": ROW | {"intercepts": [0, 0, 1]}}},
        "scale 1 intercepts must be those of scale 0: one table has one set of lines",
    ),
    "function name": ({"a b": {"1": ROW}}, "Pwl name must match [A-Za-z_][A-Za-z0-9_]{0,63}, not 'a b_3'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(write, run, case):
    content, message = REFUSED[case]
    path = write(content, "bad.json")
    before = sorted(path.parent.iterdir())
    status, out, err = run("import", path)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert err.startswith(f"hwlut: {path}: {message}")
    assert sorted(path.parent.iterdir()) == before
    with pytest.raises(ValueError):
        gqa_lut.read(path)


@pytest.mark.parametrize("scale", [0, 2, 3])
def test_the_scale_that_fails_is_named(write, scale):
    content = {"gelu": rounded(POINTS, range(5))}
    off = content["gelu"][str(scale)]["breakpoints"]
    off[2] += 1
    path = write(content)
    with pytest.raises(ValueError) as caught:
        gqa_lut.read(path)
    assert str(caught.value) == (
        f"{path}: scale {scale} breakpoints[2] must round from one number with those of the finer scales, "
        f"in at most 24 fraction bits, not {off[2]:g}"
    )
    assert len(gqa_lut.read(path, "gt")) == 5


def test_twenty_four_bits_are_the_most(write):
    """1 at scale 24 is a tie at scale 23, which goes to 0; that it go to 1 takes a 26th bit."""
    lines = {"slopes": [0, 1], "intercepts": [0, 0]}
    rows = {"23": {"breakpoints": [0.0]} | lines, "24": {"breakpoints": [2.0**-24]} | lines}
    (unit,) = gqa_lut.read(write({"f": rows}))  # 1 at frac 24 is the tie, which goes to 0
    assert (unit.breakpoint_frac, unit.breakpoints) == (24, (1,))
    rows["23"]["breakpoints"] = [2.0**-23]
    with pytest.raises(ValueError, match=r"scale 23 breakpoints\[0\] must round .*, not 1\.19209e-07$"):
        gqa_lut.read(write({"f": rows}))


def test_arguments(write, run):
    path = write(at_scale_1())
    with pytest.raises(ValueError) as caught:
        gqa_lut.read(path, tie="le")
    assert str(caught.value) == "tie must be one of ge, gt, not 'le'"
    with pytest.raises(ValueError, match="missing.json: no such file$"):
        gqa_lut.read("missing.json")
    assert run("import", path, "--tie", "le")[2] == "hwlut: tie must be one of ge, gt, not 'le'\n"
    message = f"hwlut: {path}: Pwl input bits must be from 2 to 32, not 1\n"
    assert run("import", path, "--input-bits", 1)[2] == message


# The commands


def test_import(write, run, tmp_path):
    path = write({"gelu": rounded(POINTS, range(7))})
    status, out, err = run("import", path, "-o", "tables")
    unit = hwlut.load(tmp_path / "tables" / "gelu_4.json")
    assert (status, out, err) == (0, f"tables/gelu_4.json  {unit.digest}\n", "")
    assert [unit] == gqa_lut.read(path)


def test_import_of_one_table_a_scale(write, run, tmp_path):
    path = write({"gelu": rounded(POINTS, [0, 5]), "f": {}})
    status, out, _ = run("import", path, "--tie", "gt", "--function", "gelu", "--input-bits", 10, "--json")
    units = [hwlut.load(tmp_path / f"gelu_4_s{scale}.json") for scale in (0, 5)]
    assert status == 0 and json.loads(out) == {
        "tables": [
            {"table": f"{unit.name}.json", "name": unit.name, "function": "gelu", "digest": unit.digest}
            for unit in units
        ]
    }
    assert units == gqa_lut.read(path, "gt", "gelu", Fixed(10))


def test_import_does_not_overwrite_what_it_reads(write, run):
    path = write({"gelu": rounded(POINTS, [5])}, "gelu_4.json")
    before = path.read_text()
    status, _, err = run("import", path)
    assert (status, err) == (2, "hwlut: gelu_4.json is the file to import: -o must be another folder\n")
    assert path.read_text() == before
    (path.parent / "file").touch()
    assert run("import", path, "-o", "file")[2].startswith("hwlut: file/gelu_4.json cannot be written: ")


def test_taken_wherever_a_table_is(write, run):
    path = write({"gelu": rounded(POINTS, [4, 5])})
    note = f"hwlut: {path} is in GQA-LUT's format: read as gelu_4, by the rule x >= p\n"
    (unit,) = gqa_lut.read(path)
    status, out, err = run("info", path, "--json")
    assert (status, err) == (0, note)
    content = json.loads(out)
    assert (content["table"], content["digest"], content["shipped"]) == (str(path), unit.digest, False)
    status, out, err = run("eval", path, "--domain", -2, 2, "--json")
    codes = range(-32, 33)
    squares = [(y - function("gelu")(q / 16)) ** 2 for y, q in zip(reals(unit, 4, list(codes)), codes)]
    assert json.loads(out)["scales"][0]["mse"] == pytest.approx(sum(squares) / 65)
    assert run("sim", path, "--engine", "reference")[0] == 0
    assert hwlut.load(path) == unit
    assert run("sim", write({"f": {}}))[2].endswith("'f' must have at least one scale\n")
    with pytest.raises(ValueError, match="'f' must have at least one scale"):
        hwlut.load(write({"f": {}}))
