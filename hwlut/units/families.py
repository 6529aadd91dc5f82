"""The families of multipliers: what each computes, by integer arithmetic on whole arrays.

Every function here takes ints, numpy arrays or tensors of int64, whose type must hold 2^33.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Family", "Rule", "RULES", "leading_one"]

_Pairs = list[tuple[Any, Any]]


class Family(str, enum.Enum):
    """How a multiplier finds its products."""

    EXACT = "exact"
    TRUNCATE_OPERANDS = "truncate_operands"
    TRUNCATE_COLUMNS = "truncate_columns"
    BROKEN_ARRAY = "broken_array"
    KULKARNI = "kulkarni"
    MITCHELL = "mitchell"
    DRUM = "drum"
    SSM = "ssm"
    ROBA = "roba"
    LOA = "loa"
    OR_COLUMNS = "or_columns"
    BOOTH_TRUNCATED = "booth_truncated"
    TABLE = "table"
    NETLIST = "netlist"


def leading_one(x: Any, bits: int) -> Any:
    """floor(log2 x) of 1 <= x < 2^bits; 0 of 0."""
    place = x * 0
    for bit in range(1, bits):
        place = place + (x >= 1 << bit) * 1
    return place


def _bit(x: Any, place: int) -> Any:
    return (x >> place) & 1


def _exact(a: Any, b: Any, bits: tuple[int, int]) -> Any:
    return a * b


def _truncate_operands(a: Any, b: Any, bits: tuple[int, int], a_drop: int, b_drop: int) -> Any:
    return (a >> a_drop << a_drop) * (b >> b_drop << b_drop)


def _rows(a: Any, b: Any, width: int, columns: int, first: int = 0) -> _Pairs:
    """Factors of the partial-product array: row j of b's bits, cut to its columns i + j >= `columns`, from `first` on.

    Rows that lose no column are one pair.
    """
    cut = range(first, max(first, min(columns, width)))
    pairs = [(a >> (columns - j) << (columns - j), _bit(b, j) << j) for j in cut]
    whole = max(first, columns)
    return [*pairs, (a, b >> whole << whole)] if whole < width else pairs


def _truncate_columns(a: Any, b: Any, bits: tuple[int, int], columns: int) -> Any:
    return sum((f * g for f, g in _rows(a, b, bits[1], columns)), a * 0 * b)


def _broken_array(a: Any, b: Any, bits: tuple[int, int], h: int, v: int) -> Any:
    return sum((f * g for f, g in _rows(a, b, bits[1], v, h)), a * 0 * b)


def _threes(x: Any, width: int) -> Any:
    """4^i, summed over the base-4 digits i of x that are 3."""
    return sum(((_bit(x, place) & _bit(x, place + 1)) << place for place in range(0, width, 2)), x * 0)


def _kulkarni(a: Any, b: Any, bits: tuple[int, int]) -> Any:
    return a * b - 2 * _threes(a, bits[0]) * _threes(b, bits[1])


def _mitchell(a: Any, b: Any, bits: tuple[int, int]) -> Any:
    places = leading_one(a, bits[0]), leading_one(b, bits[1])
    one, two = 1 << places[0], 1 << places[1]
    fraction = (a - one) * two + (b - two) * one  # s * 2^(k1 + k2)
    whole = one * two
    carried = (fraction >= whole) * 1
    return (whole + fraction + carried * (fraction - whole)) * ((a > 0) & (b > 0))


def _drum_operand(x: Any, bits: int, k: int) -> Any:
    shift = leading_one(x >> (k - 1), bits)
    return ((x >> shift) | ((shift > 0) * 1)) << shift


def _drum(a: Any, b: Any, bits: tuple[int, int], k: int) -> Any:
    return _drum_operand(a, bits[0], k) * _drum_operand(b, bits[1], k)


def _ssm_operand(x: Any, bits: int, m: int) -> Any:
    return x - ((x >> m) > 0) * (x & ((1 << max(bits - m, 0)) - 1))


def _ssm(a: Any, b: Any, bits: tuple[int, int], m: int) -> Any:
    return _ssm_operand(a, bits[0], m) * _ssm_operand(b, bits[1], m)


def _roba_operand(x: Any, bits: int) -> Any:
    """The power of two nearest to x, of a tie the greater, but 2 of 3; 0 of 0."""
    rounded = x * 0
    for place in range(bits + 1):
        above = (3 << place) >> 1 if place > 1 else 1 << (place + 1)  # of the midpoint to the next power
        low = (3 << place) >> 2 if place > 2 else 1 << place
        rounded = rounded + ((x >= low) & (x < above)) * (1 << place)
    return rounded


def _roba(a: Any, b: Any, bits: tuple[int, int]) -> Any:
    near_a, near_b = _roba_operand(a, bits[0]), _roba_operand(b, bits[1])
    return near_a * b + near_b * a - near_a * near_b


def _loa_sum(x: Any, y: Any, low: int) -> Any:
    """x + y by a lower-part-OR adder."""
    if low == 0:
        return x + y
    carry = _bit(x, low - 1) & _bit(y, low - 1)
    return (((x >> low) + (y >> low) + carry) << low) | ((x | y) & ((1 << low) - 1))


def _loa(a: Any, b: Any, bits: tuple[int, int], low: int) -> Any:
    total = a * _bit(b, 0)
    for place in range(1, bits[1]):
        total = _loa_sum(total, a * _bit(b, place) << place, low)
    return total


def _or_columns(a: Any, b: Any, bits: tuple[int, int], columns: int) -> Any:
    total = _truncate_columns(a, b, bits, columns)
    for column in range(min(columns, sum(bits) - 1)):
        some = a * 0 * b
        for place in range(max(0, column - bits[1] + 1), min(column + 1, bits[0])):
            some = some | (_bit(a, place) & _bit(b, column - place))
        total = total + (some << column)
    return total


def _booth_digit(b: Any, place: int) -> Any:
    """The radix-4 Booth digit of b, two's complement, at weight 2^place: -2 to 2."""
    below = _bit(b, place - 1) if place else b * 0
    return below + _bit(b, place) - 2 * _bit(b, place + 1)


def _booth_row(a: Any, digit: Any, place: int, columns: int) -> Any:
    return (digit * a << place) >> columns << columns


def _booth_truncated(a: Any, b: Any, bits: tuple[int, int], columns: int) -> Any:
    return sum(_booth_row(a, _booth_digit(b, place), place, columns) for place in range(0, bits[1], 2))


def _booth_pairs(a: Any, b: Any, bits: tuple[int, int], columns: int) -> _Pairs:
    places = range(0, bits[1], 2)
    cut = [place for place in places if place < columns]
    pairs = [
        (_booth_row(a, digit, place, columns), (_booth_digit(b, place) == digit) * 1)
        for place in cut
        for digit in (-2, -1, 1, 2)
    ]
    whole = sum((_booth_digit(b, place) << place for place in places if place >= columns), b * 0)
    return [*pairs, (a, whole)]


def _by_kulkarni(a: Any, b: Any, bits: tuple[int, int]) -> _Pairs:
    return [(a, b), (-2 * _threes(a, bits[0]), _threes(b, bits[1]))]


def _by_roba(a: Any, b: Any, bits: tuple[int, int]) -> _Pairs:
    near_a, near_b = _roba_operand(a, bits[0]), _roba_operand(b, bits[1])
    return [(near_a, b - near_b), (a, near_b)]


@dataclass(frozen=True)
class Rule:
    """One family.

    parameters: their names; each is an int.
    ranges: of the widths of a and b, the inclusive range of every parameter.
    product: of a, b, the widths and the parameters. Unsigned arithmetic, signed forms by sign and magnitude, unless
        `signed`, where it is two's complement.
    factors: likewise, the pairs (f(a), g(b)) whose products sum to the product; None where a family has none.
    signed: whether `product` is defined on two's complement.
    reach: likewise of the largest magnitudes a and b, the largest magnitude of a product. By default that of the exact
        one, which no product of the other families leaves by a bit: those that can be too large are roba, by at most
        1/9 and only below 3/4 of the range, and loa, whose row j takes a sum below 2^(na + j) to one below twice that.
    source: of the definition.
    """

    product: Callable[..., Any]
    factors: Callable[..., _Pairs] | None
    source: str
    parameters: tuple[str, ...] = ()
    ranges: Callable[[int, int], Sequence[tuple[int, int]]] = lambda na, nb: ()
    signed: bool = False
    reach: Callable[..., int] = lambda a, b, bits, **parameters: a * b


RULES: dict[Family, Rule] = {
    Family.EXACT: Rule(_exact, lambda a, b, bits: [(a, b)], "a b", signed=True),
    Family.TRUNCATE_OPERANDS: Rule(
        _truncate_operands,
        lambda a, b, bits, a_drop, b_drop: [(a >> a_drop << a_drop, b >> b_drop << b_drop)],
        "low bits of the operands taken as 0",
        ("a_drop", "b_drop"),
        lambda na, nb: ((0, na - 1), (0, nb - 1)),
        signed=True,
    ),
    Family.TRUNCATE_COLUMNS: Rule(
        _truncate_columns,
        lambda a, b, bits, columns: _rows(a, b, bits[1], columns),
        "the low columns of the partial-product array left out",
        ("columns",),
        lambda na, nb: ((0, na + nb - 2),),
    ),
    Family.BROKEN_ARRAY: Rule(
        _broken_array,
        lambda a, b, bits, h, v: _rows(a, b, bits[1], v, h),
        "Mahdiani et al., Bio-Inspired Imprecise Computational Blocks, IEEE TCAS-I 2010",
        ("h", "v"),
        lambda na, nb: ((0, nb - 1), (0, na + nb - 2)),
    ),
    Family.KULKARNI: Rule(
        _kulkarni, _by_kulkarni, "Kulkarni, Gupta, Ercegovac, Trading Accuracy for Power, VLSI Design 2011"
    ),
    Family.MITCHELL: Rule(_mitchell, None, "Mitchell, Computer Multiplication and Division, IRE Trans. 1962"),
    Family.DRUM: Rule(
        _drum,
        lambda a, b, bits, k: [(_drum_operand(a, bits[0], k), _drum_operand(b, bits[1], k))],
        "Hashemi, Bahar, Reda, DRUM, ICCAD 2015",
        ("k",),
        lambda na, nb: ((3, 16),),
        reach=_drum,
    ),
    Family.SSM: Rule(
        _ssm,
        lambda a, b, bits, m: [(_ssm_operand(a, bits[0], m), _ssm_operand(b, bits[1], m))],
        "Narayanamoorthy et al., Energy-Efficient Approximate Multiplication, IEEE TVLSI 2015",
        ("m",),
        lambda na, nb: (((max(na, nb) + 1) // 2, 16),),
    ),
    Family.ROBA: Rule(_roba, _by_roba, "Zendegani et al., RoBA Multiplier, IEEE TVLSI 2017"),
    Family.LOA: Rule(
        _loa,
        None,
        "rows added by the lower-part-OR adder of Mahdiani et al., IEEE TCAS-I 2010",
        ("low",),
        lambda na, nb: ((0, na + nb - 1),),
    ),
    Family.OR_COLUMNS: Rule(
        _or_columns,
        None,
        "the low columns of the partial-product array reduced by OR",
        ("columns",),
        lambda na, nb: ((0, na + nb - 1),),
    ),
    Family.BOOTH_TRUNCATED: Rule(
        _booth_truncated,
        _booth_pairs,
        "radix-4 Booth rows (MacSorley 1961), each cut below the columns kept",
        ("columns",),
        lambda na, nb: ((0, na),),
        signed=True,
    ),
}
"""Every family whose definition is arithmetic: all but tables and netlists."""
