"""Operators that move places without computing: they move labels alike."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from hwlut.prune.labels import Array, Value, varying
from hwlut.prune.rules.joining import join
from hwlut.prune.rules.reshaping import reshape
from hwlut.prune.rules.step import Results, Step, axes, axis, rule

__all__: list[str] = []

_SAME = ("alias", "clone", "contiguous", "detach", "to", "type_as", "positive", "resolve_conj", "resolve_neg", "lift")


def _full(array: Array, shape: Sequence[int], dims: Sequence[int]) -> Array:
    """The array of its full size along dimensions."""
    return array.expand([size if dim in dims else -1 for dim, size in enumerate(shape)])


@rule(*_SAME, "expand_as")
@rule("expand", "broadcast_to", "expand_copy")
def _expand(step: Step) -> Results:
    x = step.tensors[0]
    ones = (1,) * (len(step.shape()) - x.rank)
    return step.result(array.reshape(*ones, *array.shape) for array in x.arrays)


@rule("permute", "transpose", "movedim", "moveaxis", "swapaxes", "swapdims", "permute_copy", "transpose_copy")
@rule("t", "mT", "mH", "adjoint", "numpy_T", "matrix_H", "t_copy")
def _permute(step: Step) -> Results:
    move = getattr(torch.ops.aten, step.name)
    others = {key: value for key, value in step.arguments.items() if key != "self"}
    return step.result(move(array, **_listed(others)) for array in step["self"].arrays)


def _listed(arguments: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()}


@rule("select", "unbind", "select_copy", "unbind_copy")
def _select(step: Step) -> Results:
    x, dim = step["self"], axis(step["dim"], step["self"].rank)
    x = step.pin(x, (dim,), f"{step.where} takes them by number")
    arrays = [array.select(dim, 0) for array in x.arrays]
    return [step.result(arrays, which) for which in range(len(step.operation.shapes))]


def _along(step: Step, x: Value, dim: int, take: Callable[[Array], Array]) -> list[Array]:
    """Arrays of which those that vary along a dimension are cut or rearranged there."""
    return [take(array) if array.shape[dim] > 1 else array for array in x.arrays]


@rule("slice", "narrow", "slice_copy", "narrow_copy", "flip", "repeat_interleave")
def _cut(step: Step) -> Results:
    x = step["self"]
    if step.name == "flip":
        return step.result(array.flip(axes(step["dims"], x.rank)) for array in x.arrays)
    if step.name == "repeat_interleave" and not isinstance(step["repeats"], int):
        return step.result(step.pin(x, range(x.rank), f"{step.where} takes them by number").arrays)
    dim = step["dim"]
    if dim is None:  # flattened
        arrays = [reshape(array, x.shape, (torch.Size(x.shape).numel(),)) for array in x.arrays]
        return step.result(array.repeat_interleave(step["repeats"]) for array in arrays)
    dim = axis(dim, x.rank)

    def take(array: Array) -> Array:
        if step.name == "repeat_interleave":
            return array.repeat_interleave(step["repeats"], dim)
        if step.name.startswith("narrow"):
            return array.narrow(dim, step["start"], step["length"])
        places = range(x.shape[dim])[slice(step["start"], step["end"], step["step"])]
        return array.index_select(dim, torch.tensor(list(places), dtype=torch.int64))

    return step.result(_along(step, x, dim, take))


@rule(
    *("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk", "unsafe_split_with_sizes"),
    *("hsplit", "vsplit", "dsplit", "split_copy", "split_with_sizes_copy"),
)
def _split(step: Step) -> Results:
    x = step["self"]
    named = {"hsplit": min(1, x.rank - 1), "vsplit": 0, "dsplit": 2}
    dim = axis(named.get(step.name, step.arguments.get("dim", 0)), x.rank)
    results, start = [], 0
    for which in range(len(step.operation.shapes)):
        size = step.shape(which)[dim]
        results.append(
            step.result(
                [array.narrow(dim, start, size) if array.shape[dim] > 1 else array for array in x.arrays], which
            )
        )
        start += size
    return results


@rule("roll")
def _roll(step: Step) -> Results:
    x = step["self"]
    return step.result(step.pin(x, axes(step["dims"], x.rank), f"{step.where} moves them by a number").arrays)


@rule("repeat", "tile")
def _repeat(step: Step) -> Results:
    x, shape = step["self"], step.shape()
    ones = (1,) * (len(shape) - x.rank)
    before = (*ones, *x.shape)
    arrays = []
    for array in (array.reshape(*ones, *array.shape) for array in x.arrays):
        times = [new // old if size > 1 else 1 for new, old, size in zip(shape, before, array.shape)]
        arrays.append(array.repeat(times))
    return step.result(arrays)


@rule("cat", "concat", "concatenate", "hstack", "vstack", "dstack", "column_stack")
def _cat(step: Step) -> Results:
    values = [value for value in step["tensors"] if value.shape != (0,)]
    named = {"hstack": min(1, values[0].rank - 1), "column_stack": 1, "vstack": 0, "dstack": 2}
    dim = axis(named.get(step.name, step.arguments.get("dim", 0)), len(step.shape()))
    if any(value.rank != len(step.shape()) for value in values):
        reason = f"{step.where} gives them a dimension"
        values = [step.pin(value, range(value.rank), reason) for value in values]
        return step.result(())
    return step.result(_concatenated(step, values, dim))


def _concatenated(step: Step, values: Sequence[Value], dim: int) -> list[Array]:
    """Labels one after another along `dim`; along other dimensions, what meets goes together."""
    kinds = {tuple(varying(array)) for value in values for array in value.along(dim)}
    if len(kinds) > 1 or any(kind != (dim,) for kind in kinds) and not all(value.along(dim) for value in values):
        others = [other for other in range(len(step.shape())) if other != dim]
        reason = f"{step.where} puts them beside others"
        for value in values:
            for array in value.along(dim):
                step.labels.pin(array, others, reason)
        values = [step.compact(value) for value in values]
    across = [
        Value(
            tuple(1 if at == dim else size for at, size in enumerate(value.shape)),
            tuple(array for array in value.arrays if array.shape[dim] == 1),
        )
        for value in values
    ]
    arrays = list(join(step, across, len(step.shape())))
    if any(value.along(dim) for value in values):
        pieces = [_piece(step, value, dim) for value in values]
        rest = torch.broadcast_shapes(*(piece.narrow(dim, 0, 1).shape for piece in pieces))
        arrays.append(
            torch.cat(
                [piece.expand(*(size if at != dim else -1 for at, size in enumerate(rest))) for piece in pieces], dim
            )
        )
    return arrays


def _piece(step: Step, value: Value, dim: int) -> Array:
    """Labels along `dim` of what is put beside others: such that stay where it has none."""
    found = value.along(dim)
    if found:
        return found[0]
    return _kept(step, value.shape[dim], value.rank, dim)


def _kept(step: Step, count: int, rank: int, dim: int) -> Array:
    """Labels of `count` places along `dim` that do not go."""
    array = step.labels.new(count)
    step.labels.stay(array, f"{step.where} has them beside what does not shrink")
    return array.reshape([count if at == dim else 1 for at in range(rank)])


@rule("stack")
def _stack(step: Step) -> Results:
    values, rank = step["tensors"], len(step.shape())
    dim = axis(step["dim"], rank)
    placed = [value.carrying(array.unsqueeze(dim) for array in value.arrays) for value in values]
    kinds = {tuple(sorted(varying(array) for array in value.arrays)) for value in placed}
    if len(kinds) == 1:  # each stays for itself
        return step.result(torch.cat(arrays, dim) for arrays in zip(*(_ordered(value) for value in placed)))
    shape = [1 if at == dim else size for at, size in enumerate(step.shape())]
    return step.result(join(step, [Value(tuple(shape), value.arrays) for value in placed], rank))


def _ordered(value: Value) -> list[Array]:
    return sorted(value.arrays, key=varying)


@rule("pad", "constant_pad_nd")
def _pad(step: Step) -> Results:
    x, widths = step["self"], step["pad"]
    arrays = list(x.arrays)
    for place, dim in enumerate(range(x.rank - 1, x.rank - 1 - len(widths) // 2, -1)):
        before, after = widths[2 * place : 2 * place + 2]
        if not before and not after or not any(array.shape[dim] > 1 for array in arrays):
            continue
        if min(before, after) < 0 or step.arguments.get("mode", "constant") != "constant":
            x = step.pin(x.carrying(arrays), (dim,), f"{step.where} takes them by number")
            arrays = list(x.arrays)
            continue
        for at, array in enumerate(arrays):
            if array.shape[dim] > 1:
                ends = [_kept(step, count, x.rank, dim) for count in (before, after) if count]
                sizes = [-1 if each == dim else size for each, size in enumerate(array.shape)]
                first = [ends.pop(0).expand(sizes)] if before else []
                arrays[at] = torch.cat([*first, array, *(each.expand(sizes) for each in ends)], dim)
    return step.result(arrays)


@rule("channel_shuffle")
def _channel_shuffle(step: Step) -> Results:
    x, groups = step["self"], step["groups"]
    for array in x.along(1):
        step.labels.pin(array.unflatten(1, (groups, -1)), (1,), f"{step.where} has groups of the same size")
    x = step.compact(x)
    return step.result(torch.channel_shuffle(array, groups) if array.shape[1] > 1 else array for array in x.arrays)


@rule("pixel_shuffle", "pixel_unshuffle")
def _shuffle(step: Step) -> Results:
    x = step["self"]
    x = step.pin(x, range(x.rank - 2, x.rank), f"{step.where} moves them between dimensions")
    factor = step.arguments.get("upscale_factor") or step["downscale_factor"]
    move = torch.pixel_shuffle if step.name == "pixel_shuffle" else torch.pixel_unshuffle
    return step.result(
        move(_full(array, x.shape, (x.rank - 3, x.rank - 2, x.rank - 1)), factor)
        if array.shape[x.rank - 3] > 1
        else array
        for array in x.arrays
    )


@rule("unfold")
def _unfold(step: Step) -> Results:
    x, dim = step["self"], axis(step["dimension"], step["self"].rank)
    x = step.pin(x, (dim,), f"{step.where} takes them by number")
    return step.result(array.unsqueeze(-1) for array in x.arrays)


@rule("im2col")
def _im2col(step: Step) -> Results:
    x = step["self"]
    x = step.pin(x, range(x.rank - 2, x.rank), f"{step.where} takes them by number")
    dim = x.rank - 3
    taps = step.shape()[dim] // x.shape[dim]
    arrays = [array.squeeze(-1) for array in x.arrays]
    return step.result(array.repeat_interleave(taps, dim) if array.shape[dim] > 1 else array for array in arrays)
