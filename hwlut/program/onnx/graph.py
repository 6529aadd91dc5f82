"""An ONNX graph while it is built: operators, constants, and what is known of each value."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from hwlut.units.nodes import Span

__all__ = ["Dimension", "Graph", "Shape", "Value", "broadcast"]

Dimension = int | str | None
"""A size, or the name of a free one, or None for one that follows from free ones."""

Shape = tuple[Dimension, ...]

_TYPES = (np.int8, np.int16, np.int32, np.int64)


@dataclasses.dataclass(frozen=True)
class Value:
    """A value of a program in the graph: its name there, of an int64 tensor."""

    name: str
    span: Span
    shape: Shape


def broadcast(*shapes: Shape) -> Shape:
    """The shape that all broadcast to."""
    rank = max(map(len, shapes), default=0)
    aligned = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(_common(set(sizes) - {1}) for sizes in zip(*aligned))


def _common(sizes: set[Dimension]) -> Dimension:
    if known := [size for size in sizes if isinstance(size, int)]:
        return known[0]
    return sizes.pop() if len(sizes) == 1 else 1 if not sizes else None


class Graph:
    """Operators and constants, as onnx takes them, in order; `path` is of the node of a program that is added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.path = ""
        self._names: dict[str, int] = {}
        self._held: dict[tuple[Any, ...], str] = {}

    def used(self, outputs: list[str]) -> tuple[list[Any], list[Any]]:
        """The nodes and the constants that lead to `outputs`."""
        needed = set(outputs)
        nodes = []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                needed |= set(node.input)
                nodes.append(node)
        return nodes[::-1], [each for each in self.constants if each.name in needed]

    @contextlib.contextmanager
    def within(self, name: str) -> Iterator[None]:
        """Adds what belongs to a node of a program, which may be within another."""
        outer, self.path = self.path, f"{self.path}.{name}" if self.path else name
        yield
        self.path = outer

    def op(self, kind: str, *operands: str, output: str | None = None, **attributes: Any) -> str:
        """The name of the result of an operator."""
        from onnx import helper

        name = output or self._new(f"{self.path}/{kind}")
        self.nodes.append(helper.make_node(kind, operands, [name], name=name, **attributes))
        return name

    def constant(self, array: Any, dtype: Any = np.int64) -> str:
        """The name of an array."""
        from onnx import numpy_helper

        held = np.asarray(array).astype(dtype, order="C")
        key = (held.dtype, held.shape, hashlib.sha256(held.tobytes()).digest())
        if key not in self._held:
            self._held[key] = self._new(f"{self.path}/constant")
            self.constants.append(numpy_helper.from_array(held, self._held[key]))
        return self._held[key]

    def integers(self, array: np.ndarray) -> str:
        """The name of int64 numbers, in the file in the narrowest type."""
        return self.cast(self.narrow(array), np.int64)

    def narrow(self, array: np.ndarray) -> str:
        """The name of integers in the narrowest type."""
        low, high = int(array.min()), int(array.max())
        return self.constant(array, next(t for t in _TYPES if np.iinfo(t).min <= low and high <= np.iinfo(t).max))

    def cast(self, name: str, dtype: Any) -> str:
        """The value in another type; once each."""
        from onnx import helper

        key = (name, np.dtype(dtype))
        if key not in self._held:
            self._held[key] = self.op("Cast", name, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
        return self._held[key]

    def looked_up(self, table: np.ndarray, index: str, low: int = 0) -> str:
        """int64 rows of `table`, of which the first is that of index `low`."""
        place = self.op("Sub", index, self.constant(low)) if low else index
        return self.cast(self.op("Gather", self.narrow(table), place), np.int64)

    def sizes(self, name: str, start: int, end: int | None = None) -> str:
        """Sizes of a value, from axis `start` to before `end`."""
        ends: dict[str, Any] = {"start": start} if end is None else {"start": start, "end": end}
        return self.op("Shape", name, **ends)

    def reshaped(self, name: str, *sizes: Any) -> str:
        """The value with the sizes, which are numbers or names of what `sizes` gives."""
        parts = [each if isinstance(each, str) else self.constant([each]) for each in sizes]
        return self.op("Reshape", name, parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0))

    def bytes(self, value: Value) -> tuple[str, int] | None:
        """The value in uint8 and the number there that stands for 0; None where 8 bits do not hold that.

        Products of uint8 are exact on every processor; those of uint8 and int8 saturate on some.
        """
        low, high = value.span
        zero = max(0, -low)
        if zero > 255 or high + zero > 255:
            return None
        if not zero:
            return self.cast(value.name, np.uint8), 0
        key = (value.name, zero)
        if key not in self._held:
            self._held[key] = self.cast(self.op("Add", value.name, self.constant(zero)), np.uint8)
        return self._held[key], zero

    def _new(self, name: str) -> str:
        count = self._names[name] = self._names.get(name, 0) + 1
        return name if count == 1 else f"{name}_{count}"
