"""A tile's files: Verilog, description, C header and register map, what is refused, and what they say."""

import json
import re
import subprocess
from functools import partial
from pathlib import Path

import pytest
from accel_tiles import TILES
from amaranth.hdl import Fragment

import hwlut
from hwlut import Fixed, Multiplier
from hwlut.accel import generate_tile
from hwlut.accel.commands import Mode, Register, Requantization, Target, start
from hwlut.accel.hdl import Executor, TileTop, memory
from hwlut.accel.hdl.written import written
from hwlut.accel.instructions import Compute, Flags, Load, encode
from hwlut.accel.model import room
from hwlut.accel.port import ACTIVITY
from hwlut.cli import main
from hwlut.fixed import Rounding
from hwlut.hdl import read_description
from hwlut.program import softmax
from hwlut.units import Operation, Tile
from hwlut.verify.beats import streams

TILE = Tile(
    name="tile_1",
    rows=1,
    columns=1,
    multipliers=(Multiplier(family="exact", bits=4, signed=True),),
    accumulator_bits=16,
    value_bits=12,
    input_bits=4,
    operations=("add",),
    loops=1,
    values=4,
    inputs=4,
    weights=4,
    constants=4,
)
ENDS = (".v", ".rtl.json", ".h", "_registers.md")


@pytest.fixture(scope="module")
def rtl():
    return generate_tile(TILE)


@pytest.fixture
def gen_rtl(tmp_path, capsys):
    """`hwlut gen-rtl` of the tile in a folder of its own: status, output, what it says of an error."""
    TILE.save(tmp_path / "tile.json")

    def run(*options, folder="out"):
        status = main(["gen-rtl", str(tmp_path / "tile.json"), "-o", str(tmp_path / folder), *options])
        told = capsys.readouterr()
        return status, told.out, told.err.replace(str(tmp_path / folder) + "/", "")

    run.folder = tmp_path / "out"
    return run


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_gen_rtl_writes_four_files(gen_rtl, rtl):
    status, out, _ = gen_rtl("--json")
    content = json.loads(out)
    assert status == 0 and content["digest"] == TILE.digest
    paths = [str(gen_rtl.folder / f"tile_1{end}") for end in ENDS]
    assert [content[kind] for kind in ("verilog", "description", "header", "registers")] == paths
    assert content["rtl"] == read_description(gen_rtl.folder / "tile_1.rtl.json") == rtl.description
    first = contents(gen_rtl.folder)
    assert set(first) == {f"tile_1{end}" for end in ENDS}
    gen_rtl(folder="again")
    assert contents(gen_rtl.folder.with_name("again")) == first
    status, out, _ = gen_rtl()
    assert status == 0 and contents(gen_rtl.folder) == first
    assert [line.split()[0] for line in out.splitlines()[:4]] == ["verilog", "description", "header", "registers"]


def test_verilog_is_sealed_and_starts_unknown(rtl):
    assert rtl.verilog.startswith(
        f"// tile_1: written by hwlut from a unit of schema hwlut.tile/1\n// digest {TILE.digest}"
    )
    assert not re.search(r"^  reg [^$\n]* = ", rtl.verilog, re.MULTILINE)  # but for what yosys puts in its processes
    assert "initial begin" not in rtl.verilog


def test_description_tells_streams_ports_tile_and_registers(rtl):
    description = rtl.description
    found = {name: (stream.input, stream.bytes, stream.fields) for name, stream in streams(description).items()}
    assert found == {
        "s_axis_command": (True, 8, ["value", "argument", "opcode"]),
        "s_axis": (True, 2, ["x0"]),
        "m_axis": (False, 3, ["y0", "last"]),
        "m_axis_mark": (
            False,
            29,
            ["number", "cycles", "stalled_commands", "stalled_data", "stalled_results", "commands", "error"],
        ),
    }
    widths = {port["name"]: port["width"] for port in description["ports"]}
    assert widths["activity"] == len(ACTIVITY) == 7 and widths["irq"] == 1 and widths["s_axil_awaddr"] == 8
    assert description["tile"] == TILE.content()
    assert [description[key] for key in ("scale", "latency", "cycles_per_beat")] == [None, None, None]
    addresses = [register["address"] for register in description["registers"]]
    assert addresses == sorted(set(addresses)) and all(address % 4 == 0 for address in addresses)


def test_register_map_tells_every_register(rtl):
    text = rtl.texts()["registers"]
    told = re.findall(r"^\| 0x([0-9a-f]+) \| (\w+) \|", text, re.MULTILINE)
    registers = rtl.description["registers"]
    assert [(int(address, 16), name) for address, name in told] == [(r["address"], r["name"]) for r in registers]
    for name in ("CLEAR", "ACKNOWLEDGE", "RUNNING", "FAILED", "INTERRUPT"):
        assert f"| {name} |" in text


def test_header_makes_the_commands_that_python_makes(rtl, tmp_path, need):
    need("gcc")
    compute = Compute(
        mode=Mode.ARRAY,
        offset=True,
        operation=Operation.ADD,
        rounding=Rounding.FLOOR,
        requantization=Requantization.CONSTANT,
        requantize_rounding=Rounding.HALF_EVEN,
        bits=5,
    )
    fields = [
        ("MODE", "T_MODE_ARRAY"),
        ("OFFSET", "1"),
        ("OPERATION", "T_OPERATION_ADD"),
        ("ROUNDING", "T_ROUNDING_FLOOR"),
        ("REQUANTIZATION", "T_REQUANTIZATION_CONSTANT"),
        ("REQUANTIZE_ROUNDING", "T_ROUNDING_HALF_EVEN"),
        ("BITS", "5"),
    ]
    flags = " | ".join(f"(uint64_t){value} << T_FLAGS_{name}_SHIFT" for name, value in fields)
    shown = [
        "tile_1_command(T_OPCODE_START, 0, T_START_VALUE)",
        f"tile_1_command(T_OPCODE_SET, T_SET_FLAGS, {flags})",
        "tile_1_load(T_TARGET_INPUTS | T_LOAD_WAIT, 3, 2)",
        "tile_1_command(T_OPCODE_END, 0, 0)",
        "T_PORT_STATUS",
        "T_PORT_STATUS_FAILED_SHIFT",
        "T_MARK_COMMANDS_BYTE",
        "T_MARK_BYTES",
        "T_IDENTITY",
        "T_VALUES",
        "T_ERROR_LACKING",
    ]
    prints = "\n".join(f'    printf("%llx\\n", (unsigned long long)({each}));' for each in shown)
    source = f'#include <stdio.h>\n#include "tile_1.h"\nint main(void)\n{{\n{prints}\n    return 0;\n}}\n'
    (tmp_path / "tile_1.h").write_text(rtl.texts()["header"])
    (tmp_path / "main.c").write_text(re.sub(r"\bT_", "TILE_1_", source))
    strict = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*strict, "main.c", "-o", "main"], cwd=tmp_path, check=True)
    out = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    words = encode(TILE, [compute, Load(target=Target.INPUTS, address=3, count=2, wait=True)])
    setting = next(word for word in words if word >> 48 == 2 << 8 | Register.FLAGS)
    assert setting & (1 << 48) - 1 == Flags.of(compute)
    assert [int(line, 16) for line in out.split()] == [
        *(start(TILE), setting, words[-2], words[-1]),
        *(0x10, 1, 24, 29, int.from_bytes(b"HWLT", "big"), 4, 5),
    ]


def test_run_in_c_of_the_documentation_compiles(rtl, tmp_path, need):
    need("gcc")
    page = (Path(__file__).parent.parent / "docs" / "tile.md").read_text()
    (source,) = re.findall(r"^```text\n(#include <stddef.h>\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "tile_1.h").write_text(rtl.texts()["header"])
    (tmp_path / "run.c").write_text(source.replace("tile_2", "tile_1").replace("TILE_2", "TILE_1"))
    subprocess.run(["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-c", "run.c"], cwd=tmp_path, check=True)


def test_files_that_stand_there_are_refused(gen_rtl):
    gen_rtl()
    first = contents(gen_rtl.folder)
    assert gen_rtl("--reset", "aresetn")[0] == 2
    for end in (".v", ".h", "_registers.md"):
        path = gen_rtl.folder / f"tile_1{end}"
        path.write_bytes(first[path.name] + b"\n")
        assert gen_rtl() == (2, "", f"hwlut: {path.name} was edited by hand; --force overwrites it\n")
        path.write_bytes(first[path.name])
    (gen_rtl.folder / "tile_1.rtl.json").unlink()
    (gen_rtl.folder / "tile_1.v").unlink()
    (gen_rtl.folder / "tile_1.h").write_text("another's")
    status, _, told = gen_rtl()
    assert (status, told) == (2, "hwlut: tile_1.h stands there without its .rtl.json; --force overwrites it\n")
    assert gen_rtl("--force")[0] == 0 and contents(gen_rtl.folder) == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scale", "2"], "Tile scale must not be given, not 2"),
        (["--stages", "2"], "Tile stages must not be given, not 2"),
        (["--lanes", "4"], "Tile lanes must not be given, not 4"),
        (["--tile", "4"], "Tile tile must not be given, not 4"),
        (["--combinational"], "Tile combinational must not be given, not True"),
        (["--terms", "4", "--requantize", "missing"], "table must be a file"),
        (["--reset", "reset"], "reset must be one of rst, aresetn, not 'reset'"),
    ],
)
def test_other_options_are_refused_by_name(gen_rtl, options, message):
    status, out, told = gen_rtl(*options)
    assert (status, out) == (2, "") and told.startswith(f"hwlut: {message}") and told.count("\n") == 1
    assert not gen_rtl.folder.exists()


def test_a_tile_is_not_called_as_one_of_its_ports():
    for name in ("irq", "s_axil_rdata", "m_axis_mark_tdata"):
        with pytest.raises(ValueError, match=f"Tile name must not be that of a port, not '{name}'"):
            generate_tile(TILE.replace(name=name))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["eval"], "accuracy needs a Pwl or Direct table"),
        (["plot"], "accuracy needs a Pwl or Direct table"),
        (["run", "--task", "classify_digits"], "must be a program, not a Tile"),
        (["export", "--format", "c", "-o", "out.c"], "must be a program, not a Tile"),
    ],
)
def test_commands_for_other_kinds_refuse_a_tile(tmp_path, capsys, monkeypatch, command, message):
    monkeypatch.chdir(tmp_path)
    TILE.save(tmp_path / "tile.json")
    assert main([command[0], "tile.json", *command[1:]]) == 2
    told = capsys.readouterr()
    assert told.out == "" and message in told.err and told.err.count("\n") == 1


def test_hdl_says_what_a_tile_is_for():
    for make in (hwlut.verilog, hwlut.component):
        with pytest.raises(ValueError, match="Tile 'tile_1' is no component: gen-rtl writes it"):
            make(TILE)


def test_info_shows_a_tile(tmp_path, capsys):
    TILE.replace(multipliers=(*TILE.multipliers, hwlut.load("pretrained/mul8s_drum_4.json"))).save(tmp_path / "t.json")
    assert main(["info", str(tmp_path / "t.json")]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if " " in line)
    assert lines["kind"] == "Tile" and lines["operations"] == "add" and lines["beat_bytes"] == "2"
    assert lines["multipliers"].startswith("Multiplier exact, Multiplier drum")
    assert all(len(value) < 80 for value in lines.values())


def changed(key, value, description):
    description[key] = value


def changed_register(key, value, description):
    description["registers"][3][key] = value


def changed_port(name, key, value, description):
    next(port for port in description["ports"] if port["name"] == name)[key] = value


def without_port(name, description):
    description["ports"] = [port for port in description["ports"] if port["name"] != name]


def other_tile(description):
    description["tile"]["rows"] = 2


def more_port(description):
    description["ports"].append({"name": "other", "dir": "output", "width": 1, "fields": []})


WRONG = {
    "latency": (partial(changed, "latency", 3), "latency must be null of a tile, not 3"),
    "no reset": (partial(changed, "reset", None), "tile must be given with a reset"),
    "tile": (partial(changed, "tile", 5), "tile must be the content of a hwlut.tile/1, not 5"),
    "another tile": (other_tile, "tile must be the one of the digest"),
    "sum": (partial(changed, "sum", None), "RTL description must be an object of"),
    "registers": (partial(changed, "registers", {}), "registers must be a list, not {}"),
    "register": (partial(changed, "registers", [1]), "register must be an object of name, address"),
    "register name": (partial(changed_register, "name", "1x"), "register name must"),
    "address": (partial(changed_register, "address", 13), "CONTROL address must be a multiple of 4, not 13"),
    "address twice": (partial(changed_register, "address", 8), "CONTROL address must be an integer from 12"),
    "access": (partial(changed_register, "access", "rw"), "CONTROL access must be one of constant, read, write"),
    "reset value": (partial(changed_register, "reset", 1 << 32), "CONTROL reset must be an integer from 0"),
    "description": (partial(changed_register, "description", 0), "CONTROL description must be a string, not 0"),
    "fields": (partial(changed_register, "fields", None), "CONTROL fields must be a list, not None"),
    "field": (
        partial(changed_register, "fields", [{"name": "A", "lsb": 30, "bits": 3, "description": ""}]),
        "CONTROL field A bits must be an integer from 1 to 2, not 3",
    ),
    "no irq": (partial(without_port, "irq"), "ports must hold irq, an output of width 1"),
    "no rready": (partial(without_port, "s_axil_rready"), "ports must hold s_axil_rready, an input of width 1"),
    "wdata": (partial(changed_port, "s_axil_wdata", "width", 64), "ports must hold s_axil_wdata, an input of width 32"),
    "awready": (partial(changed_port, "s_axil_awready", "dir", "input"), "ports must hold s_axil_awready, an output"),
    "another port": (more_port, "port other must be clk, the reset or a part of a stream"),
    "stream": (partial(without_port, "m_axis_mark_tready"), "stream m_axis_mark must have m_axis_mark_tready"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_descriptions_are_refused(rtl, tmp_path, case):
    change, message = WRONG[case]
    content = json.loads(json.dumps(rtl.description))
    change(content)
    path = tmp_path / "tile_1.rtl.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_description(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_modules_of_operators_have_names_of_their_own():
    row = softmax(input=Fixed(8, 4), output=Fixed(8, 8, signed=False), most=4)
    names = "a" * 64, "a" * 63 + "b", "a" * 50, "b"
    tiles = [TILE.replace(name=name, operators=(row,)) for name in names]
    modules = [rtl.description["module"] for tile in tiles for rtl in written(tile)]
    assert len(set(modules)) == len(names) and modules[2:] == ["a" * 50 + "_operator_0", "b_operator_0"]


def test_memories_too_large_to_write_are_refused(monkeypatch):
    """Before any is made: those of 2^24 words in every row and column would take minutes and gigabytes."""
    monkeypatch.setattr(room, "_free", lambda: 100 << 20)
    with pytest.raises(ValueError) as told:
        generate_tile(TILE.replace(values=1 << 24, weights=1 << 23, inputs=16, constants=4))
    assert str(told.value) == (
        "Tile memories must take at most the 100 MiB that are free here, not 1 x 384 MiB, most of them for values"
    )


@pytest.mark.parametrize("name", [name for name, tile in TILES.items() if not tile.operators])
def test_memories_that_are_written(name, monkeypatch):
    """`room.listed` counts the words that the design has."""
    depths = []
    made = memory.Memory
    monkeypatch.setattr(memory, "Memory", lambda **given: depths.append(given["depth"]) or made(**given))
    tile = TILES[name]
    Fragment.get(TileTop(tile, "rst", Executor(tile, None)), None)
    assert 16 * sum(depths) == sum(room.listed(tile).values())
