"""Constants behind a product become a part of it."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwlut.units.families import Family
from hwlut.units.nodes import Node
from hwlut.units.operations import Add, Multiply
from hwlut.units.ports import Port
from hwlut.units.products import Linear, Weighted
from hwlut.units.reductions import Entries

__all__ = ["folded"]


def folded(nodes: Sequence[Node], outputs: Sequence[Port]) -> tuple[tuple[Node, ...], set[str]]:
    """Nodes that compute the same outputs, without those that nothing takes; and the names of values that changed.

    A constant for each output that is added to a product, or a sign that it is multiplied with, becomes a part of the
    product, where nothing else takes that: it then has the name of the product.
    """
    uses = Counter(name for node in nodes for name in node.operands) + Counter(port.name for port in outputs)
    entries = {node.name: node for node in nodes if isinstance(node, Entries)}
    products = {node.name: node for node in nodes if isinstance(node, Weighted)}
    renamed: dict[str, str] = {}
    changed: set[str] = set()
    for node in nodes:
        if not isinstance(node, (Add, Multiply)) or node.b not in entries or uses[node.a] > 1:
            continue
        name = renamed.get(node.a, node.a)
        if name in products and (found := _absorbed(products[name], node, entries[node.b].values)) is not None:
            products[name], renamed[node.name] = found, name
            changed.add(name)
    kept = [_renamed(products.get(node.name, node), renamed) for node in nodes if node.name not in renamed]
    return _used(kept, {port.name for port in outputs}), changed


def _absorbed(product: Weighted, node: Add | Multiply, values: np.ndarray) -> Weighted | None:
    """The product with what the node does to it; None where it cannot have that."""
    outputs = len(product.weights)
    behind = 0 if isinstance(product, Linear) else product.weights.ndim - 2
    shape = values.shape[: values.ndim - behind]
    if values.size != 1 and (shape != (outputs,) or values.size != outputs):
        return None
    along = np.broadcast_to(values.ravel(), outputs).astype(np.int64)
    before = np.zeros(outputs, np.int64) if product.constants is None else product.constants.astype(np.int64)
    if isinstance(node, Add):
        return dataclasses.replace(product, constants=before + along)
    if product.multiplier.family is not Family.EXACT or any(product.zeros):
        return None
    turned = product.weights.astype(np.int64) * along.reshape(-1, *(1,) * (product.weights.ndim - 1))
    if turned.min() < product.multiplier.b.min or turned.max() > product.multiplier.b.max:
        return None
    return dataclasses.replace(product, weights=turned, constants=before * along if before.any() else None)


def _renamed(node: Node, names: dict[str, str]) -> Node:
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(node):
        if "operand" in field.metadata:
            value = getattr(node, field.name)
            new = names.get(value, value) if isinstance(value, str) else tuple(names.get(each, each) for each in value)
            if new != value:
                changes[field.name] = new
    return dataclasses.replace(node, **changes) if changes else node


def _used(nodes: Sequence[Node], outputs: set[str]) -> tuple[Node, ...]:
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if node.name in wanted:
            wanted |= set(node.operands)
            kept.append(node)
    return tuple(reversed(kept))
