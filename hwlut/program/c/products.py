"""Matrix products and convolutions of programs as C."""

from collections.abc import Callable

import numpy as np

from hwlut.fixed import Fixed
from hwlut.program.c.arrays import KINDS, Array, Axis, aligned, axes_of, index, nest, strides_of
from hwlut.program.c.terms import Term, add, literal, multiply, select, subtract
from hwlut.program.c.windows import Windows
from hwlut.units import Multiplier
from hwlut.units.families import Family
from hwlut.units.nodes import Node, Span
from hwlut.units.products import Convolve, Linear, MatrixProduct, Weighted

__all__ = ["PAIRS", "Constants", "convolve", "linear", "matrix_product"]

PAIRS = 1 << 16
"""Most pairs of codes of a multiplier that is not exact: its products are a table."""

Constants = Callable[[str, np.ndarray], Array]
"""Defines an array of constants, which has that word in its name; those that are known already are no others."""


def linear(node: Linear, y: Array, x: Array, constants: Constants) -> list[str]:
    """Statements for ``y[r, n]`` of rows x[r, k] and weights [n, k]."""
    outputs, places = node.weights.shape
    rows, out, place = Axis("row", x.size // places), Axis("out", outputs), Axis("place", places)
    sums = _Sums(node, x.span, constants)
    a = x.at(index([(rows, places), (place, 1)]))
    inner = nest([place], [sums.added(a, index([(out, places), (place, 1)]), index([(out, 1)]))])
    lines = [sums.begun(index([(out, 1)])), *inner, sums.put(y, index([(rows, outputs), (out, 1)]))]
    return nest([rows, out], lines)


def convolve(node: Convolve, y: Array, x: Array, constants: Constants) -> list[str]:
    """Statements for [N, outputs, *out] of x [N, C, *in]."""
    outputs, channels, *kernel = node.weights.shape
    windows = Windows(x, y.shape[2:], tuple(kernel), node.stride, node.padding, node.dilation)
    each = outputs // node.groups
    image, group = Axis("image", x.shape[0]), Axis("group", node.groups)
    out, channel = Axis("out", each), Axis("channel", channels)
    sums = _Sums(node, x.span, constants)
    output = [(group, each), (out, 1)]
    spread = y.size // y.shape[0] // outputs
    at = windows.index([(image, x.shape[1]), (group, channels), (channel, 1)])
    value = select(Term(windows.inside, (0, 1)), x.at(at), literal(node.fill)) if windows.inside else x.at(at)
    count = node.weights[0].size
    weight = [(group, each * count), (out, count), (channel, count // channels)]
    weight += list(zip(windows.kernel, strides_of(kernel)))
    inner = [*windows.places, f"const {value.kind} a = {value.text};"]
    inner.append(sums.added(Term("a", value.span), index(weight), index(output)))
    lines = [sums.begun(index(output)), *nest([channel, *windows.kernel], inner)]
    place = [(axis, stride * spread) for axis, stride in [(image, outputs), *output]]
    lines.append(sums.put(y, index([*place, *zip(windows.out, strides_of(y.shape[2:]))])))
    return nest([image, group, out, *windows.out], lines)


def matrix_product(node: MatrixProduct, y: Array, a: Array, b: Array, constants: Constants) -> list[str]:
    """Statements for ``y[..., i, j]`` of a [..., i, k] and b [..., k, j]."""
    if min(len(a.shape), len(b.shape)) < 2:
        raise ValueError(f"C of a program must have matrices of 2 axes or more in node {node.name!r}")
    (rows, count), columns, batch = a.shape[-2:], b.shape[-1], y.shape[:-2]
    strides = [aligned(each.shape, [*batch, *each.shape[-2:]])[:-2] for each in (a, b, y)]
    axes, (of_a, of_b, to) = axes_of(batch, *strides)
    row, column, place = Axis("row", rows), Axis("column", columns), Axis("place", count)
    x = a.at(index([*zip(axes, of_a), (row, count), (place, 1)]))
    w = b.at(index([*zip(axes, of_b), (place, columns), (column, 1)]))
    if node.multiplier.family is Family.EXACT:
        term = multiply(subtract(x, literal(node.a_zero)), subtract(w, literal(node.b_zero)))
    else:
        term = _without_zeros(_product(node, node.multiplier, x, w, constants), x, w, node)
    kind = _kind(node.accumulator(a.span, b.span))
    result = y.put(index([*zip(axes, to), (row, columns), (column, 1)]), Term("sum", KINDS[kind]))
    lines = [f"{kind} sum = 0;", *nest([place], [f"sum += {_cast(term, kind)};"]), result]
    return nest([*axes, row, column], lines)


def _without_zeros(product: Term, x: Term, w: Term, node: MatrixProduct) -> Term:
    """A product of codes as one of what they stand for."""
    if node.b_zero:
        product = subtract(product, multiply(x, literal(node.b_zero)))
    if node.a_zero:
        product = subtract(product, multiply(w, literal(node.a_zero)))
    return add(product, literal(node.a_zero * node.b_zero)) if node.a_zero and node.b_zero else product


class _Sums:
    """Sums of products with weights, on top of constants."""

    def __init__(self, node: Weighted, span: Span, constants: Constants):
        self._node, self._constants = node, constants
        self._exact = node.multiplier.family is Family.EXACT
        self._zeros = any(node.zeros)
        self._kind = _kind(node.accumulator(span))
        weights = node.weights.reshape(len(node.weights), -1).astype(np.int64)
        if self._exact:  # what weights stand for, which is multiplied as well as their codes are
            weights = weights - np.array(node.zeros)[:, None]
        self._weights = constants("weights", weights)
        self._zero = constants("zeros", np.array(node.zeros)) if self._zeros and not self._exact else None
        self._start = None if node.constants is None else constants("constants", node.constants)

    def begun(self, out: str) -> str:
        """The sum before its first product."""
        start = literal(0) if self._start is None else self._start.at(out)
        return f"{self._kind} sum = {start.text};"

    def added(self, a: Term, weight: str, out: str) -> str:
        """The statement that adds a product."""
        w = self._weights.at(weight)
        if self._exact:
            term = multiply(a, w)
        else:
            term = _product(self._node, self._node.multiplier, a, w, self._constants)
            if self._zero is not None:
                zero = self._zero.at(out if len(self._node.zeros) > 1 else "0")
                term = subtract(term, multiply(a, zero))
        return f"sum += {_cast(term, self._kind)};"

    def put(self, y: Array, place: str) -> str:
        """The statement that sets a result."""
        return y.put(place, Term("sum", KINDS[self._kind]))


def _product(node: Node, multiplier: Multiplier, a: Term, b: Term, constants: Constants) -> Term:
    """A product by a multiplier that is not exact, from a table."""
    if multiplier.pairs > PAIRS:
        raise ValueError(
            f"C of a program must have approximate multipliers of at most 2^16 pairs of codes, which node {node.name!r}"
            f" exceeds by {multiplier.a.bits} x {multiplier.b.bits} bits"
        )
    table = constants("products", multiplier.products().numpy())
    row = multiply(subtract(a, literal(multiplier.a.min)), literal(1 << multiplier.b.bits))
    return table.at(add(row, subtract(b, literal(multiplier.b.min))).text)


def _kind(accumulator: Fixed) -> str:
    return "int32_t" if accumulator.bits <= 32 else "int64_t"


def _cast(term: Term, kind: str) -> str:
    return term.text if term.kind == kind else f"({kind}){term.text}"
