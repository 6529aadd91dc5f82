"""Netlists of two-input gates: what they may be, and what they compute."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["FUNCTIONS", "check_gates", "gate_outputs"]

_CONSTANTS = 2  # nodes 0 and 1
_GATES_LIMIT = 1 << 20
_CHUNK = 1 << 16  # pairs at once: every node of a chunk is held

FUNCTIONS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda x, y: x & ~x,
    lambda x, y: ~(x | y),
    lambda x, y: x & ~y,
    lambda x, y: ~y,
    lambda x, y: ~x & y,
    lambda x, y: ~x,
    lambda x, y: x ^ y,
    lambda x, y: ~(x & y),
    lambda x, y: x & y,
    lambda x, y: ~(x ^ y),
    lambda x, y: x,
    lambda x, y: x | ~y,
    lambda x, y: y,
    lambda x, y: ~x | y,
    lambda x, y: x | y,
    lambda x, y: x | ~x,
)
"""By truth, whose bit x + 2 y is the gate's value."""


def check_gates(gates: Any, outputs: Any, inputs: int) -> None:
    """Refuse gates that refer to nodes that do not come before them; `inputs` is the operands' bits together."""
    if gates is None:
        gates = np.empty((0, 3), np.int64)
    if gates.shape[1] != 3 or len(gates) > _GATES_LIMIT:
        raise ValueError(f"Multiplier gates must be at most {_GATES_LIMIT} rows of 3, not of shape {gates.shape}")
    first = _CONSTANTS + inputs
    if bad := [int(truth) for truth in gates[:, 0] if not 0 <= truth <= 15]:
        raise ValueError(f"Multiplier gates must have truths from 0 to 15, not {bad[0]}")
    before = first + np.arange(len(gates), dtype=np.int64)[:, None]
    operands = gates[:, 1:].astype(np.int64)
    if len(late := np.argwhere((operands < 0) | (operands >= before))):
        row, column = late[0]
        raise ValueError(
            f"Multiplier gates[{row}] must refer to nodes before its own, {first + row}, not {operands[row, column]}"
        )
    if beyond := [node for node in outputs if node >= first + len(gates)]:
        raise ValueError(f"Multiplier outputs must be nodes up to {first + len(gates) - 1}, not {beyond[0]}")


def gate_outputs(
    gates: np.ndarray | None, outputs: Sequence[int], a: tuple[Any, int], b: tuple[Any, int], signed: bool
) -> Any:
    """The outputs read as one number, int64, two's complement where `signed`.

    a, b: (int64 tensor of codes, width) of one shape.
    """
    import torch

    rows = [] if gates is None else gates.tolist()
    codes_a, codes_b = (codes.flatten().split(_CHUNK) for codes, _ in (a, b))
    parts = [_number(rows, outputs, (x, a[1]), (y, b[1]), signed) for x, y in zip(codes_a, codes_b)]
    return torch.cat(parts).view(a[0].shape)


def _number(
    rows: Sequence[Sequence[int]], outputs: Sequence[int], a: tuple[Any, int], b: tuple[Any, int], signed: bool
) -> Any:
    import torch

    zero = torch.zeros_like(a[0], dtype=torch.bool)
    nodes = [zero, ~zero]
    for codes, width in (a, b):
        nodes += [(codes >> place & 1).bool() for place in range(width)]
    for truth, x, y in rows:
        nodes.append(FUNCTIONS[truth](nodes[x], nodes[y]))
    number = torch.zeros_like(a[0])
    for place, node in enumerate(outputs):
        weight = -(1 << place) if signed and place == len(outputs) - 1 else 1 << place
        number += nodes[node] * weight
    return number
