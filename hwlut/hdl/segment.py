"""Which segment a code lies in: all breakpoints at once, or a binary search through them."""

import enum
from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Const, Module, Shape, Signal, Value, ValueLike

from hwlut.fixed import signed_bits
from hwlut.hdl.arithmetic import named

__all__ = ["Comparison", "find_segment", "select_line"]


class Comparison(str, enum.Enum):
    """How a code is set against the breakpoints."""

    PARALLEL = "parallel"  # a comparator a breakpoint
    TREE = "tree"  # a comparator a level, each against the breakpoint that the levels above chose


def find_segment(
    m: Module, kind: Comparison, suffix: str, code: Value, breakpoints: Sequence[int | Signal], held: tuple[int, int]
) -> Signal | None:
    """The segment of `code` as `select_line` reads it; None where there are no breakpoints.

    Parameters
    ----------
    suffix: ends the names of the wires.
    breakpoints: non-decreasing; ints become constants.
    held: the lowest and highest number that `code` can be.
    """
    if not breakpoints:
        return None
    if kind is Comparison.PARALLEL:
        return named(m, f"above{suffix}", Cat(_reaches(code, point, held) for point in breakpoints))
    return named(m, f"segment{suffix}", _search(m, suffix, code, breakpoints, held))


def _reaches(code: Value, point: int | Signal, held: tuple[int, int]) -> Value:
    """``code >= point``; no comparison with a constant that has one outcome."""
    if isinstance(point, int) and not held[0] < point <= held[1]:
        return Const(point <= held[0], 1)
    return code >= point


def _search(m: Module, suffix: str, code: Value, breakpoints: Sequence[int | Signal], held: tuple[int, int]) -> Value:
    """How many `breakpoints` lie at or below `code`, most significant bit first."""
    lowest, beyond = held[0], held[1] + 1
    shape = Shape(signed_bits(lowest, beyond), True)
    levels = len(breakpoints).bit_length()
    # Behind the last breakpoint stand ones that no code reaches.
    points: list[ValueLike] = [
        Const(min(max(p, lowest), beyond), shape) if isinstance(p, int) else p for p in breakpoints
    ]
    points += [Const(beyond, shape)] * ((1 << levels) - 1 - len(points))
    prefix: Value = Const(0, 0)
    for level in range(levels):
        step = 1 << (levels - level)
        candidates = points[step // 2 - 1 :: step]
        chosen = candidates[0] if level == 0 else Array(candidates)[prefix]
        point = named(m, f"point{suffix}_{level}", chosen, shape)
        prefix = Cat(named(m, f"beyond{suffix}_{level}", code >= point), prefix)
    return prefix


def select_line(
    m: Module, kind: Comparison, found: Value | None, target: Sequence[Signal], lines: Sequence[Sequence[ValueLike]]
) -> None:
    """Drive the wires `target` with the line, one of `lines`, of the segment that `find_segment` found."""

    def drive(line: Sequence[ValueLike]) -> None:
        m.d.comb += [wire.eq(value) for wire, value in zip(target, line)]

    if found is None:
        drive(lines[0])
        return
    with m.Switch(found):
        # From the last one on: yosys takes exponentially long for the other way.
        for segment, line in reversed(list(enumerate(lines))):
            with m.Case(*_patterns(kind, segment, len(found), len(lines))):
                drive(line)


def _patterns(kind: Comparison, segment: int, bits: int, segments: int) -> list[str]:
    """What `find_segment` gives for a segment; together they cover every value of its bits."""
    if kind is Comparison.PARALLEL:
        # Ascending breakpoints make a thermometer code: its highest one names the segment.
        return ["0" * (bits - segment) + ("1" + "-" * (segment - 1) if segment else "")]
    last = (1 << bits) if segment == segments - 1 else segment + 1
    return [f"{value:0{bits}b}" for value in range(segment, last)]
