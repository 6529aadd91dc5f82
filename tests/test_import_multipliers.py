"""Product tables of other simulators: read by an explicit order, written back, and bad ones refused in one line."""

import io
import json
import pickle
import re

import numpy as np
import pytest
from circuits import c_shifted, verilog
from hypothesis import given, settings
from hypothesis import strategies as st

import hwlut
from hwlut import Fixed
from hwlut.cli import main
from hwlut.importers import multipliers
from hwlut.importers.netlist import Netlist
from hwlut.units import Multiplier

SIZE = 256


def exact(values):
    """The exact products of the codes in the order given."""
    return [[a * b for b in values] for a in values]


def codes(order, signed, bits=8):
    """All codes in an order."""
    half = 1 << (bits - 1)
    if not signed:
        return [*range(2 * half)]
    return [*range(-half, half)] if order == "value" else [*range(half), *range(-half, 0)]


def foreign(format, rows, signed):
    """The bytes that another project would write, by plain Python."""
    if format == "approxtorch":
        return "\n".join("\t".join(map(str, row)) for row in rows).encode()
    if format == "adapt":
        body = ",\n".join("  { " + ",".join(map(str, row)) + " }" for row in rows)
        size = len(rows)
        kind = "int16_t" if signed else "uint16_t"
        return f"#include <stdint.h>\nconst {kind} lut[{size}] [{size}] = {{\n{body}\n}};\n".encode()
    if format == "torchapprox":
        file = io.BytesIO()
        np.save(file, np.array(rows, np.int32))
        return file.getvalue()
    return b"".join((n % 65536).to_bytes(2, "little") for row in rows for n in row)


@pytest.fixture
def read(tmp_path):
    """Reads bytes or text as a file."""

    def unit(content, format=None, **options):
        path = tmp_path / "lut"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return multipliers.read(path, format, **options)

    return unit


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs a command line in a folder of its own; returns status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        return main([str(argument) for argument in arguments]), *capsys.readouterr()

    return command


def skewed(signed):
    """A table of 4-bit operands unlike its transpose, with products off by little, in value order."""
    values = codes("value", signed, 4)
    return [[a * b + (a % 5 == 2 and b % 3 == 1) - (a == 3 and b > 0) for b in values] for a in values]


# What is read and written


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("order", multipliers.ORDERS)
@pytest.mark.parametrize("format", multipliers.TABLES)
def test_foreign_tables_are_read(read, format, order, signed):
    unit = read(foreign(format, exact(codes(order, signed)), signed), format, order=order, signed=signed)
    assert (unit.family, unit.a, unit.b, unit.name) == (
        "table",
        Fixed(8, signed=signed),
        Fixed(8, signed=signed),
        "lut",
    )
    assert unit.products().tolist() == exact(codes("value", signed))
    assert (unit.meta["format"], unit.meta["order"], unit.meta["method"]) == (format, order, "import")


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("order", multipliers.ORDERS)
@pytest.mark.parametrize("format", multipliers.TABLES)
def test_tables_are_written_and_read_back(tmp_path, format, order, signed):
    unit = Multiplier(family="table", bits=4, signed=signed, products=skewed(signed))
    path = multipliers.write(unit, tmp_path / "lut", format, order)
    again = multipliers.read(path, format, order=order, signed=signed, bits=4)
    assert again.digest == unit.digest


@pytest.mark.parametrize("order", multipliers.ORDERS)
@pytest.mark.parametrize("format", multipliers.TABLES)
def test_rows_are_the_first_operand(tmp_path, format, order):
    unit = Multiplier(family="table", bits=4, signed=True, products=skewed(True))
    data = multipliers.write(unit, tmp_path / "lut", format, order).read_bytes()
    places = [code + 8 for code in codes(order, True, 4)]
    rows = [[skewed(True)[a][b] for b in places] for a in places]
    if format in ("tfapprox", "torchapprox"):
        assert data == foreign(format, rows, True)
    else:
        assert re.findall(rb"-?\d+", data) == re.findall(rb"-?\d+", foreign(format, rows, True))
    assert rows != [list(column) for column in zip(*rows)]


def test_small_tables(read, tmp_path):
    unit = Multiplier(family="table", bits=3, signed=True, products=exact(range(-4, 4)))
    for format in multipliers.TABLES:
        path = multipliers.write(unit, tmp_path / "lut", format, "pattern")
        assert multipliers.read(path, format, order="pattern", signed=True, bits=3).digest == unit.digest


def test_numbers_as_savetxt_writes_them(read):
    file = io.BytesIO()
    np.savetxt(file, np.array(exact(codes("value", True))))
    unit = read(file.getvalue(), "approxtorch", order="value", signed=True)
    assert unit.products().tolist() == exact(codes("value", True))


@pytest.mark.parametrize("dtype", ["<i8", ">i2", "<i4"])
def test_numpy_files_of_other_integers(read, dtype):
    file = io.BytesIO()
    np.save(file, np.asfortranarray(np.array(skewed(True), dtype)))
    assert read(file.getvalue(), order="value", signed=True, bits=4).products().tolist() == skewed(True)


def test_formats_are_told_from_the_content(tmp_path):
    texts = {"evoapprox-c": c_shifted(2, 2, False, "mul2u_x"), "verilog": verilog(2, 2, False, "mul2u_x", None)}
    contents = {format: text.encode() for format, text in texts.items()}
    contents |= {format: foreign(format, exact(range(4)), False) for format in multipliers.TABLES}
    contents[None] = contents.pop("tfapprox")
    for format, content in contents.items():
        (tmp_path / "x").write_bytes(content)
        assert multipliers.recognise(tmp_path / "x") == format
    for other in ("", "{}", "hello", '{"gelu": {}}', "/*" * 1000000, "] [" * 500000, "return" * 300000):
        (tmp_path / "x").write_text(other)
        assert multipliers.recognise(tmp_path / "x") is None


# What is refused


@pytest.mark.parametrize("format", multipliers.TABLES)
def test_the_wrong_order_is_refused(read, format):
    shifted = [a + 128 if a < 0 else a - 128 for a in range(-128, 128)]
    error = sum(abs(a * b - s * t) for a, s in enumerate(shifted, -128) for b, t in enumerate(shifted, -128)) / 65536
    for order, other in (("value", "pattern"), ("pattern", "value")):
        content = foreign(format, exact(codes(order, True)), True)
        found = f"the mean error is {error:g} in {other} order, 0 in {order} order"
        with pytest.raises(ValueError, match=f"order must be {order}, not {other}: {found}$"):
            read(content, format, order=other, signed=True)


def test_a_poor_table_is_read_in_either_order_that_is_not_clearly_wrong(read):
    zeros = foreign("torchapprox", [[0] * SIZE] * SIZE, True)
    for order in multipliers.ORDERS:
        assert read(zeros, order=order, signed=True).metrics().med == 4096
    coarse = Multiplier(family="truncate_operands", bits=8, signed=True, a_drop=6, b_drop=0).products().tolist()
    assert read(foreign("approxtorch", coarse, True), order="value", signed=True).products().tolist() == coarse
    with pytest.raises(ValueError, match="order must be value, not pattern"):
        read(foreign("approxtorch", coarse, True), order="pattern", signed=True)


def test_the_wrong_sign_is_refused(read):
    # 129 * 255, which pattern order takes for -127 and -1
    with pytest.raises(
        ValueError, match=r"the product of -127 and -1 must be .*, not 32895: are the operands unsigned\?$"
    ):
        read(foreign("torchapprox", exact(codes("value", False)), False), order="pattern", signed=True)
    with pytest.raises(
        ValueError, match=r"the product of 0 and 129 must be from 0 to 65535, not -128: are the .* signed\?$"
    ):
        read(foreign("approxtorch", exact(codes("value", True)), True), order="value", signed=False)


@pytest.mark.parametrize("family", ["exact", "drum"])
@pytest.mark.parametrize("order", multipliers.ORDERS)
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_words_of_the_other_sign_are_refused(read, tmp_path, signed, order, family):
    unit = Multiplier(family=family, signed=signed, **({"k": 4} if family == "drum" else {}))
    words = multipliers.write(unit, tmp_path / "words", "tfapprox", order).read_bytes()
    kinds = ("signed", "unsigned") if signed else ("unsigned", "signed")
    message = rf"the operands must be {kinds[0]}, not {kinds[1]}: the mean error is .* as {kinds[1]}, {{}} as"
    for other in multipliers.ORDERS:
        with pytest.raises(ValueError, match=message.format(f"{unit.metrics().med:g}")):
            read(words, "tfapprox", order=other, signed=not signed)
    zeros = foreign("tfapprox", [[0] * SIZE] * SIZE, signed)  # as EvoApproxLib's mul8u_E9R
    assert not read(zeros, "tfapprox", order=order, signed=signed).products().any()


GOOD = exact(codes("value", True))
TEXT = foreign("approxtorch", GOOD, True)
HEADER = foreign("adapt", GOOD, True)


def array(values, **options):
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


def claimed(shape):
    """A numpy file whose header claims a shape, and that has no content."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<i4", "fortran_order": False, "shape": shape})
    return file.getvalue()


BAD = {
    "few_rows": ("approxtorch", TEXT.rsplit(b"\n", 1)[0], "the table must be 256 rows of 256 products, not 255 rows"),
    "many_rows": (
        "approxtorch",
        TEXT + b"\n" + b"0 " * 256,
        "line 257: the table must be 256 rows of 256 products, not 256 p",
    ),
    "short_row": ("approxtorch", TEXT[:-8], "line 256: the table must be 256 rows of 256 products, not 25"),
    "no_table": ("approxtorch", b"", "the table must be 256 rows of 256 products, not 0 rows"),
    "fraction": (
        "approxtorch",
        TEXT.replace(b"16384", b"16383.5", 1),
        "line 1: products must be integers, not '16383.5'",
    ),
    "not_a_number": ("approxtorch", TEXT.replace(b"16384", b"nan", 1), "line 1: products must be integers, not 'nan'"),
    "infinite": ("approxtorch", TEXT.replace(b"16384", b"1e999", 1), "line 1: products must be integers, not '1e999'"),
    "huge": (
        "approxtorch",
        TEXT.replace(b"16384", b"1e99", 1),
        "line 1: products must be below 2^31 in size, not '1e99'",
    ),
    "endless": ("approxtorch", TEXT.replace(b"16384", b"9" * 5000, 1), "line 1: products must be integers, not '999"),
    "large": (
        "approxtorch",
        TEXT.replace(b"16384", b"32768", 1),
        "the product of -128 and -128 must be from -32768 to 32767, not 32768",
    ),
    "binary": ("approxtorch", bytes(range(256)) * 8, "line 1: the table must be 256 rows of 256 products"),
    "header_rows": ("adapt", HEADER.replace(b"lut[256]", b"lut[255]"), "line 2: expected '256', not '255'"),
    "header_cut": ("adapt", HEADER[:9999], "line "),
    "header_empty": ("adapt", b"", "line 1: expected an array of one of int16_t, uint16_t"),
    "header_row": ("adapt", HEADER.replace(b",-16256 }", b" }", 1), "line 3: expected ','"),
    "header_more": ("adapt", HEADER + b"int x;", "line 260: nothing may follow the array, not 'int'"),
    "header_float": ("adapt", HEADER.replace(b"16384", b"1.5", 1), "line 3: expected ',', not '.'"),
    "header_name": (
        "adapt",
        HEADER.replace(b"16384", b"system(0)", 1),
        "line 3: products must be integers, not 'system'",
    ),
    "header_huge": (
        "adapt",
        HEADER.replace(b"16384", b"1e99", 1),
        "line 3: products must be below 2^31 in size, not '1e99'",
    ),
    "header_code": (
        "adapt",
        HEADER.replace(b"#include <stdint.h>", b"#define X(a) a"),
        "line 1: expected an array of one of",
    ),
    "shape": (
        "torchapprox",
        array(np.zeros((256, 255), np.int32)),
        "the array must be of shape (256, 256), not (256, 255)",
    ),
    "flat": ("torchapprox", array(np.zeros(65536, np.int32)), "the array must be of shape (256, 256), not (65536,)"),
    "claimed": (
        "torchapprox",
        claimed((1 << 40, 1 << 40)),
        "the array of shape (1099511627776, 1099511627776) must be 4835703278458516698824704 bytes, not 0",
    ),
    "truncated": (
        "torchapprox",
        array(np.array(GOOD, np.int32))[:-1],
        "the array of shape (256, 256) must be 262144 bytes, not 262143",
    ),
    "floats": (
        "torchapprox",
        array(np.array(GOOD, np.float32)),
        "the array must be of integers of at most 63 bits, not of float32",
    ),
    "pickled": (
        "torchapprox",
        array(np.array([[{}]], object), allow_pickle=True),
        "the array must be of real numbers, not of '|O'",
    ),
    "pickle": ("torchapprox", pickle.dumps([1]), "not a numpy file of an array: "),
    "no_numpy": ("torchapprox", b"\x93NUMPY\x01\x00\x10\x00{'descr': 1/0}", "not a numpy file of an array: "),
    "huge_numbers": (
        "torchapprox",
        array(np.full((256, 256), 2**64 - 1, np.uint64)),
        "the array must be of integers of at most 63 bits, not of uint64",
    ),
    "short": ("tfapprox", bytes(131071), "the table must be 131072 bytes, not 131071"),
    "long": ("tfapprox", bytes(131073), "the table must be 131072 bytes, not 131073"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_refused_in_one_line(read, tmp_path, case):
    format, content, message = BAD[case]
    with pytest.raises(ValueError) as caught:
        read(content, format, order="value", signed=True)
    assert str(caught.value).startswith(f"{tmp_path / 'lut'}: {message}")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_bad_requests_are_refused(read, tmp_path):
    words = foreign("tfapprox", GOOD, True)
    for options, message in [
        ({}, "order must be one of value, pattern: it must be given for a table"),
        ({"order": "rows"}, "order must be one of value, pattern: not 'rows'"),
        ({"order": "value"}, "signed must be given for a table: true or false"),
        ({"order": "value", "signed": 1}, "signed must be true or false, not 1"),
        (
            {"order": "value", "signed": True, "bits": 9},
            "a table's operands have one number of bits, at most 8, not (9, 9)",
        ),
        ({"order": "value", "signed": True, "bits": 8.0}, "bits must be an integer or two, not 8.0"),
        ({"order": "value", "signed": True, "name": "a b"}, "Multiplier name must match"),
    ]:
        with pytest.raises(ValueError) as caught:
            read(words, "tfapprox", **options)
        assert str(caught.value).startswith(f"{tmp_path / 'lut'}: {message}")
    with pytest.raises(ValueError, match="format must be given, one of approxtorch, adapt"):
        read(words, order="value", signed=True)
    with pytest.raises(ValueError, match="format must be one of approxtorch, .*, not 'csv'$"):
        read(words, "csv")
    with pytest.raises(ValueError, match="order is of tables: a circuit has none, not 'value'$"):
        read(c_shifted(2, 2, False, "mul2u_x"), order="value")
    with pytest.raises(ValueError, match="more than the 2097152 bytes allowed$"):
        read(b" " * 2097153, "approxtorch", order="value", signed=True)
    with pytest.raises(ValueError, match="no such file$"):
        multipliers.read(tmp_path / "none")


def test_what_tables_do_not_hold_is_not_written(tmp_path):
    path = tmp_path / "lut"
    for unit, message in [
        (Multiplier(family="exact", bits=9), "adapt holds operands of one format of at most 8 bits, not u9 and u9"),
        (
            Multiplier(family="exact", a=Fixed(8), b=Fixed(4)),
            "adapt holds operands of one format of at most 8 bits, not s8",
        ),
        (Multiplier(family="table", bits=2, products=[[16] * 4] * 4), "adapt holds products from 0 to 15, not 16"),
    ]:
        with pytest.raises(ValueError, match=message):
            multipliers.write(unit, path, "adapt", "value")
    unit = Multiplier(family="exact", bits=2)
    with pytest.raises(
        ValueError, match="format must be one of approxtorch, adapt, torchapprox, tfapprox, not 'verilog'"
    ):
        multipliers.write(unit, path, "verilog", "value")
    with pytest.raises(ValueError, match="order must be one of value, pattern: not 'rows'"):
        multipliers.write(unit, path, "adapt", "rows")
    with pytest.raises(TypeError, match="unit must be a Multiplier, not int"):
        multipliers.write(3, path, "adapt", "value")
    assert not path.exists()


SMALL = {format: foreign(format, exact([0, 1, 2, 3]), False) for format in multipliers.TABLES}


@settings(max_examples=200, deadline=None)
@given(format=st.sampled_from(multipliers.TABLES), data=st.data())
def test_damaged_tables_never_escape(format, data, tmp_path_factory):
    """Whatever bytes are changed, dropped or put in, the file is read or refused in one line."""
    content = bytearray(SMALL[format])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    path = tmp_path_factory.mktemp("lut") / "x"
    path.write_bytes(bytes(content))
    multipliers.recognise(path)
    try:
        multipliers.read(path, format, order="value", signed=False, bits=2)
    except ValueError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)


# Netlists


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 15), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=30))
def test_simplified_gates_compute_the_same(rows):
    """Random gates over two operands of 2 bits, beside the definition of a gate, on all 16 inputs."""
    net = Netlist(2, 2)
    nodes = [0, 1, *net.a, *net.b]
    values = [[0] * 16, [1] * 16, *([n >> place & 1 for n in range(16)] for place in range(4))]
    for truth, x, y in rows:
        x, y = x % len(nodes), y % len(nodes)
        nodes.append(net.gate(truth, nodes[x], nodes[y]))
        values.append([truth >> (p + 2 * q) & 1 for p, q in zip(values[x], values[y])])
    gates, outputs = net.finish(nodes[-5:])
    found = values[:6]
    for truth, x, y in gates.tolist():
        assert x < len(found) and y < len(found)
        found.append([truth >> (p + 2 * q) & 1 for p, q in zip(found[x], found[y])])
    assert [found[node] for node in outputs] == values[-5:]
    assert len(gates) <= len(rows)
    assert len({tuple(row) for row in gates.tolist()}) == len(gates)
    assert all(truth in (5,) or (x > 1 and y > 1 and x != y) for truth, x, y in gates.tolist())


# Commands


def test_import_and_export(run, tmp_path):
    (tmp_path / "small.c").write_text(c_shifted(4, 4, True, "mul4s_x"))
    status, out, _ = run("import", "small.c", "--json")
    (table,) = json.loads(out)["tables"]
    unit = hwlut.load("mul4s_x.json")
    assert (status, table["table"], table["digest"]) == (0, "mul4s_x.json", unit.digest)
    for format in multipliers.TABLES:
        arguments = ("--format", format, "--order", "pattern")
        assert run("export", "mul4s_x.json", *arguments, "-o", "lut.bin") == (0, "lut.bin\n", "")
        assert run("import", "lut.bin", *arguments, "--signed", "--name", "again", "--bits", "4")[0] == 0
        assert hwlut.load("again.json").products().equal(unit.products())
    status, out, _ = run("export", "mul4s_x.json", *arguments, "-o", "lut.bin", "--json")
    assert json.loads(out) | {"file": "lut.bin", "format": "tfapprox", "order": "pattern"} == json.loads(out)


def test_export_does_not_overwrite_what_it_reads(run, tmp_path):
    path = Multiplier(family="exact", bits=4, name="exact4").save(tmp_path / "exact4.json")
    kept = path.read_bytes()
    status, out, told = run("export", "exact4.json", "--format", "adapt", "--order", "value", "-o", path)
    assert (status, out, told) == (2, "", f"hwlut: {path} is the file to export: -o must be another file\n")
    assert path.read_bytes() == kept


@pytest.mark.parametrize("content", [b"\xff\x00" * 65536, b"", b"\x89PNG\r\n"], ids=["words", "empty", "png"])
def test_what_is_not_recognised_needs_a_format(run, tmp_path, content):
    (tmp_path / "words.bin").write_bytes(content)
    assert run("import", "words.bin") == (
        2,
        "",
        "hwlut: words.bin is neither of GQA-LUT nor recognised as a multiplier: --format tells what it is\n",
    )


def test_options_of_the_other_kind_are_refused(run, tmp_path):
    (tmp_path / "small.c").write_text(c_shifted(2, 2, False, "mul2u_x"))
    (tmp_path / "gelu.json").write_text("{}")
    assert run("import", "small.c", "--tie", "gt")[2] == (
        "hwlut: --tie has no meaning here: small.c is read as evoapprox-c, not as of GQA-LUT\n"
    )
    assert run("import", "gelu.json", "--unsigned")[2] == (
        "hwlut: --signed has no meaning here: gelu.json is not recognised as a multiplier: --format tells what it is\n"
    )
    assert run("import", "small.c", "--bits", "8x")[2] == "hwlut: --bits must be such as 8 or 8x4, not '8x'\n"
    status, _, told = run("export", "gelu_8", "--format", "adapt", "--order", "value", "-o", "x.h")
    assert status == 2 and told.endswith("gelu_8.json must be a multiplier, not a Pwl\n")
    status, _, told = run("export", "gelu_8", "--format", "adapt", "-o", "x.h")
    assert status == 2 and "--order" in told
