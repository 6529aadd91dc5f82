"""C expressions of integers whose spans are known: in 32 bits wherever these hold operands and result, else in 64."""

from collections.abc import Mapping
from dataclasses import dataclass

from hwlut.fixed import Rounding
from hwlut.units.nodes import Span

__all__ = ["HELPERS", "Term", "add", "at", "bits", "clamp", "equal", "helpers", "kind_of", "leading_one", "less"]
__all__ += [
    "literal",
    "multiply",
    "negated",
    "rounded",
    "select",
    "shifted_left",
    "shifted_right",
    "subtract",
    "within",
]

_WORDS = {"int32_t": 1 << 31, "int64_t": 1 << 63}

HELPERS = {
    "shift_right_32": """\
static inline int32_t shift_right_32(int32_t value, int32_t by)
{
#ifdef __GNUC__
    return value >> by;
#else
    return value < 0 ? ~(~value >> by) : value >> by;
#endif
}
""",
    "shift_right_64": """\
static inline int64_t shift_right_64(int64_t value, int32_t by)
{
#ifdef __GNUC__
    return value >> by;
#else
    return value < 0 ? ~(~value >> by) : value >> by;
#endif
}
""",
    "shift_left_32": """\
static inline int32_t shift_left_32(int32_t value, int32_t by)
{
    return (int32_t)((uint32_t)value << by);
}
""",
    "shift_left_64": """\
static inline int64_t shift_left_64(int64_t value, int32_t by)
{
    return (int64_t)((uint64_t)value << by);
}
""",
    "leading_one_32": """\
/* The position of the highest one, 0 of 0. */
static inline int32_t leading_one_32(int32_t value)
{
#ifdef __GNUC__
    return 31 - __builtin_clz((uint32_t)value | 1);
#else
    int32_t place = 0;
    while (value > 1) {
        value >>= 1;
        ++place;
    }
    return place;
#endif
}
""",
    "leading_one_64": """\
/* The position of the highest one, 0 of 0. */
static inline int32_t leading_one_64(int64_t value)
{
    const int32_t high = (int32_t)(value >> 31);
    return high ? 31 + leading_one_32(high) : leading_one_32((int32_t)value);
}
""",
}
"""Definitions of the functions that expressions call, in an order in which each follows those that it calls itself."""


def helpers(text: str, known: Mapping[str, str] = HELPERS) -> list[str]:
    """The definitions of those that `text` calls."""
    found: list[str] = []
    for name, definition in reversed(list(known.items())):
        if f"{name}(" in text:
            found.insert(0, definition)
            text += definition
    return found


@dataclass(frozen=True)
class Term:
    """A C expression that may stand inside any other: of the type `kind`, and with a value in `span`.

    What is used more than once in an expression is best a name.
    """

    text: str
    span: Span

    @property
    def kind(self) -> str:
        """The C type: int32_t where that holds the span, else int64_t."""
        return kind_of(self.span)

    def to(self, kind: str) -> str:
        """The expression in type `kind`, which holds it."""
        return self.text if kind == self.kind else f"({kind}){self.text}"

    @property
    def fixed(self) -> int | None:
        """The one value that there is, where there is but one."""
        return self.span[0] if self.span[0] == self.span[1] else None


def kind_of(*spans: Span) -> str:
    """int32_t where that holds all of `spans`, else int64_t; ValueError where they need more."""
    for kind, end in _WORDS.items():
        if all(-end <= low and high < end for low, high in spans):
            return kind
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    raise ValueError(f"C must have integers of at most 64 bits, not {low} to {high}")


def _holds(*spans: Span) -> bool:
    end = _WORDS["int64_t"]
    return all(-end <= low and high < end for low, high in spans)


def literal(value: int) -> Term:
    """A number."""
    if value == -_WORDS["int32_t"]:
        text = "(-2147483647 - 1)"
    else:
        text = str(value) if kind_of((value, value)) == "int32_t" else f"INT64_C({value})"
    return Term(f"({text})" if text.startswith("-") else text, (value, value))


def _made(text: str, kind: str, span: Span) -> Term:
    """`text`, which was computed in `kind`, in the type of the span."""
    own = kind_of(span)
    return Term(text if own == kind else f"({own}){text}", span)


def _binary(symbol: str, a: Term, b: Term, span: Span) -> Term:
    kind = kind_of(a.span, b.span, span)
    return _made(f"({a.to(kind)} {symbol} {b.to(kind)})", kind, span)


def within(term: Term, span: Span) -> Term:
    """`term`, which is known to lie in `span` as well."""
    span = max(span[0], term.span[0]), min(span[1], term.span[1])
    return term if span == term.span else _made(term.text, term.kind, span)


def add(a: Term, b: Term, span: Span | None = None) -> Term:
    """span: that of the result, where it is known to be narrower than the operands' tell."""
    if b.fixed == 0 and span is None:
        return a
    return _binary("+", a, b, span or (a.span[0] + b.span[0], a.span[1] + b.span[1]))


def subtract(a: Term, b: Term) -> Term:
    if b.fixed == 0:
        return a
    return _binary("-", a, b, (a.span[0] - b.span[1], a.span[1] - b.span[0]))


def negated(a: Term) -> Term:
    return subtract(literal(0), a)


def multiply(a: Term, b: Term, span: Span | None = None) -> Term:
    """span: as for `add`."""
    ends = [x * y for x in a.span for y in b.span]
    return _binary("*", a, b, span or (min(ends), max(ends)))


def less(a: Term, b: Term) -> Term:
    if a.text == b.text:
        return literal(0)
    kind = kind_of(a.span, b.span)
    return Term(f"({a.to(kind)} < {b.to(kind)})", (0, 1))


def equal(a: Term, b: Term) -> Term:
    if a.text == b.text:
        return literal(1)
    kind = kind_of(a.span, b.span)
    return Term(f"({a.to(kind)} == {b.to(kind)})", (0, 1))


def select(condition: Term, a: Term, b: Term) -> Term:
    span = min(a.span[0], b.span[0]), max(a.span[1], b.span[1])
    kind = kind_of(span)
    return Term(f"({condition.text} ? {a.to(kind)} : {b.to(kind)})", span)


def clamp(value: Term, low: int, high: int) -> Term:
    """The nearest number from `low` to `high`; `value` is a name."""
    least, most = (min(max(end, low), high) for end in value.span)
    if least == most:
        return literal(least)
    text = value.text
    if value.span[1] > high:
        text = f"({text} > {literal(high).text} ? {literal(high).text} : {text})"
    if value.span[0] < low:
        text = f"({value.text} < {literal(low).text} ? {literal(low).text} : {text})"
    return _made(text, value.kind, (least, most))


def at(table: str, values_span: Span, index: Term) -> Term:
    """An entry of a table, of whatever type."""
    return Term(f"({kind_of(values_span)}){table}[{index.text}]", values_span)


def bits(value: Term, low: int, count: int) -> Term:
    """`count` bits of two's complement from bit `low` up."""
    mask = (1 << count) - 1
    shifted = shifted_right(value, literal(low))
    if shifted.span[0] >= 0 and shifted.span[1] <= mask:
        return shifted
    kind = kind_of(shifted.span, (mask, mask))
    span = (0, mask if shifted.span[0] < 0 else min(mask, shifted.span[1]))
    return _made(f"({shifted.to(kind)} & {literal(mask).to(kind)})", kind, span)


def leading_one(value: Term) -> Term:
    """floor(log2(value)), 0 of 0."""
    span = (max(value.span[0].bit_length() - 1, 0), max(value.span[1].bit_length() - 1, 0))
    return Term(f"leading_one_{value.kind[3:5]}({value.text})", span)


def shifted_left(value: Term, by: Term) -> Term:
    """``value * 2^by``."""
    if value.fixed == 0 or by.fixed == 0:
        return value
    ends = [x << n for x in value.span for n in by.span]
    span = min(ends), max(ends)
    kind = kind_of(value.span, span)
    return _made(f"shift_left_{kind[3:5]}({value.to(kind)}, {by.text})", kind, span)


def shifted_right(value: Term, by: Term) -> Term:
    """``floor(value * 2^-by)``."""
    if by.fixed == 0:
        return value
    ends = [x >> n for x in value.span for n in by.span]
    return _made(_right(value.text, by, value.kind), value.kind, (min(ends), max(ends)))


def _right(text: str, by: Term, kind: str) -> str:
    """A floored shift in `kind`, of which all those by its width or more are as one by a bit less."""
    width = int(kind[3:5])
    if by.span[1] >= width:
        by = clamp(by, 0, width - 1)
    return f"shift_right_{width}({text}, {by.text})"


def rounded(value: Term, by: Term, rounding: Rounding) -> Term:
    """``round(value * 2^-by)``; both are names or numbers."""
    if rounding is Rounding.FLOOR or by.fixed == 0:
        return shifted_right(value, by)
    return _half_up(value, by) if rounding is Rounding.HALF_UP else _half_even(value, by)


def _half_up(value: Term, by: Term) -> Term:
    if by.fixed is None:
        # As the definition has it: half a step is added behind the shift, which leaves one bit more than is kept.
        doubled = multiply(value, literal(2))
        return shifted_right(add(shifted_right(doubled, by), literal(1)), literal(1))
    half = 1 << (by.fixed - 1)
    if _holds((value.span[0] + half, value.span[1] + half)) and kind_of((value.span[1] + half,) * 2) == value.kind:
        return shifted_right(add(value, literal(half)), by)
    before = shifted_right(value, literal(by.fixed - 1))
    return add(shifted_right(value, by), bits(before, 0, 1))


def _half_even(value: Term, by: Term) -> Term:
    """Up where twice the rest is above a step, or as great while what is kept is odd."""
    kind = kind_of(value.span, (0, (2 << by.span[1]) - 1))
    width, text = kind[3:5], value.to(kind)
    kept = _right(text, by, kind)
    rest = f"({text} - shift_left_{width}({kept}, {by.text}))"
    one = f"shift_left_{width}(1, {by.text})"
    up = f"(2 * {rest} + ({kept} & 1) > {one})"
    ends = [(x >> n) + extra for x in value.span for n in by.span for extra in (0, 1)]
    return _made(f"({kept} + {up})", kind, (min(ends), max(ends)))
