"""Charts as inline SVG, in the colours of the page's style."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hwlut.report.html import Html, joined, tag

__all__ = ["Point", "bar", "curves", "scatter", "svg"]

_WIDTH, _HEIGHT = 360, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 18, 14, 40
_TICKS = 5
_MOST_LABELS = 12
_MOST_STEPS = 600


@dataclass(frozen=True)
class Point:
    """One of a scatter. optimal: on the front. chosen: marked with a ring."""

    x: float
    y: float
    label: str
    optimal: bool
    chosen: bool = False


def bar(share: float) -> Html:
    """A bar of a share of its cell's width."""
    return tag("span", class_="bar", style=f"width:{100 * min(max(share, 0.0), 1.0):.1f}%")


def svg(title: str, width: float, height: float, /, *parts: Html, **attributes: Any) -> Html:
    """A picture that a title tells of."""
    box = f"0 0 {width:g} {height:g}"
    return tag("svg", tag("title", title), *parts, role="img", viewBox=box, aria_label=title, **attributes)


def scatter(title: str, x: str, y: str, points: Sequence[Point], line: bool = True) -> Html:
    """Points by two numbers, labelled where these are on the front or chosen. line: join the front by steps."""
    frame = _Frame([point.x for point in points], [point.y for point in points])
    front = sorted((point.x, point.y) for point in points if point.optimal)
    shapes = [frame.axes(x, y)]
    if line and len(front) > 1:
        shapes.append(frame.steps(front))
    for point in sorted(points, key=lambda each: (each.optimal, each.chosen)):
        shapes.append(_dot(frame, point))
    return svg(title, _WIDTH, _HEIGHT, *shapes, *_labels(frame, points), class_="chart")


def curves(title: str, x: str, y: str, steps: Sequence[int], values: Sequence[float]) -> Html:
    """One curve by steps, of at most 600 points, each the mean of its neighbours."""
    pairs = [(step, value) for step, value in zip(steps, values) if math.isfinite(value)]
    size = -(-len(pairs) // _MOST_STEPS) or 1
    groups = [pairs[first : first + size] for first in range(0, len(pairs), size)]
    means = [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]
    if not means:
        return tag("p", f"{title}: no finite numbers", class_="note")
    frame = _Frame([step for step, _ in means], [value for _, value in means])
    path = " ".join(f"{frame.x(step):.1f},{frame.y(value):.1f}" for step, value in means)
    last_x, last_y = means[-1]
    end = tag("circle", cx=f"{frame.x(last_x):.1f}", cy=f"{frame.y(last_y):.1f}", r="3", class_="optimal")
    line = tag("polyline", points=path, class_="line")
    return svg(title, _WIDTH, _HEIGHT, frame.axes(x, y), line, end, class_="chart")


class _Frame:
    """Where numbers are in a chart: ranges with round ends."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float]):
        self._xs, self._ys = _round_range(xs), _round_range(ys)

    def x(self, value: float) -> float:
        low, high, _ = self._xs
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high, _ = self._ys
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def axes(self, x: str, y: str) -> Html:
        """Lines of the grid with their numbers, and what the axes are."""
        base = _HEIGHT - _BOTTOM
        parts = []
        for value, text in _ticks(*self._xs):
            at = f"{self.x(value):.1f}"
            parts += [
                tag("line", x1=at, x2=at, y1=_TOP, y2=base, class_="grid"),
                tag("text", text, x=at, y=base + 14, text_anchor="middle"),
            ]
        for value, text in _ticks(*self._ys):
            place = self.y(value)
            parts += [
                tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=f"{place:.1f}", y2=f"{place:.1f}", class_="grid"),
                tag("text", text, x=_LEFT - 5, y=f"{place + 4:.1f}", text_anchor="end"),
            ]
        middle = (_TOP + base) / 2
        parts += [
            tag("text", x, x=(_LEFT + _WIDTH - _RIGHT) / 2, y=_HEIGHT - 8, text_anchor="middle", class_="axis"),
            tag("text", y, transform=f"translate(12 {middle:g}) rotate(-90)", text_anchor="middle", class_="axis"),
        ]
        return tag("g", *parts)

    def steps(self, front: Sequence[tuple[float, float]]) -> Html:
        """The line below which the front leaves nothing: level until the next point."""
        places = [f"{self.x(front[0][0]):.1f},{self.y(front[0][1]):.1f}"]
        for (_, before), (x, y) in zip(front, front[1:]):
            places += [f"{self.x(x):.1f},{self.y(before):.1f}", f"{self.x(x):.1f},{self.y(y):.1f}"]
        return tag("polyline", points=" ".join(places), class_="line")


def _dot(frame: _Frame, point: Point) -> Html:
    x, y = f"{frame.x(point.x):.1f}", f"{frame.y(point.y):.1f}"
    told = tag("title", f"{point.label}: {point.x:.6g}, {point.y:.6g}")
    dot = tag("circle", told, cx=x, cy=y, r="4", class_="optimal" if point.optimal else "beaten")
    ring = tag("circle", cx=x, cy=y, r="8", class_="ring") if point.chosen else None
    return joined([dot, ring])


def _labels(frame: _Frame, points: Sequence[Point]) -> list[Html]:
    """Of the chosen point and of those on the front, beside them, on the side with more room; one that would lie on
    another, or on a point, is left out."""
    named = [point for point in points if point.optimal or point.chosen]
    named = sorted(named, key=lambda each: (not each.chosen, each.x))[:_MOST_LABELS]
    taken = [(frame.x(each.x) - 4, frame.y(each.y) - 4, frame.x(each.x) + 4, frame.y(each.y) + 4) for each in points]
    found = []
    for point in named:
        text = point.label if len(point.label) <= 24 else f"{point.label[:23]}…"
        x, y, width = frame.x(point.x), frame.y(point.y), 6.2 * len(text)
        right = x < (_LEFT + _WIDTH - _RIGHT) / 2
        gap = 11 if point.chosen else 7
        for shift in (-8.0, 12.0):
            left = x + gap if right else x - gap - width
            box = (left, y + shift - 9, left + width, y + shift + 2)
            inside = left >= _LEFT and left + width <= _WIDTH and box[1] >= 0 and box[3] <= _HEIGHT - _BOTTOM
            if inside and not any(_meet(box, other) for other in taken):
                taken.append(box)
                end = "start" if right else "end"
                place = x + gap if right else x - gap
                found.append(tag("text", text, x=f"{place:.1f}", y=f"{y + shift:.1f}", text_anchor=end, class_="label"))
                break
    return found


def _meet(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _round_range(values: Sequence[float]) -> tuple[float, float, float]:
    """A range with room around the values, from and to multiples of a round step, and that step."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) or 1) * 0.1, high + (abs(high) or 1) * 0.1
    margin = 0.06 * (high - low)
    low, high = low - margin if low < 0 or low >= margin else 0.0, high + margin
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    return math.floor(low / step) * step, math.ceil(high / step) * step, step


def _ticks(low: float, high: float, step: float) -> list[tuple[float, str]]:
    values = [low + index * step for index in range(round((high - low) / step) + 1)]
    most = max(map(abs, values))
    power = next((each for each, least in ((9, 2e9), (6, 2e6), (3, 1e4)) if most >= least), 0)
    digits = max(0, -math.floor(math.log10(step / 10.0**power) + 1e-9))
    unit = {0: "", 3: "k", 6: "M", 9: "G"}[power]
    return [(value, f"{value / 10.0**power:.{digits}f}{unit}") for value in values]
