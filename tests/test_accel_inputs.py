"""Inputs of programs on tiles that are of other shapes than each other, and results that are no samples'."""

import pytest
import torch
from test_accel_compiler import CODES, TILE, program

from hwlut.accel import simulate
from hwlut.accel.compiler import compile_program
from hwlut.units import operations as op
from hwlut.units.movement import Reshape
from hwlut.units.reductions import Maximum, Sum


@pytest.mark.parametrize("shapes", [((), ()), ((), (3,)), ((5,), ()), ((5,), (2, 1)), ((2, 1, 5), (3, 1))])
def test_inputs_that_broadcast(shapes):
    inputs = [(name, CODES, shape) for name, shape in zip("xz", shapes)]
    nodes = [op.Multiply("square", "x", "x"), op.Add("y", "square", "z")]
    if all(shapes):
        nodes += [Sum("total", "x", 5), Maximum("most", "y"), op.Subtract("w", "total", "most")]
    net = program(inputs, nodes, "square", "y", *(["w"] if all(shapes) else []))
    x, z = codes = [torch.randint(-128, 128, (7, *shape)) for shape in shapes]
    report = simulate(net, TILE, codes, engine="model")
    assert report.ok
    for n in range(7):  # a sample by itself is as the definition has it
        assert all(torch.equal(got[n], want) for got, want in zip(report.outputs, net(x[n], z[n])))


def test_what_is_refused():
    inputs = [("x", CODES, (3,)), ("z", CODES, (4,))]
    apart = program(inputs, [op.Multiply("w", "x", "x"), op.Add("y", "z", "z")], "w", "y")
    with pytest.raises(ValueError) as refused:
        compile_program(apart, TILE)
    assert str(refused.value) == "Program 'nodes' inputs must have shapes that broadcast, not [3] and [4]"
    constant = program(inputs[:1], [op.Constant("five", 5), Reshape("y", "x", (-1, 1, 3))], "five", "y")
    with pytest.raises(ValueError) as refused:
        compile_program(constant, TILE)
    assert str(refused.value) == "Program 'nodes' must keep samples apart, which output 'five' does not"
