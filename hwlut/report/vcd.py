"""Value change dumps, as simulators write them: the outermost signals, sampled once a cycle.

Names are taken as they are: Verilator writes some, such as ``$1``, that no stricter reader takes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["LIMIT", "Signal", "Waves", "read_waves"]

LIMIT = 32 << 20
"""Bytes that are read of a file; what is behind them is left out."""

_MOST_SIGNALS = 4096
_MOST_VALUES = 1 << 22  # of all signals at all times: a time takes a few bytes of a file, whatever the signals
_CLOCKS = ("clk", "clock")
_SPACE = re.compile(rb"\s+")


@dataclass(frozen=True)
class Signal:
    """One of a dump. values: of each sample, an integer, or None where a bit is unknown or floats."""

    name: str
    bits: int
    values: list[int | None]


@dataclass(frozen=True)
class Waves:
    """What a dump holds.

    times: of the samples, in its own unit: rising edges of its clock, where it has one, else whenever anything changes.
    A value is that in front of the edge, or what it changes to. clocked: which of both. whole: whether all was read.
    """

    times: list[int]
    signals: dict[str, Signal]
    clocked: bool
    whole: bool


def read_waves(path: Path) -> Waves:
    """The signals of the outermost scope that has any, by name; ValueError, naming the file, for what is no dump."""
    with open(path, "rb") as file:
        try:
            declared = _declarations(file)
            names = {code: name for name, (code, _) in declared.items()}
            clock = next((declared[name][0] for name in _CLOCKS if name in declared), None)
            times, samples = _sampled(file, set(names), clock)
        except ValueError as error:
            raise ValueError(f"{path}: waves must be a value change dump: {error}") from None
        whole = not file.read(1)
    signals = {
        name: Signal(name, bits, [_number(sample.get(code)) for sample in samples])
        for name, (code, bits) in declared.items()
        if code != clock
    }
    return Waves(times, signals, clock is not None, whole)


def _declarations(file: BinaryIO) -> dict[str, tuple[bytes, int]]:
    """Code and bits of the outermost signals, by name."""
    depth, level, held = 0, None, b""
    found: dict[str, tuple[bytes, int]] = {}
    for line in file:
        held += line
        if len(held) > LIMIT:
            break
        if b"$end" not in line:
            continue
        words, held = _SPACE.split(held.strip()), b""
        if words[0] == b"$scope":
            depth += 1
        elif words[0] == b"$upscope":
            depth -= 1
        elif words[0] == b"$var" and len(words) > 5:
            level = depth if level is None else level
            if depth == level and len(found) < _MOST_SIGNALS and words[2].isdigit():
                found[words[4].decode("utf-8", "replace")] = words[3], int(words[2])
        elif words[0] == b"$enddefinitions":
            if not found:
                raise ValueError("it declares no signals")
            return found
        elif not words[0].startswith(b"$"):
            raise ValueError(f"it has {words[0][:20]!r} among its declarations")
    raise ValueError("it has no $enddefinitions")


def _sampled(file: BinaryIO, wanted: set[bytes], clock: bytes | None) -> tuple[list[int], list[dict[bytes, bytes]]]:
    """Times of samples, and what each signal is there, up to the limits."""
    times: list[int] = []
    samples: list[dict[bytes, bytes]] = []
    now: dict[bytes, bytes] = {}
    before: dict[bytes, bytes] = {}
    time: int | None = None
    held = 0
    for line in _lines(file):
        kind = line[:1]
        if kind == b"#":
            held += len(now)
            if held > _MOST_VALUES:
                break
            if clock is None and time is not None:
                times.append(time)
                samples.append(dict(now))
            time, before = _time(line), dict(now) if clock is not None else now
        elif kind in b"01xXzZ":
            code = line[1:].strip()
            if code in wanted:
                if code == clock and kind == b"1" and now.get(clock) == b"0" and time is not None:
                    times.append(time)
                    samples.append(before)
                now[code] = kind
        elif kind in b"bB":
            value, _, code = line[1:].partition(b" ")
            code = code.strip()
            if code in wanted:
                now[code] = value
    if clock is None and time is not None:
        times.append(time)
        samples.append(now)
    return times, samples


def _time(line: bytes) -> int:
    try:
        return int(line[1:])
    except ValueError:
        raise ValueError(f"it has the time {line[1:21]!r}") from None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Those of the changes, up to the limit."""
    left = LIMIT
    while left > 0 and (line := file.readline(left)):
        left -= len(line)
        if line.strip():
            yield line


def _number(value: bytes | None) -> int | None:
    try:
        return None if value is None else int(value, 2)
    except ValueError:
        return None
