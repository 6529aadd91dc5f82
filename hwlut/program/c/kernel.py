"""Compiled kernels of programs of codes and rows."""

import ctypes
import functools
import math
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from hwlut.errors import ToolError
from hwlut.fixed import Fixed
from hwlut.ops.build import library_of
from hwlut.program.c.rows import RANGES, Source, row_source
from hwlut.program.c.steps import Place, entries
from hwlut.program.c.terms import kind_of
from hwlut.units import Program
from hwlut.units.codes import result_dtype
from hwlut.units.nodes import Extent
from hwlut.units.ports import Port
from hwlut.units.reductions import Sum

__all__ = ["kernel"]

_TYPES = {
    torch.uint8: "uint8_t",
    torch.int8: "int8_t",
    torch.int16: "int16_t",
    torch.int32: "int32_t",
    torch.int64: "int64_t",
}
_PLACES = 1 << 11  # of what counts as a row where codes are alone with each other
_ALONE = 1 << 15  # numbers for which one thread is enough
_PLANS = 256  # shapes that are kept at a time


def kernel(program: Program) -> Callable[..., Any] | None:
    """`program`, of codes or rows, as a function compiled for this processor; None where there is no compiler.

    ``kernel(program)(*codes)`` takes and gives what ``program(*codes)`` does, bit for bit, on the CPU, for codes of
    shapes that broadcast; ``narrow=True`` gives the narrowest of int8, uint8, int16, int32 and int64 that holds the
    output's format. It trusts its caller for the codes: one outside its format counts as the nearest in it. A program
    that differs in the values of `Entries` alone shares the compiled code as long as these need as many bits.
    ``HWLUT_KERNELS=torch`` in the environment gives None.

    Raises ValueError for a program of tensors, and for one with units that C does not hold.
    """
    if program.extent is Extent.TENSORS:
        raise ValueError(f"kernel program must be of codes or rows, which {program.name!r} is not")
    if shutil.which("g++") is None or os.environ.get("HWLUT_KERNELS") == "torch":
        return None
    return _Kernel(program)


class _Kernel:
    """A program with the functions that were compiled for it, by the types and shapes of what they take."""

    def __init__(self, program: Program):
        self._program = program
        self._ports = program.inputs
        self._constants = [_tensor(node.values) for node in entries(program).values()]
        self._names = [*(port.name for port in self._ports), *entries(program)]
        self._most = min(_sums(program), default=math.inf)
        self._plans: dict[Any, _Plan | None] = {}
        self._sources: dict[Any, Source] = {}
        self._source(["int64_t"] * len(self._names), [Place.EACH] * len(self._names), False)

    def __call__(self, *codes: torch.Tensor, narrow: bool = False) -> Any:
        if not all(isinstance(each, torch.Tensor) for each in codes):
            return self._program(*codes)  # which says what is wrong
        key = (narrow, *((each.shape, each.dtype, each.device) for each in codes))
        if key not in self._plans:
            if len(self._plans) == _PLANS:
                self._plans.clear()
            self._plans[key] = self._plan(list(codes), narrow)
        plan = self._plans[key]
        return self._program(*codes) if plan is None else plan(codes)

    def _plan(self, codes: list[torch.Tensor], narrow: bool) -> "_Plan | None":
        """What is done for codes of these shapes and types; None where that is left to the definition."""
        if len(codes) != len(self._ports) or not all(_fits(each, port) for each, port in zip(codes, self._ports)):
            return None
        shape = torch.broadcast_shapes(*(each.shape for each in codes))
        whole = torch.broadcast_shapes(shape, *(each.shape for each in self._constants))
        if not whole or not all(whole) or whole[:-1] != shape[:-1] or whole[-1] > self._most:
            return None
        given = [*codes, *self._constants]
        lasts = [each.shape[-1] if each.dim() else 1 for each in given]
        places = [Place.EACH if last == whole[-1] else Place.ROW for last in lasts]
        source = self._source([_TYPES[each.dtype] for each in given], places, narrow)
        function = _function(source.text)
        each = all(place is Place.EACH for place in source.places)
        if function is None or (whole != shape and Place.EACH in source.places):
            return None
        alone = each and self._program.extent is Extent.CODES and all(code.shape == shape for code in codes)
        sizes = [whole if place is Place.EACH else torch.Size((*whole[:-1], 1)) for place in source.places]
        dtypes = [_dtype(port.format, narrow) for port in self._program.outputs]
        return _Plan(function, source.buffers, self._constants, shape, whole, alone, list(zip(sizes, dtypes)))

    def _source(self, types: list[str], places: list[Place], narrow: bool) -> Source:
        key = (*types, *places, narrow)
        if key not in self._sources:
            outs = [_TYPES[_dtype(port.format, narrow)] for port in self._program.outputs]
            self._sources[key] = row_source(self._program, types, dict(zip(self._names, places)), outs)
        return self._sources[key]


class _Plan:
    """Calls of a compiled function for codes of certain shapes.

    buffers: rows that it needs beside. constants: what it takes after the codes. shape: of results. whole: of rows,
    which is longer than `shape` where constants are. alone: whether no number of one place meets that of another, and
    all inputs have one shape. results: shape, before it is expanded, and dtype of each.
    """

    def __init__(
        self,
        function: Any,
        buffers: int,
        constants: list[torch.Tensor],
        shape: torch.Size,
        whole: torch.Size,
        alone: bool,
        results: list[tuple[torch.Size, torch.dtype]],
    ):
        self._function, self._shape, self._results = function, shape, results
        self._batch = None if alone else whole[:-1]
        self._total = math.prod(whole)
        self._places = min(_PLACES, self._total) if alone else whole[-1]
        self._rows = -(-self._total // self._places)
        self._stride = -(-self._places // 8) * 8  # buffers begin at whole lines of the cache
        self._words = buffers * self._stride
        self._constants = [_laid_out(each, whole[:-1]) for each in constants]

    def __call__(self, codes: Sequence[torch.Tensor]) -> Any:
        if self._batch is None:
            laid = [(each.contiguous(), self._rows) for each in codes]
        else:
            laid = [*(_laid_out(each, self._batch) for each in codes), *self._constants]
        results = [torch.empty(size, dtype=dtype) for size, dtype in self._results]
        threads = 1 if self._total < _ALONE else min(torch.get_num_threads(), self._rows)
        space = torch.empty(threads * self._words, dtype=torch.int64)
        self._function(
            *(self._rows, self._places, self._total, self._stride),
            (ctypes.c_void_p * len(laid))(*(each.data_ptr() for each, _ in laid)),
            (ctypes.c_int64 * len(laid))(*(period for _, period in laid)),
            (ctypes.c_void_p * len(results))(*(each.data_ptr() for each in results)),
            *(space.data_ptr(), threads),
        )
        results = [each if each.shape == self._shape else each.expand(self._shape) for each in results]
        return results[0] if len(results) == 1 else tuple(results)


@functools.cache
def _function(text: str) -> Any:
    """The compiled function; None, with a warning, where it cannot be compiled."""
    try:
        function = library_of(text)["run"]
    except ToolError as error:
        warnings.warn(f"a program runs in torch, slowly: {error}", RuntimeWarning, stacklevel=2)
        return None
    pointers = ctypes.POINTER(ctypes.c_void_p)
    function.argtypes = [
        *[ctypes.c_int64] * 4,  # rows, places, total, stride
        *(pointers, ctypes.POINTER(ctypes.c_int64), pointers, ctypes.c_void_p),  # inputs, periods, outputs, space
        ctypes.c_int,  # threads
    ]
    function.restype = None
    return function


def _laid_out(each: torch.Tensor, batch: torch.Size) -> tuple[torch.Tensor, int]:
    """The rows of a tensor that broadcasts to [*batch, ...], one after the other, and after how many they repeat."""
    if each.shape[:-1] == batch:
        return each.contiguous(), math.prod(batch)
    if not each.dim():
        each = each.reshape(1)
    own = list(each.shape[:-1])
    while own and own[0] == 1:
        own.pop(0)
    if own != list(batch[len(batch) - len(own) :]):
        each, own = each.expand(*batch, each.shape[-1]), list(batch)
    return each.contiguous(), math.prod(own)


def _fits(codes: Any, port: Port) -> bool:
    """Whether `codes` are such that the compiled code takes them."""
    if not isinstance(codes, torch.Tensor) or codes.dtype not in _TYPES or codes.device.type != "cpu":
        return False
    return port.shape is None or tuple(codes.shape[-len(port.shape) :]) == port.shape


def _tensor(values: np.ndarray) -> torch.Tensor:
    """`Entries` in the type that the code takes them in."""
    wide = kind_of((int(values.min()), int(values.max()))) == "int64_t"
    return torch.tensor(values, dtype=torch.int64 if wide else torch.int32)


def _sums(program: Program) -> list[int]:
    """The most places of each `Sum`, programs inside included."""
    found = [node.most for node in program.nodes if isinstance(node, Sum)]
    inner = (unit for node in program.nodes for unit in node.units if isinstance(unit, Program))
    return found + [most for unit in inner for most in _sums(unit)]


def _dtype(format: Fixed, narrow: bool) -> torch.dtype:
    """Of results: as the definition has it, or the narrowest."""
    if not narrow:
        return result_dtype(format)
    return next(
        dtype for dtype, kind in _TYPES.items() if RANGES[kind][0] <= format.min and format.max <= RANGES[kind][1]
    )
