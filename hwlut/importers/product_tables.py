"""Product tables in the file formats of other simulators of approximate multipliers.

Every format holds 2^bits rows, of the first operand, of 2^bits products each. The order of both operands is not in
the file: ``value`` is ascending (-128 to 127 for signed 8 bits), ``pattern`` that of the codes' bit patterns (0 to
127, then -128 to -1). For unsigned operands the two are the same.
"""

import io
import re
from collections.abc import Callable

import numpy as np

from hwlut.arrays import parse_npy
from hwlut.fields import shorten
from hwlut.fixed import Fixed
from hwlut.importers.source import Source

__all__ = ["ORDERS", "READERS", "WRITERS", "check", "reordered"]

ORDERS = ("value", "pattern")
"""Orders of a table's codes: ascending by value, or by the bits of two's complement taken as an unsigned number."""

_HEADER_TOKEN = re.compile(r"-?[0-9]\w*|[A-Za-z_]\w*|#[^\n]*", re.ASCII)
_C_TYPES = ("int16_t", "uint16_t", "int32_t", "uint32_t", "int", "short")
_PLAIN = re.compile(r"[-+]?(?:[0-9]{1,12}(?:\.0*)?|[0-9](?:\.[0-9]{1,24})?[eE][-+]?[0-9]{1,2})", re.ASCII)


def _integer(token: str, line: int) -> int:
    """A whole number, also as savetxt writes it, such as 1.6384e+04."""
    if not _PLAIN.fullmatch(token) or not float(token).is_integer():
        raise ValueError(f"line {line}: products must be integers, not {shorten(token)}")
    if abs(product := int(float(token))) >= 1 << 31:
        raise ValueError(f"line {line}: products must be below 2^31 in size, not {shorten(token)}")
    return product


def _approxtorch(data: bytes, size: int, signed: bool) -> np.ndarray:
    """Rows of numbers in plain text."""
    rows: list[list[int]] = []
    for line, text in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        if tokens := text.split():
            if len(tokens) != size or len(rows) == size:
                raise ValueError(
                    f"line {line}: the table must be {size} rows of {size} products, "
                    f"not {len(tokens)} products in row {len(rows) + 1}"
                )
            rows.append([_integer(token, line) for token in tokens])
    if len(rows) != size:
        raise ValueError(f"the table must be {size} rows of {size} products, not {len(rows)} rows")
    return np.array(rows, np.int64)


def _adapt(data: bytes, size: int, signed: bool) -> np.ndarray:
    """One C array of arrays."""
    source = Source(data.decode("utf-8", "replace"), _HEADER_TOKEN)
    while re.match(r"#\s*(include\s*<\w+\.h>|pragma once|ifndef|define \w+\s*$|endif)", source.peek()):
        source.next()
    while source.peek() in ("const", "static"):
        source.next()
    if source.peek() not in _C_TYPES:
        source.fail(f"expected an array of one of {', '.join(_C_TYPES)}, not {shorten(source.peek())}")
    source.next()
    source.name()
    for _ in range(2):
        source.expect("[")
        source.expect(str(size))
        source.expect("]")
    source.expect("=")
    source.expect("{")
    rows: list[list[int]] = []
    for row in range(size):
        source.expect("{")
        products = []
        for place in range(size):
            products.append(_integer(source.peek(), source.line))
            source.next()
            if place < size - 1:
                source.expect(",")
        source.accept(",")
        source.expect("}")
        rows.append(products)
        if row < size - 1:
            source.expect(",")
    source.accept(",")
    source.expect("}")
    source.expect(";")
    if source.peek() and not re.match(r"#\s*endif", source.peek()):
        source.fail(f"nothing may follow the array, not {shorten(source.peek())}")
    return np.array(rows, np.int64)


def _torchapprox(data: bytes, size: int, signed: bool) -> np.ndarray:
    """A numpy file of integers."""
    table = parse_npy(data)
    if table.dtype.kind not in "iu" or table.dtype == np.uint64:
        raise ValueError(f"the array must be of integers of at most 63 bits, not of {table.dtype}")
    if table.shape != (size, size):
        raise ValueError(f"the array must be of shape ({size}, {size}), not {shorten(table.shape)}")
    return table.astype(np.int64)


def _tfapprox(data: bytes, size: int, signed: bool) -> np.ndarray:
    """Little-endian words of 16 bits, two's complement where signed."""
    if len(data) != 2 * size * size:
        raise ValueError(f"the table must be {2 * size * size} bytes, not {len(data)}")
    return np.frombuffer(data, "<i2" if signed else "<u2").reshape(size, size).astype(np.int64)


READERS: dict[str, Callable[[bytes, int, bool], np.ndarray]] = {
    "approxtorch": _approxtorch,
    "adapt": _adapt,
    "torchapprox": _torchapprox,
    "tfapprox": _tfapprox,
}
"""Bytes, products a row and whether signed, to an int64 array in the file's order; ValueError for anything else."""


def _write_approxtorch(table: np.ndarray, signed: bool) -> bytes:
    return "".join(" ".join(map(str, row)) + "\n" for row in table.tolist()).encode()


def _write_adapt(table: np.ndarray, signed: bool) -> bytes:
    rows = ",\n".join("{" + ", ".join(map(str, row)) + "}" for row in table.tolist())
    size = len(table)
    type = "int16_t" if signed else "uint16_t"
    return f"#include <stdint.h>\n\nconst {type} lut[{size}][{size}] = {{\n{rows}\n}};\n".encode()


def _write_torchapprox(table: np.ndarray, signed: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, table.astype("<i4"), allow_pickle=False)
    return file.getvalue()


def _write_tfapprox(table: np.ndarray, signed: bool) -> bytes:
    return table.astype("<i2" if signed else "<u2").tobytes()


WRITERS: dict[str, Callable[[np.ndarray, bool], bytes]] = {
    "approxtorch": _write_approxtorch,
    "adapt": _write_adapt,
    "torchapprox": _write_torchapprox,
    "tfapprox": _write_tfapprox,
}
"""An int64 array in the file's order, and whether signed, to bytes."""


def reordered(table: np.ndarray, operand: Fixed, order: str) -> np.ndarray:
    """From `order` to value order, or back: for two halves it is the same exchange."""
    half = len(table) // 2
    return np.roll(table, (half, half), (0, 1)) if operand.signed and order == "pattern" else table


def check(products: np.ndarray, operand: Fixed, order: str) -> None:
    """Refuse products, in value order, that do not fit twice the operand's bits, and those of another sign or order.

    They are taken for those of the other order where that more than halves the mean distance to the exact product, for
    those of the other sign where that divides it by more than 8: products that are all 0 are 4 times nearer to signed
    operands' than to unsigned ones'.
    """
    held = Fixed(2 * operand.bits, signed=operand.signed)
    beyond = np.argwhere((products < held.min) | (products > held.max))
    if len(beyond):
        a, b = (int(place) + operand.min for place in beyond[0])
        raise ValueError(
            f"the product of {a} and {b} must be from {held.min} to {held.max}, "
            f"not {int(products[tuple(beyond[0])])}: are the operands {'un' if operand.signed else ''}signed?"
        )
    table = reordered(products, operand, order)
    error = _error(table, operand, order)
    opposite = Fixed(operand.bits, signed=not operand.signed)
    nearest = min(_error(table, opposite, each) for each in ORDERS)
    if error > 8 * nearest:
        kinds = ("signed", "unsigned") if operand.signed else ("unsigned", "signed")
        found = f"the mean error is {error:g} as {kinds[0]}, {nearest:g} as {kinds[1]} operands"
        raise ValueError(f"the operands must be {kinds[1]}, not {kinds[0]}: {found}")
    if operand.signed:
        other = ORDERS[1 - ORDERS.index(order)]
        swapped = _error(table, operand, other)
        if error > 2 * swapped:
            found = f"the mean error is {error:g} in {order} order, {swapped:g} in {other} order"
            raise ValueError(f"order must be {other}, not {order}: {found}")


def _error(table: np.ndarray, operand: Fixed, order: str) -> float:
    """The mean distance to the exact product of a file's table, its bits taken for products of `operand` in `order`."""
    held = Fixed(2 * operand.bits, signed=operand.signed)
    products = (reordered(table, operand, order) - held.min) % (1 << held.bits) + held.min
    values = np.arange(operand.min, operand.max + 1)
    return float(np.abs(products - np.multiply.outer(values, values)).mean())
