"""Tiles that programs fit: what they need and no more."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import hwlut
from hwlut import Direct, Fixed, LutMatmul, Multiplier, Program, Requantize
from hwlut.accel import fit_tile
from hwlut.accel.compiler import compile_program
from hwlut.accel.model import Machine
from hwlut.cli import main
from hwlut.lowering import export
from hwlut.program import range_reduced, softmax
from hwlut.program.ports import decoded, encoded
from hwlut.search import quantize_uniform
from hwlut.units import Operation, Port, Tile
from hwlut.units.applied import LookUp, Rescale
from hwlut.units.operations import Add, Apply, Subtract
from hwlut.units.products import Linear, MatrixProduct
from hwlut.units.reductions import Maximum

EXACT = Multiplier(family="exact", bits=8, signed=True)
DRUM = Multiplier(family="drum", bits=8, signed=True, k=4)
RANDOM = np.random.default_rng(0)


def weights(*shape):
    return RANDOM.integers(-128, 128, shape)


def requantize(bits, shift):
    return Requantize(input=Fixed(24), multipliers=(1,), shifts=(shift,), output=Fixed(bits))


def dense(multiplier=EXACT, inputs=10, outputs=3):
    nodes = (
        Linear("sums", "x", multiplier=multiplier, weights=weights(outputs, inputs)),
        Rescale("y", "sums", requantize(8, 10), axis=-1),
    )
    return Program(inputs=(Port("x", Fixed(8), (inputs,)),), nodes=nodes, outputs=(Port("y", Fixed(8)),))


def attention():
    row = softmax(input=Fixed(8, 4), output=Fixed(9, 8, signed=False), most=6)
    nodes = (
        MatrixProduct("scores", "a", "b", multiplier=EXACT, a_zero=0, b_zero=0, most=4),
        Rescale("codes", "scores", requantize(8, 9), axis=-1),
        Apply("shares", "codes", row),
        Add("y", "shares", "codes"),
    )
    ports = Port("a", Fixed(8), (5, 4)), Port("b", Fixed(8), (4, 6))
    return Program(inputs=ports, nodes=nodes, outputs=(Port("y", Fixed(12)),))


def tabled():
    table = Direct(input=Fixed(6, 3), output=Fixed(7, 3), values=tuple(range(-32, 32)))
    nodes = (
        Linear("sums", "x", multiplier=DRUM, weights=weights(5, 7)),
        Rescale("codes", "sums", requantize(6, 12), axis=-1),
        Apply("y", "codes", table),
    )
    return Program(inputs=(Port("x", Fixed(8), (7,)),), nodes=nodes, outputs=(Port("y", Fixed(7)),))


def looked_up(encoder="tree", k=4):
    given = {"thresholds": weights(3, k - 1), "dimensions": RANDOM.integers(0, 2, (3, k.bit_length() - 1))}
    if encoder != "tree":
        given = {"prototypes": weights(3, k, 2)}
    unit = LutMatmul(encoder=encoder, features=6, v=2, table=weights(3, k, 5), **given)
    node = LookUp("y", "x", unit=unit)
    return Program(inputs=(Port("x", Fixed(8), (6,)),), nodes=(node,), outputs=(Port("y", Fixed(32)),))


def check(program, tile):
    codes = [torch.tensor(RANDOM.integers(p.format.min, p.format.max + 1, (5, *p.shape))) for p in program.inputs]
    compiled = compile_program(program, tile)
    ran = Machine(tile).run(compiled.words(-(-5 // tile.rows)), compiled.data(*(each.numpy() for each in codes)))
    assert ran.error is None
    assert np.array_equal(compiled.unpack(ran.results, 5)[0], program(*codes).numpy())


def test_a_tile_has_what_one_layer_needs():
    tile = fit_tile(dense(), rows=2, columns=2)
    assert (tile.rows, tile.columns, tile.multipliers, tile.operations) == (2, 2, (EXACT.replace(name="unit"),), ())
    assert (tile.operands, tile.table_inputs, tile.operators, tile.entries) == (0, 0, (), 0)
    assert (tile.inputs, tile.value_bits, tile.input_bits) == (20, 8, 8)
    check(dense(), tile)


@pytest.mark.parametrize("program", [dense(), attention(), tabled(), looked_up(), looked_up("l2")])
@pytest.mark.parametrize(
    "parameter", ["value_bits", "accumulator_bits", "factor_bits", "inputs", "weights", "operands", "values"]
)
def test_less_is_refused_or_more_than_the_least(program, parameter):
    tile = fit_tile(program, rows=2, columns=3)
    check(program, tile)
    least = {
        "value_bits": 8,
        "accumulator_bits": 8,
        "factor_bits": 8,
        "inputs": 2,
        "weights": 2,
        "operands": 0,
        "values": 2,
    }[parameter]
    held = getattr(tile, parameter)
    if parameter == "value_bits":
        least = max(least, tile.input_bits, tile.table_outputs if tile.table_inputs else 0)
    if held == least:
        return
    try:
        compile_program(program, tile.replace(**{parameter: held - 1}))
    except ValueError:
        return
    # What is held at a time may be cut up instead, and sums may go through lanes of more bits.
    assert parameter in ("weights", "operands") or held <= tile.value_bits, f"{parameter} {held} is more than is needed"


def test_fewer_bits_of_factors_give_a_smaller_requantizer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()
    images = torch.randn(16, 1, 6, 6)
    quantize_uniform(model, [images])
    narrow, wide = (export(model, images, factor_bits=bits) for bits in (10, 31))
    tile = fit_tile(narrow, rows=2, columns=3)
    assert tile.factor_bits <= 10 < fit_tile(wide, rows=2, columns=3).factor_bits
    check(narrow, tile)
    with pytest.raises(ValueError, match=r"requantizes by \d+ bits; the tile's factor_bits are 10$"):
        compile_program(wide, tile.replace(factor_bits=10))
    codes = encoded(narrow.inputs[0], images)
    scores = [decoded(each.outputs[0], each(codes)) for each in (narrow, wide)]
    assert (scores[0] - scores[1]).abs().max() < 2**-4 * scores[1].abs().max()


def test_factor_bits_are_checked():
    model, sample = nn.Linear(2, 2), torch.zeros(1, 2)
    with pytest.raises(ValueError, match="^factor_bits must be from 8 to 31, not 7$"):
        export(model, sample, factor_bits=7)
    with pytest.raises(TypeError, match="^factor_bits must be an integer, not 8.0$"):
        export(model, sample, factor_bits=8.0)


def test_one_tile_for_several_programs():
    programs = dense(), attention(), tabled(), looked_up()
    tile = fit_tile(*programs, name="all_of_them", rows=3, columns=2)
    assert tile.name == "all_of_them" and len(tile.multipliers) == 2 and len(tile.operators) == 1
    assert tile.operations == (Operation.ADD,) and tile.table_inputs == 6 and tile.entries == 4
    for program in programs:
        check(program, tile)


def test_a_program_within_one_of_which_few_codes_come():
    """A table of as many codes as come, not as the program within takes."""
    exp = range_reduced("exp", input=Fixed(8, 4), output=Fixed(16, 8))
    program = Program(
        inputs=(Port("x", Fixed(4), (3,)),), nodes=(Apply("y", "x", exp),), outputs=(Port("y", Fixed(16)),)
    )
    tile = fit_tile(program, rows=2, columns=2)
    assert (tile.table_inputs, tile.operators) == (4, ())
    check(program, tile)


def test_programs_that_multiply_nothing_or_are_no_streams():
    """The rows of the program within may be of any length, so that it is no operator."""
    inner = Program.of(input=Fixed(8, 0), nodes=(Maximum("most", "q"), Subtract("y", "q", "most")), output=Fixed(9, 0))
    program = Program(
        inputs=(Port("x", Fixed(8), (3,)),), nodes=(Apply("y", "x", inner),), outputs=(Port("y", Fixed(9)),)
    )
    tile = fit_tile(program, rows=2, columns=2)
    assert tile.operators == () and tile.operations == (Operation.SUBTRACT,)
    assert [each.digest for each in tile.multipliers] == [Multiplier(family="exact", bits=2).digest]
    check(program, tile)


def test_a_wider_exact_multiplier_stands_for_narrower_ones():
    narrow = Multiplier(family="exact", a=Fixed(6), b=Fixed(4))
    program = dense()
    small = Program(
        inputs=(Port("x", Fixed(6), (3,)),),
        nodes=(Linear("y", "x", multiplier=narrow, weights=RANDOM.integers(-8, 8, (2, 3))),),
        outputs=(Port("y", Fixed(16)),),
    )
    tile = fit_tile(program, small, rows=1, columns=1)
    assert [each.digest for each in tile.multipliers] == [EXACT.digest]
    check(small, tile)


def test_refusals():
    with pytest.raises(ValueError, match=r"^fit_tile must be given at least one program$"):
        fit_tile()
    with pytest.raises(TypeError, match=r"^fit_tile programs must be Programs, not Multiplier$"):
        fit_tile(EXACT)
    with pytest.raises(ValueError, match=r"^fit_tile programs must look up by one encoder, not by l2, tree$"):
        fit_tile(looked_up(), looked_up("l2"))
    with pytest.raises(ValueError, match=r"^Tile rows must be from 1 to 64, not 65$"):
        fit_tile(dense(), rows=65)


def test_the_command_writes_a_tile(tmp_path, capsys):
    dense().save(tmp_path / "dense.json")
    attention().save(tmp_path / "attention.json")
    given = [str(tmp_path / "dense.json"), str(tmp_path / "attention.json"), "-o", str(tmp_path / "t.json")]
    assert main(["tile", *given, "--rows", "2", "--columns", "4", "--name", "both"]) == 0
    tile = hwlut.load(tmp_path / "t.json")
    assert isinstance(tile, Tile) and (tile.name, tile.rows, tile.columns) == ("both", 2, 4)
    assert len(tile.operators) == 1
    assert "2 x 4" in capsys.readouterr().out
    assert main(["tile", given[0], "-o", str(tmp_path / "u.json"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    fitted = hwlut.load(tmp_path / "u.json")
    assert (told["schema"], told["digest"], told["rows"]) == ("hwlut.fitted/1", fitted.digest, fitted.rows)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["gelu_8"], "gelu_8.json must be a program, not a Pwl"),
        (["{folder}/none.json"], "table must be a file or the name of one in"),
        (["{folder}/dense.json", "--columns", "0"], "Tile columns must be from 1 to 64, not 0"),
        (["{folder}/dense.json", "--name", "wire"], "Tile name"),
        (["{folder}/dense.json", "-o", "{folder}/dense.json"], "is the file to fit"),
    ],
)
def test_the_command_refuses(tmp_path, capsys, arguments, message):
    dense().save(tmp_path / "dense.json")
    before = sorted(tmp_path.iterdir())
    assert main(["tile", *(each.format(folder=tmp_path) for each in arguments)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert message in told[-1] or message in told[0]
    assert sorted(tmp_path.iterdir()) == before
