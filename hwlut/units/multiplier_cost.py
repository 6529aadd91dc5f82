"""What a multiplier costs, by arithmetic."""

from collections.abc import Callable

from hwlut.unit import Resources
from hwlut.units.families import RULES, Family
from hwlut.units.multiplier import STAGES, Multiplier

__all__ = ["resources"]

_FULL_ADDER = 5  # two-input gates


def _array(unit: Multiplier, columns: int = 0, first: int = 0) -> int:
    """Bits of the partial-product array in rows j >= `first` and columns i + j >= `columns`."""
    return sum(i + j >= columns for i in range(unit.a.bits) for j in range(first, unit.b.bits))


def _segments(unit: Multiplier, width: int) -> int:
    return min(width, unit.a.bits) * min(width, unit.b.bits)


_MULTIPLIER_BITS: dict[Family, Callable[[Multiplier], int]] = {
    Family.TRUNCATE_OPERANDS: lambda unit: (unit.a.bits - (unit.a_drop or 0)) * (unit.b.bits - (unit.b_drop or 0)),
    Family.TRUNCATE_COLUMNS: lambda unit: _array(unit, unit.columns or 0),
    Family.BROKEN_ARRAY: lambda unit: _array(unit, unit.v or 0, unit.h or 0),
    Family.MITCHELL: lambda unit: 0,
    Family.DRUM: lambda unit: _segments(unit, unit.k or 0),
    Family.SSM: lambda unit: _segments(unit, unit.m or 0),
    Family.ROBA: lambda unit: 0,
    Family.BOOTH_TRUNCATED: lambda unit: (unit.a.bits + 1) * (unit.b.bits // 2),
    Family.TABLE: lambda unit: 0,
    Family.NETLIST: lambda unit: 0,
}

_ADDER_BITS: dict[Family, Callable[[Multiplier], int]] = {
    Family.MITCHELL: lambda unit: unit.product.bits,  # of the logarithms
    Family.ROBA: lambda unit: 2 * unit.product.bits,
    Family.NETLIST: lambda unit: (0 if unit.gates is None else len(unit.gates)) // _FULL_ADDER,
}


def resources(unit: Multiplier) -> Resources:
    """What `Multiplier.cost` gives."""
    rule = RULES.get(unit.family)
    by_magnitude = rule is not None and not rule.signed and (unit.a.signed or unit.b.signed)
    negations = unit.a.signed * unit.a.bits + unit.b.signed * unit.b.bits + unit.product.bits
    return Resources(
        storage_bits=unit.pairs * unit.product.bits if unit.family is Family.TABLE else 0,
        multiplier_bits=_MULTIPLIER_BITS.get(unit.family, _array)(unit),
        adder_bits=_ADDER_BITS.get(unit.family, lambda unit: 0)(unit) + by_magnitude * negations,
        latency=STAGES,
    )
