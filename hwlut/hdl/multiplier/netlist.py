"""Imported netlists, gate for gate."""

from amaranth.hdl import Cat, Const, Module, Value

from hwlut.hdl.arithmetic import named
from hwlut.hdl.multiplier.register import Register
from hwlut.units.gates import FUNCTIONS
from hwlut.units.multiplier import Multiplier

__all__ = ["netlist"]


def netlist(m: Module, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    """Node k of the netlist as the wire ``node_k``; cut at half its depth in gates."""
    a, b = register("operands", a=a, b=b)
    inputs = [Const(0, 1), Const(1, 1), *a, *b]
    nodes: dict[int, Value] = dict(enumerate(inputs))
    gates = [] if unit.gates is None else list(enumerate(unit.gates.tolist(), len(inputs)))
    depths = dict.fromkeys(nodes, 0)
    for number, (_, x, y) in gates:
        depths[number] = 1 + max(depths[x], depths[y])
    half = max(depths.values()) // 2

    def build(gate: int, truth: int, x: int, y: int) -> None:
        nodes[gate] = named(m, f"node_{gate}", FUNCTIONS[truth](nodes[x], nodes[y]))

    for number, gate in gates:
        if depths[number] <= half:
            build(number, *gate)
    late = [(number, gate) for number, gate in gates if depths[number] > half]
    outputs = unit.outputs or ()
    used = {*outputs, *(node for _, (_, *operands) in late for node in operands)}
    kept = sorted(number for number in used if number > 1 and depths[number] <= half)
    (held,) = register("sum", nodes=named(m, "half", Cat(nodes[number] for number in kept)))
    nodes |= dict(zip(kept, held))
    for number, gate in late:
        build(number, *gate)
    found = Cat(nodes[number] for number in outputs)
    return found.as_signed() if unit.product.signed else found
