"""One product, by the structure that the multiplier's family describes."""

from collections.abc import Callable

from amaranth.hdl import Module, Mux, Value

from hwlut.hdl.arithmetic import named
from hwlut.hdl.multiplier.arrays import broken_array, kulkarni, loa, or_columns, truncate_columns
from hwlut.hdl.multiplier.booth import booth_truncated
from hwlut.hdl.multiplier.netlist import netlist
from hwlut.hdl.multiplier.plain import drum, exact, ssm, truncate_operands
from hwlut.hdl.multiplier.powers import mitchell, roba
from hwlut.hdl.multiplier.register import Register, unregistered
from hwlut.hdl.multiplier.table import table
from hwlut.hdl.stream import shape_of
from hwlut.units.families import RULES, Family
from hwlut.units.multiplier import Multiplier

__all__ = ["product"]

Core = Callable[[Module, Multiplier, Value, Value, Register], Value]
"""Of the module, the unit, its operands and the cuts, the product: of two's complement where the family's definition
is, else of unsigned operands of the formats' widths."""

CORES: dict[Family, Core] = {
    Family.EXACT: exact,
    Family.TRUNCATE_OPERANDS: truncate_operands,
    Family.TRUNCATE_COLUMNS: truncate_columns,
    Family.BROKEN_ARRAY: broken_array,
    Family.KULKARNI: kulkarni,
    Family.MITCHELL: mitchell,
    Family.DRUM: drum,
    Family.SSM: ssm,
    Family.ROBA: roba,
    Family.LOA: loa,
    Family.OR_COLUMNS: or_columns,
    Family.BOOTH_TRUNCATED: booth_truncated,
    Family.TABLE: table,
    Family.NETLIST: netlist,
}


def product(m: Module, unit: Multiplier, a: Value, b: Value, register: Register = unregistered) -> Value:
    """The product of two codes of the formats ``unit.a`` and ``unit.b``, of the shape of ``unit.product``.

    Its wires go into `m`, named after what they hold: give each of several products a module of its own. The product is
    combinational but for the rows of registers that `register` puts in.

    Raises ValueError for a product table of more than 2^16 pairs.
    """
    core = CORES[unit.family]
    a = named(m, "a_code", a, shape_of(unit.a))
    b = named(m, "b_code", b, shape_of(unit.b))
    rule = RULES.get(unit.family)
    signed = unit.a.signed or unit.b.signed
    by_magnitude = signed and rule is not None and not rule.signed
    found = _by_magnitude(m, core, unit, a, b, register) if by_magnitude else core(m, unit, a, b, register)
    return named(m, "product", found, shape_of(unit.product))


def _by_magnitude(m: Module, core: Core, unit: Multiplier, a: Value, b: Value, register: Register) -> Value:
    negative: Value = named(m, "negative", a[-1] & unit.a.signed ^ b[-1] & unit.b.signed)

    def with_sign(place: str, /, **values: Value) -> tuple[Value, ...]:
        nonlocal negative
        *later, negative = register(place, **values, negative=negative)
        return tuple(later)

    magnitude = core(m, unit, _magnitude(m, "a", a), _magnitude(m, "b", b), with_sign)
    return Mux(negative, -magnitude, magnitude)


def _magnitude(m: Module, name: str, code: Value) -> Value:
    """|code|, unsigned, of its width: the lowest code's is held too."""
    if not code.shape().signed:
        return code
    return named(m, f"{name}_magnitude", Mux(code[-1], -code, code)[: len(code)])
