"""Typed fields of a unit: each validates what Python or a file gives, and writes it as JSON."""

import dataclasses
import enum
import hashlib
from numbers import Integral
from typing import Any

import numpy as np

from hwlut.fixed import Fixed

__all__ = ["INLINE_LIMIT", "Field", "Array", "integer", "integers", "choice", "fixed", "array", "optional", "shorten"]

INLINE_LIMIT = 4096
"""More numbers than this go to a .safetensors file beside the JSON."""

_REQUIRED: Any = dataclasses.MISSING


def shorten(value: object) -> str:
    """repr of `value`, cut to fit a one-line message."""
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 80 else text[:60] + "..." + text[-17:]


class Field:
    """One unit field: `coerce` validates, `write` gives its JSON form.

    key: its name in the file, where that is not the attribute's. optional: whether None is allowed, which the file
    tells by leaving the key out. The path that `write` and `arrays` are given is that of the field in the file, by
    which large arrays are named in the .safetensors beside it.
    """

    key: str | None = None
    optional = False

    def coerce(self, label: str, value: Any) -> Any:
        raise NotImplementedError

    def write(self, value: Any, path: str = "") -> Any:
        return value

    def arrays(self, value: Any, path: str) -> dict[str, np.ndarray]:
        """The arrays of the value that are too large for the JSON, by their paths."""
        return {}


class _Integer(Field):
    def __init__(self, low: int, high: int):
        self.low = low
        self.high = high

    def coerce(self, label: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(f"{label} must be an integer, not {shorten(value)}")
        value = int(value)
        if not self.low <= value <= self.high:
            raise ValueError(f"{label} must be from {self.low} to {self.high}, not {shorten(value)}")
        return value


class _Integers(Field):
    def __init__(self, low: int, high: int):
        self.item = _Integer(low, high)

    def coerce(self, label: str, value: Any) -> tuple[int, ...]:
        if not isinstance(value, (tuple, list, np.ndarray)):
            raise TypeError(f"{label} must be a sequence of integers, not {shorten(value)}")
        if len(value) > INLINE_LIMIT:
            raise ValueError(f"{label} must be at most {INLINE_LIMIT} integers, not {len(value)}")
        if set(map(type, value)) == {int} and self.item.low <= min(value) and max(value) <= self.item.high:
            return tuple(value)  # which is nearly always so, and takes a tenth of the time
        return tuple(self.item.coerce(f"{label}[{index}]", item) for index, item in enumerate(value))

    def write(self, value: tuple[int, ...], path: str = "") -> list[int]:
        return list(value)


class _Choice(Field):
    def __init__(self, kind: type[enum.Enum]):
        self.kind = kind

    def coerce(self, label: str, value: Any) -> enum.Enum:
        names = [member.value for member in self.kind]
        if not isinstance(value, str):
            raise TypeError(f"{label} must be one of {', '.join(names)}, not {shorten(value)}")
        if value not in names:
            raise ValueError(f"{label} must be one of {', '.join(names)}, not {shorten(value)}")
        return self.kind(value)

    def write(self, value: enum.Enum, path: str = "") -> str:
        return value.value


class _Fixed(Field):
    """A `Fixed` whose JSON holds just `keys`; a frac of None is written as the word `free`."""

    def __init__(self, keys: tuple[str, ...], free: str | None, nullable: bool):
        self.keys = keys
        self.free = free
        self.nullable = nullable

    def coerce(self, label: str, value: Any) -> Fixed | None:
        if value is None and self.nullable:
            return None
        expected = "an object of " + ", ".join(self.keys) + (" or null" if self.nullable else "")
        if isinstance(value, Fixed):
            if "frac" not in self.keys and value.frac is not None:
                raise ValueError(f"{label} must have no frac, not {value.frac}")
            if "signed" not in self.keys and not value.signed:
                raise ValueError(f"{label} must be signed")
            value = self.write(value)
        if not isinstance(value, dict):
            raise TypeError(f"{label} must be {expected}, not {shorten(value)}")
        if set(value) != set(self.keys):
            raise ValueError(f"{label} must be {expected}, not {shorten(value)}")
        bits = _Integer(1, 64).coerce(f"{label} bits", value["bits"])
        frac = None
        if "frac" in self.keys and (self.free is None or value["frac"] != self.free):
            frac = value["frac"]
            if self.free is not None and not isinstance(frac, Integral):
                raise TypeError(f"{label} frac must be an integer or {self.free!r}, not {shorten(frac)}")
            frac = _Integer(0, 62).coerce(f"{label} frac", frac)
        signed = value.get("signed", True)
        if not isinstance(signed, bool):
            raise TypeError(f"{label} signed must be true or false, not {shorten(signed)}")
        return Fixed(bits, frac, signed)

    def write(self, value: Fixed | None, path: str = "") -> dict[str, Any] | None:
        if value is None:
            return None
        parts = {key: getattr(value, key) for key in self.keys}
        if "frac" in parts and parts["frac"] is None:
            parts["frac"] = self.free
        return parts


class Array(Field):
    """A read-only integer array in the smallest signed dtype that holds it; of any dimensions where None is given."""

    def __init__(self, dimensions: int | None):
        self.dimensions = dimensions

    def coerce(self, label: str, value: Any) -> np.ndarray:
        try:
            given = np.asarray(value)
            if not isinstance(value, np.ndarray) and any(isinstance(n, bool) for n in np.asarray(value, object).flat):
                raise TypeError(f"{label} must be an array of integers, not of bool")
        except ValueError:
            raise ValueError(f"{label} must be a regular array of integers, not {shorten(value)}") from None
        if given.dtype.kind not in "iu":
            raise TypeError(f"{label} must be an array of integers, not of {given.dtype}")
        if self.dimensions not in (None, given.ndim) or given.size == 0:
            kind = "array" if self.dimensions is None else f"{self.dimensions}-dimensional array"
            raise ValueError(f"{label} must be a non-empty {kind}, not of shape {given.shape}")
        low, high = int(given.min()), int(given.max())
        for dtype in (np.int8, np.int16, np.int32, np.int64):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                held = given.astype(dtype, order="C", copy=True)
                held.flags.writeable = False
                return held
        raise ValueError(f"{label} must be below 2^63, not {high}")

    def write(self, value: np.ndarray, path: str = "") -> Any:
        return self.reference(path, value) if value.size > INLINE_LIMIT else value.tolist()

    def arrays(self, value: np.ndarray, path: str) -> dict[str, np.ndarray]:
        return {path: value} if value.size > INLINE_LIMIT else {}

    @staticmethod
    def reference(key: str, value: np.ndarray) -> dict[str, Any]:
        """What the JSON says of an array that lies in the .safetensors file."""
        little = value.astype(value.dtype.newbyteorder("<"))
        return {
            "key": key,
            "shape": list(value.shape),
            "dtype": value.dtype.name,
            "sha256": hashlib.sha256(little.tobytes()).hexdigest(),
        }


def _declare(codec: Field, default: Any) -> Any:
    return dataclasses.field(default=default, metadata={"field": codec})


def optional(declared: Any, key: str | None = None) -> Any:
    """A field that may be None, the default, and then is not in the file; `key` is its name there."""
    codec = declared.metadata["field"]
    codec.optional, codec.key = True, key
    return _declare(codec, None)


def integer(low: int, high: int, default: Any = _REQUIRED) -> Any:
    """An integer from `low` to `high`."""
    return _declare(_Integer(low, high), default)


def integers(low: int, high: int, default: Any = _REQUIRED) -> Any:
    """A tuple of at most 4,096 integers, each from `low` to `high`."""
    return _declare(_Integers(low, high), default)


def choice(kind: type[enum.Enum], default: Any = _REQUIRED) -> Any:
    """A member of an enumeration of strings."""
    return _declare(_Choice(kind), default)


def fixed(*keys: str, free: str | None = None, nullable: bool = False, default: Any = _REQUIRED) -> Any:
    """A `Fixed` of which the file holds `keys`; `free` is the word for a frac of None."""
    return _declare(_Fixed(keys, free, nullable), default)


def array(dimensions: int | None) -> Any:
    """A read-only integer array, of any dimensions for None; beyond 4,096 numbers it lies in the .safetensors file."""
    return _declare(Array(dimensions), _REQUIRED)
