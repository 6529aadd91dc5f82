"""Attributes that bake in sizes are found by trying: what the model computes then has the shapes that it should."""

import itertools
import math
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import nn
from torch.overrides import TorchFunctionMode

from hwlut.graph import Graph, Operation, trace
from hwlut.graph.lines import cause_of, shown
from hwlut.prune.attributes import Attribute, attributes, read_names
from hwlut.prune.coupling import Groups, Removed
from hwlut.prune.known_attributes import settled
from hwlut.prune.places import shapes
from hwlut.prune.unquantized import unquantized
from hwlut.quant.calibration import called
from hwlut.quant.modes import evaluating

__all__ = ["settle_attributes"]

_TOGETHER = 3
_ATTEMPTS = 2000


class _Failure(NamedTuple):
    """Where a model does not compute what it should.

    progress: how far it comes before, in calls of torch's functions and then in operations. path: of the module.
    line, reason: of the source, and what is wrong there.
    """

    progress: tuple[float, int]
    path: str
    line: str
    reason: str


class _Change(NamedTuple):
    path: str
    attribute: Attribute
    value: int


def settle_attributes(model: nn.Module, groups: Groups, removed: Removed, sample: Any) -> tuple[str, ...]:
    """Let the modules of `model`, whose tensors are those of the smaller model, keep the sizes that they compute with.

    A module that reshapes to a number of heads that it keeps must keep the smaller one. Where an operation fails or has
    another shape than it is to have, the integers of its module, then of the modules around it, that are equal to a
    size which changes there are set to the new one: as few as do, first those that were right for another module of
    the class. What a module keeps is its own afterwards, a config that it shares with others included.

    Returns what was changed, as "path.attribute". Raises ValueError for a module that nothing helps, with the
    operation, its line and the size wanted; the model is then as it was.
    """
    return _Search(model, groups, removed, sample).run()


@dataclass
class _Counting(TorchFunctionMode):
    """Counts calls of torch's functions."""

    count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


class _Search:
    def __init__(self, model: nn.Module, groups: Groups, removed: Removed, sample: Any):
        self.model, self.sample = model, sample
        self.graph: Graph = groups.graph
        self.shapes: Mapping[str, tuple[int, ...]] = shapes(groups, removed)
        self.modules = dict(model.named_modules())
        self.own: dict[str, list[Operation]] = {}
        for operation in self.graph:
            self.own.setdefault(operation.path, []).append(operation)
        self.paths = {id(module): path for path, module in self.modules.items()}
        self.sizes = {
            (part.tensor, (coupling.size, coupling.size - len(removed[coupling.name])))
            for coupling in groups
            for part in coupling.results
            if coupling.name in removed
        }
        self.changed: dict[_Change, tuple[nn.Module, str, Any]] = {}
        self.right: set[tuple[type, Attribute]] = set()
        self.attempts = 0

    def run(self) -> tuple[str, ...]:
        failure = self._failure()
        if failure is not None:
            self.furthest = failure
            if not self._solved(failure):
                raise self._refusal(self.furthest)
        return tuple(".".join(filter(None, (each.path, str(each.attribute)))) for each in self.changed)

    def _solved(self, failure: _Failure) -> bool:
        """Whether changes let the model come past a failure and all after it; they are made."""
        for together in self._trials(failure):
            if self.attempts == _ATTEMPTS:
                return False
            self.attempts += 1
            self._make(together)
            after = self._failure()
            if after is None:
                return True
            if after.progress > failure.progress:
                self.furthest = max(self.furthest, after, key=lambda each: each.progress)
                self.right |= {(type(self.modules[each.path]), each.attribute) for each in together}
                if self._solved(after):
                    return True
            self._undo(together)
        return False

    def _trials(self, failure: _Failure) -> Iterator[tuple[_Change, ...]]:
        """Changes to try together: what was right for modules of the same classes in all others, then a few of one."""
        if spread := tuple(self._spread()):
            yield spread
        candidates = list(self._candidates(failure))
        for count in range(1, _TOGETHER + 1):
            for together in itertools.combinations(candidates, count):
                if len({each.path for each in together}) == 1 and len({each.attribute for each in together}) == count:
                    yield together

    def _spread(self) -> Iterator[_Change]:
        taken = {(each.path, each.attribute) for each in self.changed}
        kinds = {kind for kind, _ in self.right}
        for path, module in self.modules.items():
            if type(module) in kinds:
                sizes = self._resized(path)
                for attribute, value in attributes(module):
                    new = {after for before, after in sizes if before == value}
                    if (type(module), attribute) in self.right and (path, attribute) not in taken and len(new) == 1:
                        yield _Change(path, attribute, *new)

    def _make(self, changes: tuple[_Change, ...]) -> None:
        for each in changes:
            module = self.modules[each.path]
            self.changed[each] = module, *each.attribute.change(module, each.value)

    def _undo(self, changes: tuple[_Change, ...]) -> None:
        for each in reversed(changes):
            module, name, before = self.changed.pop(each)
            vars(module)[name] = before

    def _candidates(self, failure: _Failure) -> Iterator[_Change]:
        """Changes that could help, the likeliest first."""
        found: list[tuple[tuple[bool, int, bool, bool], _Change]] = []
        taken = {(each.path, each.attribute) for each in self.changed}
        there = self._resized(failure.path)
        for order, path in enumerate(self._owners(failure)):
            module = self.modules[path]
            if settled(module):
                continue
            sizes, names = there | self._resized(path), read_names(module)
            for attribute, value in attributes(module):
                if (path, attribute) in taken:
                    continue
                known = (type(module), attribute) in self.right
                rank = not known, order, bool(attribute.holder), attribute.name not in names
                found += ((rank, _Change(path, attribute, new)) for old, new in sorted(sizes) if old == value)
        found.sort(key=lambda each: each[0])
        return (change for _, change in found)

    def _owners(self, failure: _Failure) -> Iterator[str]:
        """The module that fails, those around it, and those before it whose operations change their shape."""
        path, seen = failure.path, set()
        while True:
            seen.add(path)
            yield path
            if not path:
                break
            path = path.rpartition(".")[0]
        paths = list(self.own)
        last = paths.index(failure.path) if failure.path in paths else len(paths)
        for path in reversed(paths[:last]):
            if path not in seen and self._resized(path):
                yield path

    def _resized(self, path: str) -> set[tuple[int, int]]:
        """Sizes, before and after, that change in the operations of a module's own."""
        own = self.own.get(path, [])
        pairs = {pair for each in own for pair in zip(each.shape, self.shapes[each.name]) if pair[0] != pair[1]}
        names = {each.name for each in own}
        return pairs | {pair for name, pair in self.sizes if name in names}

    def _failure(self) -> _Failure | None:
        """The first thing that goes wrong."""
        counting = _Counting()
        try:
            with unquantized(self.model), evaluating(self.model), counting:
                called("sample", self.model, self.sample)
        except Exception as error:
            place, reason = cause_of(error, __file__)
            progress = float(counting.count), 0
            return _Failure(progress, self._raising(error), "" if place is None else shown(place), reason)
        with unquantized(self.model):
            graph = trace(self.model, self.sample)
        for number, (now, before) in enumerate(itertools.zip_longest(graph, self.graph)):
            if now is None or before is None or (now.kind, now.path) != (before.kind, before.path):
                other = before or now
                return _Failure((math.inf, number), other.path, other.line, "other operations than before")
            if now.shape != self.shapes[before.name]:
                wanted = _shown(self.shapes[before.name])
                return _Failure((math.inf, number), now.path, now.line, f"{_shown(now.shape)} in the place of {wanted}")
        return None

    def _raising(self, error: Exception) -> str:
        """The path of the innermost module whose method raised."""
        path = ""
        for frame, _ in traceback.walk_tb(error.__traceback__):
            path = self.paths.get(id(frame.f_locals.get("self")), path)
        return path

    def _refusal(self, failure: _Failure) -> ValueError:
        kind = type(self.modules[failure.path]).__name__
        own = [each for each in self.own.get(failure.path, []) if self.shapes[each.name] != each.shape]
        wanted = next((each for each in own if each.line == failure.line), next(iter(own), None))
        what = "what it computes"
        if wanted is not None:
            before, after = _shown(wanted.shape), _shown(self.shapes[wanted.name])
            what = f"{wanted.kind} ({wanted.line}), {before} to be {after}"
        where = f"at {failure.line}, " if failure.line and (wanted is None or wanted.line != failure.line) else ""
        return ValueError(
            f"shrink module {failure.path!r} ({kind}) must keep the sizes of {what}, in attributes that can be changed;"
            f" none helps ({where}{failure.reason})"
        )


def _shown(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
