"""One operation with the labels of what it is called with, and the rules that there are for operators."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from hwlut.graph import Operation
from hwlut.prune.labels import Array, Labels, Value, varying

__all__ = ["RULES", "Results", "Step", "axis", "axes", "plain", "rule"]

Results = Value | Sequence[Value]

RULES: dict[str, Callable[["Step"], Results]] = {}
"""By the operator's plain name, what its results' labels are, having noted what can only go with what, or not."""


def rule(*names: str) -> Callable[[Callable[["Step"], Results]], Callable[["Step"], Results]]:
    """Register a function as the rule of operators."""

    def register(function: Callable[["Step"], Results]) -> Callable[["Step"], Results]:
        for name in names:
            RULES[name] = function
        return function

    return register


def plain(operator: str) -> str:
    """An operator's name without its namespace and the mark of in-place forms."""
    name = operator.partition("::")[2]
    return name if name.startswith("__") else name.removesuffix("_")


def axis(dim: int, rank: int) -> int:
    """A dimension counted from the front."""
    return dim % max(rank, 1)


def axes(dims: Any, rank: int) -> tuple[int, ...]:
    """Dimensions counted from the front: of one, of several, and all for None or none."""
    if isinstance(dims, int):
        dims = (dims,)
    return tuple(axis(dim, rank) for dim in dims) if dims else tuple(range(rank))


class Step:
    """One operation of a model as it is followed.

    arguments: what it is called with, with a `Value` for each tensor, labels reduced to those that still differ.
    unread: whether nothing comes of its results.
    """

    def __init__(self, operation: Operation, labels: Labels, arguments: Mapping[str, Any], *, unread: bool = False):
        self.operation, self.unread = operation, unread
        self.labels = labels
        self.arguments = arguments

    @property
    def name(self) -> str:
        return plain(self.operation.operator)

    @property
    def where(self) -> str:
        """The operator and its module, for reasons."""
        return f"{self.name} of {self.operation.path or self.operation.module}"

    @property
    def tensors(self) -> tuple[Value, ...]:
        return tuple(_values(self.arguments.values()))

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arguments

    def shape(self, which: int = 0) -> tuple[int, ...]:
        """Of one of the results."""
        return self.operation.shapes[which] or ()

    def result(self, arrays: Iterable[Array], which: int = 0, *, zero: bool | None = None) -> Value:
        """One of the results with its labels. zero: as in `Value`, by default where all arguments are."""
        tensors = self.tensors
        fixed = bool(tensors) and all(each.fixed for each in tensors)
        zero = all(each.zero for each in tensors) if zero is None else zero
        return Value(self.shape(which), tuple(array for array in arrays if array.numel() > 1), fixed, fixed and zero)

    def pin(self, value: Value, dims: Iterable[int], reason: str) -> Value:
        """The value, of which these dimensions do not shrink: it has no labels that vary along them any more."""
        pinned = tuple(dims)
        for array in value.arrays:
            self.labels.pin(array, pinned, reason)
        value = self.compact(value)
        return value.carrying(array for array in value.arrays if not any(dim in pinned for dim in varying(array)))

    def stay(self, value: Value, reason: str) -> None:
        """Nothing of the value can go."""
        for array in value.arrays:
            self.labels.stay(array, reason)

    def compact(self, value: Value) -> Value:
        """The value by the labels that differ."""
        return value.carrying(array for array in map(self.labels.compact, value.arrays) if array.numel() > 1)


def _values(arguments: Iterable[Any]) -> Iterator[Value]:
    for each in arguments:
        if isinstance(each, Value):
            yield each
        elif isinstance(each, (list, tuple)):
            yield from _values(each)
