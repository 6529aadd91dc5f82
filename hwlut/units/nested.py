"""Units within units."""

import dataclasses
from typing import Any

import numpy as np

from hwlut.fields import Field, shorten
from hwlut.unit import Unit, from_content

__all__ = ["Nested", "TooDeep", "nested"]


class TooDeep(ValueError):
    """Programs nested too deeply, told without the name of every node on the way."""


class Nested(Field):
    """A unit of `kind` inside another: its integers, without name, function and meta."""

    def __init__(self, kind: type[Unit] = Unit):
        self.kind = kind

    def coerce(self, label: str, value: Any) -> Unit:
        if isinstance(value, dict):
            try:
                value = from_content(value)
            except TooDeep:
                raise
            except (TypeError, ValueError) as error:
                raise ValueError(f"{label}: {error}") from None
        if not isinstance(value, self.kind):
            wanted = "unit" if self.kind is Unit else self.kind.__name__
            raise TypeError(f"{label} must be a {wanted}, not {shorten(value)}")
        return value.replace(name="unit", function=None, meta={})

    def write(self, value: Unit, path: str = "") -> dict[str, Any]:
        return value.content(f"{path}.")

    def arrays(self, value: Unit, path: str) -> dict[str, np.ndarray]:
        return value.large_arrays(f"{path}.")


def nested(kind: type[Unit]) -> Any:
    """A unit of `kind` as a field."""
    return dataclasses.field(metadata={"field": Nested(kind)})
