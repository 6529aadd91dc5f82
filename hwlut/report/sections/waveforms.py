"""Waveforms: what a tile's parts do over a layer, and its first cycles signal by signal."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from hwlut.accel.port import ACTIVITY
from hwlut.report.activity import Activity, tile_cycles
from hwlut.report.charts import svg
from hwlut.report.folder import File, Folder
from hwlut.report.html import Html, joined, table, tag
from hwlut.report.lanes import MOST_SAMPLES, MOST_SIGNALS, lanes
from hwlut.report.links import Links
from hwlut.report.vcd import LIMIT, Signal, Waves

__all__ = ["traced_layers", "waveforms"]

_MOST = 3
_LEAD = 4
_STREAM = ("tvalid", "tready", "tlast")


def traced_layers(folder: Folder) -> dict[str, str]:
    """The layer that each waveform or activity is of, by the name of its file, as runs of the folder tell."""
    runs = [run["traced"] for _, run in folder.saved("hwlut.run/1", "traced") if run["traced"]]
    files = {(run["layer"], run[kind]) for run in runs for kind in ("waves", "activity") if run[kind]}
    return {PurePath(path).name: layer for layer, path in sorted(files)}


def waveforms(chosen: Sequence[tuple[File, Waves]], folder: Folder, links: Links) -> Html | None:
    """The chosen dumps; and activities that none of these shows."""
    layers = traced_layers(folder)
    parts = [_dump(file, waves, layers.get(file.path.name), links) for file, waves in chosen[:_MOST]]
    told = {layers.get(file.path.name) for file, waves in chosen[:_MOST] if Activity.of(waves)} - {None}
    for file, activity in folder.of(Activity):
        layer = layers.get(file.path.name)
        if layer not in told:
            parts.append(joined([tag("h3", _heading(layer), links.to(file)), _strips(activity)]))
    left = len(chosen) - _MOST
    more = tag("p", f"{left} more dumps are left out.", class_="note") if left > 0 else None
    return joined([*parts, more]) if parts else None


def _heading(layer: str | None) -> str:
    return "" if layer is None else f"Layer {layer}: "


def _dump(file: File, waves: Waves, layer: str | None, links: Links) -> Html:
    activity, cycles = Activity.of(waves), tile_cycles(waves)
    parts = [tag("h3", _heading(layer), links.to(file))]
    if not waves.times:
        return joined([*parts, tag("p", "No cycles are in it.", class_="note")])
    if activity is not None:
        parts.append(_strips(activity))
    start = _start(waves, activity)
    first, unit = (cycles[start - len(waves.times)], "cycle") if cycles else (start, "sample")
    signals = [signal for signal in _ordered(waves) if _told_of(signal, start)]
    shown = min(len(waves.times) - start, MOST_SAMPLES)
    told = f"{unit.capitalize()}s {first:,} to {first + shown - 1:,} of {len(cycles) or len(waves.times):,}; "
    told += f"{min(len(signals), MOST_SIGNALS)} of {len(signals)} signals: "
    told += "handshakes, what the tile does, and what else changes; buses in hexadecimal."
    if not waves.whole:
        told += f" Only the first {LIMIT >> 20} MiB of the file were read."
    parts.append(lanes(f"Waveform of {layer or file.path.name}", signals, start, shown, first, unit))
    return joined([*parts, tag("p", told, class_="note")])


def _start(waves: Waves, activity: Activity | None) -> int:
    """The sample from which signals are drawn: a little before a tile's parts begin to work; else the first."""
    if activity is None:
        return 0
    working = next((place for place, word in enumerate(activity.words) if word), 0)
    return len(waves.times) - len(activity.words) + max(0, working - _LEAD)


def _ordered(waves: Waves) -> list[Signal]:
    """Handshakes first, then the bits of the activity, then other single bits, then buses."""
    found: list[Signal] = []
    for signal in waves.signals.values():
        if signal.name == "activity" and signal.bits == len(ACTIVITY):
            found += [
                Signal(name, 1, [None if value is None else value >> bit & 1 for value in signal.values])
                for bit, name in enumerate(ACTIVITY)
            ]
        else:
            found.append(signal)
    return sorted(found, key=_rank)


def _rank(signal: Signal) -> tuple[int, str, int]:
    stream, _, part = signal.name.rpartition("_")
    if part in _STREAM:
        return 0, stream, _STREAM.index(part)
    if signal.name in ACTIVITY:
        return 1, "", ACTIVITY.index(signal.name)
    return (2 if signal.bits == 1 else 3), signal.name, 0


def _told_of(signal: Signal, start: int) -> bool:
    """Whether it is one of the first kinds, or changes from a sample on."""
    return _rank(signal)[0] < 2 or len(set(signal.values[start:])) > 1


def _strips(activity: Activity) -> Html:
    """A strip for each bit of the activity, over all cycles."""
    number = len(activity.words)
    rows: list[list[Any]] = []
    for bit, name in enumerate(ACTIVITY):
        parts = [tag("rect", x=start, width=length, height=1) for start, length in _merged(activity.runs(bit), number)]
        share = activity.share(bit)
        picture = svg(f"{name}: {share:.1%} of the cycles", number, 1, *parts, preserveAspectRatio="none")
        rows.append([name.replace("_", " "), f"{share:.1%}", picture])
    last = activity.first + number - 1
    told = f"Cycles {activity.first:,} to {last:,}, from left to right" + ("" if activity.whole else "; the first ones")
    return tag("div", table(told, ("the tile is", ">of the cycles", "when"), rows), class_="strips")


def _merged(runs: list[tuple[int, int]], number: int) -> list[tuple[int, int]]:
    """Runs with gaps filled that are too small to be seen."""
    gap = number // 600
    found: list[tuple[int, int]] = []
    for start, length in runs:
        if found and start - sum(found[-1]) <= gap:
            found[-1] = (found[-1][0], start + length - found[-1][0])
        else:
            found.append((start, length))
    return found
