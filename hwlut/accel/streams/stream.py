"""Random instructions, one after the other, so that all that is read is known."""

from typing import Any

import numpy as np

from hwlut.accel.commands import Destination, Mode, Reduction, Target, WSource, XSource
from hwlut.accel.instructions import Compute, Load, Loops, Mark, Stream, encode
from hwlut.accel.model.accesses import by_tree
from hwlut.accel.streams.draws import Draws, Window
from hwlut.accel.streams.fields import STEPS, fields
from hwlut.accel.streams.halves import WORDS, Halves
from hwlut.accel.timing import load_beats, word_bits
from hwlut.units.tile import Tile

__all__ = ["streams"]

_VALUES = 48  # words of values that are used
_MASKS = (0xFF, 0xFF, 0x83, 0x01)  # of bytes of data: any, any, some near zero, zeros and ones


def streams(tile: Tile, seed: int, computes: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Command words uint64 [n] of one run and its data uint8 [beats, beat_bytes], drawn by `seed`.

    All that is read is written first; then come so many random COMPUTEs, with LOADs beside them and MARKs between, each
    of which is defined (`hwlut.accel.model.check`); in the end the values that were used come out.
    """
    return _Streams(tile, Draws(seed)).drawn(computes)


class _Streams:
    def __init__(self, tile: Tile, draws: Draws):
        self._tile, self._draws = tile, draws
        self._halves = Halves(tile, draws)
        base = draws.integer(0, tile.values - _VALUES)
        self._values: Window = base, min(tile.values, base + _VALUES)
        self._operands = min(tile.operands, WORDS)
        self._stride = 1 << (tile.columns - 1).bit_length()  # from a word of operands to the next
        self._instructions: list[Compute | Load | Mark] = []
        self._data: list[np.ndarray] = []

    def drawn(self, computes: int) -> tuple[np.ndarray, np.ndarray]:
        draws = self._draws
        for target in self._halves.targets:
            for half in (0, 1):
                low, high = self._halves.known(target, half)
                self._load(target, half, low, high - low)
        self._write()
        for _ in range(computes):
            self._compute()
            if draws.chance(0.6):
                target, half = draws.one(self._halves.targets), draws.integer(0, 2)
                low, high = self._halves.window(target, half)
                count = draws.integer(1, min(high - low, WORDS) + 1)
                self._load(target, half, draws.integer(low, high - count + 1), count, draws.chance(0.2))
            if draws.chance(0.3):
                self._instructions.append(Mark(draws.integer(0, 1 << 48)))
        low, high = self._values
        held = Loops((high - low,))
        self._instructions.append(Compute(feed=held, x=Stream(low, (1,)), store=held, destination=Destination.OUTPUT))
        return np.array(encode(self._tile, self._instructions), np.uint64), np.concatenate(self._data)

    def _load(self, target: Target, half: int, address: int, count: int, wait: bool = False) -> None:
        wait = self._halves.fill(target, half) or wait
        self._instructions.append(Load(target=target, address=address, count=count, wait=wait))
        beats = load_beats(self._tile, word_bits(self._tile, target), count)
        data = self._draws.rng.integers(0, 256, (beats, self._tile.beat_bytes), np.uint8)
        self._data.append(data & np.uint8(self._draws.one(_MASKS)))

    def _write(self) -> None:
        """Give the values and the operands that are read something, from inputs."""
        low, high = self._halves.known(Target.INPUTS, 0)
        words = [(word * self._stride, word * self._stride + self._tile.columns) for word in range(self._operands)]
        windows = [(Destination.VALUES, self._values), *((Destination.OPERANDS, word) for word in words)]
        for destination, (first, end) in windows:
            for base in range(first, end, high - low):
                loops = Loops((min(high - low, end - base),))
                moved = {"feed": loops, "x": Stream(low, (1,)), "store": loops, "z": Stream(base, (1,))}
                self._halves.read_all(Target.INPUTS)
                self._append(moved | {"x_source": XSource.INPUTS, "destination": destination})

    def _append(self, chosen: dict[str, Any]) -> None:
        wait = self._halves.compute(self._draws.chance(0.2))
        self._instructions.append(Compute(wait=wait, **chosen))

    def _compute(self) -> None:
        tile, draws, halves = self._tile, self._draws, self._halves
        chosen = fields(tile, draws, halves.tables)
        mode, count = chosen["mode"], chosen["count"]
        groups = draws.integer(1, max(2, 2 * STEPS // count))
        numbers = groups * count if mode is Mode.VECTOR else groups
        if mode in (Mode.ARRAY, Mode.LOOK_UP):
            numbers *= chosen["columns"]
        tree = by_tree(tile, mode)
        results = numbers if chosen["reduction"] is Reduction.NONE else groups
        sizes = {"feed": groups * count, "step": groups * count if tree else numbers, "store": results}
        chosen |= {name: draws.loops(size, tile.loops) for name, size in sizes.items()}

        middle = draws.integer(self._values[0] + 1, self._values[1])
        parts = [(self._values[0], middle), (middle, self._values[1])]
        taken, given = parts if draws.chance(0.5) else parts[::-1]
        chosen["y"] = draws.stream(chosen["step"], taken)
        chosen["k"] = draws.stream(chosen["step"], halves.read(Target.CONSTANTS))
        chosen["z"] = self._z(chosen, given)
        chosen |= self._x(chosen, taken, given, tree)
        if chosen["w_source"] is WSource.OPERANDS:
            chosen["w"] = draws.stream(chosen["feed"], (0, self._operands))
        elif mode is not Mode.VECTOR:
            chosen["w"] = draws.stream(chosen["feed"], halves.read(Target.WEIGHTS))
        if chosen["table"] >= 0:
            halves.read_all(Target.TABLES)
        self._append(chosen)

    def _x(self, chosen: dict[str, Any], taken: Window, given: Window, tree: bool) -> dict[str, Any]:
        """The addresses of x, and what must be otherwise for them."""
        draws, feed = self._draws, chosen["feed"]
        if tree and chosen["offset"]:
            # The constants' offsets are any numbers.
            if not self._halves.any_input:
                return {"offset": False, "x_source": XSource.VALUES, "x": draws.stream(feed, taken)}
            self._halves.read_all(Target.INPUTS)
            return {"x_source": XSource.INPUTS, "x": Stream(draws.integer(0, self._tile.inputs))}
        if chosen["x_source"] is XSource.INPUTS:
            return {"x": draws.stream(feed, self._halves.read(Target.INPUTS))}
        alone = chosen["mode"] is Mode.VECTOR and chosen["reduction"] is Reduction.NONE and chosen["operator"] < 0
        if alone and chosen["destination"] is Destination.VALUES and draws.chance(0.3):
            size = min(feed.sizes[0], given[1] - given[0])
            if feed.sizes == (size, *(1 for _ in feed.sizes[1:])):
                in_place = Stream(given[0], (1,))
                return {"x": in_place, "store": feed, "z": in_place}
        return {"x": draws.stream(feed, taken)}

    def _z(self, chosen: dict[str, Any], window: Window) -> Stream:
        """The addresses of results: of operands, along the columns of a word or the words of a column."""
        draws, store = self._draws, chosen["store"]
        if chosen["destination"] is not Destination.OPERANDS:
            return draws.stream(store, window)
        if draws.chance(0.5):
            base = draws.integer(0, self._operands) * self._stride
            return draws.stream(store, (base, base + self._tile.columns))
        words, column = draws.stream(store, (0, self._operands)), draws.integer(0, self._tile.columns)
        return Stream(words.base * self._stride + column, tuple(stride * self._stride for stride in words.strides))
