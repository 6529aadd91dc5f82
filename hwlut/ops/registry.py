"""Operators of torch with a definition in torch and, where they can be built, kernels."""

import functools
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from hwlut.errors import ToolError

__all__ = ["register", "implementation", "standing_alone"]

_LIBRARY = torch.library.Library("hwlut", "DEF")
_DEVICES = ("cpu", "cuda")


class _Operator(NamedTuple):
    definition: Callable[..., Any]
    kernels: Mapping[str, Callable[[], Callable[..., Any]]]


_OPERATORS: dict[str, _Operator] = {}


def register(
    schema: str,
    definition: Callable[..., Any],
    fake: Callable[..., Any],
    kernels: Mapping[str, Callable[[], Callable[..., Any]]],
    autograd: tuple[Callable[..., None], Callable[..., Any]] | None = None,
) -> torch._ops.OpOverload:
    """The operator ``torch.ops.hwlut.<name>``, newly made from its torch `schema` ``name(...) -> ...``.

    `definition` is its meaning, in plain torch, and runs where no kernel does. `fake` returns outputs of the right
    shape, strides, dtype and device for tracing. `kernels` gives, for "cpu" and "cuda", a function that builds the
    kernel when it is first needed and returns the function to call; it raises ToolError where that is impossible.
    `autograd` is what `torch.library.register_autograd` takes, of an operator with a gradient: the function that
    saves what the backward needs, and the backward.
    """
    name = schema.partition("(")[0]
    _OPERATORS[name] = _Operator(definition, kernels)
    _LIBRARY.define(schema)
    for device in _DEVICES:
        _LIBRARY.impl(name, _dispatcher(name, device), device.upper())
    torch.library.register_fake(f"hwlut::{name}", fake, lib=_LIBRARY)
    if autograd is not None:
        save, backward = autograd
        torch.library.register_autograd(f"hwlut::{name}", backward, setup_context=save, lib=_LIBRARY)
    return getattr(torch.ops.hwlut, name).default


def _dispatcher(name: str, device: str) -> Callable[..., Any]:
    return lambda *arguments: _chosen(name, device)(*arguments)


@functools.cache
def _chosen(name: str, device: str) -> Callable[..., Any]:
    operator = _OPERATORS[name]
    if os.environ.get("HWLUT_KERNELS") == "torch":
        return operator.definition
    try:
        return operator.kernels[device]()
    except ToolError as error:
        warnings.warn(f"hwlut {name} runs in torch on {device}, slowly: {error}", RuntimeWarning, stacklevel=2)
        return operator.definition


def implementation(name: str, device: str) -> str:
    """Which runs operator `name` on `device` ("cpu" or "cuda"): "kernel" or "torch".

    The environment variable ``HWLUT_KERNELS=torch``, read once, chooses torch everywhere.
    """
    for label, value, known in (("operator", name, _OPERATORS), ("device", device, _DEVICES)):
        if value not in known:
            raise ValueError(f"implementation {label} must be one of {', '.join(known)}, not {value!r}")
    return "torch" if _chosen(name, device) is _OPERATORS[name].definition else "kernel"


def standing_alone() -> bool:
    """Whether torch exports a program, which others may run without these operators."""
    exporting = getattr(torch.compiler, "is_exporting", torch.onnx.is_in_onnx_export)  # torch 2.6 lacks it
    return bool(exporting())
