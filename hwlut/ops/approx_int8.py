"""Matrix products by int8 factors: the codes expanded by look-ups, multiplied by `torch._int_mm`.

On GPUs that is the tensor cores. Nothing here asks for one: the same calls compute the same on the processor.
"""

from collections.abc import Iterator

import torch

from hwlut.ops.lookup import lookup

__all__ = ["add_products", "pack", "packed_shape", "unpacked"]

_WORDS = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.int8}  # by the number of terms that share one
_ALIGNED = 16  # columns and values of k come in multiples of it, whole vectors of bytes
_ROWS = 32  # rows likewise; torch._int_mm wants more than 16
_AT_ONCE = 1 << 28  # bytes of expanded codes
_EXACT = ((1 << 31) - 1) // (1 << 14)  # products of int8 whose sum fits int32, so that none is held to its ends


def _words(terms: int) -> Iterator[tuple[int, int]]:
    """The first term and the number of terms of the words that hold `terms` bytes, the widest first."""
    start = 0
    for width in _WORDS:
        while terms - start >= width:
            yield start, width
            start += width


def pack(v: torch.Tensor) -> torch.Tensor:
    """The factors v int8 [Z, K, T, N] as `add_products` takes them: [Z, N', K' T], N' and K' the next multiples of 16.

    A column holds, for each word of its terms, that word of every k.
    """
    v = torch.nn.functional.pad(v, (0, -v.shape[3] % _ALIGNED, 0, 0, 0, -v.shape[1] % _ALIGNED)).permute(0, 3, 1, 2)
    return torch.cat([v[..., start : start + width].flatten(2) for start, width in _words(v.shape[3])], 2)


def packed_shape(batch: int, depth: int, terms: int, columns: int) -> tuple[int, ...]:
    """Of what `pack` returns."""
    columns, depth = (-(-size // _ALIGNED) * _ALIGNED for size in (columns, depth))
    return batch, columns, depth * terms


def unpacked(v: torch.Tensor, depth: int, terms: int, columns: int) -> torch.Tensor:
    """[Z, K T, N] of what `pack` returned, K = `depth`."""
    held = v.shape[2] // terms
    words = [
        v[..., held * start : held * (start + width)].unflatten(2, (held, width)) for start, width in _words(terms)
    ]
    return torch.cat(words, 3)[:, :columns, :depth].permute(0, 2, 3, 1).flatten(1, 2)


def add_products(
    out: torch.Tensor, a: torch.Tensor, u: torch.Tensor, p: torch.Tensor, v: torch.Tensor, low: int
) -> None:
    """Adds ``sum over k of (p[i] + sum over t of u[i, t] * v[z, k, t, n])`` to `out`; i = a[z, m, k] - low.

    out is int32 [Z, M, N], summed modulo 2^32, a [Z, M, K] of any integer dtype, u int8 [entries, T], p int32 [entries]
    or empty, v what `pack` returned of int8 [Z or 1, K, T, N].
    """
    rows, depth, columns = a.shape[1], v.shape[2] // u.shape[1], out.shape[2]
    words = [
        (
            start,
            width,
            u[:, start : start + width].clone(memory_format=torch.contiguous_format).view(_WORDS[width])[:, 0],
        )
        for start, width in _words(u.shape[1])
    ]
    height = max(_AT_ONCE // max(8 * depth, 1) // _ROWS, 1) * _ROWS
    for z in range(len(a)):
        right = v[z if len(v) > 1 else 0]
        for top in range(0, rows, height):
            codes, sums = a[z, top : top + height], out[z, top : top + height]
            if len(p):
                sums += lookup(codes, p, low).sum(1, keepdim=True, dtype=torch.int32)
            codes = torch.nn.functional.pad(codes, (0, depth - codes.shape[1], 0, -len(codes) % _ROWS))
            for start, width, word in words:
                left = lookup(codes, word, low).view(torch.int8)
                columns_of_word = right[:, depth * start : depth * (start + width)]
                step = _EXACT // width // _ALIGNED * _ALIGNED * width
                for first in range(0, depth * width, step):
                    part = slice(first, first + step)
                    sums += torch._int_mm(left[:, part], columns_of_word[:, part].T)[: len(sums), :columns]
