"""Normalizations: by channel, over all channels, or over groups of them."""

from hwlut.prune.labels import Value
from hwlut.prune.rules.joining import join
from hwlut.prune.rules.reduction import along
from hwlut.prune.rules.step import Results, Step, rule

__all__: list[str] = []


def _channels(step: Step, x: Value) -> tuple[Value, ...]:
    """The tensors with a number for every channel, beside `x` [batch, channels, ...]."""
    others = [step.arguments.get(key) for key in ("weight", "bias", "running_mean", "running_var")]
    ones = (1,) * (x.rank - 2)
    return tuple(
        Value((*each.shape, *ones), tuple(array.reshape(-1, *ones) for array in each.arrays))
        for each in others
        if isinstance(each, Value)
    )


@rule("batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
def _batch_norm(step: Step) -> Results:
    x = step["input"]
    return step.result(join(step, (x, *_channels(step, x)), x.rank), zero=False)


@rule("instance_norm")
def _instance_norm(step: Step) -> Results:
    x = step["input"]
    x = step.pin(x, range(2, x.rank), f"{step.where} normalizes them")
    return step.result(join(step, (x, *_channels(step, x)), x.rank), zero=False)


@rule("layer_norm", "rms_norm", "native_layer_norm")
def _layer_norm(step: Step) -> Results:
    x = step["input"]
    reason = f"{step.where} normalizes over all of them"
    arrays = along(step, x, range(x.rank - len(step["normalized_shape"]), x.rank), reason)
    for key in ("weight", "bias"):
        if isinstance(step.arguments.get(key), Value):
            step.stay(step[key], reason)
    return [step.result(arrays, which, zero=False) for which in range(len(step.operation.shapes))]


@rule("group_norm", "native_group_norm")
def _group_norm(step: Step) -> Results:
    x, groups = step["input"], step["num_groups"]
    x = step.pin(x, range(2, x.rank), f"{step.where} normalizes over all of them")
    if groups == 1:
        x = step.pin(x, (1,), f"{step.where} normalizes over all of them")
    arrays = join(step, (x, *_channels(step, x)), x.rank)
    for array in arrays:
        if array.shape[1] > 1:
            whole = array.transpose(0, 1).reshape(groups, -1, *array.transpose(0, 1).shape[1:])
            step.labels.unify(whole, whole[:, :1])
    return step.result([step.labels.compact(array) for array in arrays], zero=False)
