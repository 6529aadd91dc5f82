"""Lanes of a waveform: bits as levels, buses with their values between marks of change."""

import itertools
from collections.abc import Iterator, Sequence

from hwlut.report.charts import svg
from hwlut.report.html import Html, joined, tag
from hwlut.report.vcd import Signal

__all__ = ["MOST_SAMPLES", "MOST_SIGNALS", "lanes"]

MOST_SIGNALS = 24
MOST_SAMPLES = 160

_STEP, _LANE, _TOP = 14, 22, 24
_HIGH, _LOW, _SLOPE = 4, 18, 2
_CHARACTER = 6.7


def lanes(title: str, signals: Sequence[Signal], start: int, count: int, first: int, unit: str) -> Html:
    """Names beside a picture that scrolls.

    start, count: which samples. first, unit: the number that the first of them has, and what is counted.
    """
    shown = signals[:MOST_SIGNALS]
    width, height = count * _STEP + 8, _TOP + _LANE * len(shown) + 4
    parts = [_ruler(count, first, unit, height)]
    for place, signal in enumerate(shown):
        runs = _runs(signal.values[start : start + count])
        drawn = _levels(runs) if signal.bits == 1 else _bus(runs)
        parts.append(tag("g", *drawn, transform=f"translate(0 {_TOP + place * _LANE})"))
    picture = svg(title, width, height, *parts, width=width, height=height)
    names = tag("ol", *(tag("li", signal.name, title=signal.name) for signal in shown))
    scroll = tag("div", picture, class_="scroll", role="region", tabindex="0", aria_label=title)
    return tag("div", names, scroll, class_="waves")


def _ruler(count: int, first: int, unit: str, height: int) -> Html:
    """A line and the number every ten samples."""
    parts: list[Html] = []
    for place in range(-first % 10, count, 10):
        x = place * _STEP
        text = f"{unit} {first + place}" if not parts else str(first + place)
        parts.append(tag("line", x1=x, x2=x, y1=16, y2=height, class_="grid"))
        parts.append(tag("text", text, x=x + 2, y=12, class_="axis"))
    return joined(parts)


def _runs(values: Sequence[int | None]) -> list[tuple[int, int, int | None]]:
    """First place, end and value of each stretch without a change."""
    found = []
    for value, places in itertools.groupby(range(len(values)), key=lambda place: values[place]):
        stretch = list(places)
        found.append((stretch[0], stretch[-1] + 1, value))
    return found


def _unknown(start: int, end: int) -> Html:
    return tag("rect", x=start * _STEP, y=_HIGH, width=(end - start) * _STEP, height=_LOW - _HIGH, class_="unknown")


def _levels(runs: Sequence[tuple[int, int, int | None]]) -> Iterator[Html]:
    path = ""
    for start, end, value in runs:
        if value is None:
            yield _unknown(start, end)
            continue
        y = _HIGH if value else _LOW
        path += f"{'L' if path else 'M'}{start * _STEP} {y}H{end * _STEP}"
    if path:
        yield tag("path", d=path, class_="wave")


def _bus(runs: Sequence[tuple[int, int, int | None]]) -> Iterator[Html]:
    """Two lines that cross at each change, and the value where there is room."""
    middle = (_HIGH + _LOW) / 2
    path = ""
    for start, end, value in runs:
        left, right = start * _STEP, end * _STEP
        if value is None:
            yield _unknown(start, end)
            continue
        a, b = left + _SLOPE, right - _SLOPE
        path += f"M{left} {middle:g}L{a} {_HIGH}H{b}L{right} {middle:g}L{b} {_LOW}H{a}Z"
        text = f"{value:x}"
        room = int((b - a - 2) / _CHARACTER)
        if len(text) > room:
            text = f"{text[: room - 1]}…" if room > 3 else ""
        if text:
            yield tag("text", text, x=a + 2, y=15)
    if path:
        yield tag("path", d=path, class_="wave")
