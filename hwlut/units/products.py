"""Matrix products and convolutions of programs, by a multiplier."""

import functools
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwlut.fields import array, integer, integers, optional
from hwlut.fixed import Fixed, signed_bits
from hwlut.unit import Resources
from hwlut.units.dot import extremes
from hwlut.units.families import Family
from hwlut.units.multiplier import Multiplier
from hwlut.units.nested import nested
from hwlut.units.nodes import WORD, Extent, Node, Span, operand
from hwlut.units.patches import patches

if TYPE_CHECKING:
    import torch

__all__ = ["Convolve", "Linear", "MatrixProduct", "Weighted"]

_EXACT = 1 << 53  # integers below it are exact in float64
_AT_ONCE = 1 << 22  # products that the definition holds at a time
_SIZE = 1 << 20
_PAIRS = 1 << 20  # of which all are looked at for their extremes
_ZERO = -(1 << 31), (1 << 31) - 1


@dataclass(frozen=True, eq=False)
class Weighted(Node):
    """Products with constant codes: ``sum of m(a, w) - zero * sum of a + constant``, for each output.

    multiplier: m. weights: its second operands [outputs, ...]. zeros: the weights' codes of zero, one or one an output.
    constants: [outputs], or None. What a zero point of `a` adds is constant, and so a part of these.
    """

    extent = Extent.TENSORS
    of: str = operand()
    _: KW_ONLY
    multiplier: Multiplier = nested(Multiplier)
    weights: np.ndarray = array(None)
    zeros: tuple[int, ...] = integers(*_ZERO, default=(0,))
    constants: np.ndarray | None = optional(array(1))

    def validate(self) -> None:
        low, high = int(self.weights.min()), int(self.weights.max())
        if low < self.multiplier.b.min or high > self.multiplier.b.max:
            raise ValueError(f"weights must be of the multiplier's format {self.multiplier.b}, not {low} to {high}")
        outputs = len(self.weights)
        if len(self.zeros) not in (1, outputs):
            raise ValueError(f"zeros must be 1 or {outputs}, one an output, not {len(self.zeros)}")
        if self.constants is not None and len(self.constants) != outputs:
            raise ValueError(f"constants must be {outputs}, one an output, not {len(self.constants)}")

    def _taken(self, span: Span) -> Span:
        """The span of what is multiplied; ValueError where that leaves the multiplier's format."""
        if span[0] < self.multiplier.a.min or span[1] > self.multiplier.a.max:
            raise ValueError(
                f"of must be from {self.multiplier.a.min} to {self.multiplier.a.max}, not {span[0]} to {span[1]}"
            )
        return span

    def terms(self, span: Span) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest that each weight adds to the sum of its output, [outputs, K]."""
        return _bounds(self.multiplier, self.weights.reshape(len(self.weights), -1), self.zeros, self._taken(span))

    def _ends(self, span: Span) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Bounds of sums [outputs]: the lowest and the highest whole ones, and those of all partial ones."""
        known = self.__dict__.setdefault("_known", {})  # asked for by span, accumulator and cost
        if span not in known:
            known[span] = self._bounded(span)
        return known[span]

    def _bounded(self, span: Span) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        low, high = self._taken(span)
        constants = np.zeros(1, np.int64) if self.constants is None else self.constants.astype(np.int64)
        bound = max(map(abs, extremes(self.multiplier))) + max(map(abs, self.zeros)) * max(-low, high)
        bound = self.weights[0].size * bound + max(-int(constants.min()), int(constants.max()))
        if bound >> WORD:  # what follows is done in int64
            raise ValueError(f"sums must stay within {WORD} bits, not reach {bound}")
        if self.multiplier.family is Family.EXACT:
            rows = self.weights.reshape(len(self.weights), -1) - np.array(self.zeros, np.int64)[:, None]
            plus, minus = np.maximum(rows, 0).sum(1), np.minimum(rows, 0).sum(1)
            least, most = plus * low + minus * high, plus * high + minus * low
            low, high = min(low, 0), max(high, 0)
            below, above = plus * low + minus * high, plus * high + minus * low
        else:
            lows, highs = self.terms(span)
            least, most = lows.sum(1), highs.sum(1)
            below, above = np.minimum(lows, 0).sum(1), np.maximum(highs, 0).sum(1)
        least, most = least + constants, most + constants
        return least, most, np.minimum(below, below + constants), np.maximum(above, above + constants)

    def span(self, span: Span) -> Span:
        least, most, _, _ = self._ends(span)
        return int(least.min()), int(most.max())

    def accumulator(self, span: Span) -> Fixed:
        """The narrowest integers that hold every partial sum in any order, with and without the constants."""
        _, _, below, above = self._ends(span)
        return Fixed(signed_bits(int(below.min()), int(above.max())))

    def cost(self, span: Span) -> Resources:  # type: ignore[override]
        each, count, accumulator = self.multiplier.cost(), self.weights.size, self.accumulator(span).bits
        constants = 0 if self.constants is None else len(self.constants) * accumulator
        return Resources(
            storage_bits=count * self.multiplier.b.bits + constants,
            multiplier_bits=count * each.multiplier_bits,
            adder_bits=count * (each.adder_bits + accumulator),
            latency=0,
        )

    def _sums(self, rows: "torch.Tensor", weights: "torch.Tensor", zeros: Any) -> "torch.Tensor":
        """[..., outputs] of rows [..., K] and weights [outputs, K], without constants."""
        bound = rows.shape[-1] * (max(map(abs, extremes(self.multiplier))) + 1)
        found = _products(self.multiplier, rows, weights.t(), bound)
        return found - rows.sum(-1, keepdim=True) * zeros if any(self.zeros) else found


@dataclass(frozen=True, eq=False)
class Linear(Weighted, op="linear"):
    """``y[..., n]`` of rows ``a[..., k]`` and weights [n, k]."""

    def validate(self) -> None:
        if self.weights.ndim != 2:
            raise ValueError(f"weights must have 2 dimensions, not {self.weights.ndim}")
        super().validate()

    def __call__(self, value: "torch.Tensor") -> "torch.Tensor":
        weights, zeros, constants = _tensors(value, self.weights, self.zeros, self.constants)
        return self._sums(value, weights, zeros) + constants


@dataclass(frozen=True, eq=False)
class Convolve(Weighted, op="convolve"):
    """A convolution of [N, C, *in] with weights [outputs, C / groups, *kernel], of 1 to 3 axes, to [N, outputs, *out].

    fill: the code in the padding, which is multiplied as all others are.
    """

    _: KW_ONLY
    stride: tuple[int, ...] = integers(1, _SIZE)
    padding: tuple[int, ...] = integers(0, _SIZE)
    dilation: tuple[int, ...] = integers(1, _SIZE)
    groups: int = integer(1, _SIZE)
    fill: int = integer(*_ZERO)

    def validate(self) -> None:
        axes = self.weights.ndim - 2
        if not 1 <= axes <= 3:
            raise ValueError(f"weights must have from 3 to 5 dimensions, not {self.weights.ndim}")
        for key in ("stride", "padding", "dilation"):
            if len(given := getattr(self, key)) != axes:
                raise ValueError(f"{key} must be {axes} numbers, as the kernel has axes, not {given}")
        if len(self.weights) % self.groups:
            raise ValueError(f"groups must divide the {len(self.weights)} outputs, not {self.groups}")
        super().validate()

    def _taken(self, span: Span) -> Span:
        return super()._taken((min(span[0], self.fill), max(span[1], self.fill)) if any(self.padding) else span)

    def __call__(self, value: "torch.Tensor") -> "torch.Tensor":
        import torch

        weights, zeros, constants = _tensors(value, self.weights, self.zeros, self.constants)
        kernel = tuple(self.weights.shape[2:])
        found = patches(value, kernel, self.stride, self.padding, self.dilation, self.fill)
        parts = zip(
            found.movedim(1, -2).chunk(self.groups, -2),
            weights.flatten(1).chunk(self.groups),
            zeros.expand(len(weights)).chunk(self.groups),
        )
        sums = [self._sums(rows.flatten(-2), w, zero) for rows, w, zero in parts]
        return (torch.cat(sums, -1) + constants).movedim(-1, 1)


@dataclass(frozen=True, eq=False)
class MatrixProduct(Node, op="matrix_product"):
    """``sum over k of (a[..., i, k] - a_zero) (b[..., k, j] - b_zero)`` with products by a multiplier m:
    ``sum of m(a, b) - b_zero * sum of a - a_zero * sum of b + K * a_zero * b_zero``; other axes broadcast.

    most: the greatest K.
    """

    extent = Extent.TENSORS
    a: str = operand()
    b: str = operand()
    _: KW_ONLY
    multiplier: Multiplier = nested(Multiplier)
    a_zero: int = integer(*_ZERO)
    b_zero: int = integer(*_ZERO)
    most: int = integer(1, _SIZE)

    def __call__(self, a: "torch.Tensor", b: "torch.Tensor") -> "torch.Tensor":
        self.check(a)
        count = a.shape[-1]
        found = _products(self.multiplier, a, b, count * max(map(abs, extremes(self.multiplier))))
        if self.b_zero:
            found = found - self.b_zero * (a.sum(-1, keepdim=True) - count * self.a_zero)
        return found - self.a_zero * b.sum(-2, keepdim=True) if self.a_zero else found

    def check(self, a: "torch.Tensor") -> None:
        """ValueError where sums have more products than `most`."""
        if (count := a.shape[-1]) > self.most:
            raise ValueError(f"Program node {self.name!r} must have sums of at most {self.most} products, not {count}")

    def _term(self, a: Span, b: Span) -> Span:
        for label, (low, high), format in (("a", a, self.multiplier.a), ("b", b, self.multiplier.b)):
            if low < format.min or high > format.max:
                raise ValueError(f"{label} must be from {format.min} to {format.max}, not {low} to {high}")
        if self.multiplier.family is Family.EXACT:
            ends = [(x - self.a_zero) * (y - self.b_zero) for x in a for y in b]
            return min(ends), max(ends)
        low, high = extremes(self.multiplier)
        rest = [-self.b_zero * x - self.a_zero * y + self.a_zero * self.b_zero for x in a for y in b]
        return low + min(rest), high + max(rest)

    def span(self, a: Span, b: Span) -> Span:
        low, high = self._term(a, b)
        return min(low, self.most * low), max(high, self.most * high)

    def accumulator(self, a: Span, b: Span) -> Fixed:
        """The narrowest integers that hold every partial sum in any order, with and without what zero points add."""
        raw = extremes(self.multiplier)
        low, high = (self.most * end for end in (min(0, raw[0]), max(0, raw[1])))
        least, most = self.span(a, b)
        return Fixed(signed_bits(min(low, least), max(high, most)))

    def cost(self, a: Span, b: Span) -> Resources:  # type: ignore[override]
        each, accumulator = self.multiplier.cost(), self.accumulator(a, b).bits
        return Resources(
            storage_bits=each.storage_bits,
            multiplier_bits=each.multiplier_bits * self.most,
            adder_bits=(each.adder_bits + accumulator) * self.most,
            latency=0,
        )


def _tensors(like: "torch.Tensor", weights: np.ndarray, zeros: tuple[int, ...], constants: np.ndarray | None) -> Any:
    """int64 tensors on the device of `like`; constants of None are 0."""
    import torch

    given = weights, np.array(zeros), np.zeros(1, np.int64) if constants is None else constants
    return [torch.tensor(each, dtype=torch.int64, device=like.device) for each in given]


def _products(multiplier: Multiplier, a: "torch.Tensor", b: "torch.Tensor", bound: int) -> "torch.Tensor":
    """Sums over k of ``multiplier(a[..., i, k], b[..., k, j])``, int64; `bound` is one of all partial sums."""
    import torch

    if multiplier.family is Family.EXACT:
        # Sums below 2^53 are exact in float64, in any order, and take a hundredth of the time.
        return (a.double() @ b.double()).long() if bound < _EXACT else a @ b
    if a.dim() == 1 or b.dim() == 2:
        rows, columns = a.reshape(-1, a.shape[-1]), b.t()
        step = max(1, _AT_ONCE // columns.numel())
        parts = [multiplier(part[:, None], columns[None]).sum(-1, dtype=torch.int64) for part in rows.split(step)]
        return torch.cat(parts).reshape(*a.shape[:-1], b.shape[-1])
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    pairs = zip(a.expand(*batch, *a.shape[-2:]).flatten(0, -3), b.expand(*batch, *b.shape[-2:]).flatten(0, -3))
    found = torch.stack([_products(multiplier, x, y, bound) for x, y in pairs])
    return found.reshape(*batch, *found.shape[-2:])


def _bounds(
    multiplier: Multiplier, weights: np.ndarray, zeros: tuple[int, ...], span: Span
) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest ``m(a, w) - zero * a`` over `a` in the span, of each weight [outputs, K]."""
    wide, columns = weights.astype(np.int64), np.array(zeros, np.int64)[:, None]
    if multiplier.family is Family.EXACT:
        ends = [(wide - columns) * end for end in span]
        return np.minimum(*ends), np.maximum(*ends)
    corrections = [-columns * end for end in span]
    low, high = _columns(multiplier, span)
    places = wide - multiplier.b.min if len(low) > 1 else np.zeros_like(wide)
    return low[places] + np.minimum(*corrections), high[places] + np.maximum(*corrections)


@functools.lru_cache(maxsize=64)
def _columns(multiplier: Multiplier, span: Span) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest product by a second operand, over first ones in the span; of large multipliers one
    pair for all."""
    if multiplier.pairs > _PAIRS:
        low, high = extremes(multiplier)
        return np.array([low]), np.array([high])
    table = multiplier.products().numpy()[span[0] - multiplier.a.min : span[1] - multiplier.a.min + 1].astype(np.int64)
    return table.min(0), table.max(0)
