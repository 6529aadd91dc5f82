"""From groups of numbers and what lanes do with them to COMPUTEs, as many as nests and constants need."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hwlut.accel.commands import Destination, Mode, XSource
from hwlut.accel.compiler.constants import Constants
from hwlut.accel.compiler.lane import Lane
from hwlut.accel.compiler.nests import Rows, cut
from hwlut.accel.compiler.places import Space, addresses, only_space
from hwlut.accel.compiler.words import Segment
from hwlut.accel.compiler.work import Work
from hwlut.accel.instructions import Compute
from hwlut.units.tile import Tile

__all__ = ["Target", "computes"]


@dataclass(frozen=True)
class Target:
    """Where a step's results go: addresses [results] in the memory of the destination, or, of the stream of results,
    which of the elements of the output `name` they are."""

    destination: Destination
    addresses: np.ndarray
    name: str = ""

    @classmethod
    def of(cls, places: torch.Tensor) -> "Target":
        """Places in values or in operands."""
        flat = places.flatten().numpy()
        destination = Destination.OPERANDS if only_space(flat) is Space.OPERANDS else Destination.VALUES
        return cls(destination, addresses(flat))


def computes(
    tile: Tile,
    lane: Lane,
    target: Target,
    elements: np.ndarray,
    *,
    x: np.ndarray,
    w: Rows | None = None,
    count: int,
    weights: Segment | None = None,
    constants: Constants | None = None,
    steps: np.ndarray | None = None,
    **fields: Any,
) -> Iterator[tuple[Work, np.ndarray]]:
    """Works with the elements that each gives.

    elements: [G, results], which of the step's results each group gives. x: places [G, count], of values or of inputs
    alone. w: addresses likewise. weights: what these are in. constants, steps: what each step takes, [G, steps], where
    it is not what its result has. fields: of `Compute`.

    Raises ValueError for a group that has more constants than half of their memory, NoNest as `cut` does.
    """
    fields |= lane.fields() | {"count": count, "destination": target.destination}
    fields["x_source"] = XSource.INPUTS if only_space(x) is Space.INPUTS else XSource.VALUES
    if constants is None or steps is None:
        constants, steps = Constants.of(lane), elements
    fields["offset"] = constants.offset and not lane.offset_is_y
    per_group = fields["columns"] if fields.get("mode") in (Mode.ARRAY, Mode.LOOK_UP) else count
    y = lane.y if lane.y is None or lane.y.ndim > 1 else lane.y[elements]
    # What is sent has no addresses, but the last of it is where the nest ends.
    stored = np.zeros_like(elements) if target.destination is Destination.OUTPUT else target.addresses[elements]
    rows = {
        "feed": {"x": Rows.of(addresses(x))} | ({} if w is None else {"w": w}),
        "step": {} if y is None or only_space(y) is Space.LITERAL else {"y": Rows.of(addresses(y))},
        "store": {"z": Rows.of(stored)},
    }
    for start, stop, segment, k in constants.chunks(tile, steps, per_group):
        some = {
            nest: {name: each.take(slice(start, stop)) for name, each in streams.items()}
            for nest, streams in rows.items()
        }
        if k is not None:
            some["step"]["k"] = k
        for piece in cut(some, tile.loops):
            given = elements[start + piece.start : start + piece.stop].reshape(-1)
            yield Work(Compute(**piece.fields, **fields), weights, segment, lane.table), given
