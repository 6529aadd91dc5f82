"""Convolutions, transposed ones, and their groups."""

from dataclasses import replace

from hwlut.prune.labels import Array, Value
from hwlut.prune.rules.joining import contract, join
from hwlut.prune.rules.step import Results, Step, rule

__all__: list[str] = []


@rule("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _convolution(step: Step) -> Results:
    x, weight, groups = step["input"], step["weight"], step["groups"]
    channel = x.rank - weight.rank + 1
    space = [dim for dim in range(x.rank) if dim != channel]
    x = step.pin(x, space, f"{step.where} slides over them")
    weight = step.pin(weight, range(2, weight.rank), f"{step.where} slides over them")
    back = step.name.startswith("conv_transpose")
    lines = _line(x, channel), _flat(weight)
    if groups == 1:
        out = contract(step, ((lines[0], "i"), (lines[1], "io" if back else "oi")), "o")
    else:
        out = _grouped(step, *lines, groups, back)
    total = step.shape()[channel]
    joined = Value((total,), tuple(out))
    if isinstance(step.arguments.get("bias"), Value):
        joined = joined.carrying(join(step, (joined, step["bias"]), 1))
    sizes = [-1 if dim == channel else 1 for dim in range(x.rank)]
    return step.result((array.reshape(sizes) for array in joined.arrays), zero=False)


def _line(x: Value, channel: int) -> Value:
    """Channels alone."""
    return Value((x.shape[channel],), tuple(array.reshape(-1) for array in x.along(channel)))


def _flat(weight: Value) -> Value:
    """A weight without its taps."""
    taps = weight.rank - 2
    arrays = tuple(array.reshape(array.shape[: weight.rank - taps]) for array in weight.arrays)
    return replace(weight, shape=weight.shape[:2], arrays=arrays)


def _grouped(step: Step, x: Value, weight: Value, groups: int, back: bool) -> tuple[Array, ...]:
    """Labels of the outputs of several convolutions side by side.

    A channel with a filter of its own goes with it; else the channels at one position of each group go together.
    """
    each = x.shape[0] // groups
    split = Value((groups, each), tuple(array.reshape(groups, each) for array in x.arrays))
    first = weight.carrying(array for array in weight.arrays if array.shape[0] > 1)
    second = weight.carrying(array for array in weight.arrays if array.shape[0] == 1)
    rows = weight.shape[0] // groups
    front = _reshaped(first, (groups, rows))
    inner = _reshaped(second, weight.shape[1:])
    inputs, outputs = (front, inner) if back else (inner, front)
    if each == 1:
        if back:
            step.stay(inner, f"{step.where} has as many of them for each channel")
        whole = join(step, (split, front), 2)
        whole = tuple(step.labels.compact(array) for array in whole)
        for array in whole:
            step.labels.pin(array, (1,), f"{step.where} makes them of one channel")
        whole = tuple(step.labels.compact(array).narrow(1, 0, 1) for array in whole)
        count = weight.shape[1] if back else rows
        return tuple(array.expand(-1, count).reshape(-1) for array in whole if array.numel() > 1)
    reason = f"{step.where} has groups of the same size"
    split, inputs, outputs = (
        step.pin(value, (0,), reason) if value.rank == 2 else value for value in (split, inputs, outputs)
    )
    contract(step, ((_last(split), "i"), (_last(inputs), "i")), "")
    return tuple(array.repeat(groups) for array in _last(outputs).arrays)


def _last(value: Value) -> Value:
    """By the position in a group."""
    return _reshaped(value, value.shape[-1:])


def _reshaped(value: Value, shape: tuple[int, ...]) -> Value:
    return replace(value, shape=shape, arrays=tuple(array.reshape(shape) for array in value.arrays))
