"""Sums of products: multiply-accumulate, and dot products of several pairs a beat."""

from typing import Any

from amaranth.hdl import Module, Value, ValueLike

from hwlut.fixed import Fixed
from hwlut.hdl.arithmetic import named
from hwlut.hdl.component import UnitComponent, checked_count
from hwlut.hdl.multiplier.product import product
from hwlut.hdl.multiplier.register import PLACES
from hwlut.hdl.requantize import Lane, channel_field, requantized
from hwlut.hdl.stream import Beat, BeatField, Pipeline, registers, shape_of
from hwlut.units.dot import accumulator
from hwlut.units.multiplier import Multiplier
from hwlut.units.requantize import Requantize

__all__ = ["MOST_LANES", "MOST_TERMS", "DotComponent", "dot_component"]

MOST_LANES = 64
MOST_TERMS = 1 << 20


class DotComponent(UnitComponent):
    """Sums of products of a `Multiplier`, as `hwlut.units.dot.dot` defines them.

    Each beat has the pairs a, b (one lane) or a0, a1, ... and b0, b1, ..., and `last` where it is the last of its sum.
    That one gives one beat: ``acc``, the sum, or ``y``, what a Requantize makes of it; per channel, the channel is the
    one that comes with that beat. The next beat starts a new sum.

    Every beat adds as many products as there are lanes, so a sum has at most `terms` rounded up to whole beats. The
    accumulator is the narrowest for that (`hwlut.units.dot.accumulator`, with the proof). More beats before `last` are
    no fault: the sum is then taken modulo 2^bits of the accumulator. Reset forgets a sum that is half done.

    Parameters
    ----------
    unit: the multiplier.
    cuts: behind which steps there are registers.
    terms: most products of a sum, in whole beats.
    lanes: pairs a beat.
    requantize: what follows the accumulator, whose sums its input format must hold, or None.
    """

    unit: Multiplier

    def __init__(self, unit: Multiplier, cuts: tuple[str, ...], terms: int, lanes: int, requantize: Requantize | None):
        self._suffixes = [""] if lanes == 1 else [str(lane) for lane in range(lanes)]
        self._requantize = requantize
        self._accumulator = accumulator(unit, terms)
        self._cuts = cuts

        def fields(name: str, format: Fixed) -> tuple[BeatField, ...]:
            return tuple(BeatField(name + x, format.bits, format.signed, None) for x in self._suffixes)

        output = requantize.output if requantize else self._accumulator
        super().__init__(
            unit,
            Beat(
                fields("a", unit.a) + fields("b", unit.b), channel_field(requantize) if requantize else None, last=True
            ),
            Beat((BeatField("y" if requantize else "acc", output.bits, output.signed, None),)),
            scale=None,
            latency=len(cuts),
            sum={"terms": terms, "requantize": requantize.content() if requantize else None},
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipeline, cuts = Pipeline(m, self.i, self.o), self._cuts
        beat = pipeline.payload
        last: Value = beat.last
        channel = beat.channel if self._requantize and self._requantize.channels > 1 else None

        # Multiply: each lane is a module of its own, whose rows of registers are the pipeline's.
        products = []
        for x in self._suffixes:
            m.submodules[f"lane{x}"] = lane = Module()
            products.append(self._product(lane, pipeline.move, beat["a" + x], beat["b" + x]))
        for place in (*PLACES, "product"):
            last, channel = pipeline.register_if(place in cuts, last=last, channel=channel)

        # Add the lanes, then the beats.
        value = _tree(m, products)
        value, last, channel = pipeline.register_if("tree" in cuts, tree=value, last=last, channel=channel)
        (acc,), channel = pipeline.accumulate(shape_of(self._accumulator), [(0, value)], last, channel=channel)

        if self._requantize is None:
            pipeline.finish(acc=acc)
        else:
            (y,) = requantized(m, pipeline, self._requantize, [Lane.of(self._requantize, acc, channel)], cuts)
            pipeline.finish(y=y)
        return m

    def _product(self, lane: Module, move: Value, a: Value, b: Value) -> Value:
        row = 0

        def register(place: str, /, **values: ValueLike) -> tuple[Any, ...]:
            nonlocal row
            if place not in self._cuts:
                return tuple(values.values())
            with lane.If(move):
                later = registers(lane, row, values)
            row += 1
            return later

        (found,) = register("product", product=product(lane, self.unit, a, b, register))
        return found


def _rows(lanes: int, requantize: Requantize | None) -> tuple[tuple[str, ...], int, int]:
    """Behind which steps there may be registers, the most wanted first; the least and the default number of them."""
    least = ("accumulate", "saturate") if requantize else ("accumulate",)
    default = ("product", *(("multiply",) if requantize else ()), *(("tree",) if lanes > 1 else ()))
    rows = (*least, *default, *reversed(PLACES), *(("round",) if requantize else ()))
    return rows, len(least), len(least) + len(default)


def _tree(m: Module, values: list[Value]) -> Value:
    """The sum of all values, as a balanced tree of adders."""
    level = 0
    while len(values) > 1:
        sums = [a + b for a, b in zip(values[::2], values[1::2])]
        odd = values[len(sums) * 2 :]
        values = [*(named(m, f"sum_{level}_{number}", each) for number, each in enumerate(sums)), *odd]
        level += 1
    return values[0]


def _check_input(requantize: Requantize, sums: Fixed) -> None:
    if requantize.input.min > sums.min or requantize.input.max < sums.max:
        raise ValueError(f"Multiplier requantize input must hold the accumulator, {sums}, not {requantize.input}")


def dot_component(
    unit: Multiplier, stages: int | None, terms: int, lanes: int | None, requantize: Requantize | None
) -> DotComponent:
    """The component of these options, each checked before there is one.

    Raises ValueError where a sum can leave the input format of `requantize`.
    """
    if requantize is not None and not isinstance(requantize, Requantize):
        raise TypeError(f"Multiplier requantize must be a Requantize, not {type(requantize).__name__}")
    terms = checked_count(terms, MOST_TERMS, "Multiplier terms")
    lanes = 1 if lanes is None else checked_count(lanes, MOST_LANES, "Multiplier lanes")
    terms += -terms % lanes
    if requantize is not None:
        _check_input(requantize, accumulator(unit, terms))
    rows, least, default = _rows(lanes, requantize)
    stages = default if stages is None else stages
    if isinstance(stages, bool) or not isinstance(stages, int):
        raise TypeError(f"Multiplier stages must be an integer, not {stages!r}")
    if not least <= stages <= len(rows):
        raise ValueError(f"Multiplier stages must be from {least} to {len(rows)}, not {stages}")
    return DotComponent(unit, rows[:stages], terms, lanes, requantize)
