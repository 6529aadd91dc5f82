"""From a beat of inputs to codes: trees of comparisons, or distances and the least of them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Shape, Value, signed, unsigned
from amaranth.lib.memory import Memory

from hwlut.hdl.arithmetic import choose, named, pick
from hwlut.hdl.stream import Rows
from hwlut.units.lut_array import LutArray
from hwlut.units.lut_matmul import Encoder

__all__ = ["encode"]

_Values = dict[str, Any]
"""What an encoder carries from one row of registers to the next, by name."""

_Step = Callable[[Module, int, _Values, Value | None], _Values]
"""What stands before one row of registers: of the module, the number of the encoder, its values and the beat's place in
its row of inputs, the values then."""


def encode(
    m: Module, rows: Rows, array: LutArray, inputs: Sequence[Value], place: Value | None, table: Value | None
) -> tuple[list[Value], Value | None]:
    """The codes of a beat, one an encoder, `array.encoder_latency` rows later, and `table` as it was in the beat.

    Parameters
    ----------
    inputs: the beat's, `array.encoders` sub-vectors after each other.
    place: the beat's place in its row of inputs; None where there is one place.
    """
    held = _within(m, array, inputs, place)
    lanes: list[_Values] = [
        {f"x{number}": value for number, value in enumerate(part)} for part in _parted(held, array.unit.v)
    ]
    steps, placed = (_tree if array.unit.encoder is Encoder.TREE else _distances)(array)
    for number, step in enumerate(steps):
        lanes = [step(m, lane, values, place) for lane, values in enumerate(lanes)]
        place = place if number + 1 < placed else None
        row = {f"{key}_{lane}": value for lane, values in enumerate(lanes) for key, value in values.items()}
        *later, place, table = rows.register(**row, place=place, table=table)
        registers = iter(later)
        lanes = [{key: next(registers) for key in values} for values in lanes]
    return [values["code"] for values in lanes], table


def _within(m: Module, array: LutArray, inputs: Sequence[Value], place: Value | None) -> list[Value]:
    """The inputs, with the zero point beyond the features."""
    unit = array.unit
    first = (array.beats - 1) * len(inputs)
    zero = Const(unit.zero_point, signed(8))
    last = Const(1) if place is None else named(m, "last_beat", place == array.beats - 1)
    return [
        value if first + number < unit.features else named(m, f"held_{number}", Mux(last, zero, value))
        for number, value in enumerate(inputs)
    ]


def _parted(values: list[Value], size: int) -> list[list[Value]]:
    return [values[first : first + size] for first in range(0, len(values), size)]


def _constants(m: Module, name: str, address: Value, words: Sequence[int], shape: Shape) -> Value:
    """``words[address]``: a memory, for a case of as many constants takes long to compile."""
    if len(words) == 1:
        return Const(words[0], shape)
    m.submodules[name] = memory = Memory(shape=shape, depth=len(words), init=words)
    port = memory.read_port(domain="comb")
    m.d.comb += port.addr.eq(address)
    return port.data


def _places(array: LutArray, lane: int, numbers: np.ndarray) -> np.ndarray:
    """What encoder `lane` needs at each place, [places, ...], of `numbers` [C, ...]; zeros beyond the codebooks."""
    filled = np.zeros((array.beats * array.encoders, *numbers.shape[1:]), np.int64)
    filled[: len(numbers)] = numbers
    return filled[lane :: array.encoders]


def _tree(array: LutArray) -> tuple[list[_Step], int]:
    """A level of comparisons each, and before how many of them the place must be known."""
    unit = array.unit
    assert unit.thresholds is not None and unit.dimensions is not None
    thresholds, dimensions = unit.thresholds, unit.dimensions

    def compared(m: Module, lane: int, values: _Values, place: Value | None) -> _Values:
        """The inputs that the levels compare."""
        inputs = [values[f"x{number}"] for number in range(unit.v)]
        found = {}
        for level, numbers in enumerate(_places(array, lane, dimensions).T.tolist()):
            index = choose(m, f"dimension_{lane}_{level}", place, numbers)
            chosen = inputs[index] if isinstance(index, int) else pick(index, inputs)
            found[f"x{level}"] = named(m, f"compared_{lane}_{level}", chosen)
        return found

    def step(level: int) -> _Step:
        def compare(m: Module, lane: int, values: _Values, place: Value | None) -> _Values:
            if level == 0:
                values = compared(m, lane, values, place) | {"code": Const(0, 0)}
            code, first = values.pop("code"), (1 << level) - 1
            words = _places(array, lane, thresholds[:, first : 2 * first + 1]).reshape(-1).tolist()
            address = code if place is None else Cat(code, place)
            threshold = _constants(m, f"thresholds_{lane}_{level}", address, words, signed(8))
            above = named(m, f"above_{lane}_{level}", values.pop(f"x{level}") >= threshold)
            return values | {"code": Cat(above, code)}

        return compare

    return [step(level) for level in range(unit.depth)], unit.depth


def _distances(array: LutArray) -> tuple[list[_Step], int]:
    """Differences, their sum or maximum, and comparisons; the place must be known before the first."""
    unit = array.unit
    assert unit.prototypes is not None
    prototypes = unit.prototypes.reshape(unit.codebooks, -1)

    def differences(m: Module, lane: int, values: _Values, place: Value | None) -> _Values:
        words = [_packed(word) for word in _places(array, lane, prototypes)]
        word = _constants(
            m, f"prototypes_{lane}", Const(0) if place is None else place, words, unsigned(8 * prototypes.shape[1])
        )
        found = {}
        for number in range(prototypes.shape[1]):
            k, i = divmod(number, unit.v)
            prototype = word[8 * number : 8 * number + 8].as_signed()
            less = named(m, f"less_{lane}_{k}_{i}", values[f"x{i}"] - prototype)
            away = named(m, f"away_{lane}_{k}_{i}", Mux(less < 0, -less, less), unsigned(8))
            found[f"away{k}_{i}"] = away * away if unit.encoder is Encoder.L2 else away
        return found

    def totals(m: Module, lane: int, values: _Values, place: Value | None) -> _Values:
        join = _greater if unit.encoder is Encoder.CHEBYSHEV else _sum
        parts = _parted(list(values.values()), unit.v)
        return {f"distance{k}": named(m, f"distance_{lane}_{k}", _joined(part, join)) for k, part in enumerate(parts)}

    def least(level: int) -> _Step:
        def compare(m: Module, lane: int, values: _Values, place: Value | None) -> _Values:
            """Of each pair the lesser, or of equal ones the first; the last pair leaves the code alone."""
            found = {}
            count = unit.k >> level
            for number in range(count // 2):
                left, right = values[f"distance{2 * number}"], values[f"distance{2 * number + 1}"]
                above = named(m, f"above_{lane}_{level}_{number}", right < left)
                code = above
                if level:
                    below = Mux(above, values[f"code{2 * number + 1}"], values[f"code{2 * number}"])
                    code = Cat(below, above)
                if count == 2:
                    return {"code": code}
                found[f"distance{number}"] = Mux(above, right, left)
                found[f"code{number}"] = code
            return found

        return compare

    return [differences, totals, *(least(level) for level in range(unit.depth))], 1


def _packed(word: np.ndarray) -> int:
    """Bytes after each other from the low end."""
    return int.from_bytes(word.astype(np.uint8).tobytes(), "little")


def _sum(a: Value, b: Value) -> Value:
    return a + b


def _greater(a: Value, b: Value) -> Value:
    return Mux(a > b, a, b)


def _joined(values: list[Value], join: Callable[[Value, Value], Value]) -> Value:
    """All values as one, by a balanced tree."""
    while len(values) > 1:
        pairs = [join(a, b) for a, b in zip(values[::2], values[1::2])]
        values = pairs + values[2 * len(pairs) :]
    return values[0]
