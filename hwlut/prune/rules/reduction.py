"""Operators that gather, order or scale what lies along a dimension, and those that pool places in space."""

from collections.abc import Sequence

from hwlut.prune.labels import Array, Value, varying
from hwlut.prune.rules.elementwise import elementwise
from hwlut.prune.rules.step import Results, Step, axes, rule

__all__ = ["along"]

_REDUCING = (
    *("mean", "sum", "prod", "amax", "amin", "max", "min", "var", "std", "var_mean", "std_mean", "norm", "logsumexp"),
    *("linalg_vector_norm", "argmax", "argmin", "all", "any", "nansum", "nanmean", "median", "mode", "count_nonzero"),
    *("aminmax", "quantile", "kthvalue", "frobenius_norm"),
)
_ALONG = (
    *("softmax", "log_softmax", "softmin", "_softmax", "_log_softmax", "cumsum", "cumprod", "cummax", "cummin"),
    *("logcumsumexp", "sort", "argsort", "topk", "diff", "cumulative_trapezoid", "msort", "renorm"),
)
_POOLING = {
    f"{name}{dims}d": dims
    for name in (
        *("adaptive_avg_pool", "_adaptive_avg_pool", "avg_pool", "max_pool", "adaptive_max_pool", "upsample_nearest"),
        *("_upsample_nearest_exact", "fractional_max_pool"),
    )
    for dims in (1, 2, 3)
} | {f"max_pool{dims}d_with_indices": dims for dims in (1, 2, 3)}
_POOLING |= {"upsample_linear1d": 1, "upsample_bilinear2d": 2, "upsample_bicubic2d": 2, "upsample_trilinear3d": 3}


def along(step: Step, value: Value, dims: Sequence[int], reason: str) -> tuple[Array, ...]:
    """Labels along other dimensions than these, which do not shrink."""
    return step.pin(value, dims, reason).arrays


@rule(*_REDUCING)
def _reduce(step: Step) -> Results:
    if isinstance(step.arguments.get("other"), Value):  # the greater of two
        return elementwise(step)
    x = step["self"]
    dims = axes(step.arguments.get("dim"), x.rank)
    if step.unread:  # as the mean of the heads' weights that attention returns beside its result
        arrays = tuple(array for array in x.arrays if not any(dim in dims for dim in varying(array)))
    else:
        arrays = along(step, x, dims, f"{step.where} depends on all of them")
    if len(step.shape()) < x.rank:
        kept = [dim for dim in range(x.rank) if dim not in dims]
        arrays = tuple(array.reshape([array.shape[dim] for dim in kept]) for array in arrays)
    return [step.result(arrays, which, zero=False) for which in range(len(step.operation.shapes))]


@rule(*_ALONG)
def _along(step: Step) -> Results:
    x = step.tensors[0]
    arrays = along(step, x, axes(step.arguments.get("dim", -1), x.rank), f"{step.where} depends on all of them")
    return [step.result(arrays, which, zero=False) for which in range(len(step.operation.shapes))]


@rule(*_POOLING)
def _pool(step: Step) -> Results:
    x = step.tensors[0]
    space = range(x.rank - _POOLING[step.name], x.rank)
    arrays = along(step, x, space, f"{step.where} pools them")
    return [step.result(arrays, which) for which in range(len(step.operation.shapes))]


@rule("grid_sampler")
def _grid(step: Step) -> Results:
    x = step["input"]
    step.stay(step["grid"], f"{step.where} reads places by them")
    return step.result(along(step, x, range(2, x.rank), f"{step.where} pools them"))


@rule("tril", "triu")
def _triangle(step: Step) -> Results:
    x = step["self"]
    return step.result(along(step, x, (x.rank - 2, x.rank - 1), f"{step.where} masks by place"))
