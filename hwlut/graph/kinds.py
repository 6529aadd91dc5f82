"""What kind of operation a node is, what its weight is, and how many products it takes."""

import math
from collections.abc import Set
from typing import Any

import torch
from torch.fx import Node
from torch.utils.flop_counter import FlopCounterMode

from hwlut.graph.values import by_name, schema

__all__ = ["macs", "role", "skipped"]

_SKIPPED = frozenset(
    {
        *("_assert_async", "_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range"),
        *("sym_constrain_range_for_size", "_to_copy", "alias", "clone", "contiguous", "detach", "lift_fresh_copy"),
        *("to", "type_as"),
    }
)
"""Operators that hand on the values of their first argument, or only assert something of it."""

_DROPOUTS = frozenset({"alpha_dropout", "dropout", "feature_alpha_dropout", "feature_dropout"})

_FACTORS = {
    "linear": ("input", "weight"),
    "matmul": ("self", "other"),
    "mm": ("self", "mat2"),
    "bmm": ("self", "mat2"),
    "mv": ("self", "vec"),
    "dot": ("self", "tensor"),
    "addmm": ("mat1", "mat2"),
    "addmv": ("mat", "vec"),
    "addbmm": ("batch1", "batch2"),
    "baddbmm": ("batch1", "batch2"),
    "approx_sums": ("rows", "matrix"),
    "rtl_sums": ("rows", "matrix"),
}
"""The two factors of the operators that are one matrix product; the last two are by a multiplier of hwlut."""

_COMPOSED = frozenset({"einsum", "inner", "linalg_multi_dot", "tensordot"})
"""Operators that torch composes of matrix products, which are counted as it runs them on tensors without values."""

_RECURRENT = frozenset({"gru", "lstm", "rnn_relu", "rnn_tanh"})
_CELLS = frozenset({"gru_cell", "lstm_cell", "rnn_relu_cell", "rnn_tanh_cell"})

_NAMES = {"scaled_dot_product_attention": "attention", "split_with_sizes": "split"}


def _plain_name(node: Node) -> str:
    """The operator's name without its namespace, its overload and the mark of in-place forms."""
    name = schema(node).name.partition("::")[2]
    return name if name.startswith("__") else name.removesuffix("_")


def skipped(node: Node) -> bool:
    """Whether an operator does nothing that counts when a model is evaluated."""
    name = _plain_name(node)
    return name in _SKIPPED or (name in _DROPOUTS and by_name(node)["train"] is False)


def role(node: Node, fixed: Set[Node], learned: Set[Node]) -> tuple[str, list[Node]]:
    """The kind of an operation, and the arguments that are its weights.

    fixed: nodes that follow from the model alone. learned: those of them that come from parameters.
    """
    name, arguments = _plain_name(node), by_name(node)
    if name in _FACTORS:
        factors = [arguments[factor] for factor in _FACTORS[name]]
        weights = [factor for factor in factors if factor in (fixed if name == "linear" else learned)]
        if len(weights) != 1:
            return "matmul", []
        return "linear" if weights[0].meta["val"].ndim == 2 else "matmul", weights
    if name in _RECURRENT or name in _CELLS:
        return name, _matrices(name, arguments)
    if name in _COMPOSED:
        return "matmul", list(learned) if len(learned) == 1 else []
    weights = [each for key, each in arguments.items() if key == "weight" and each in fixed]
    return _NAMES.get(name, name.strip("_")), weights


def macs(node: Node) -> int:
    """Multiply-accumulates of the node on the whole batch."""
    name, arguments = _plain_name(node), by_name(node)
    value = node.meta["val"]
    if name == "addbmm":  # sums over its batch
        return math.prod(_shape(arguments["batch1"])) * _shape(arguments["batch2"])[-1]
    if name in _FACTORS:
        return value.numel() * _shape(arguments[_FACTORS[name][0]])[-1]
    if name.startswith("conv_transpose"):
        return math.prod(_shape(arguments["input"])) * math.prod(_shape(arguments["weight"])[1:])
    if name in ("conv1d", "conv2d", "conv3d"):
        return value.numel() * math.prod(_shape(arguments["weight"])[1:])
    if name == "scaled_dot_product_attention":
        width, count = _shape(arguments["query"])[-1], _shape(arguments["key"])[-2]
        return value.numel() // value.shape[-1] * count * (width + value.shape[-1])
    if name in _RECURRENT or name in _CELLS:
        shape = _shape(arguments["data"] if "data" in arguments else arguments["input"])
        return math.prod(shape[:-1]) * sum(math.prod(_shape(each)) for each in _matrices(name, arguments))
    return _composed(node) if name in _COMPOSED else 0


def _matrices(name: str, arguments: dict[str, Any]) -> list[Node]:
    """Weights of a recurrent network: each takes one product a step."""
    given = arguments["params"] if name in _RECURRENT else (arguments["w_ih"], arguments["w_hh"])
    return [each for each in given if len(_shape(each)) == 2]


def _composed(node: Node) -> int:
    assert isinstance(node.target, torch._ops.OpOverload)
    args, kwargs = torch.fx.map_arg((node.args, dict(node.kwargs)), lambda each: each.meta["val"])
    mode = node.all_input_nodes[0].meta["val"].fake_mode
    with mode, FlopCounterMode(display=False) as counter:
        node.target(*args, **kwargs)
    return counter.get_total_flops() // 2


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)
