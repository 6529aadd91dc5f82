"""The components, through Amaranth's own simulator, and the text they become."""

import json
import re
import subprocess

import numpy as np
import pytest
from lut_units import random_unit
from tables import random_pwl

import hwlut
from hwlut import Fixed, Requantize
from hwlut.fixed import canonical_digits
from hwlut.hdl import generate
from hwlut.verify.beats import streams
from hwlut.verify.lanes import pack, spread
from hwlut.verify.tools import find_verilator

OUTPUTS = [
    None,
    Fixed(6, 2),
    Fixed(4, None),  # the input's scale
    Fixed(8, 9, signed=False),  # finer than most accumulators: a shift to the left
]


@pytest.mark.parametrize("seed", range(20))
def test_pwl_component_is_the_unit(seed):
    symmetry = ["none", "identity", "odd", "even", "complement"][seed % 5]
    rounding = ["half_up", "half_even", "floor"][seed % 3]
    unit = random_pwl(seed, symmetry=symmetry, output=OUTPUTS[seed % 4], rounding=rounding)
    report = hwlut.check(unit, "pysim", scale=None if seed % 2 else 3)
    assert report.ok and report.exhaustive, report
    assert report.vectors == 32 * (3 if seed % 2 else 1)


@pytest.mark.parametrize("stages", range(1, 6))
@pytest.mark.parametrize("scale", [None, 1])
def test_every_pipeline_depth_gives_the_same_and_has_its_latency(stages, scale):
    unit = random_pwl(7, symmetry="identity", output=Fixed(5, 1))
    rtl = generate(unit, scale=scale, stages=stages)
    assert rtl.description["latency"] == stages
    report = hwlut.check(unit, "pysim", verilog=rtl)
    assert report.ok and report.latency == stages, report


@pytest.mark.parametrize("rounding", ["half_up", "half_even", "floor"])
@pytest.mark.parametrize("channels", [1, 3])
def test_requantize_component_is_the_unit(rounding, channels):
    unit = Requantize(
        input=Fixed(7),
        multipliers=(1 << 29, 3 << 27, 0)[:channels],
        shifts=(31, 32, 5)[:channels],
        zero_point=-2,
        output=Fixed(4),
        rounding=rounding,
    )
    report = hwlut.check(unit, "pysim")
    assert report.ok and report.vectors == 128 * channels, report


def test_reset_under_its_axi_name():
    unit = random_pwl(8)
    report = hwlut.check(unit, "pysim", verilog=generate(unit, reset="aresetn"))
    assert report.ok, report


def test_default_latency_is_what_cost_says():
    for unit in (random_pwl(1), Requantize(input=Fixed(7), multipliers=(5,), shifts=(3,), output=Fixed(4))):
        assert generate(unit).description["latency"] == unit.cost().latency


def test_description_of_a_unit_that_takes_its_scale_with_each_beat():
    unit = hwlut.Pwl(
        name="line",
        input=Fixed(10),
        scales=(1, 2, 4),
        breakpoint_frac=4,
        breakpoints=(),
        slope=Fixed(3, 1),
        slopes=(2,),
        intercept=Fixed(4, 3),
        intercepts=(-1,),
    )
    # |acc| <= 2 * 512 * 2^1 + 2^0 at scale 1, so 13 bits; A = max(1 + s, 3).
    assert generate(unit, reset="aresetn").description == {
        "schema": "hwlut.rtl/1",
        "module": "line",
        "digest": unit.digest,
        "scale": None,
        "reset": "aresetn",
        "latency": 3,
        "cycles_per_beat": 1,
        "ports": [
            {"name": "clk", "dir": "input", "width": 1, "fields": []},
            {"name": "aresetn", "dir": "input", "width": 1, "fields": []},
            {
                "name": "s_axis_tdata",
                "dir": "input",
                "width": 16,
                "fields": [{"name": "q", "lsb": 0, "bits": 10, "signed": True, "frac": [1, 2, 4]}],
            },
            {
                "name": "s_axis_tuser",
                "dir": "input",
                "width": 2,
                "fields": [{"name": "scale", "lsb": 0, "bits": 2, "signed": False, "frac": 0}],
            },
            {"name": "s_axis_tvalid", "dir": "input", "width": 1, "fields": []},
            {"name": "s_axis_tready", "dir": "output", "width": 1, "fields": []},
            {
                "name": "m_axis_tdata",
                "dir": "output",
                "width": 16,
                "fields": [{"name": "y", "lsb": 0, "bits": 13, "signed": True, "frac": [3, 3, 5]}],
            },
            {"name": "m_axis_tvalid", "dir": "output", "width": 1, "fields": []},
            {"name": "m_axis_tready", "dir": "input", "width": 1, "fields": []},
        ],
    }


FORMS = {
    "lanes": {"lanes": 3},
    "tree": {"comparison": "tree"},
    "shift_add": {"multiplier": "shift_add"},
    "all": {"lanes": 2, "comparison": "tree", "multiplier": "shift_add"},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("seed", range(5))
def test_every_form_is_the_unit(form, seed):
    """At every number of segments from 1 to 9, so that trees are full and not; 32 codes are no multiple of 3 lanes."""
    symmetry = ["none", "identity", "odd", "even", "complement"][seed]
    unit = random_pwl(seed, segments=1 + 2 * seed, symmetry=symmetry, output=OUTPUTS[seed % 4])
    rtl = generate(unit, scale=None if seed % 2 else 3, stages=1 + seed, **form)
    report = hwlut.check(unit, "pysim", verilog=rtl)
    assert report.ok and report.exhaustive and report.latency == 1 + seed, report


@pytest.mark.parametrize("comparison", ["parallel", "tree"])
@pytest.mark.parametrize(
    "breakpoints", [(3, 3, 3, 3), (-99, -99, 0, 99), (-16, -16, 15, 15), (-17, 16, 16, 16), (2, 2)]
)
def test_breakpoints_that_are_equal_or_out_of_reach(comparison, breakpoints):
    unit = random_pwl(5, segments=len(breakpoints) + 1, scales=(2,), symmetry="even")
    unit = unit.replace(symmetry="none", breakpoint_frac=2, breakpoints=breakpoints)
    report = hwlut.check(unit, "pysim", verilog=generate(unit, comparison=comparison))
    assert report.ok and report.vectors == 32, report


def test_a_table_of_64_segments_is_written():
    """In about the time of one of 8: yosys takes exponentially long where the first segment comes first."""
    report = hwlut.check(random_pwl(0, segments=64), "pysim")
    assert report.ok and report.exhaustive, report


def test_a_tree_has_one_comparison_a_level():
    for segments, levels in ((2, 1), (3, 2), (4, 2), (8, 3), (9, 4)):
        unit = random_pwl(9, segments=segments, input_bits=9)
        assert generate(unit, comparison="tree").verilog.count(">=") == levels
        assert generate(unit).verilog.count(">=") == segments - 1


def test_shift_add_has_no_multiplication_and_an_adder_a_digit():
    unit = random_pwl(10, segments=4).replace(slopes=(7, -8, 0, 5), scales=(1,))
    # 7 = 8 - 1, 5 = 4 + 1: two digits at most.
    shift_add, array = generate(unit, multiplier="shift_add").verilog, generate(unit).verilog
    assert " * " in array and " * " not in shift_add
    assert "term_1" in shift_add and "term_2" not in shift_add
    assert hwlut.check(unit, "pysim", verilog=generate(unit, multiplier="shift_add")).ok
    zero = unit.replace(slopes=(0, 0, 0, 0))
    assert hwlut.check(zero, "pysim", verilog=generate(zero, multiplier="shift_add")).ok


def test_canonical_digits_are_the_fewest():
    fewest = {0: 0}
    for digits in (1, 2, 3, 4):
        for value in list(fewest):
            for term in (sign << exponent for exponent in range(8) for sign in (1, -1)):
                fewest.setdefault(value + term, digits)
    for value in range(-128, 128):
        digits = canonical_digits(value)
        assert sum(sign << exponent for sign, exponent in digits) == value
        assert len(digits) == fewest[value] and list(digits) == sorted(digits, key=lambda digit: -digit[1])


def test_description_of_lanes():
    unit = random_pwl(3, symmetry="even", input_bits=10, output=Fixed(12, 2))
    ports = {port["name"]: port for port in generate(unit, lanes=2).description["ports"]}
    q = {"bits": 10, "signed": True, "frac": [0, 1, 3]}
    y = {"bits": 12, "signed": True, "frac": 2}
    assert ports["s_axis_tdata"]["width"] == ports["m_axis_tdata"]["width"] == 32
    assert ports["s_axis_tdata"]["fields"] == [{"name": "q0", "lsb": 0, **q}, {"name": "q1", "lsb": 16, **q}]
    assert ports["m_axis_tdata"]["fields"] == [{"name": "y0", "lsb": 0, **y}, {"name": "y1", "lsb": 16, **y}]
    assert [field["name"] for field in ports["s_axis_tuser"]["fields"]] == ["scale"]


def test_vectors_over_lanes():
    unit = random_pwl(3, symmetry="even", input_bits=3)
    (source,) = (stream for stream in streams(generate(unit, lanes=3).description).values() if stream.input)
    inputs = {"q": np.array([5, 6, 7, 8, 9, 10]), "scale": np.array([0, 0, 0, 0, 1, 1])}
    order = spread(source, inputs)
    assert order.tolist() == [[0, 1, 2], [3, 3, 3], [4, 5, 5]]
    assert pack(source, {"q": np.arange(6) - 3, "scale": inputs["scale"]}, order).tolist() == [
        [0xFD, 0xFE, 0xFF, 0],
        [0, 0, 0, 0],
        [1, 2, 2, 1],
    ]


def designs():
    """One design for each thing that changes the text's shape."""
    yield generate(random_pwl(1))
    yield generate(random_pwl(2, symmetry="complement", output=Fixed(6, 2), rounding="half_even"), stages=5)
    yield generate(random_pwl(3, symmetry="odd", segments=1, output=Fixed(30, None)), scale=0, stages=1)
    yield generate(random_pwl(4, scales=(0, 2), symmetry="identity"), reset="aresetn")
    yield generate(random_pwl(5, segments=6), lanes=3, comparison="tree", reloadable=True, stages=4)
    yield generate(random_pwl(6, output=Fixed(5, 1)), scale=1, lanes=2, multiplier="shift_add")
    yield generate(random_pwl(7, segments=1), scale=1, reloadable=True)
    yield generate(Requantize(input=Fixed(20), multipliers=(3, 5, 7), shifts=(1, 2, 3), output=Fixed(8, signed=False)))
    tree = random_unit(8, encoder="tree", k=4, v=2, features=9, outputs=5, requantize="channels")
    yield generate(tree, banks=4, tile=2, encoders=2, reloadable=True)
    yield generate(random_unit(9, encoder="l2", k=2, v=2, features=9, outputs=2), banks=3, tile=1, encoders=3)


def test_verilog_is_lint_clean(tmp_path, need):
    need("iverilog")
    verilator = find_verilator()
    for rtl in designs():
        path, _ = rtl.save(tmp_path)
        lint = [str(verilator.command), "--lint-only", "-Wall", "-Wno-WIDTH", "-Wno-UNUSEDSIGNAL", "-Wno-DECLFILENAME"]
        done = subprocess.run([*lint, str(path)], capture_output=True, text=True, env=verilator.environment())
        assert (done.returncode, done.stderr) == (0, "")
        icarus = ["iverilog", "-g2005", "-Wall", "-o", str(tmp_path / "out"), str(path)]
        done = subprocess.run(icarus, capture_output=True, text=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_verilog_carries_the_digest_and_is_the_same_each_time(tmp_path, monkeypatch):
    unit = random_pwl(11)
    first = hwlut.verilog(unit)
    monkeypatch.setenv("HWLUT_CACHE", str(tmp_path))
    assert hwlut.verilog(unit) == first
    assert f"// digest {unit.digest}\n" in first
    assert re.search(r"^module random_11\(", first, re.MULTILINE)


def test_save_refuses_another_unit_or_scale(tmp_path):
    unit = random_pwl(12)
    generate(unit, scale=1).save(tmp_path)
    generate(unit, scale=1).save(tmp_path)
    before = (tmp_path / "random_12.v").read_text()
    for other, key in (
        (generate(unit, scale=3), "scale 1, not 3"),
        (generate(random_pwl(13).replace(name="random_12"), scale=1), "digest"),
        (generate(unit, scale=1, reset="aresetn"), "reset rst, not aresetn"),
        (generate(unit, scale=1, stages=4), "latency 3, not 4"),
        (generate(unit, scale=1, lanes=2), "other ports"),
    ):
        with pytest.raises(ValueError, match=f"random_12.rtl.json has {key}"):
            other.save(tmp_path)
        assert (tmp_path / "random_12.v").read_text() == before
    generate(unit, scale=3).save(tmp_path, force=True)
    assert json.loads((tmp_path / "random_12.rtl.json").read_text())["scale"] == 3
    edited = (tmp_path / "random_12.v").read_text().replace("endmodule", "endmodule // checked")
    (tmp_path / "random_12.v").write_text(edited)
    with pytest.raises(ValueError, match="random_12.v was edited by hand; --force overwrites it"):
        generate(unit, scale=3).save(tmp_path)
    assert (tmp_path / "random_12.v").read_text() == edited
    (tmp_path / "random_12.rtl.json").unlink()
    with pytest.raises(ValueError, match="stands there without its .rtl.json; --force overwrites it"):
        generate(unit, scale=1).save(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 2}, r"Pwl scale must be one of \(0, 1, 3\), not 2"),
        ({"stages": 0}, "Pwl stages must be from 1 to 5, not 0"),
        ({"stages": 6}, "Pwl stages must be from 1 to 5, not 6"),
        ({"reset": "clear"}, "reset must be one of rst, aresetn, not 'clear'"),
        ({"lanes": 0}, "Pwl lanes must be from 1 to 64, not 0"),
        ({"comparison": "linear"}, "Pwl comparison must be one of parallel, tree, not 'linear'"),
        ({"multiplier": "booth"}, "Pwl multiplier must be one of array, shift_add, not 'booth'"),
        (
            {"reloadable": True, "multiplier": "shift_add"},
            "Pwl multiplier must be array in a reloadable component, whose slopes change, not shift_add",
        ),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(random_pwl(1), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lanes": 2.0}, "Pwl lanes must be an integer, not 2.0"),
        ({"stages": True}, "Pwl stages must be an integer, not True"),
        ({"reloadable": 1}, "Pwl reloadable must be true or false, not 1"),
    ],
)
def test_refused_kinds(arguments, message):
    with pytest.raises(TypeError, match=message):
        generate(random_pwl(1), **arguments)


def test_requantize_takes_no_scale_and_no_lanes():
    unit = Requantize(input=Fixed(7), multipliers=(5,), shifts=(3,), output=Fixed(4))
    with pytest.raises(ValueError, match="Requantize lanes must not be given, not 4"):
        generate(unit, lanes=4)
    with pytest.raises(ValueError, match="Requantize scale must not be given, not 1"):
        generate(unit, scale=1)
