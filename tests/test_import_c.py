"""Multipliers in C: read without compiling, by C's rules, and hostile files refused in one line."""

import ctypes
import random
import subprocess

import pytest
from circuits import array, c_arrays, c_helpers, c_inverted, c_shifted, every_pair, products
from hypothesis import given, settings
from hypothesis import strategies as st

from hwlut.importers import multipliers

STYLES = {
    "shifted": lambda *size: c_shifted(*size),
    "signed": lambda *size: c_shifted(*size, type="int32_t", parameters="int16_t A, int16_t B"),
    "arrays": lambda *size: c_arrays(*size),
    "inverted": lambda *size: c_inverted(*size),
    "helpers": lambda *size: c_helpers(*size),
}
SIZES = {"mul8u_x": (8, 8, False), "mul8s_x": (8, 8, True), "mul7x3u_x": (7, 3, False), "mul2x5s_x": (2, 5, True)}


@pytest.fixture
def read(tmp_path):
    """Reads a text as a multiplier in C."""

    def unit(text, **options):
        path = tmp_path / "circuit.c"
        path.write_text(text)
        return multipliers.read(path, **options)

    return unit


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", SIZES)
def test_exact_multipliers_in_every_style(read, style, name):
    a_bits, b_bits, signed = SIZES[name]
    unit = read(STYLES[style](a_bits, b_bits, signed, name))
    assert (unit.a.bits, unit.b.bits, unit.a.signed, unit.b.signed) == (a_bits, b_bits, signed, signed)
    assert (unit.name, unit.family, len(unit.outputs)) == (name, "netlist", a_bits + b_bits)
    pairs = every_pair(unit)
    assert products(unit, pairs) == [a * b for a, b in pairs]


def test_twelve_bits_in_wider_types(read):
    unit = read(c_shifted(12, 12, True, "mul12s_x", "int32_t", "int16_t A, int16_t B"))
    pairs = [tuple(random.Random(0).choices(range(-2048, 2048), k=2)), (-2048, -2048), (-2048, 2047), (2047, -1)]
    assert products(unit, pairs) == [a * b for a, b in pairs]


def test_operators_on_whole_words(read):
    text = "uint16_t f(uint8_t B, uint8_t A) { return ((A >> 4) * (B & 0x0F)) << (2*2); }"
    unit = read(text, bits=8, signed=False)
    pairs = every_pair(unit)
    assert products(unit, pairs) == [(a >> 4) * (b & 15) << 4 for a, b in pairs]


def test_the_definition_agrees(read):
    unit = read(c_shifted(8, 8, True, "mul8s_x"))
    assert unit.products().flatten().tolist() == [a * b for a, b in every_pair(unit)]
    assert (unit.metrics().wce, unit.metrics().exhaustive) == (0, True)


def test_what_is_kept_of_the_file(read):
    unit = read(c_shifted(4, 4, False, "mul4u_x"))
    assert unit.meta["published"] == {"MAE%": "0.00 %", "WCE": "0"}
    assert (unit.meta["format"], unit.meta["file"]) == ("evoapprox-c", "circuit.c")


def test_each_operand_has_its_own_width(read):
    unit = read("uint32_t mul16x8u_x(uint8_t B, uint16_t A) { return A >> 15 & B; }")
    assert (unit.a.bits, unit.b.bits) == (16, 8)
    assert products(unit, [(65535, 3), (32767, 3), (32768, 2)]) == [1, 0, 0]


def test_a_constant_multiplier_has_no_gates(read):
    unit = read("uint64_t mul8u_x(const uint64_t B,const uint64_t A) { uint64_t O; O = 0; O |= (0&1) << 3; return O; }")
    assert (unit.gates, unit.outputs) == (None, (0,) * 16)


def test_equal_gates_are_one_and_unused_ones_vanish(read):
    text = "uint16_t mul8u_x(uint8_t A, uint8_t B) { int x = A & B; int y = B & A; int z = A ^ B; return x | y; }"
    assert read(text).gates.tolist() == [[8, 2 + place, 10 + place] for place in range(8)]


# C's arithmetic, beside a compiler's

OPERATORS = ["&", "|", "^", "+", "-", "*", "==", "!=", "&&", "||"]


def expression(rng, depth):
    """A random expression of A, B and x, whose value no rule of C leaves open under -fwrapv."""
    if depth == 0:
        return rng.choice(["A", "B", "x", "3", "0x80u", "200", "1ull", "-1"])
    kind = rng.randrange(6)
    one = expression(rng, depth - 1)
    if kind == 0:
        return f"({rng.choice(['~', '-', '!', '+'])}({one}))"
    if kind == 1:
        return f"(({rng.choice(['int8_t', 'uint8_t', 'int16_t', 'uint32_t', 'int64_t'])})({one}))"
    if kind == 2:
        return f"(({one}) {rng.choice(['<<', '>>'])} {rng.randrange(31)})"
    if kind == 3:
        return f"(({one}) ? {expression(rng, depth - 1)} : {expression(rng, depth - 1)})"
    return f"{one} {rng.choice(OPERATORS)} {expression(rng, depth - 1)}"


RULES = [
    "(int64_t)(A - 1u) >> 32",
    "(int64_t)(A - 0x1u) >> 32",
    "(int64_t)(A - 0x1) >> 32",
    "((A & 0x80000000) >> 31) + ((A & 2147483648) >> 31)",
    "(int64_t)((A << 24) + (uint32_t)B) >> 40",
    "(A - 300ll == -301) + ((uint64_t)(int8_t)B >> 60)",
    "(-1 == 0xFFFFFFFF) + 2 * (-1ll == 0xFFFFFFFFu) + 4 * (A == (uint8_t)B)",
    "(A ? -1 : 0u) >> 28",
    "(uint8_t)~B >> 1 ^ (int8_t)A >> 1 & 7 + A * 3 == B",
    "!A + !(B - 1) * 2 + (A && B) * 4 - (A || 0)",
]
"""Expressions in which the sign of a type, of a number or a precedence decides."""


def test_arithmetic_is_that_of_a_compiler(need, tmp_path, read):
    need("g++")
    rng = random.Random(7)
    texts, source = [], ["#include <stdint.h>"]
    for number in range(40 + 2 * len(RULES)):
        operand = ["int8_t", "uint8_t"][number % 2]
        body = f"int16_t x = 5; x {rng.choice(['=', '+=', '^=', '*='])} {expression(rng, 3)};"
        result = RULES[number // 2 - 20] if number >= 40 else expression(rng, 3)
        texts.append(f"int16_t f{number}({operand} A, {operand} B) {{ {body} return {result}; }}")
        loop = f"for (int n = 0; n < 65536; n++) out[n] = f{number}(n >> 8, n & 255);"
        source += [texts[-1], f"void all{number}(int16_t *out) {{ {loop} }}"]
    (tmp_path / "all.c").write_text("\n".join(source))
    library = tmp_path / "all.so"
    command = ["g++", "-x", "c", "-O1", "-w", "-fwrapv", "-shared", "-fPIC", "-o", library, tmp_path / "all.c"]
    subprocess.run(command, check=True, capture_output=True)
    compiled = ctypes.CDLL(str(library))
    picked = sorted(rng.sample(range(65536), 2000))
    for number, text in enumerate(texts):
        unit = read(text, bits=8, signed=number % 2 == 0)
        out = (ctypes.c_int16 * 65536)()
        getattr(compiled, f"all{number}")(out)
        found = [n & 0xFFFF for n in products(unit, [(n >> 8, n & 255) for n in picked])]
        assert found == [out[n] & 0xFFFF for n in picked], text


C_TYPES = {
    "char": (8, True),
    "unsigned char": (8, False),
    "short": (16, True),
    "unsigned short int": (16, False),
    "signed": (32, True),
    "unsigned int": (32, False),
}


@pytest.mark.parametrize("type", C_TYPES)
def test_the_types_of_c_itself(read, type):
    bits, signed = C_TYPES[type]
    unit = read(
        f"long long mul2u_x(unsigned long A, unsigned long long B) {{ {type} x = A - B; return (x >> 1) & 15; }}"
    )
    wrapped = [(a - b) % (1 << bits) for a, b in every_pair(unit)]
    values = [n - (1 << bits) if signed and n >> (bits - 1) else n for n in wrapped]
    assert products(unit, every_pair(unit)) == [(n >> 1) & 15 for n in values]


def test_the_types_of_c_have_their_width(read):
    for type, (bits, signed) in C_TYPES.items():
        shift = min(bits, 32) - 1
        text = f"long mul2u_x(int A, int B) {{ {type} x = 0; x = ~x; return ((long)x >> {shift} >> 1) & 15; }}"
        unit = read(text)
        assert set(products(unit, every_pair(unit))) == {15 if signed else 0}


# What is refused

BODY = "uint16_t mul8u_x(uint8_t A, uint8_t B) {{\n{} }}"
HOSTILE = {
    "include": (
        '#include "/etc/passwd"\n' + BODY.format("return 0;"),
        "line 1: '#include \"/etc/passwd\"' has no place",
    ),
    "define": ("#define X 1\n" + BODY.format("return X;"), "line 1: '#define X 1' has no place here"),
    "loop": (BODY.format("for (int i = 0; i < 8; i++) A += B; return A;"), "line 2: 'for' has no place"),
    "branch": (BODY.format("if (A) return B; return A;"), "line 2: 'if' has no place"),
    "endless": (BODY.format("while (1);"), "line 2: 'while' has no place"),
    "jump": (BODY.format("x: goto x;"), "line 2: 'x' is not declared"),
    "cache": (BODY.format("static uint16_t * cache = NULL; return 0;"), "line 2: 'static' has no place"),
    "block": (BODY.format("{ return A; }"), "line 2: '{' has no place"),
    "pointer": (BODY.format("return *A;"), "line 2: unexpected '*' in an expression"),
    "address": (BODY.format("return &A;"), "line 2: unexpected '&' in an expression"),
    "pointer_parameter": ("uint16_t mul8u_x(uint8_t *A, uint8_t B) { return 0; }", "line 1: expected a name, not '*'"),
    "system": (BODY.format('return system("rm -rf /");'), "line 2: 'system' is not declared"),
    "division": (BODY.format("return A / B;"), "line 2: expected ';', not '/'"),
    "undeclared": (BODY.format("return C;"), "line 2: 'C' is not declared"),
    "no_value": (BODY.format("int x;\nreturn x;"), "line 3: a variable is used before it has a value"),
    "no_return": (BODY.format("int x = A;"), "line 2: 'mul8u_x' ends without return"),
    "after_return": (BODY.format("return A; return B;"), "line 2: nothing may follow return"),
    "twice": (BODY.format("int A = 1; return A;"), "line 2: 'A' cannot be declared here"),
    "constant": (BODY.format("const int x = 1; x = 2; return x;"), "line 2: a constant must not be assigned to"),
    "shift": (BODY.format("return A >> B;"), "line 2: the distance of a shift must be a constant"),
    "far_shift": (BODY.format("return A << 32;"), "line 2: the distance of a shift must be from 0 to 31, not 32"),
    "octal": (BODY.format("return A & 017;"), "line 2: '017' must be a decimal or hexadecimal number"),
    "float": (BODY.format("return A + 1.5;"), "line 2: expected ';', not '.'"),
    "large": (BODY.format(f"return {9**30};"), f"line 2: '{9**30}' must be a decimal"),
    "index": (BODY.format("int x[4];\nx[4] = 1; return 0;"), "line 3: 'x' has no element 4"),
    "open_index": (BODY.format("int x[4];\nx[A] = 1; return 0;"), "line 3: an index must be a constant"),
    "huge_array": (BODY.format("int x[99999999]; return 0;"), "line 2: the size of an array must be from 1 to 4096"),
    "array": (BODY.format("int x[4]; return x;"), "line 2: 'x' is an array and needs an index"),
    "nested": (BODY.format(f"return {'(' * 9999}A{')' * 9999};"), "line 2: the expression is nested more than 100"),
    "inverted": (BODY.format(f"return {'~' * 9999}A;"), "line 2: the expression is nested more than 100"),
    "recursion": (
        "int f(int x) { return f(x); }\n" + BODY.format("return f(A);"),
        "line 1: 'f' is not declared before",
    ),
    "arguments": (
        "int f(int x) { return x; }\n" + BODY.format("return f(A, B);"),
        "line 3: 'f' takes 1 arguments, not 2",
    ),
    "later": (BODY.format("return g(A);") + "\nint g(int a, int b) { return 0; }", "bits must be given: the name g"),
    "unbalanced": ("uint16_t mul8u_x(uint8_t A, uint8_t B) {{ return A; }", "line 1: the file ends too early"),
    "comment": ("/* " + BODY.format("return A;"), "line 1: the comment has no end"),
    "empty": ("", "line 1: there is no function"),
    "operands": ("int mul8u_x(int A, int C) { return A; }", "line 1: the last function, mul8u_x, must have two"),
    "three": ("int mul8u_x(int A, int B, int C) { return A; }", "line 1: the last function, mul8u_x, must have two"),
    "type": ("double mul8u_x(int A, int B) { return A; }", "line 1: expected an integer type such as uint8_t"),
    "narrow": ("int mul16u_x(uint8_t A, uint16_t B) { return A; }", "line 1: A holds 8 bits, not 16"),
    "narrow_b": ("int mul8x16u_x(uint16_t A, uint8_t B) { return A; }", "line 1: B holds 8 bits, not 16"),
    "wide": ("int mul4u_x(int A, int B) { return (A * B) << 1; }", "the result must be of at most 8 bits"),
    "bits": ("int mul99u_x(int A, int B) { return A; }", "bits must be from 2 to 16, not 99"),
    "no_sign": ("int mul8_x(int8_t A, int8_t B) { return A; }", "bits must be given: the name mul8_x does not tell"),
    "gates": (
        BODY.format("uint64_t x = A; uint64_t y = B;" + "x = x * y + (x >> 3);" * 99 + "return 0;"),
        "line 2: the circuit has more than 65536 gates",
    ),
    "work": (BODY.format(f"return {'^'.join('A' * 200000)};"), "line 2: the circuit takes more than 2097152 steps"),
    "calls": (
        "int f0(int x) { return x << 0 << 0; }\n"
        + "".join(f"int f{n}(int x) {{ return {'+'.join([f'f{n - 1}(x)'] * 99)}; }}\n" for n in range(1, 7))
        + "int mul8u_x(int A, int B) { return f6(A); }",
        "line 2: the circuit takes more than 2097152 steps",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_c_is_refused_in_one_line(read, tmp_path, case):
    text, message = HOSTILE[case]
    with pytest.raises(ValueError) as caught:
        read(text, format="evoapprox-c")
    assert str(caught.value).startswith(f"{tmp_path / 'circuit.c'}: {message}")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_calls_nest_only_so_deep(read):
    helpers = "".join(f"int f{n + 1}(int x) {{ return f{n}(x); }}\n" for n in range(9))
    with pytest.raises(ValueError, match="line 4: calls are nested more than 8 deep$"):
        read("int f0(int x) { return x; }\n" + helpers + "int mul8u_x(int A, int B) { return f9(A); }")


def tokens_of(text):
    return text.replace("(", " ( ").replace(")", " ) ").replace(";", " ; ").replace("{", " { ").split()


VALID = [tokens_of(c_arrays(3, 2, False, "mul3x2u_x")), tokens_of(c_helpers(2, 2, True, "mul2s_x"))]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_c_never_escapes(data, tmp_path_factory):
    """Whatever tokens are dropped, doubled or exchanged, the file is read or refused in one line."""
    tokens = list(data.draw(st.sampled_from(VALID)))
    for _ in range(data.draw(st.integers(1, 4))):
        place, other = (data.draw(st.integers(0, len(tokens) - 1)) for _ in range(2))
        tokens[place : place + 1] = data.draw(
            st.sampled_from([[], [tokens[other]], [tokens[place]] * 2, ["("], ["99999"], ["\x00"], ["'"], ["~"]])
        )
    path = tmp_path_factory.mktemp("c") / "x.c"
    path.write_text(" ".join(tokens))
    try:
        multipliers.read(path, "evoapprox-c", bits=2, signed=True)
    except ValueError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_refused(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("c") / "x.c"
    path.write_text(text)
    with pytest.raises(ValueError):
        multipliers.read(path, "evoapprox-c", bits=2, signed=True)


def test_the_emitter_knows_its_gates():
    gates, outputs = array(2, 2, False)
    assert [kind for kind, _, _ in gates] == ["and"] * 4 + ["ha"] * 2
    assert len(outputs) == 4
