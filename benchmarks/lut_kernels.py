"""Kernels of look-up products beside torch's matrix products, on one thread."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from benchmarks.report import Row
from benchmarks.timing import medians
from hwlut import Fixed, LutMatmul, Requantize
from hwlut.ops import LutTables, implementation, lut_encode, lut_matmul, lut_scan, lut_tables

__all__ = ["kernel_rows", "random_unit"]

_FLOAT, _INTEGERS = "torch float32 matmul", "torch._int_mm"
_REPEATS = 21


def random_unit(
    encoder: str, *, k: int, v: int, size: int, table_bits: int = 8, requantized: bool = False
) -> LutMatmul:
    """Random integers, `size` inputs and as many outputs."""
    rng = np.random.default_rng(0)
    codebooks, half = size // v, 1 << (table_bits - 1)
    if encoder == "tree":
        points = {"thresholds": rng.integers(-128, 128, (codebooks, k - 1))}
        points["dimensions"] = rng.integers(0, v, (codebooks, k.bit_length() - 1))
    else:
        points = {"prototypes": rng.integers(-128, 128, (codebooks, k, v))}
    after = None
    if requantized:
        multipliers = tuple(rng.integers(1 << 29, 1 << 31, size).tolist())
        after = Requantize(input=Fixed(32), multipliers=multipliers, shifts=(34,) * size, output=Fixed(8))
    table = rng.integers(-half, half, (codebooks, k, size))
    return LutMatmul(
        encoder=encoder, features=size, v=v, table=table, table_bits=table_bits, requantize=after, **points
    )


def kernel_rows(size: int = 512) -> list[Row]:
    """Targets of the products, and what has none beside them: encoders and sums alone, other units, AVX2.

    Every time is of results that equal the unit's definition.
    """
    assert implementation("lut_matmul", "cpu") == "kernel"
    tree = random_unit("tree", k=16, v=8, size=size)
    squares = random_unit("l2", k=16, v=32, size=size)
    rows = _rows("tree, v 8", tree, 1024, whole=(1 / 8, 1 / 1.5))
    rows += _rows("integer L2, v 32", squares, 4096, whole=(1 / 12, None))
    for label, unit, count in (
        ("tree, v 8, requantized", random_unit("tree", k=16, v=8, size=size, requantized=True), 1024),
        ("tree, v 8, int4 table", random_unit("tree", k=16, v=8, size=size, table_bits=4), 1024),
        ("tree, v 8, K 256", random_unit("tree", k=256, v=8, size=size), 1024),
        ("integer L1, v 32", random_unit("l1", k=16, v=32, size=size), 4096),
    ):
        rows += _rows(label, unit, count)
    with _at_most("avx2"):
        rows += _rows("AVX2, tree, v 8", tree, 1024)
        rows += _rows("AVX2, integer L2, v 32", squares, 4096)
    return rows


@contextmanager
def _at_most(instructions: str) -> Iterator[None]:
    """The kernels without wider instructions than these."""
    before = os.environ.get("HWLUT_CPU", "")
    os.environ["HWLUT_CPU"] = instructions
    try:
        yield
    finally:
        os.environ["HWLUT_CPU"] = before


def _rows(name: str, unit: LutMatmul, count: int, whole: tuple[float | None, float | None] = (None, None)) -> list[Row]:
    """A unit on `count` rows: whole, beside float32 and int8 products of that shape; encoder and sums alone."""
    random = torch.Generator().manual_seed(count)
    codes = torch.randint(-128, 128, (count, unit.features), generator=random).to(torch.int8)
    weights = torch.randint(-128, 128, (unit.features, unit.outputs), generator=random).to(torch.int8)
    x, w, tables = codes.float(), weights.float(), _made(unit)
    indices = lut_encode(codes, tables)
    assert torch.equal(indices.long(), unit.encode(codes))
    for results in (lut_matmul(codes, tables), lut_scan(indices, tables)):
        assert torch.equal(results.int(), unit(codes))
    calls: list[Callable[[], object]] = [
        lambda: x @ w,
        lambda: torch._int_mm(codes, weights),
        lambda: lut_matmul(codes, tables),
        lambda: lut_encode(codes, tables),
        lambda: lut_scan(indices, tables),
    ]
    float32, integers, *ours = medians(_REPEATS, *calls)
    shape = f"{count} x {unit.features} x {unit.outputs}"
    rows = [_row(f"look-up product, {name}, {shape}", ours[0], _FLOAT, float32, whole[0])]
    if whole[1] is not None:
        rows.append(_row(f"look-up product, {name}, {shape}", ours[0], _INTEGERS, integers, whole[1]))
    for label, seconds in zip(("encoder", "sums"), ours[1:]):
        rows.append(_row(f"{label} alone, {name}, {shape}", seconds, _FLOAT, float32, None))
    return rows


def _made(unit: LutMatmul) -> LutTables:
    """Tables of a unit, packed for the instructions in use."""
    kept = lut_tables(unit)
    fields = ("encoder", "features", "v", "zero_point", "prototypes", "thresholds", "dimensions", "table", "bias")
    return LutTables(**{field: getattr(kept, field) for field in fields}, requantize=unit.requantize)


def _row(name: str, ours: float, against: str, baseline: float, target: float | None) -> Row:
    """A ratio."""
    figures = {"unit": "ms", "ours": 1e3 * ours, "against": against, "baseline": 1e3 * baseline}
    return Row(name=name, target=target, bounds="ratio", **figures)
