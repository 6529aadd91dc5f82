"""The shipped multipliers of 8 bits."""

from pathlib import Path

from hwlut.units.families import RULES, Family
from hwlut.units.multiplier import Multiplier

__all__ = ["multipliers", "write_multipliers"]

_UNSIGNED = (
    "exact",
    "truncate_operands 1 1",
    "truncate_operands 2 2",
    "truncate_operands 3 3",
    "truncate_columns 4",
    "truncate_columns 6",
    "truncate_columns 8",
    "broken_array 2 5",
    "broken_array 3 7",
    "broken_array 4 8",
    "kulkarni",
    "mitchell",
    "drum 4",
    "drum 5",
    "drum 6",
    "ssm 4",
    "ssm 6",
    "roba",
    "loa 6",
    "loa 8",
    "or_columns 6",
    "or_columns 8",
)
_SIGNED = (
    "exact",
    "truncate_operands 1 1",
    "truncate_operands 2 2",
    "truncate_columns 6",
    "booth_truncated 4",
    "booth_truncated 6",
    "booth_truncated 8",
    "kulkarni",
    "mitchell",
    "drum 4",
    "drum 6",
    "roba",
)


def multipliers() -> list[Multiplier]:
    """Every shipped multiplier, called ``mul8u_`` or ``mul8s_``, its family and its parameters in their order."""
    return [_multiplier(line, signed) for lines, signed in ((_UNSIGNED, False), (_SIGNED, True)) for line in lines]


def _multiplier(line: str, signed: bool) -> Multiplier:
    family, *values = line.split()
    rule = RULES[Family(family)]
    return Multiplier(
        name="_".join([f"mul8{'s' if signed else 'u'}", family, *values]),
        family=family,
        signed=signed,
        meta={"source": rule.source},
        **dict(zip(rule.parameters, map(int, values))),
    )


def write_multipliers(folder: str | Path) -> list[Path]:
    """Write every shipped multiplier into `folder`, made where it is missing, and return the paths."""
    return [unit.save(Path(folder, f"{unit.name}.json")) for unit in multipliers()]
