"""What is explored: the values that each choice of a design may have."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from hwlut.explore.choices import Array, LookUps, Network
from hwlut.fields import shorten
from hwlut.units.multiplier import Multiplier

__all__ = ["Space"]

_CHOICES = {
    "sparsity": (Network, "sparsity"),
    "bits": (Network, "bits"),
    "multipliers": (Network, "multiplier"),
    "look_ups": (Network, "look_ups"),
    "segments": (Network, "segments"),
    "rows": (Array, "rows"),
    "columns": (Array, "columns"),
}
"""By the name of an axis whose choice it is, and which."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """The values of each choice of a `Network` and of an `Array`; a design is any combination of them.

    TypeError and ValueError for what `Network` and `Array` refuse, for an axis without values, for values that are not
    all different, and for two multipliers of one name, or that differ in nothing else.
    """

    sparsity: Sequence[float] = (0.0,)
    bits: Sequence[tuple[int, int]] = ((8, 8),)
    multipliers: Sequence[Multiplier | None] = (None,)
    look_ups: Sequence[LookUps | None] = (None,)
    segments: Sequence[int | None] = (None,)
    rows: Sequence[int] = (8,)
    columns: Sequence[int] = (8,)

    def __post_init__(self) -> None:
        for field in fields(self):
            given = getattr(self, field.name)
            if not isinstance(given, (tuple, list)):
                raise TypeError(f"Space {field.name} must be a list of values, not {shorten(given)}")
            kind, choice = _CHOICES[field.name]
            values = tuple(getattr(kind(**{choice: each}), choice) for each in given)
            names = [each.name if isinstance(each, Multiplier) else each for each in values]
            if not values or len(set(names)) < len(names):
                raise ValueError(f"Space {field.name} must be at least one and all different, not {shorten(names)}")
            object.__setattr__(self, field.name, values)
        units = [unit for unit in self.multipliers if unit is not None]
        if len({unit.digest for unit in units}) < len(units):
            same = shorten([unit.name for unit in units])
            raise ValueError(f"Space multipliers must differ in more than their names, not {same}")

    def networks(self, trials: int | None = None, seed: int = 0) -> tuple[Network, ...]:
        """All combinations of a network's choices; where these are more than `trials`, so many of them, drawn by the
        seed and in the same order."""
        axes = [name for name, (kind, _) in _CHOICES.items() if kind is Network]
        choices = [_CHOICES[name][1] for name in axes]
        every = [
            Network(**dict(zip(choices, values)))
            for values in itertools.product(*(getattr(self, name) for name in axes))
        ]
        if trials is None or trials >= len(every):
            return tuple(every)
        return tuple(every[place] for place in sorted(random.Random(seed).sample(range(len(every)), trials)))

    def arrays(self) -> tuple[Array, ...]:
        """All sizes."""
        return tuple(Array(rows=rows, columns=columns) for rows in self.rows for columns in self.columns)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; of multipliers, their names and digests."""
        units = [None if unit is None else {"name": unit.name, "digest": unit.digest} for unit in self.multipliers]
        looked = [None if each is None else asdict(each) for each in self.look_ups]
        kept = {field.name: list(getattr(self, field.name)) for field in fields(self)}
        return kept | {"bits": [list(each) for each in self.bits], "multipliers": units, "look_ups": looked}
