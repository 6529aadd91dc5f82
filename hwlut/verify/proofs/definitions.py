"""The definitions of multipliers as Verilog, from the formulas of docs/multipliers.md: no code shared with hardware."""

from collections.abc import Callable

from hwlut.units.families import RULES, Family
from hwlut.units.multiplier import Multiplier

__all__ = ["DEFINED", "definition"]


def definition(unit: Multiplier) -> str:
    """A module ``definition`` of ports a, b and p, which computes the products of `unit`, of a family in `DEFINED`.

    In it x and y are the operands' magnitudes, or of families in two's complement the operands, and r is the result;
    no number in it needs more bits than both operands and four more.
    """
    if unit.family is Family.NETLIST:
        return _netlist(unit)
    bits = unit.a.bits + unit.b.bits + 4
    whole = RULES[unit.family].signed
    lines = [
        f"module definition (input [{unit.a.bits - 1}:0] a, input [{unit.b.bits - 1}:0] b,",
        f"  output [{unit.product.bits - 1}:0] p);",
        f"  reg signed [{bits - 1}:0] x, y, r, s, t, u;",
        "  integer i, j, k, l;",
        "  reg negative;",
        "  always @* begin",
        f"    x = {_operand('a', unit.a.signed)}; y = {_operand('b', unit.b.signed)};",
        "    r = 0; s = 0; t = 0; u = 0; i = 0; j = 0; k = 0; l = 0; negative = 0;",
    ]
    if not whole:
        lines += ["    negative = (x < 0) ^ (y < 0);", "    if (x < 0) x = -x;", "    if (y < 0) y = -y;"]
    lines += [f"    {line}" for line in DEFINED[unit.family](unit)]
    return "\n".join([*lines, "    if (negative) r = -r;", "  end", "  assign p = r;", "endmodule", ""])


def _operand(name: str, signed: bool) -> str:
    return f"$signed({name})" if signed else name


def _netlist(unit: Multiplier) -> str:
    """Gate by gate, bit x + 2 y of its truth."""
    inputs, gates = 2 + unit.a.bits + unit.b.bits, [] if unit.gates is None else unit.gates.tolist()
    lines = [
        f"module definition (input [{unit.a.bits - 1}:0] a, input [{unit.b.bits - 1}:0] b,",
        f"  output [{unit.product.bits - 1}:0] p);",
        f"  wire [{inputs + len(gates) - 1}:0] n;",
        f"  assign n[{inputs - 1}:0] = {{b, a, 2'b10}};",
    ]
    for number, (truth, x, y) in enumerate(gates, inputs):
        lines += [f"  wire [3:0] truth_{number} = {truth};"]
        lines += [f"  assign n[{number}] = truth_{number}[{{n[{y}], n[{x}]}}];"]
    bits = ", ".join(f"n[{node}]" for node in reversed(unit.outputs or ()))
    sign = "$signed" if unit.a.signed or unit.b.signed else ""
    return "\n".join([*lines, f"  assign p = {sign}({{{bits}}});", "endmodule", ""])


def _pairs(unit: Multiplier) -> tuple[str, str]:
    """Loops over the bits i of x and j of y."""
    return (
        f"for (i = 0; i < {unit.a.bits}; i = i + 1)",
        f"  for (j = 0; j < {unit.b.bits}; j = j + 1)",
    )


def _kept(condition: Callable[[Multiplier], str]) -> Callable[[Multiplier], list[str]]:
    """The sum of x_i y_j 2^(i + j) where the condition on i and j holds."""
    return lambda unit: [*_pairs(unit), f"    r = r + ((x[i] & y[j] & ({condition(unit)})) <<< (i + j));"]


def _exact(unit: Multiplier) -> list[str]:
    return ["r = x * y;"]


def _truncate_operands(unit: Multiplier) -> list[str]:
    a, b = unit.a_drop, unit.b_drop
    return [f"r = ((x >>> {a}) <<< {a}) * ((y >>> {b}) <<< {b});"]


def _kulkarni(unit: Multiplier) -> list[str]:
    return [
        f"for (i = 0; i < {unit.a.bits}; i = i + 2)",
        f"  for (j = 0; j < {unit.b.bits}; j = j + 2) begin",
        "    s = {x[i+1], x[i]} * {y[j+1], y[j]};",
        "    if (x[i+1] & x[i] & y[j+1] & y[j]) s = 7;",
        "    r = r + (s <<< (i + j));",
        "  end",
    ]


def _leading(unit: Multiplier) -> list[str]:
    """k and l: the places of the leading ones of x and y."""
    return [
        f"for (i = 0; i < {unit.a.bits}; i = i + 1) if (x[i]) k = i;",
        f"for (j = 0; j < {unit.b.bits}; j = j + 1) if (y[j]) l = j;",
    ]


def _mitchell(unit: Multiplier) -> list[str]:
    return [
        *_leading(unit),
        "s = ((x - (1 <<< k)) <<< l) + ((y - (1 <<< l)) <<< k);",
        "t = 1 <<< (k + l);",
        "r = x == 0 | y == 0 ? 0 : s < t ? t + s : 2 * s;",
    ]


def _drum(unit: Multiplier) -> list[str]:
    kept = unit.k
    return [
        *_leading(unit),
        f"if (k >= {kept}) x = ((x >>> (k - {kept} + 1)) | 1) <<< (k - {kept} + 1);",
        f"if (l >= {kept}) y = ((y >>> (l - {kept} + 1)) | 1) <<< (l - {kept} + 1);",
        "r = x * y;",
    ]


def _ssm(unit: Multiplier) -> list[str]:
    def cut(name: str, bits: int) -> str:
        low = max(0, bits - (unit.m or 0))
        return f"if ({name} >= (1 <<< {unit.m})) {name} = ({name} >>> {low}) <<< {low};"

    return [cut("x", unit.a.bits), cut("y", unit.b.bits), "r = x * y;"]


def _roba(unit: Multiplier) -> list[str]:
    return [
        *_leading(unit),
        "s = 1 <<< k; if (2 * x >= 3 * s & k > 1) s = 2 * s; if (x == 0) s = 0;",
        "t = 1 <<< l; if (2 * y >= 3 * t & l > 1) t = 2 * t; if (y == 0) t = 0;",
        "r = s * y + t * x - s * t;",
    ]


def _loa(unit: Multiplier) -> list[str]:
    low = unit.low or 0
    carry = f"(r[{low - 1}] & s[{low - 1}])" if low else "0"
    return [
        "r = y[0] ? x : 0;",
        f"for (j = 1; j < {unit.b.bits}; j = j + 1) begin",
        "  s = y[j] ? x <<< j : 0;",
        f"  t = (r | s) & {(1 << low) - 1};",
        f"  r = (((r >>> {low}) + (s >>> {low}) + {carry}) <<< {low}) | t;",
        "end",
    ]


def _or_columns(unit: Multiplier) -> list[str]:
    return [
        *_pairs(unit),
        f"    if (i + j >= {unit.columns}) r = r + ((x[i] & y[j]) <<< (i + j));",
        "    else s[i + j] = s[i + j] | (x[i] & y[j]);",
        "r = r + s;",
    ]


def _booth_truncated(unit: Multiplier) -> list[str]:
    return [
        f"for (j = 0; j < {unit.b.bits}; j = j + 2) begin",
        "  s = 0;",
        "  if (y[j+1]) s = s - 2;",
        "  if (y[j]) s = s + 1;",
        "  if (j > 0) if (y[j-1]) s = s + 1;",
        f"  r = r + ((((s * x) <<< j) >>> {unit.columns}) <<< {unit.columns});",
        "end",
    ]


DEFINED: dict[Family, Callable[[Multiplier], list[str]]] = {
    Family.EXACT: _exact,
    Family.TRUNCATE_OPERANDS: _truncate_operands,
    Family.TRUNCATE_COLUMNS: _kept(lambda unit: f"i + j >= {unit.columns}"),
    Family.BROKEN_ARRAY: _kept(lambda unit: f"i + j >= {unit.v} & j >= {unit.h}"),
    Family.KULKARNI: _kulkarni,
    Family.MITCHELL: _mitchell,
    Family.DRUM: _drum,
    Family.SSM: _ssm,
    Family.ROBA: _roba,
    Family.LOA: _loa,
    Family.OR_COLUMNS: _or_columns,
    Family.BOOTH_TRUNCATED: _booth_truncated,
    Family.NETLIST: lambda unit: [],
}
"""The families that have a definition here, and what it does."""
