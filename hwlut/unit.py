"""Units: immutable integers that describe one hardware block, and their files."""

import dataclasses
import functools
import hashlib
import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from hwlut.arrays import refusing_safetensors
from hwlut.fields import Array, Field, shorten
from hwlut.files import read_bytes, write_together
from hwlut.names import check_name
from hwlut.records import parse_json

__all__ = ["Unit", "Resources", "from_content", "load", "read_content"]

_JSON_LIMIT = 16 << 20
_ARRAYS_LIMIT = 1 << 30
_KINDS: dict[str, type["Unit"]] = {}
_Self = TypeVar("_Self", bound="Unit")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resources:
    """What a unit costs, by arithmetic alone.

    storage_bits: parameters held. multiplier_bits: partial-product bits (the product of the
    operands' widths, summed). adder_bits: full adders, a comparator counting as one of its width.
    latency: clock cycles from an accepted input to its output, in the component's default form.
    """

    storage_bits: int
    multiplier_bits: int
    adder_bits: int
    latency: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Unit:
    """Base of every unit kind: a frozen record of integers that is called on codes.

    A kind subclasses with ``schema="hwlut.<kind>/<version>"``, declares its fields with
    `hwlut.fields`, checks what spans several fields in `validate`, and defines `__call__` (codes
    in, codes out, in plain torch) and `cost`.

    Parameters
    ----------
    name: the module's and the file's name, ``[A-Za-z_][A-Za-z0-9_]{0,63}``, no Verilog keyword;
        by default the kind.
    function: the function the unit approximates, as `hwlut.functions` names it, or None.
    meta: where it came from (method, seed, errors, versions): any JSON object; not compared.
    """

    schema: ClassVar[str]

    name: str = ""
    function: str | None = None
    meta: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __init_subclass__(cls, schema: str, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.schema = schema
        _KINDS[schema] = cls

    def __post_init__(self) -> None:
        kind = type(self).__name__
        for attribute, field in self._fields().items():
            value = getattr(self, attribute)
            if value is not None or not field.optional:
                label = f"{kind} {field.key or attribute}"
                object.__setattr__(self, attribute, field.coerce(label, value))
        object.__setattr__(self, "name", check_name(self.name or kind.lower(), f"{kind} name"))
        if self.function is not None and not isinstance(self.function, str):
            raise TypeError(f"{kind} function must be a string or null, not {shorten(self.function)}")
        if not isinstance(self.meta, Mapping):
            raise TypeError(f"{kind} meta must be an object, not {shorten(self.meta)}")
        try:
            meta = json.loads(json.dumps(dict(self.meta), allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{kind} meta must be plain JSON: {error}") from None
        object.__setattr__(self, "meta", types.MappingProxyType(meta))
        self.validate()

    def validate(self) -> None:
        """Refuse impossible combinations of valid fields."""

    def __call__(self, *codes: Any, **choices: Any) -> Any:
        raise NotImplementedError

    def cost(self) -> Resources:
        """Storage, multiplier and adder bits and latency, without any tool."""
        raise NotImplementedError

    @classmethod
    def _fields(cls) -> dict[str, Field]:
        return {f.name: f.metadata["field"] for f in dataclasses.fields(cls) if "field" in f.metadata}

    @classmethod
    def keys(cls) -> dict[str, dataclasses.Field]:
        """The keys of the kind's files, each with its dataclass field."""
        held = cls._fields()
        return {(f.name in held and held[f.name].key) or f.name: f for f in dataclasses.fields(cls)}

    def _held(self) -> dict[str, tuple[Field, Any]]:
        """Every field of the kind that has a value, with it, by key."""
        held = {field.key or name: (field, getattr(self, name)) for name, field in self._fields().items()}
        return {key: (field, value) for key, (field, value) in held.items() if value is not None or not field.optional}

    def _parameters(self, path: str = "") -> dict[str, Any]:
        """JSON form of every field of the kind, large arrays by reference."""
        return {key: field.write(value, path + key) for key, (field, value) in self._held().items()}

    def large_arrays(self, path: str = "") -> dict[str, np.ndarray]:
        """The arrays that lie in the .safetensors file, by their path in the JSON; `path` is put before it."""
        held = self._held().items()
        return {
            where: array
            for key, (field, value) in held
            if value is not None
            for where, array in field.arrays(value, path + key).items()
        }

    def content(self, path: str = "") -> dict[str, Any]:
        """Schema and parameters in JSON form: what `digest` is of, and how a program's file holds its units.

        path: what stands before the names of large arrays.
        """
        return {"schema": self.schema, **self._parameters(path)}

    @functools.cached_property
    def digest(self) -> str:
        """sha256 of the JSON without `name`, `function` and `meta`: defaults filled in, keys sorted, no spaces."""
        text = json.dumps(self.content(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Unit):
            return NotImplemented
        return (self.digest, self.name, self.function) == (other.digest, other.name, other.function)

    def __hash__(self) -> int:
        return hash((self.digest, self.name, self.function))

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return functools.partial(type(self), **fields | {"meta": dict(self.meta)}), ()

    def replace(self: _Self, **changes: Any) -> _Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def dumps(self) -> str:
        """The parameter table as JSON text: one key a line."""
        content = {"schema": self.schema, "name": self.name, "function": self.function}
        content |= self._parameters() | {"meta": dict(self.meta)}
        lines = (f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in content.items())
        return "{" + ",\n ".join(lines) + "}\n"

    def save(self, path: str | Path) -> Path:
        """Write the parameter table, and ``<name>.safetensors`` beside it where arrays are large."""
        path = Path(path)
        files: dict[Path, str | bytes] = {}
        if arrays := self.large_arrays():
            from safetensors.numpy import save

            files[path.with_name(f"{self.name}.safetensors")] = save(arrays)
        write_together(files | {path: self.dumps()})
        return path


class _Arrays:
    """The .safetensors file at `path`, read when the first array is asked for."""

    def __init__(self, path: Path):
        self._path = path

        self._read: dict[str, np.ndarray] | None = None

    def _held(self, label: str) -> dict[str, np.ndarray]:
        from safetensors.numpy import load as load_arrays

        if self._read is None:
            data = read_bytes(self._path, _ARRAYS_LIMIT)
            try:
                with refusing_safetensors():
                    self._read = load_arrays(data)
            except ValueError as error:
                raise ValueError(f"{label}: {self._path} is no safetensors file of integers: {error}") from None
        return self._read

    def filled(self, value: Any, label: str) -> Any:
        """`value` with the arrays in the place of the references in it."""
        if isinstance(value, list):
            return [self.filled(item, f"{label}[{index}]") for index, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if "sha256" not in value:
            return {key: self.filled(item, f"{label} {key}") for key, item in value.items()}
        return self.array(value, label)

    def array(self, reference: dict[str, Any], label: str) -> np.ndarray:
        """The array that `reference` (key, shape, dtype, sha256) names."""
        if set(reference) != {"key", "shape", "dtype", "sha256"}:
            raise ValueError(f"{label} must be an array or an object of key, shape, dtype, sha256")
        held = self._held(label)
        if not isinstance(reference["key"], str) or reference["key"] not in held:
            raise ValueError(f"{label}: {self._path} has no array {shorten(reference['key'])}")
        found = held[reference["key"]]
        if found.dtype.kind not in "iu" or Array.reference(reference["key"], found) != reference:
            raise ValueError(
                f"{label}: the array in {self._path} is not the one described (shape, dtype or sha256 differ)"
            )
        return found


def read_content(path: Path) -> dict[str, Any]:
    """The JSON object in the file at `path`; ValueError, naming the file, for anything else."""
    data = read_bytes(path, _JSON_LIMIT)
    try:
        content = parse_json(data)
    except ValueError as error:
        raise ValueError(f"{path}: not a parameter table: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a parameter table: expected an object, not {shorten(content)}")
    return content


def load(path: str | Path) -> Unit:
    """Read a parameter table of any kind.

    Raises ValueError, naming the file and what was expected, for anything that is not one.
    """
    path = Path(path)
    content = read_content(path)
    try:
        return _build(content, path.parent)
    except RecursionError:
        raise ValueError(f"{path}: not a parameter table: nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def from_content(content: Mapping[str, Any]) -> Unit:
    """The unit whose `Unit.content` this is, named ``unit``, with the arrays that it refers to in it."""
    if extra := sorted({"name", "function", "meta"} & set(content)):
        raise ValueError(f"key {extra[0]!r} has no place in a unit within a unit")
    return _build({"name": "unit", "function": None, **content}, None)


def _build(content: dict[str, Any], folder: Path | None) -> Unit:
    """The unit that a file's `content` describes; large arrays lie in `folder`, or stand in it where that is None."""
    schema = content.pop("schema", None)
    if not isinstance(schema, str) or schema not in _KINDS:
        raise ValueError(f"schema must be one of {', '.join(sorted(_KINDS))}, not {shorten(schema)}")
    kind = _KINDS[schema]
    fields = kind.keys()
    if unknown := sorted(set(content) - set(fields)):
        raise ValueError(f"unknown key {shorten(unknown[0])}; {schema} has {', '.join(fields)}")
    needed = {key for key, field in fields.items() if field.default is dataclasses.MISSING} - {"meta"}
    if missing := sorted((needed | {"name", "function"}) - set(content)):
        raise ValueError(f"key {missing[0]!r} is missing")
    if folder is not None:
        arrays = _Arrays(folder / f"{check_name(content['name'], f'{kind.__name__} name')}.safetensors")
        for key, declared in fields.items():
            field, value = declared.metadata.get("field"), content.get(key)
            if isinstance(field, Array) and isinstance(value, dict):
                content[key] = arrays.array(value, key)
            elif field is not None and value is not None:
                content[key] = arrays.filled(value, key)
    return kind(**content)
