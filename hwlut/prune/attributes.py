"""Integers that modules keep of their sizes, as a number of heads: where they are, and how one is changed."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

__all__ = ["Attribute", "attributes", "read_names"]

_FEW = 8
"""Longer tuples are no sizes."""

_OPAQUE = (nn.Module, torch.Tensor, torch.dtype, torch.device, str, bytes, dict, set, frozenset, type)


@dataclass(frozen=True)
class Attribute:
    """An integer that a module holds: an attribute, one of a tuple, or one of an object that it holds, as a config.

    holder: name of that object; "" for the module. name: of the attribute. place: in the tuple; -1 for the attribute
    itself.
    """

    holder: str
    name: str
    place: int = -1

    def change(self, module: nn.Module, value: int) -> tuple[str, Any]:
        """Give the module the value: name and value of the attribute that it had before, to be set again.

        What is held is copied first: other modules may hold it too.
        """
        if not self.holder:
            before = vars(module)[self.name]
            vars(module)[self.name] = self._with(before, value)
            return self.name, before
        before = vars(module)[self.holder]
        own = copy.copy(before)
        vars(own)[self.name] = self._with(vars(own)[self.name], value)
        vars(module)[self.holder] = own
        return self.holder, before

    def _with(self, old: Any, value: int) -> Any:
        if self.place < 0:
            return value
        new = [*old[: self.place], value, *old[self.place + 1 :]]
        return new if isinstance(old, list) else tuple(new)

    def __str__(self) -> str:
        name = f"{self.holder}.{self.name}" if self.holder else self.name
        return name if self.place < 0 else f"{name}[{self.place}]"


def attributes(module: nn.Module) -> Iterator[tuple[Attribute, int]]:
    """The integers that a module holds, and their values; those of objects that it holds last."""
    held = dict(vars(module))
    for name, value in held.items():
        yield from _integers("", name, value)
    for holder, thing in held.items():
        if hasattr(thing, "__dict__") and not isinstance(thing, _OPAQUE) and not callable(thing):
            for name, value in vars(thing).items():
                yield from _integers(holder, name, value)


def _integers(holder: str, name: str, value: Any) -> Iterator[tuple[Attribute, int]]:
    if _is_integer(value):
        yield Attribute(holder, name), value
    elif isinstance(value, (tuple, list)) and len(value) <= _FEW and all(map(_is_integer, value)):
        yield from ((Attribute(holder, name, place), each) for place, each in enumerate(value))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def read_names(module: nn.Module) -> frozenset[str]:
    """Names that the methods of a module read, but for what makes it."""
    names: set[str] = set()
    for base in type(module).__mro__:
        if base is nn.Module:
            break
        for name, method in vars(base).items():
            code = getattr(method, "__code__", None)
            if code is not None and name != "__init__":
                names.update(code.co_names)
    return frozenset(names)
