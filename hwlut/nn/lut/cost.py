"""What layers cost, dense and looked up, for one sample: operations, look-ups and bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hwlut.nn.lut.layer import LutLayer
from hwlut.nn.lut.replace import sizes_of
from hwlut.nn.lut.spec import Lookup
from hwlut.quant.calibration import called
from hwlut.quant.modes import evaluating

__all__ = ["LayerCost", "dense_cost", "lookup_cost", "rows_of"]

_DENSE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One layer, for one sample; all its rows (tokens, places of the result) are counted.

    macs: multiply-accumulates, of dense products or of squared distances. additions: of absolute differences.
    compares: of a tree, or that find the least distance. lookups: table entries that are added up. bytes: of weights
    in int8, or of tables and encoders; and of biases in int32.
    """

    rows: int
    macs: int = 0
    additions: int = 0
    compares: int = 0
    lookups: int = 0
    bytes: int

    @property
    def operations(self) -> int:
        """All of them together."""
        return self.macs + self.additions + self.compares + self.lookups


def dense_cost(features: int, outputs: int, bias: bool, rows: int) -> LayerCost:
    """Of a dense layer of int8 weights [outputs, features]."""
    return LayerCost(rows=rows, macs=rows * features * outputs, bytes=outputs * (features + 4 * bias))


def lookup_cost(lookup: Lookup, features: int, outputs: int, v: int, bias: bool, rows: int) -> LayerCost:
    """Of a layer of look-ups: N D K multiply-adds (l2) or additions (l1, chebyshev) and N C (K - 1) compares, or N C
    log2 K compares of a tree; N C M look-ups; C K M table entries.
    """
    k, codebooks = lookup.k, -(-features // v)
    depth, tree = k.bit_length() - 1, lookup.encoder == "tree"
    encoder = codebooks * (k - 1 + depth) if tree else codebooks * k * v  # a byte each
    distances = 0 if tree else rows * features * k
    return LayerCost(
        rows=rows,
        macs=distances if lookup.encoder == "l2" else 0,
        additions=0 if lookup.encoder == "l2" else distances,
        compares=rows * codebooks * (depth if tree else k - 1),
        lookups=rows * codebooks * outputs,
        bytes=-(-codebooks * k * outputs * lookup.table_bits // 8) + encoder + 4 * bias * outputs,
    )


def rows_of(model: nn.Module, sample: Any) -> Mapping[str, int]:
    """How many rows of each dense layer and layer of look-ups one sample takes, by name, as `model` calls them on a
    batch `sample`: a tensor, a tuple of positional or a dict of keyword arguments.
    """
    batch = _batch(sample)
    found: dict[str, int] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, (*_DENSE, LutLayer)):

            def count(module: Any, inputs: Any, output: torch.Tensor, name: str = name) -> None:
                found[name] = found.get(name, 0) + output.numel() // sizes_of(module)[1]

            hooks.append(module.register_forward_hook(count))
    try:
        with evaluating(model):
            called("cost", model, sample)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: rows // batch for name, rows in found.items()}


def _batch(sample: Any) -> int:
    first = next(iter(sample.values())) if isinstance(sample, dict) else sample
    first = first[0] if isinstance(first, (tuple, list)) else first
    if not isinstance(first, torch.Tensor) or not first.dim() or not len(first):
        raise ValueError("cost sample must be a batch of at least one sample")
    return len(first)
