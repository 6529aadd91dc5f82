"""Operators that compute each place of their result from the same place of their arguments."""

from hwlut.prune.labels import Value
from hwlut.prune.rules.joining import join
from hwlut.prune.rules.step import Results, Step, axis, rule

__all__: list[str] = []

_ZERO = (
    *("abs", "asinh", "atan", "ceil", "deg2rad", "erf", "expm1", "floor", "gelu", "hardswish", "leaky_relu", "log1p"),
    *("mish", "neg", "negative", "rad2deg", "relu", "relu6", "round", "selu", "sgn", "sign", "silu", "sin"),
    *("sinh", "softsign", "sqrt", "square", "tan", "tanh", "trunc", "asin", "atanh", "celu", "elu"),
    *("fix", "real", "nan_to_num"),
)
"""Functions of one or several numbers that are zero where all of these are."""

_OTHER = (
    *("acos", "acosh", "arccos", "bitwise_not", "cos", "cosh", "digamma", "erfc", "erfinv", "exp", "exp2", "frac"),
    *("hardsigmoid", "hardshrink", "isfinite", "isinf", "isnan", "lgamma", "log", "log10", "log2", "log_sigmoid"),
    *("logical_not", "logit", "reciprocal", "rrelu", "rsqrt", "sigmoid", "sinc", "softplus", "softshrink"),
    *("special_erf", "special_expit", "threshold", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like"),
    *("randn_like", "fill", "zero", "clamp_min", "clamp_max", "pow", "hardtanh", "floor_divide", "fmod", "remainder"),
    *("rsub", "atan2", "hypot", "copysign", "nextafter", "fmax"),
    *("fmin", "lerp", "addcmul", "addcdiv", "where", "masked_fill", "eq", "ne", "lt", "le", "gt", "ge", "greater"),
    *("less", "not_equal", "greater_equal", "less_equal", "and", "or", "xor", "bitwise_and", "bitwise_or"),
    *("bitwise_xor", "logical_and", "logical_or", "logical_xor", "xlogy", "__and__", "__or__", "__xor__"),
)

_LOOKED_UP = ("quantized_lookup", "rtl_activation")
_FIRST = ("fake_quantize", *_LOOKED_UP, "fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine")
"""What follows the first argument: steps and tables belong to the quantizer or the function, not to channels."""


def elementwise(step: Step, *, zero: bool | None = None) -> Value:
    """What meets goes together, and on into the result."""
    return step.result(join(step, step.tensors, len(step.shape())), zero=zero)


@rule(*_ZERO)
def _zero(step: Step) -> Results:
    return elementwise(step)


@rule("add", "sub", "subtract", "maximum", "minimum")
def _add(step: Step) -> Results:
    return elementwise(step, zero=None if isinstance(step["other"], Value) or not step["other"] else False)


@rule("mul", "multiply")
def _multiply(step: Step) -> Results:
    return elementwise(step, zero=any(each.zero for each in step.tensors))


@rule("div", "divide", "true_divide")
def _divide(step: Step) -> Results:
    return elementwise(step, zero=isinstance(step["self"], Value) and step["self"].zero)


@rule("clamp", "clip")
def _clamp(step: Step) -> Results:
    low, high = step["min"], step["max"]
    numbers = not isinstance(low, Value) and not isinstance(high, Value)
    return elementwise(step, zero=None if numbers and (low or 0) <= 0 <= (high or 0) else False)


@rule("copy")
def _copy(step: Step) -> Results:
    return elementwise(step, zero=step["src"].zero)


@rule(*_OTHER)
def _other(step: Step) -> Results:
    return elementwise(step, zero=False)


@rule(*_FIRST)
def _first(step: Step) -> Results:
    return step.result(step.tensors[0].arrays, zero=step.name not in _LOOKED_UP and step.tensors[0].zero)


@rule("prelu")
def _prelu(step: Step) -> Results:
    x, slopes = step["self"], step["weight"]
    if slopes.shape == (1,):
        return step.result(x.arrays)
    ones = (1,) * (x.rank - 2)
    placed = Value((*slopes.shape, *ones), tuple(array.reshape(-1, *ones) for array in slopes.arrays))
    return step.result(join(step, (x, placed), x.rank))


@rule("glu")
def _glu(step: Step) -> Results:
    x, dim = step["self"], axis(step["dim"], step["self"].rank)
    half = step.shape()[dim]
    halves = [
        Value(
            step.shape(),
            tuple(array.narrow(dim, start, half) if array.shape[dim] > 1 else array for array in x.arrays),
        )
        for start in (0, half)
    ]
    return step.result(join(step, halves, x.rank))
