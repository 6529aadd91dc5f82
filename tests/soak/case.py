"""A case: one random unit, a form of its hardware, and how it is driven, all from a seed and a number."""

import dataclasses
import random
from collections.abc import Mapping
from typing import Any

from hwlut.files import digest_of
from hwlut.unit import Unit
from hwlut.units import Tile
from soak import networks, units
from soak.kinds import kind_of

__all__ = ["Case", "drawn"]


@dataclasses.dataclass(frozen=True)
class Case:
    """One unit and what is done to it.

    kind: one of `soak.kinds.KINDS`. number: of the case under its seed. unit, form: what is computed, and the options
    of `hwlut.hdl.generate`, None of a network. tile: that a network runs on; built: whether as hardware, too.
    idle, stall: chances of pauses in the second run. interrupt: whether that has a reset in mid-stream. seed: of
    vectors and pauses.
    """

    kind: str
    number: int
    unit: Unit
    form: Mapping[str, Any] | None
    tile: Tile | None
    built: bool
    idle: float
    stall: float
    interrupt: bool
    seed: int

    @property
    def key(self) -> str:
        """Equal where unit and form are, and hence all that is emitted for them."""
        form = {name: getattr(value, "digest", value) for name, value in sorted((self.form or {}).items())}
        return digest_of(self.unit.digest, form, self.tile and self.tile.digest)


def drawn(seed: int, number: int, kind: str | None = None) -> Case:
    """The case of a number, of the kind of its place or of a given one."""
    kind = kind or kind_of(number)
    r = random.Random(f"{seed} {number} {kind}")
    unit, form, tile, built = _parts(r, kind, seed)
    return Case(
        kind=kind, number=number, unit=unit.replace(name=f"soak_{number}"), form=form, tile=tile, built=built,
        idle=r.choice([0.1, 0.3, 0.6, 0.85]), stall=r.choice([0.1, 0.3, 0.6, 0.85]), interrupt=r.random() < 0.5,
        seed=r.randrange(1 << 30),
    )  # fmt: skip


def _parts(r, kind, seed):
    """Unit, form, tile and whether that is built; draws that no unit can be, as of too many bits, are drawn again."""
    while True:
        try:
            if kind == "network":
                program, tile, built = networks.network(r, seed)
                return program, None, tile, built
            return *getattr(units, kind if kind != "sum" else "summed")(r), None, False
        except ValueError:
            continue
