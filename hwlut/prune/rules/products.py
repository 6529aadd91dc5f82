"""Matrix products, einsum and attention."""

from collections.abc import Sequence
from dataclasses import replace

from hwlut.prune.labels import Array, Value
from hwlut.prune.rules.joining import contract, join
from hwlut.prune.rules.step import Results, Step, rule

__all__: list[str] = []

_BATCH = "abcdefgh"
"""Letters of dimensions in front of those that are multiplied."""

_FORMS = {
    "mm": ("self", "mat2", "xy,yz->xz"),
    "bmm": ("self", "mat2", "axy,ayz->axz"),
    "mv": ("self", "vec", "xy,y->x"),
    "dot": ("self", "tensor", "y,y->"),
    "addmm": ("mat1", "mat2", "xy,yz->xz"),
    "addmv": ("mat", "vec", "xy,y->x"),
    "addbmm": ("batch1", "batch2", "axy,ayz->xz"),
    "baddbmm": ("batch1", "batch2", "axy,ayz->axz"),
    "approx_sums": ("rows", "matrix", "xy,yz->xz"),
    "rtl_sums": ("rows", "matrix", "xy,yz->xz"),
}


@rule(*_FORMS)
def _matrices(step: Step) -> Results:
    first, second, form = _FORMS[step.name]
    arrays = _product(step, (step[first], step[second]), form)
    if not step.name.startswith(("add", "badd")):
        return step.result(arrays)
    product = Value(step.shape(), arrays)
    return step.result(join(step, (product, step["self"]), len(step.shape())))


@rule("linear")
def _linear(step: Step) -> Results:
    x, weight, bias = step["input"], step["weight"], step.arguments.get("bias")
    front = _BATCH[: x.rank - 1]
    out = "o" if weight.rank == 2 else ""
    arrays = _product(step, (x, weight), f"{front}i,{out}i->{front}{out}")
    if not isinstance(bias, Value):
        return step.result(arrays)
    return step.result(join(step, (Value(step.shape(), arrays), bias), len(step.shape())), zero=False)


@rule("matmul", "__matmul__")
def _matmul(step: Step) -> Results:
    first, second = step["self"], step["other"]
    batch = _BATCH[: max(first.rank, second.rank) - 2]
    left = batch[len(batch) - max(first.rank - 2, 0) :] + ("xy" if first.rank > 1 else "y")
    right = batch[len(batch) - max(second.rank - 2, 0) :] + ("yz" if second.rank > 1 else "y")
    out = batch + ("x" if first.rank > 1 else "") + ("z" if second.rank > 1 else "")
    return step.result(_product(step, (first, second), f"{left},{right}->{out}"))


@rule("einsum")
def _einsum(step: Step) -> Results:
    equation, operands = step["equation"].replace(" ", ""), step["tensors" if "tensors" in step else "operands"]
    inputs, _, out = equation.partition("->")
    terms = inputs.split(",")
    if "->" not in equation or "." in equation or len(operands) > 2 or any(len(set(t)) < len(t) for t in terms):
        reason = f"{step.where} is {equation}, whose channels are not followed"
        for each in operands:
            step.stay(each, reason)
        return step.result((), zero=False)
    return step.result(_product(step, operands, equation))


@rule("inner")
def _inner(step: Step) -> Results:
    first, second = step["self"], step["other"]
    left, right = _BATCH[: first.rank - 1], _BATCH[first.rank - 1 : first.rank + second.rank - 2]
    return step.result(_product(step, (first, second), f"{left}y,{right}y->{left}{right}"))


@rule("scaled_dot_product_attention")
def _attention(step: Step) -> Results:
    query, key, value = (replace(step[name], zero=False) for name in ("query", "key", "value"))
    heads = query.shape[-3] if query.rank > 2 else 1
    if step.arguments.get("enable_gqa") and key.shape[-3] != heads:
        key, value = (_repeated(each, heads // each.shape[-3]) for each in (key, value))
    batch = _BATCH[: query.rank - 2]
    scores = Value((*query.shape[:-1], key.shape[-2]), _product(step, (query, key), f"{batch}le,{batch}se->{batch}ls"))
    mask = step.arguments.get("attn_mask")
    if isinstance(mask, Value):
        scores = scores.carrying(join(step, (scores, mask), scores.rank))
    scores = step.pin(scores, (scores.rank - 1,), f"{step.where} depends on all of them")
    return step.result(_product(step, (scores, value), f"{batch}ls,{batch}sv->{batch}lv"))


def _repeated(value: Value, times: int) -> Value:
    """Heads of keys or values for those of queries that share them."""
    shape = (*value.shape[:-3], value.shape[-3] * times, *value.shape[-2:])
    return Value(
        shape,
        tuple(array.repeat_interleave(times, -3) if array.shape[-3] > 1 else array for array in value.arrays),
    )


def _product(step: Step, factors: Sequence[Value], form: str) -> tuple[Array, ...]:
    inputs, _, out = form.partition("->")
    return contract(step, tuple(zip(factors, inputs.split(","))), out)
