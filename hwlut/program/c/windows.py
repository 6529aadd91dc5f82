"""Windows over images in C: where a kernel's places lie; pools and patches."""

import math
from collections.abc import Sequence

from hwlut.program.c.arrays import Array, Axis, index, nest, strides_of
from hwlut.program.c.terms import Term, kind_of, literal, select
from hwlut.units.patches import MaximumPool, Patched, Patches, SumPool

__all__ = ["Windows", "maximum_pool", "patches", "sum_pool"]


class Windows:
    """The windows of a kernel over x [N, C, *in], of which there are `sizes`.

    out, kernel: loops over windows, and over places of the kernel. places: definitions of the coordinates in x.
    inside: the condition that these are no padding; empty where they never are.
    """

    def __init__(
        self,
        x: Array,
        sizes: Sequence[int],
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
    ):
        self._sizes = x.shape[2:]
        self.out = [Axis(f"out{axis}", size) for axis, size in enumerate(sizes)]
        self.kernel = [Axis(f"at{axis}", size) for axis, size in enumerate(kernel)]
        steps = zip(zip(self.out, stride), zip(self.kernel, dilation), padding)
        self.places = [
            f"const ptrdiff_t in{axis} = {index([moved, at], -pad)};" for axis, (moved, at, pad) in enumerate(steps)
        ]
        padded = [axis for axis, pad in enumerate(padding) if pad]
        self.inside = " && ".join(f"in{axis} >= 0 && in{axis} < {self._sizes[axis]}" for axis in padded)

    def index(self, channel: list[tuple[Axis, int]]) -> str:
        """The place in x of the channel that is ``sum of axis * stride``."""
        count = math.prod(self._sizes)
        coordinates = [
            (Axis(f"in{axis}", 2), stride) for axis, stride in enumerate(strides_of(self._sizes))
        ]  # each may be other than 0
        return index([*((axis, stride * count) for axis, stride in channel), *coordinates])


def _of(node: Patched, x: Array, sizes: Sequence[int], dilation: Sequence[int]) -> Windows:
    return Windows(x, sizes, node.kernel, node.stride, node.padding, dilation)


def maximum_pool(node: MaximumPool, y: Array, x: Array) -> list[str]:
    """Statements for [N, C, *out] of x [N, C, *in]."""
    windows, channel = _of(node, x, y.shape[2:], node.dilation), Axis("channel", x.shape[0] * x.shape[1])
    value = x.at(windows.index([(channel, 1)]))
    larger = f"{value.text} > most" if not windows.inside else f"{windows.inside} && {value.text} > most"
    inner = [*windows.places, f"if ({larger})", f"    most = {value.text};"]
    lines = [f"{value.kind} most = {literal(x.span[0]).text};", *nest(windows.kernel, inner)]
    lines.append(y.put(_result(windows, channel, y), Term("most", x.span)))
    return nest([channel, *windows.out], lines)


def sum_pool(node: SumPool, y: Array, x: Array) -> list[str]:
    """Statements for [N, C, *out] of x [N, C, *in]."""
    windows, channel = _of(node, x, y.shape[2:], (1,) * len(node.kernel)), Axis("channel", x.shape[0] * x.shape[1])
    span = node.span(x.span)
    kind = kind_of((min(span[0], 0), max(span[1], 0)))
    value = _filled(windows, x.at(windows.index([(channel, 1)])), node.fill)
    inner = [*windows.places, f"sum += {value.text};"]
    lines = [f"{kind} sum = 0;", *nest(windows.kernel, inner)]
    lines.append(y.put(_result(windows, channel, y), Term("sum", (min(span[0], 0), max(span[1], 0)))))
    return nest([channel, *windows.out], lines)


def patches(node: Patches, y: Array, x: Array) -> list[str]:
    """Statements for [N, *out, C times places of the kernel] of x [N, C, *in]."""
    windows = _of(node, x, y.shape[1:-1], node.dilation)
    image, channel = Axis("image", x.shape[0]), Axis("channel", x.shape[1])
    strides = strides_of(y.shape)
    place = [(image, strides[0]), *zip(windows.out, strides[1:-1]), (channel, math.prod(node.kernel))]
    place += list(zip(windows.kernel, strides_of(node.kernel)))
    value = _filled(windows, x.at(windows.index([(image, x.shape[1]), (channel, 1)])), node.fill)
    return nest([image, *windows.out, channel, *windows.kernel], [*windows.places, y.put(index(place), value)])


def _filled(windows: Windows, value: Term, fill: int) -> Term:
    return select(Term(f"({windows.inside})", (0, 1)), value, literal(fill)) if windows.inside else value


def _result(windows: Windows, channel: Axis, y: Array) -> str:
    sizes = y.shape[2:]
    return index([(channel, math.prod(sizes)), *zip(windows.out, strides_of(sizes))])
