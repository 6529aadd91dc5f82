"""JSON: read strictly, and held to the type hints of what is made of it."""

import dataclasses
import json
import math
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hwlut.fields import shorten
from hwlut.files import read_bytes, write_atomic

__all__ = ["held", "json_text", "parse_json", "read_fields", "read_json", "read_record", "write_record"]

_WORDS: dict[Any, str] = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


def parse_json(data: bytes) -> Any:
    """What JSON says: UTF-8, no key of an object twice, no NaN; ValueError for anything else. 1e999 is infinite."""
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"key {shorten(key)} stands twice")
        content[key] = value
    return content


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no JSON number")


def read_json(path: Path, what: str, limit: int) -> Any:
    """What a JSON file of at most `limit` bytes holds, else ValueError naming the file and `what` it is of."""
    data = read_bytes(path, limit)
    try:
        return parse_json(data)
    except ValueError as error:
        raise ValueError(f"{path}: {what} must be a JSON object: {error}") from None


def read_record(path: Path, what: str, schema: str, keys: Iterable[str], limit: int) -> dict[str, Any]:
    """What a JSON file holds besides its schema: an object of just these keys. ValueError as of `read_json`."""
    content, names = read_json(path, what, limit), list(keys)
    if not isinstance(content, dict) or content.pop("schema", None) != schema or set(content) != set(names):
        raise ValueError(f"{path}: {what} must be an object of schema, which is {schema}, {', '.join(names)}")
    return content


def read_fields(path: Path, what: str, schema: str, hints: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """What `read_record` finds, of the keys of `hints`, each `held` to its own; ValueError, naming the file, else."""
    content = read_record(path, what, schema, hints, limit)
    try:
        return {name: held(name, content[name], hint) for name, hint in hints.items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def write_record(
    path: Path, what: str, schema: str, content: Mapping[str, Any], default: Callable[[Any], Any] | None = None
) -> None:
    """Write the file that `read_record` reads. default: makes JSON of what is none, as that of `json.dumps`."""
    write_atomic(path, json_text({"schema": schema, **content}, what, default))


def json_text(content: Any, what: str, default: Callable[[Any], Any] | None = None) -> str:
    """The text of a file that `read_json` reads; ValueError, naming the key, for a number that is not finite."""
    try:
        return json.dumps(content, indent=1, default=default, allow_nan=False) + "\n"
    except ValueError:
        plain = json.loads(json.dumps(content, default=default))
        wrong = next(pair for pair in _leaves(what, plain) if pair[1] != pair[1] or pair[1] in (math.inf, -math.inf))
        raise ValueError(f"{wrong[0]} must be finite to be kept, not {wrong[1]}") from None


def _leaves(label: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (dict, list)):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(f"{label} {key}", each)
    else:
        yield label, value


def held(label: str, value: Any, hint: Any) -> Any:
    """`value`, as JSON gives it, where it is what `hint` says; else TypeError or ValueError, naming the key.

    Hints are str, int, float (which integers are, too), bool, Any, Mapping from str, Sequence, tuple of any length,
    unions of these with None, and dataclasses, of which an object has just the fields and is made an instance.
    """
    if hint is Any:
        return value
    kind, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind in (types.UnionType, typing.Union):
        (hint,) = set(parts) - {types.NoneType}
        return None if value is None else held(label, value, hint)
    if dataclasses.is_dataclass(kind):
        return _made(label, value, kind)
    if kind in (Mapping, dict):
        _check(label, isinstance(value, dict), "an object", value)
        return {key: held(f"{label} {shorten(key)}", each, parts[1]) for key, each in value.items()}
    if kind in (Sequence, list, tuple):
        _check(label, isinstance(value, list), "a list", value)
        found = [held(f"{label}[{place}]", each, parts[0]) for place, each in enumerate(value)]
        return tuple(found) if kind is tuple else found
    wanted = (int, float) if kind is float else kind
    _check(label, isinstance(value, wanted) and (kind is bool or not isinstance(value, bool)), _WORDS[kind], value)
    if kind is float and abs(value) > sys.float_info.max:
        raise ValueError(f"{label} must be a number that a float holds, not {shorten(value)}")
    return value


def _made(label: str, value: Any, kind: Any) -> Any:
    _check(label, isinstance(value, dict), "an object", value)
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    if set(value) != set(names):
        raise ValueError(f"{label} must be an object of {', '.join(names)}, not of {shorten(sorted(value))}")
    return kind(**{name: held(f"{label} {name}", value[name], hints[name]) for name in names})


def _check(label: str, right: bool, wanted: str, value: Any) -> None:
    if not right:
        raise TypeError(f"{label} must be {wanted}, not {shorten(value)}")
