"""Matrix products by look-up: a `LutMatmul` on codes, in one pass or in two."""

from collections.abc import Callable
from typing import Any

import torch

from hwlut.ops import lut_encode as encoding
from hwlut.ops import lut_scan as scanning
from hwlut.ops.lut_launch import Launch, builders, encoder_arguments, table_arguments
from hwlut.ops.lut_tables import LutTables, lut_tables
from hwlut.ops.registry import register
from hwlut.units.lut_matmul import LutMatmul

__all__ = ["lut_encode", "lut_matmul", "lut_scan"]

_ENCODER = 6  # arguments of `encode` beside the codes; those of `scan` follow


def _empty(codes: torch.Tensor, *arguments: Any) -> torch.Tensor:
    """The output before it is filled, once the arguments are found fit."""
    return scanning.empty(encoding.empty(codes, *arguments[:_ENCODER]), *arguments[_ENCODER:])


def _definition(codes: torch.Tensor, *arguments: Any) -> torch.Tensor:
    return scanning.definition(encoding.definition(codes, *arguments[:_ENCODER]), *arguments[_ENCODER:])


def _on(launch: Launch) -> Callable[..., torch.Tensor]:
    """The operator by a kernel."""

    def run(codes: torch.Tensor, *arguments: Any) -> torch.Tensor:
        out = _empty(codes, *arguments)
        if not out.numel():
            return out
        whole: list[Any] = [value.contiguous() if isinstance(value, torch.Tensor) else value for value in arguments]
        encoder, table = encoder_arguments(*whole[:_ENCODER]), table_arguments(*whole[_ENCODER:])
        indices = None if codes.device.type == "cpu" else encoding.empty(codes, *arguments[:_ENCODER])
        launch(encoder, table, codes.contiguous(), indices, out)
        return out

    return run


_matmul = register(
    "lut_matmul(Tensor codes, Tensor points, Tensor? dimensions, str encoder, int features, int v, int zero_point,"
    " Tensor table, Tensor packed, Tensor? bias, Tensor? ratios, int[] after) -> Tensor",
    _definition,
    _empty,
    builders(_on),
)


def lut_encode(codes: torch.Tensor, tables: LutTables | LutMatmul) -> torch.Tensor:
    """The index of the prototype of each sub-vector, uint8 [..., C], of codes int8 [..., features].

    Raises TypeError for another kind of tensor or tables, ValueError for another shape or device.
    """
    held = _held("lut_encode", "codes", codes, tables)
    return encoding.encode(codes, *_encoder(held))


def lut_scan(indices: torch.Tensor, tables: LutTables | LutMatmul) -> torch.Tensor:
    """Sums of table entries with their bias, int32 [..., M], of indices uint8 [..., C], each read modulo K; or, with a
    Requantize, its codes in the narrowest integer type of its output.

    Raises TypeError for another kind of tensor or tables, ValueError for another shape or device.
    """
    held = _held("lut_scan", "indices", indices, tables)
    return scanning.scan(indices, *_table(held))


def lut_matmul(codes: torch.Tensor, tables: LutTables | LutMatmul) -> torch.Tensor:
    """The results [..., M] of a `LutMatmul`, value by value, of codes int8 [..., features]: `lut_scan` of `lut_encode`,
    a block of rows at a time, so that indices stay in the cache.

    A unit's tables are made at the first call and kept. Raises TypeError for another kind of tensor or tables,
    ValueError for another shape or device.
    """
    held = _held("lut_matmul", "codes", codes, tables)
    return _matmul(codes, *_encoder(held), *_table(held))


def _held(name: str, label: str, tensor: torch.Tensor, tables: LutTables | LutMatmul) -> LutTables:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} {label} must be a tensor, not {type(tensor).__name__}")
    if isinstance(tables, LutMatmul):
        return lut_tables(tables, tensor.device)
    if not isinstance(tables, LutTables):
        raise TypeError(f"{name} tables must be a LutTables or a LutMatmul, not {type(tables).__name__}")
    return tables


def _encoder(tables: LutTables) -> tuple[Any, ...]:
    sizes = (tables.features, tables.v, tables.zero_point)
    return (tables.points, tables.dimensions, tables.encoder.value, *sizes)


def _table(tables: LutTables) -> tuple[Any, ...]:
    return (tables.table, tables.packed, tables.bias, tables.ratios, tables.after)
