"""Formats of what no quantizer decides: fewer bits where they are asked for, and one format for rows of one kind."""

import pytest
import torch
from torch import nn

import hwlut
from hwlut import Fixed
from hwlut.program.ports import decoded, encoded
from hwlut.search import quantize_uniform
from hwlut.train.models.encoder import Block
from hwlut.units.operations import Apply


def blocks():
    """Two encoder blocks, of which the second sees much greater numbers."""
    torch.manual_seed(0)
    model = nn.Sequential(Block(8, 2), Block(8, 2), nn.Linear(8, 2)).eval()
    with torch.no_grad():
        model[0].mlp[2].bias += 4.0
        model[1].attention.inputs.weight *= 3
    sample = torch.randn(40, 4, 8)
    quantize_uniform(model, [sample], "8/8")
    return model, sample


def operators(program):
    """The programs of rows within it: softmaxes and layer normalizations."""
    units = {node.unit.digest: node.unit for node in program.nodes if isinstance(node, Apply)}
    names = {digest: {node.name for node in getattr(unit, "nodes", ())} for digest, unit in units.items()}
    return tuple([units[digest] for digest in names if own in names[digest]] for own in ("highest", "squares"))


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_what_the_sample_decides_has_so_many_bits(bits):
    model, sample = blocks()
    program = hwlut.export(model, sample, value_bits=bits)
    assert program.outputs[0].format == Fixed(bits)
    (softmax,), (norm,) = operators(program)
    assert softmax.input.bits == norm.input.bits == norm.output.bits == bits
    assert softmax.output == Fixed(bits, bits - 1, False)
    port = program.inputs[0]
    given = decoded(program.outputs[0], program(encoded(port, sample)))
    with torch.no_grad():
        wanted = model(sample)
    assert (given - wanted).abs().max() < (0.3 if bits == 8 else 0.1) * wanted.abs().max()
    assert torch.equal(hwlut.Simulation(model, sample, value_bits=bits)(sample), given)


def test_rows_of_another_kind_have_an_operator_of_their_own():
    model, sample = blocks()
    model[1].norm2.eps = 1e-3
    softmaxes, norms = operators(hwlut.export(model, sample))
    assert (len(softmaxes), len(norms)) == (1, 2)


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (7, ValueError, "value_bits must be from 8 to 16, not 7"),
        (17, ValueError, "value_bits must be from 8 to 16, not 17"),
        (True, TypeError, "value_bits must be an integer, not True"),
        ("8", TypeError, "value_bits must be an integer, not '8'"),
    ],
)
def test_other_numbers_of_bits_are_refused(given, kind, words):
    model, sample = blocks()
    with pytest.raises(kind, match=words):
        hwlut.export(model, sample, value_bits=given)
