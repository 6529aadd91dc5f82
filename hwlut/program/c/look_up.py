"""A `LutMatmul` as C: its arrays, and the functions on integers."""

from string import Template
from typing import NamedTuple

import numpy as np

from hwlut.fixed import Fixed, Rounding
from hwlut.program.c.values import array, packed
from hwlut.units import LutMatmul, Requantize
from hwlut.units.lut_matmul import Encoder

__all__ = ["Constant", "constants", "definition", "prototype", "result_kind"]

_AWAY = {
    Encoder.L2: "away[k] += d * d;",
    Encoder.L1: "away[k] += d < 0 ? -d : d;",
    Encoder.CHEBYSHEV: "away[k] = d > away[k] ? d : -d > away[k] ? -d : away[k];",
}

_NEAREST = Template("""\
static size_t ${f}_encode(size_t c, const int8_t *x)
{
    int32_t away[$k] = {0};
    size_t best = 0;
    for (size_t i = 0; i < $v; ++i) {
        const int8_t *p = ${f}_prototypes + (c * $v + i) * $k;
        for (size_t k = 0; k < $k; ++k) {
            const int32_t d = (int32_t)x[i] - p[k];
            $away
        }
    }
    for (size_t k = 1; k < $k; ++k)
        best = away[k] < away[best] ? k : best;
    return best;
}
""")

_LEAF = Template("""\
static size_t ${f}_encode(size_t c, const int8_t *x)
{
    const uint16_t *dimensions = ${f}_dimensions + c * $depth;
    const int8_t *thresholds = ${f}_thresholds + c * ($k - 1);
    size_t node = 0;
    for (size_t level = 0; level < $depth; ++level)
        node = 2 * node + 1 + (x[dimensions[level]] >= thresholds[node]);
    return node - ($k - 1);
}
""")

_SUMS = Template("""\
static void ${f}_sums(const int8_t *x, int32_t *sums)
{
    for (size_t m = 0; m < $m; ++m)
        sums[m] = $bias;
    for (size_t c = 0; c < $c; ++c) {
        const int8_t *part = x + c * $v;
$last        const $entry *entries = ${f}_table + (c * $k + ${f}_encode(c, part)) * $width;
$add    }
}
""")

_LAST = Template("""\
        int8_t last[$v];
        if (c == $c - 1) {
            for (size_t i = 0; i < $v; ++i)
                last[i] = (int8_t)(i < $rest ? part[i] : $zero);
            part = last;
        }
""")

_ADD = Template("""\
        for (size_t m = 0; m < $m; ++m)
            sums[m] += entries[m];
""")

_ADD_LOW = Template("""\
        for (size_t m = 0; m < $width; ++m)
            sums[m] += (int32_t)((entries[m] & 15) ^ 8) - 8;
""")

_ADD_HIGH = Template("""\
        for (size_t m = 0; m < $m - $width; ++m)
            sums[$width + m] += (int32_t)((entries[m] >> 4) ^ 8) - 8;
""")

_EACH = Template("""\
$prototype
{
    for (size_t row = 0; row < rows; ++row)
        ${f}_sums(x + row * $features, sums + row * $m);
}
""")

_REQUANTIZED = Template("""\
$prototype
{
    int32_t sums[$m];
    for (size_t row = 0; row < rows; ++row) {
        ${f}_sums(x + row * $features, sums);
        for (size_t m = 0; m < $m; ++m) {
            const int64_t product = (int64_t)sums[m] * ${f}_multipliers[$channel];
            const int shift = ${f}_shifts[$channel];
$one            const int64_t kept = product < 0 ? ~(~product >> shift) : product >> shift;
            const int64_t value = $rounded + ($zero);
            y[row * $m + m] = ($kind)(value < $low ? $low : value > $high ? $high : value);
        }
    }
}
""")

_ONE = "            const int64_t one = (int64_t)1 << shift;\n"

_ROUNDED = {
    Rounding.HALF_UP: "kept + (2 * (product - kept * one) >= one)",
    Rounding.HALF_EVEN: "kept + (2 * (product - kept * one) + (kept & 1) > one)",
    Rounding.FLOOR: "kept",
}


class Constant(NamedTuple):
    """An array of a unit: the end of its name, the C type of its numbers, and these."""

    name: str
    kind: str
    values: np.ndarray


def constants(unit: LutMatmul) -> list[Constant]:
    """The arrays that the functions of `unit` read. Prototypes stand input by input, [C, v, K]."""
    if unit.encoder is Encoder.TREE:
        assert unit.thresholds is not None and unit.dimensions is not None
        found = [
            Constant("thresholds", "int8_t", unit.thresholds.astype(np.int8)),
            Constant("dimensions", "uint16_t", unit.dimensions.astype(np.uint16)),
        ]
    else:
        assert unit.prototypes is not None
        found = [Constant("prototypes", "int8_t", unit.prototypes.astype(np.int8).transpose(0, 2, 1))]
    if unit.table_bits == 4:
        found.append(Constant("table", "uint8_t", packed(unit.table)))
    else:
        found.append(Constant("table", "int8_t", unit.table.astype(np.int8)))
    if unit.bias is not None:
        found.append(Constant("bias", "int32_t", unit.bias.astype(np.int32)))
    if unit.requantize is not None:
        found.append(Constant("multipliers", "int32_t", np.array(unit.requantize.multipliers, np.int32)))
        found.append(Constant("shifts", "uint8_t", np.array(unit.requantize.shifts, np.uint8)))
    return found


def result_kind(unit: LutMatmul) -> str:
    """The C type of results: int32_t of sums; after a Requantize, the narrowest that holds its output."""
    return "int32_t" if unit.requantize is None else _narrowest(unit.requantize.output)


def prototype(unit: LutMatmul, f: str, static: bool = False) -> str:
    """The function on integers, without what ends a declaration."""
    out = "sums" if unit.requantize is None else "y"
    return f"{'static ' * static}void {f}(const int8_t *x, {result_kind(unit)} *{out}, size_t rows)"


def definition(unit: LutMatmul, f: str, static: bool = False) -> str:
    """All functions on integers of `unit`, the one on rows named `f`, and their arrays.

    static: whether the file alone knows that one too.
    """
    width = (unit.outputs + 1) // 2 if unit.table_bits == 4 else unit.outputs
    names: dict[str, object] = {
        "f": f,
        "features": unit.features,
        "v": unit.v,
        "c": unit.codebooks,
        "k": unit.k,
        "m": unit.outputs,
        "depth": unit.depth,
        "zero": unit.zero_point,
        "rest": unit.v - unit.padding,
        "width": width,
        "entry": "int8_t" if unit.table_bits == 8 else "uint8_t",
        "bias": "0" if unit.bias is None else f"{f}_bias[m]",
        "away": _AWAY.get(unit.encoder),
        "prototype": prototype(unit, f, static),
    }
    names["last"] = _LAST.substitute(names) if unit.padding else ""
    adds = [_ADD]
    if unit.table_bits == 4:
        adds = [_ADD_LOW, _ADD_HIGH] if unit.outputs > width else [_ADD_LOW]
    names["add"] = "".join(add.substitute(names) for add in adds)
    parts = [array(each.kind, f"{f}_{each.name}", each.values) for each in constants(unit)]
    parts.append((_LEAF if unit.encoder is Encoder.TREE else _NEAREST).substitute(names))
    parts.append(_SUMS.substitute(names))
    if unit.requantize is None:
        parts.append(_EACH.substitute(names))
    else:
        parts.append(_REQUANTIZED.substitute(names | _after(unit.requantize)))
    return "\n".join(parts)


def _after(requantize: Requantize) -> dict[str, object]:
    """What `_REQUANTIZED` needs beside the unit."""
    return {
        "channel": "0" if requantize.channels == 1 else "m",
        "rounded": _ROUNDED[requantize.rounding],
        "one": "" if requantize.rounding is Rounding.FLOOR else _ONE,
        "zero": requantize.zero_point,
        "kind": _narrowest(requantize.output),
        "low": requantize.output.min,
        "high": requantize.output.max,
    }


def _narrowest(format: Fixed) -> str:
    bits = next(bits for bits in (8, 16, 32) if format.bits <= bits)
    return f"{'' if format.signed else 'u'}int{bits}_t"
