"""A tile's Verilog against its model, in cocotb and in the batch engine; what a changed tile is told by."""

import json

import pytest

from hwlut.accel import generate_tile
from hwlut.accel.commands import Error
from hwlut.accel.regression import check_tile, errors, runs
from hwlut.cli import main
from hwlut.hdl import Rtl
from hwlut.units import Multiplier, Tile

SMALL = {"values": 32, "inputs": 8, "weights": 8, "constants": 4}
TILE = Tile(
    name="tile_2x3",
    rows=2,
    columns=3,
    multipliers=(Multiplier(family="exact", bits=4, signed=True),),
    accumulator_bits=16,
    value_bits=16,
    operations=("add", "less", "shift_right"),
    table_inputs=3,
    table_outputs=6,
    operands=2,
    loops=2,
    **SMALL,
)


@pytest.fixture
def cocotb(need):
    need("cocotb", "cocotbext", "make", "perl")


@pytest.fixture
def verilator(need):
    need("verilator", "g++", "perl")


@pytest.fixture(scope="module")
def changed():
    """The tile with another identity, and with a cell that subtracts."""
    rtl = generate_tile(TILE)
    text = rtl.verilog
    for module, old, new in (
        ("tile_2x3.registers", str(0x48574C54), str(0x48574C55)),
        ("executor.row_0.cell_0", "$signed(total) + ", "$signed(total) - "),
    ):
        first = text.index(f"{module} (")
        end = text.index("endmodule", first)
        assert text.count(old, first, end) == 1
        text = text[:first] + text[first:end].replace(old, new) + text[end:]
    return Rtl(text, rtl.description)


def test_in_cocotb(cocotb):
    report = check_tile(TILE, "cocotb", seed=1)
    assert report.ok, str(report)
    tests = {name.partition("/")[0] for name in report.tests}
    assert tests == {
        "registers_say_what_the_tile_is",
        "registers_are_read_in_mid_run",
        "runs",
        "error",
        "stopped_in_mid_run",
    }
    assert sum(name.startswith("runs/") for name in report.tests) == 16
    assert sum(name.startswith("error/") for name in report.tests) == 2 * len(errors(TILE, 1))
    assert report.cycles > 1000 and report.tool.startswith("cocotb 2")


def test_a_changed_tile_fails_in_cocotb(cocotb, changed):
    """Registers are seen by one test, results by all that compute."""
    report = check_tile(TILE, "cocotb", verilog=changed)
    assert not report.ok
    failed = {name: message for name, message in report.tests.items() if message}
    assert "IDENTITY is " in failed["registers_say_what_the_tile_is"]
    assert all(name in failed for name in report.tests if name.startswith("runs/"))
    assert ": result " in failed["runs/pauses=none"]


def test_in_the_batch_engine(verilator):
    report = check_tile(TILE, seed=2)
    assert report.ok, str(report)
    assert report.runs == 24 and len(report.tests) == 48 and report.engine == "verilator"


def test_a_changed_tile_fails_in_the_batch_engine(verilator, changed):
    report = check_tile(TILE, verilog=changed)
    assert not report.ok and any("result " in message for message in report.tests.values() if message)
    assert "failed" in str(report) and str(report).splitlines()[-1].startswith("result   FAIL in ")


def test_every_error_of_commands_is_a_case():
    found = errors(TILE, 0)
    assert {case.ran.error.error for case in found} == set(Error) - {Error.NOT_READY}
    for case in found:
        number, cycles, commands, error = case.marks[-1]
        assert (number, commands, error) == (0, case.ran.error.index, case.ran.error.error) and cycles >= 1
    assert len({case.name for case in found}) == len(found)


def test_cases_are_drawn_by_their_seed():
    first, same, other = runs(TILE, 3, 1)[0], runs(TILE, 3, 1)[0], runs(TILE, 4, 1)[0]
    assert first.words.tolist() == same.words.tolist() != other.words.tolist()
    assert first.results.shape == (len(first.ran.results), TILE.beat_bytes + 1)
    assert first.results[:, -1].tolist() == first.ran.last.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "pysim"}, "engine must be one of verilator, cocotb for a tile, not 'pysim'"),
        ({"seed": -1}, "seed must be an integer from 0 to"),
        ({"waves": "none/w.vcd"}, "waves must be a file in a folder that is there, not 'none/w.vcd'"),
        ({"verilog": Rtl("", {"digest": "0" * 64})}, "the design: digest must be"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        check_tile(TILE, **arguments)


def test_what_is_no_tile_is_refused():
    with pytest.raises(TypeError, match="^check_tile tile must be a Tile, not Multiplier$"):
        check_tile(TILE.multipliers[0])


def test_command_line(verilator, tmp_path, capsys):
    path = TILE.save(tmp_path / "tile_2x3.json")
    assert main(["sim", str(path), "--seed", "2"]) == 0
    assert "tests    48, 0 failed\n" in capsys.readouterr().out
    assert main(["sim", str(path), "--seed", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] and said["tile"] == "tile_2x3" and said["runs"] == 24 and set(said["tests"].values()) == {None}
    for options, message in (
        (["--engine", "pysim"], "engine must be one of verilator, cocotb for a tile, not 'pysim'"),
        (["--scale", "3"], "Tile scale must not be given, not 3"),
        (["--lanes", "2"], "Tile lanes must not be given, not 2"),
        (["--against", "cpu"], "Tile against must not be given, not cpu"),
    ):
        assert main(["sim", str(path), *options]) == 2
        assert message in capsys.readouterr().err
