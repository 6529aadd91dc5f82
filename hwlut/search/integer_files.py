"""Files of integers: a quantized model as JSON and tensors, for what is built outside of torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwlut.arrays import refusing_safetensors
from hwlut.fields import shorten
from hwlut.files import read_bytes, write_together
from hwlut.fixed import Fixed
from hwlut.nn.quantized import IntegerOperand, IntegerOperation, integers
from hwlut.quant import parse_format
from hwlut.records import read_json

__all__ = ["load_integers", "save_integers"]

_SCHEMA = "hwlut.integers/1"
_JSON = "integers.json"
_TENSORS = "integers.safetensors"
_LIMIT = 64 << 20
_TENSORS_LIMIT = 64 << 30
_OPERANDS = ("weight", "activation")
_ARRAYS = ("codes", "bias", "constant")
_LISTS = ("steps", "zero_points", "multipliers", "shifts")


def save_integers(model: nn.Module, folder: str | Path, sample: Any = None) -> Path:
    """Write what `hwlut.nn.quantized.integers` makes of `model` and `sample`; the path of the JSON.

    ``integers.json`` is an object of "schema", which is "hwlut.integers/1", "tensors" (the "file" beside it and its
    "sha256") and "operations", by module path; each has the fields of `IntegerOperation` by name, formats by
    name ("s8", "u4", "e2m1"), and integers as ``{"bits": 8, "signed": true}``. ``integers.safetensors`` has
    the tensors, each under "<module path>.<field>". Both appear whole or not at all.
    """
    from safetensors.torch import save

    found = integers(model, sample)
    tensors = {
        f"{path}.{name}": tensor
        for path, each in found.items()
        for name in _ARRAYS
        if (tensor := getattr(each, name)) is not None
    }
    data = save(tensors)
    content = {
        "schema": _SCHEMA,
        "tensors": {"file": _TENSORS, "sha256": hashlib.sha256(data).hexdigest()},
        "operations": {path: _plain(each) for path, each in found.items()},
    }
    path = Path(folder) / _JSON
    write_together({path.with_name(_TENSORS): data, path: json.dumps(content, indent=1) + "\n"})
    return path


def load_integers(folder: str | Path) -> dict[str, IntegerOperation]:
    """What `save_integers` wrote; ValueError, naming the file, for anything else."""
    path = Path(folder) / _JSON
    content = read_json(path, "integers", _LIMIT)
    if not isinstance(content, dict) or content.get("schema") != _SCHEMA:
        raise ValueError(f"{path}: integers must be an object of schema {_SCHEMA}, not {shorten(content)}")
    try:
        tensors = _tensors(path.with_name(_TENSORS), content["tensors"]["sha256"])
        found = {name: _operation(name, each, tensors) for name, each in content["operations"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: operations must be as save_integers writes them: {shorten(str(error))}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if tensors:
        raise ValueError(f"{path}: tensors must belong to an operation, but not {shorten(sorted(tensors))}")
    return found


def _tensors(path: Path, digest: object) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    data = read_bytes(path, _TENSORS_LIMIT)
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"tensors must be as they were written; the digest of {path.name} is of another content")
    with refusing_safetensors():
        return load(data)


def _plain(operation: IntegerOperation) -> dict[str, Any]:
    """As JSON; of tensors, whether they are there is known by their file."""
    return {
        "kind": operation.kind,
        "inputs": operation.inputs,
        "accumulator": _plain_integers(operation.accumulator),
        "geometry": dict(operation.geometry),
        **{name: _plain_operand(getattr(operation, name)) for name in _OPERANDS},
    }


def _plain_operand(operand: IntegerOperand | None) -> dict[str, Any] | None:
    if operand is None:
        return None
    return asdict(operand) | {"format": str(operand.format), "integers": _plain_integers(operand.integers)}


def _plain_integers(integers: Fixed | None) -> dict[str, Any] | None:
    return None if integers is None else {"bits": integers.bits, "signed": integers.signed}


def _operation(path: str, given: Mapping[str, Any], tensors: dict[str, torch.Tensor]) -> IntegerOperation:
    """That of a file; its tensors are taken out of `tensors`."""
    named = {"kind", "inputs", "accumulator", "geometry", *_OPERANDS}
    assert named | set(_ARRAYS) == {each.name for each in fields(IntegerOperation)}
    if set(given) != named:
        raise ValueError(f"{path!r} must be an object of {', '.join(sorted(named))}")
    accumulator = given["accumulator"]
    return IntegerOperation(
        kind=given["kind"],
        inputs=given["inputs"],
        accumulator=None if accumulator is None else Fixed(**accumulator),
        geometry={name: tuple(each) if isinstance(each, list) else each for name, each in given["geometry"].items()},
        weight=_operand(given["weight"]),
        activation=None if given["activation"] is None else _operand(given["activation"]),
        **{name: tensors.pop(f"{path}.{name}", None) for name in _ARRAYS},
    )


def _operand(given: Mapping[str, Any]) -> IntegerOperand:
    held = Fixed(**given["integers"])
    format = held if given["format"] == str(held) else parse_format(given["format"])
    lists: dict[str, Any] = {name: None if given[name] is None else tuple(given[name]) for name in _LISTS}
    return IntegerOperand(format=format, integers=held, **lists)
