"""Programs: nodes against plain integers, spans against every operand, files."""

import itertools
import json
import math
import pickle
from fractions import Fraction

import pytest
import torch

import hwlut
from hwlut import Direct, Fixed, Program, Pwl, Requantize
from hwlut.units.operations import (
    Add,
    Apply,
    Bits,
    Clamp,
    Constant,
    Equal,
    LeadingOne,
    Less,
    Multiply,
    Select,
    ShiftLeft,
    ShiftRight,
    Subtract,
)

ROUNDINGS = {
    "half_up": lambda real: math.floor(real + Fraction(1, 2)),
    "half_even": round,  # of a Fraction: exact, ties to even
    "floor": math.floor,
}

OPERATIONS = {
    "add": (Add("y", "a", "b"), lambda a, b: a + b),
    "subtract": (Subtract("y", "a", "b"), lambda a, b: a - b),
    "less": (Less("y", "a", "b"), lambda a, b: 1 if a < b else 0),
    "equal": (Equal("y", "a", "b"), lambda a, b: 1 if a == b else 0),
    "clamp": (Clamp("y", "a", -3, 5), lambda a: sorted((-3, a, 5))[1]),
    "bits": (Bits("y", "a", 1, 2), lambda a: a % 8 // 2),
    "leading_one": (LeadingOne("y", "a"), lambda a: len(bin(a)) - 3 if a else 0),
    "select": (Select("y", "c", "a", "b"), lambda c, a, b: a if c else b),
    "shift_left": (ShiftLeft("y", "a", "by"), lambda a, by: a * 2**by),
    **{
        f"shift_right_{name}": (
            ShiftRight("y", "a", "by", name),
            lambda a, by, round_=round_: round_(Fraction(a, 2**by)),
        )
        for name, round_ in ROUNDINGS.items()
    },
}


def low_of(operation, operand):
    return 0 if operation == "leading_one" or operand == "by" else -9


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_and_their_spans_against_every_operand(operation):
    node, oracle = OPERATIONS[operation]
    lows = [low_of(operation, operand) for operand in node.operands]
    for shift in range(3):
        spans = [(low + 4 * shift, low + 4 * shift + 7 + index) for index, low in enumerate(lows)]
        operands = list(itertools.product(*(range(low, high + 1) for low, high in spans)))
        want = [oracle(*values) for values in operands]
        columns = [torch.tensor(column) for column in zip(*operands)]
        assert node(*columns).tolist() == want
        assert node.span(*spans) == (min(want), max(want))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_wide_shifts(rounding):
    most = (1 << 61) - 1
    values = [-most - 1, -most, -1, 0, 1, most - 1, most, 3 << 59, -(3 << 58)]
    pairs = list(itertools.product(values, [0, 1, 59, 60, 61, 62]))
    value, by = (torch.tensor(column) for column in zip(*pairs))
    got = ShiftRight("y", "a", "by", rounding)(value, by)
    assert got.tolist() == [ROUNDINGS[rounding](Fraction(a, 2**n)) for a, n in pairs]


@pytest.mark.parametrize("span", [(-3, 5), (-5, 3), (2, 4), (-4, -2), (0, 0)])
def test_a_value_times_itself_is_never_negative(span):
    squares = [n * n for n in range(span[0], span[1] + 1)]
    assert Multiply("y", "a", "a").span(span, span) == (min(squares), max(squares))


def test_leading_one_of_wide_numbers():
    codes = [n for k in range(61) for n in ((1 << k) - 1, 1 << k, (1 << k) + 1)]
    assert LeadingOne("y", "a")(torch.tensor(codes)).tolist() == [max(0, n.bit_length() - 1) for n in codes]


def line(bits=4):
    """3 q / 2 + 1 for q below 4, q + 3 from there, exact."""
    return Pwl(
        name="line",
        function="gelu",
        meta={"mse": 1},
        input=Fixed(bits, signed=False),
        scales=(0,),
        breakpoint_frac=0,
        breakpoints=(4,),
        slope=Fixed(4, 1),
        slopes=(3, 2),
        intercept=Fixed(4, 0),
        intercepts=(1, 3),
    )


def program(**changes):
    """The line of |q| for q from -8 to 7, negative where q is."""
    fields = {
        "name": "signed_line",
        "input": Fixed(4, 0),
        "nodes": (
            Constant("zero", 0),
            Less("negative", "q", "zero"),
            Subtract("minus", "zero", "q"),
            Select("either", "negative", "minus", "q"),
            Clamp("magnitude", "either", 0, 8),
            Apply("on_line", "magnitude", line()),
            Subtract("flipped", "zero", "on_line"),
            Select("y", "negative", "flipped", "on_line"),
        ),
        "output": Fixed(8, 1),
    }
    return Program.of(**{**fields, **changes})


def with_node(node, output=None):
    return program(nodes=(*program().nodes, node), output=output or Fixed(32, 0))


WANT = [-22, -20, -18, -16, -14, -11, -8, -5, 2, 5, 8, 11, 14, 16, 18, 20]  # in halves


def test_by_hand():
    codes = torch.arange(-8, 8)
    assert program()(codes).tolist() == WANT
    assert program()(codes.reshape(2, 8).to(torch.int8)).shape == (2, 8)
    assert program()(codes).dtype == torch.int32
    assert with_node(Add("z", "y", "y"), Fixed(40, 0))(codes).dtype == torch.int64
    assert program()(codes, scale=0).tolist() == WANT
    assert program()(torch.zeros(0, dtype=torch.int64)).shape == (0,)


def test_a_constant_result_has_the_shape_of_the_codes():
    constant = program(nodes=(Bits("low", "q", 0, 1), Constant("seven", 7), Select("y", "low", "seven", "seven")))
    assert constant(torch.zeros(2, 3, dtype=torch.int8)).tolist() == [[7] * 3] * 2


def test_units_and_programs_inside():
    half = Requantize(input=Fixed(8), multipliers=(1,), shifts=(1,), output=Fixed(8))
    nested = program(
        nodes=(
            Apply("lined", "q", program()),
            Apply("halved", "lined", half),
            Add("y", "halved", "halved"),
        ),
        output=Fixed(9, 0),
    )
    assert nested(torch.arange(-8, 8)).tolist() == [2 * math.floor(Fraction(y + 1, 2)) for y in WANT]
    assert nested.spans["halved"] == (-128, 127)


def test_a_truth_table_inside(tmp_path):
    square = Direct(input=Fixed(4, 0), output=Fixed(7, 0, False), values=[q * q for q in range(-8, 8)])
    squared = program(nodes=(Apply("y", "q", square),), output=Fixed(7, 0, False))
    assert squared(torch.arange(-8, 8)).tolist() == [q * q for q in range(-8, 8)]
    assert hwlut.load(squared.save(tmp_path / "squared.json")) == squared


def test_files(tmp_path):
    saved = program(meta={"cores": ["line"]}, function="gelu")
    path = saved.save(tmp_path / "a.json")
    read = hwlut.load(path)
    assert read == saved and read.dumps() == path.read_text() and dict(read.meta) == {"cores": ["line"]}
    assert pickle.loads(pickle.dumps(read)) == saved
    nested = program(nodes=(Apply("y", "q", program()),))
    assert hwlut.load(nested.save(tmp_path / "b.json")) == nested


def test_digest_is_of_the_integers():
    renamed = [
        Apply("on_line", "magnitude", line().replace(name="other", function=None, meta={}))
        if node.op == "unit"
        else node
        for node in program().nodes
    ]
    assert program(nodes=renamed) == program()
    steeper = [
        Apply("on_line", "magnitude", line().replace(slopes=(3, 3))) if node.op == "unit" else node
        for node in program().nodes
    ]
    assert program(nodes=steeper).digest != program().digest
    assert program(input=Fixed(4, 1)).digest != program().digest


def test_cost_by_hand():
    cost = program().cost()
    inside = line().cost()
    assert cost.storage_bits == inside.storage_bits
    assert cost.multiplier_bits == inside.multiplier_bits == 16
    # q < 0: 4; -q: 5 (-7 to 8); -8 to 8 clamped below alone: 5; 0 - (-64 to 63): 8.
    assert cost.adder_bits == 4 + 5 + 5 + inside.adder_bits + 8
    # minus, either | magnitude, the line's own 3 | flipped, y |
    assert cost.latency == 1 + 3 + 1


def test_schedule_cuts_after_depth_operations():
    assert [program().schedule(depth).latency for depth in (1, 2, 3, 4)] == [8, 5, 5, 4]


def message(error, call):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (Add("z", "y", "later"), "Program node 'z' must take values before it, not 'later'"),
        (Add("z", "y", "z"), "Program node 'z' must take values before it, not 'z'"),
        (Add("q", "y", "y"), "Program node names must differ from each other and from q, not 'q' again"),
        (Add("zero", "y", "y"), "Program node names must differ from each other and from q, not 'zero' again"),
        (LeadingOne("z", "y"), "Program node 'z' of must be from 0, not from -64"),
        (ShiftLeft("z", "y", "y"), "Program node 'z' by must be from 0 to 62, not -64 to 64"),
        (ShiftRight("z", "y", "minus"), "Program node 'z' by must be from 0 to 62, not -7 to 8"),
        (Clamp("z", "y", 1, 0), "Program node 'z' low must not be above high, not 1 and 0"),
        (Apply("z", "y", line()), "Program node 'z' of must be from 0 to 15, not -64 to 64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_nodes(node, text):
    assert message(ValueError, lambda: with_node(node)) == text


def test_values_are_narrow_used_and_held():
    wide = (Constant("n", 50), ShiftLeft("y", "q", "n"))
    assert program(nodes=wide, output=Fixed(64, 0))(torch.tensor([-8])).tolist() == [-(1 << 53)]
    wider = (Constant("n", 59), ShiftLeft("y", "q", "n"))
    text = message(ValueError, lambda: program(nodes=wider))
    assert text == "Program node 'y' must stay within 62 bits, not 63"
    text = message(ValueError, lambda: program(nodes=(Constant("n", 5), Add("y", "q", "q"))))
    assert text == "Program values must all be used, which 'n' is not"
    text = message(ValueError, lambda: program(nodes=(Constant("y", 5),)))
    assert text == "Program values must all be used, which 'q' is not"
    text = message(ValueError, lambda: program(output=Fixed(4, 0)))
    assert text.startswith("Program output 'y' must hold -") and text.endswith(", which s4.0 does not")
    text = message(ValueError, lambda: program(nodes=(Bits("y", "q", 0, 4),), output=Fixed(4, 0)))
    assert text == "Program output 'y' must hold 0 to 15, which s4.0 does not"
    text = message(ValueError, lambda: program(input=Fixed(33, 0)))
    assert text == "Program input 'q' bits must be from 1 to 32, not 33"
    text = message(ValueError, lambda: program().replace(nodes=()))
    assert text == "Program nodes must be from 1 to 4096, not 0"
    assert message(ValueError, lambda: program()(torch.tensor([8]))) == "Program codes must be from -8 to 7, not 8"
    assert message(ValueError, lambda: program()(torch.tensor([0]), scale=1)) == "Program scale must be 0, not 1"


def test_units_that_do_not_fit():
    several = line().replace(scales=(0, 1), breakpoint_frac=1)
    text = message(ValueError, lambda: Apply("y", "q", several))
    assert text == "Program node 'y' unit must have one of its scales, not 2"
    two = Requantize(input=Fixed(8), multipliers=(1, 2), shifts=(1, 1), output=Fixed(8))
    text = message(ValueError, lambda: Apply("y", "q", two))
    assert text == "Program node 'y' unit must have one of its channels, not 2"
    assert message(TypeError, lambda: Apply("y", "q", 5)) == "Program node 'y' unit must be a unit, not 5"


def hostile(change):
    content = json.loads(program().dumps())
    change(content["nodes"], content)
    return content


UNKNOWN_OP = "Program nodes[{}] op must be one of add, bits, clamp, concatenate, constant, "

HOSTILE = {
    "a cycle": (
        lambda nodes, _: nodes[2].update(b="y"),
        "Program node 'minus' must take values before it, not 'y'",
    ),
    "an unknown op": (
        lambda nodes, _: nodes[1].update(op="eval"),
        UNKNOWN_OP.format(1),
    ),
    "an op of another kind": (
        lambda nodes, _: nodes[1].update(op=["less"]),
        UNKNOWN_OP.format(1),
    ),
    "an unknown key": (
        lambda nodes, _: nodes[1].update(c="q"),
        "Program nodes[1] keys must be op, name, a, b, not 'name, op, a, b, c'",
    ),
    "a missing key": (
        lambda nodes, _: nodes[1].pop("b"),
        "Program nodes[1] keys must be op, name, a, b, not 'name, op, a'",
    ),
    "no object": (lambda nodes, _: nodes.insert(0, 5), "Program nodes[0] must be a node, not 5"),
    "no list": (
        lambda _, content: content.update(nodes={}),
        "Program nodes must be a sequence of nodes, not {}",
    ),
    "a keyword as name": (
        lambda nodes, _: nodes[0].update(name="wire"),
        "Program node name must not be a Verilog keyword, not 'wire'",
    ),
    "a name that is code": (
        lambda nodes, _: nodes[0].update(name="a;b"),
        "Program node name must match [A-Za-z_][A-Za-z0-9_]{0,63}, not 'a;b'",
    ),
    "an operand of another kind": (
        lambda nodes, _: nodes[1].update(a=0),
        "Program node 'negative' a must be a string, not 0",
    ),
    "a wide constant": (
        lambda nodes, _: nodes[0].update(value=1 << 61),
        f"Program node 'zero' value must be from {-(1 << 61)} to {(1 << 61) - 1}, not {1 << 61}",
    ),
    "a unit of unknown schema": (
        lambda nodes, _: nodes[5]["unit"].update(schema="x"),
        "Program node 'on_line' unit: schema must be one of ",
    ),
    "a unit with a name": (
        lambda nodes, _: nodes[5]["unit"].update(name="x"),
        "Program node 'on_line' unit: key 'name' has no place in a unit within a unit",
    ),
    "an impossible unit": (
        lambda nodes, _: nodes[5]["unit"].update(slopes=[1]),
        "Program node 'on_line' unit: Pwl intercepts must be 1, one a slope, not 2",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files(case, tmp_path):
    change, text = HOSTILE[case]
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(hostile(change)))
    assert message(ValueError, lambda: hwlut.load(path)).startswith(f"{path}: {text}")


def nested(depth):
    """Content of `depth` programs within each other."""
    content = json.loads(program().dumps())
    for _ in range(depth - 1):
        inner = {key: value for key, value in content.items() if key not in ("name", "function", "meta")}
        content |= {"nodes": [{"name": "y", "op": "unit", "of": "q", "unit": inner}]}
    return content


def test_cost_asks_each_unit_a_fixed_number_of_times(tmp_path, monkeypatch):
    path = tmp_path / "nested.json"
    path.write_text(json.dumps(nested(16)))
    deep = hwlut.load(path)
    asked = []
    cost = Pwl.cost
    monkeypatch.setattr(Pwl, "cost", lambda unit: asked.append(unit) or cost(unit))
    got = deep.cost()
    assert len(asked) <= 2
    assert got == program().cost()


def test_programs_are_nested_16_deep_at_most(tmp_path):
    path = tmp_path / "deep.json"
    for depth in (17, 50):
        path.write_text(json.dumps(nested(depth)))
        text = message(ValueError, lambda: hwlut.load(path))
        assert text == f"{path}: Program nesting must be at most 16 deep, not 17"
    path.write_text(json.dumps(nested(16)))
    deep = hwlut.load(path)
    assert deep.nesting == 16
    node = Apply("y", "q", deep)
    text = message(ValueError, lambda: program(nodes=(node,)))
    assert text == "Program nesting must be at most 16 deep, not 17"


@pytest.mark.parametrize("scale", [True, False, 0.0, "a"], ids=str)
def test_scales_of_another_kind(scale):
    text = f"Program scale must be an integer, not {scale!r}"
    assert message(TypeError, lambda: program().at_scale(scale)) == text
    assert message(TypeError, lambda: program()(torch.tensor([0]), scale=scale)) == text


def test_programs_within_programs_without_end(tmp_path):
    path = tmp_path / "deep.json"
    depth = 5000
    inner = '{"name": "y", "op": "unit", "of": "q", "unit": {"schema": "hwlut.program/1", "nodes": ['
    path.write_text('{"schema": "hwlut.program/1", "name": "deep", "function": null, "nodes": [' + inner * depth)
    assert str(path) in message(ValueError, lambda: hwlut.load(path))
