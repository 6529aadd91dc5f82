"""Operations of programs on single numbers as C: nodes as expressions, units as functions."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from hwlut.fixed import Fixed
from hwlut.program.c.terms import (
    Term,
    add,
    at,
    bits,
    clamp,
    equal,
    kind_of,
    leading_one,
    less,
    literal,
    multiply,
    negated,
    rounded,
    select,
    shifted_left,
    subtract,
    within,
)
from hwlut.program.c.values import array
from hwlut.units import Direct, Program, Pwl, Requantize
from hwlut.units import operations as op
from hwlut.units.nodes import Node, Span
from hwlut.units.pwl import Symmetry

__all__ = ["Body", "Functions", "node_term"]


class Body:
    """Statements of a function, most of them definitions of names."""

    def __init__(self, indent: str = "    "):
        self.lines: list[str] = []
        self._indent = indent

    def let(self, name: str, term: Term) -> Term:
        """`term` under a name; a number or a name needs no other."""
        if term.fixed is not None:
            return literal(term.fixed)
        if term.text.isidentifier():
            return term
        self.lines.append(f"{self._indent}const {term.kind} {name} = {term.text};")
        return Term(name, term.span)

    def used(self, *results: str) -> list[str]:
        """The statements without definitions of names that neither a later one nor one of `results` has."""
        words = {word for text in results for word in _WORD.findall(text)}
        kept = []
        for line in reversed(self.lines):
            found = _DEFINED.match(line)
            if found is None or found[1] in words:
                kept.append(line)
                words |= set(_WORD.findall(line))
        return kept[::-1]


_WORD = re.compile(r"[A-Za-z_]\w*")
_DEFINED = re.compile(r" *(?:const )?\w+ (\w+) = ")


class Functions:
    """The functions and arrays of units, each once, in the order of their definition.

    name: what their names begin with. codes: the most of a unit's operand for which a table of results stands for the
    unit. kind: of the numbers of a table by their span.
    """

    def __init__(self, name: str, codes: int, kind: Callable[[Span], str]):
        self.definitions: list[str] = []
        self.bytes = 0
        self._name, self._codes, self._kind = name, codes, kind
        self._tables: dict[tuple[str, bytes], Term] = {}
        self._known: dict[tuple[str, Span], tuple[str, Span]] = {}

    def apply(self, unit: Any, value: Term, node: str) -> Term:
        """The result of a unit of one code; `node` is named where C does not hold such a unit."""
        key = (unit.digest, value.span)
        if key not in self._known:
            self._known[key] = self._define(unit, value.span, node)
        name, span = self._known[key]
        return Term(f"{name}({value.text})", span)

    def table(self, values: np.ndarray, label: str = "table") -> Term:
        """The name of an array, which has `label` in it; arrays of equal numbers and labels are one."""
        values = np.asarray(values, np.int64)
        key = (label, values.tobytes())
        if key not in self._tables:
            span = int(values.min()), int(values.max())
            name, kind = f"{self._name}_{label}_{len(self.definitions)}", self._kind(span)
            self.definitions.append(array(kind, name, values))
            self.bytes += values.size * int(kind.strip("uint_")) // 8
            self._tables[key] = Term(name, span)
        return self._tables[key]

    def _define(self, unit: Any, span: Span, node: str) -> tuple[str, Span]:
        body, q = Body(), Term("q", span)
        few = span[1] - span[0] < self._codes
        if isinstance(unit, Direct) or (few and _worth_a_table(unit)):
            result = self._looked_up(unit, q)
        elif isinstance(unit, Pwl):
            result = _pwl(self, body, unit, q)
        elif isinstance(unit, Requantize):
            result = _requantized(body, unit, q)
        elif isinstance(unit, Program):
            result = self._nested(body, unit, q)
        else:
            raise ValueError(f"C of a program must have no {type(unit).__name__} as a unit of node {node!r}")
        result = within(result, _output_span(unit))
        name = f"{self._name}_{type(unit).__name__.lower()}_{len(self.definitions)}"
        inside = [*body.used(result.text), f"    return {result.text};"]
        if not any("q" in _WORD.findall(line) for line in inside):
            inside.insert(0, "    (void)q;")
        head = f"static inline {result.kind} {name}({q.kind} q)"
        self.definitions.append("\n".join([head, "{", *inside, "}", ""]))
        return name, result.span

    def _looked_up(self, unit: Any, q: Term) -> Term:
        import torch

        low, high = q.span
        values = unit(torch.arange(low, high + 1)).numpy()
        table = self.table(values)
        return at(table.text, table.span, subtract(q, literal(low)))

    def _nested(self, body: Body, program: Program, q: Term) -> Term:
        values = {program.inputs[0].name: q}
        for place, node in enumerate(program.nodes):
            term = node_term(node, [values[name] for name in node.operands], self)
            values[node.name] = body.let(f"v{place}_{node.name}", term)
        return values[program.outputs[0].name]


def _output_span(unit: Any) -> Span:
    """That of the format of the results."""
    format = unit.output_format(unit.scales[0]) if hasattr(unit, "output_format") else unit.output
    return format.min, format.max


def _worth_a_table(unit: Any) -> bool:
    """Whether a table takes the place of more than a multiplication."""
    return isinstance(unit, Program) or (isinstance(unit, Pwl) and unit.segments > 2)


def _pwl(functions: Functions, body: Body, unit: Pwl, q: Term) -> Term:
    """Lines and symmetry by comparisons that branch nowhere."""
    (s,) = unit.scales
    point = unit.point(s)
    symmetric = unit.symmetry is not Symmetry.NONE
    magnitude = q
    if symmetric and q.span[0] < 0:
        magnitude = select(less(q, literal(0)), negated(q), q)
        magnitude = body.let("size", Term(magnitude.text, (0 if q.span[1] >= 0 else -q.span[1], max(map(abs, q.span)))))
    live = _live(unit, magnitude.span, s)
    up = point - unit.slope.frac - s, point - unit.intercept.frac
    slopes = [unit.slopes[i] << up[0] for i, _, _ in live]
    intercepts = [unit.intercepts[i] << up[1] for i, _, _ in live]
    ends = [(slope * x, slope * x + c) for slope, c, (_, *at_) in zip(slopes, intercepts, live) for x in at_]
    firsts = [first for _, first, _ in live]
    slope, intercept = _chosen(functions, body, magnitude, firsts, slopes, intercepts)
    products, sums = zip(*ends)
    product = multiply(slope, magnitude, (min(products), max(products)))
    acc = body.let("line", add(product, intercept, (min(sums), max(sums))))
    if symmetric and q.span[0] < 0:
        acc = body.let("acc", _corrected(unit, body, acc, q, point - s, point))
    if unit.output is None:
        return acc
    format = unit.output_format(s)
    return _finished(body, acc, point - format.frac, unit, 0, format)


def _live(unit: Pwl, span: Span, scale: int) -> list[tuple[int, int, int]]:
    """The segments that codes in `span` fall into, each with the first and the last of these."""
    edges = [span[0], *unit.breakpoint_codes(scale), span[1] + 1]
    found = ((i, max(span[0], a), min(span[1], b - 1)) for i, (a, b) in enumerate(zip(edges, edges[1:])))
    return [(i, first, last) for i, first, last in found if first <= last]


_COMPARED = 16
"""Most segments whose lines are chosen one by one; those of more are looked up."""


def _chosen(
    functions: Functions, body: Body, q: Term, firsts: list[int], slopes: list[int], intercepts: list[int]
) -> tuple[Term, Term]:
    """Slope and intercept of the segment of `q`, which begins at one of `firsts`."""
    segment = None
    if len(firsts) > _COMPARED:
        count = " + ".join(less(literal(first - 1), q).text for first in firsts[1:])
        segment = body.let("segment", Term(f"({count})", (0, len(firsts) - 1)))
    found = []
    for label, values in (("slope", slopes), ("intercept", intercepts)):
        span = min(values), max(values)
        if span[0] == span[1]:
            found.append(literal(values[0]))
        elif segment is not None:
            table = functions.table(np.array(values))
            found.append(at(table.text, table.span, segment))
        else:
            body.lines.append(f"    {kind_of(span)} {label} = {literal(values[0]).text};")
            for first, value in zip(firsts[1:], values[1:]):
                body.lines.append(f"    {label} = {q.text} >= {literal(first).text} ? {literal(value).text} : {label};")
            found.append(Term(label, span))
    return found[0], found[1]


def _corrected(unit: Pwl, body: Body, acc: Term, q: Term, up: int, point: int) -> Term:
    """The accumulator after what the symmetry makes of it where q < 0."""
    if unit.symmetry is Symmetry.EVEN:
        return acc
    if unit.symmetry is Symmetry.IDENTITY:
        other = add(acc, shifted_left(q, literal(up)))
    else:
        other = subtract(literal(1 << point if unit.symmetry is Symmetry.COMPLEMENT else 0), acc)
    return select(less(q, literal(0)), other, acc)


def _requantized(body: Body, unit: Requantize, q: Term) -> Term:
    scaled = body.let("scaled", multiply(q, literal(unit.multipliers[0])))
    return _finished(body, scaled, unit.shifts[0], unit, unit.zero_point, unit.output)


def _finished(body: Body, acc: Term, shift: int, unit: Pwl | Requantize, zero_point: int, format: Fixed) -> Term:
    """``saturate(round(acc * 2^-shift) + zero_point)``."""
    moved = rounded(acc, literal(shift), unit.rounding) if shift >= 0 else shifted_left(acc, literal(-shift))
    value = add(moved, literal(zero_point)) if zero_point else moved
    return clamp(body.let("rounded", value), format.min, format.max)


_TERMS: dict[type[Node], Callable[..., Term]] = {
    op.Constant: lambda node: literal(node.value),
    op.ShiftLeft: lambda node, value, by: shifted_left(value, by),
    op.ShiftRight: lambda node, value, by: rounded(value, by, node.rounding),
    op.Add: lambda node, a, b: add(a, b),
    op.Subtract: lambda node, a, b: subtract(a, b),
    op.Multiply: lambda node, a, b: multiply(a, b),
    op.Less: lambda node, a, b: less(a, b),
    op.Equal: lambda node, a, b: equal(a, b),
    op.LeadingOne: lambda node, value: leading_one(value),
    op.Select: lambda node, condition, a, b: select(condition, a, b),
    op.Clamp: lambda node, value: clamp(value, node.low, node.high),
    op.Bits: lambda node, value: bits(value, node.low, node.count),
}


def node_term(node: Node, operands: list[Term], functions: Functions) -> Term:
    """A node of codes as an expression of its operands, which are names or numbers.

    The span is that of the node from those of its operands; a unit's may be narrower than the format of its result.
    """
    if isinstance(node, op.Apply):
        return functions.apply(node.unit, operands[0], node.name)
    if type(node) not in _TERMS:
        raise ValueError(f"C of a program must have no node {node.name!r} of op {node.op} on single numbers")
    term = _TERMS[type(node)](node, *operands)
    return within(term, node.span(*(operand.span for operand in operands)))
