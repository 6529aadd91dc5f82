"""A multiplier beside the shipped ones of the same operands."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from hwlut.share import share
from hwlut.units import Multiplier, load
from hwlut.units.metrics import Metrics
from hwlut.verify.synthesis.batch import synthesize_each
from hwlut.verify.synthesis.compare import Candidate, Comparison, Step, compare

__all__ = ["ShippedMultiplier"]


@dataclass(frozen=True, kw_only=True)
class ShippedMultiplier(Candidate):
    """A multiplier and its errors over all pairs, or a sample of them."""

    measure: ClassVar[str] = "nmed"
    columns: ClassVar[Mapping[str, str]] = {name: name for name in ("nmed", "wce", "ep", "mred", "bias")}
    axis: ClassVar[str] = "normalized mean error distance"

    metrics: Metrics

    @property
    def errors(self) -> dict[str, float]:
        return asdict(self.metrics)


@compare.register(Multiplier)
def _compare(
    unit: Multiplier,
    *,
    scale: int | None = None,
    target: str = "liberty",
    liberty: str | Path | None = None,
    step: Step | None = None,
) -> Comparison:
    """The shipped multipliers of the same operands, and the exact one, without registers; in parallel processes."""
    if scale is not None:
        raise ValueError(f"Multiplier scale must not be given, not {scale}")
    units = [unit, *_others(unit)]
    found = {}
    for place, synthesis in synthesize_each(units, target=target, liberty=liberty, form={"combinational": True}):
        found[place] = ShippedMultiplier(label=units[place].name, synthesis=synthesis, metrics=units[place].metrics())
        if step is not None:
            step(len(found), len(units), units[place].name)
    return Comparison(candidates=tuple(found[place] for place in range(len(units))), left_out=())


def _others(unit: Multiplier) -> list[Multiplier]:
    """The exact multiplier and the shipped ones, of the operands of `unit` and with other products, by name."""
    exact = Multiplier(family="exact", a=unit.a, b=unit.b, name="exact")
    shipped = [load(path) for path in sorted(share("pretrained").glob("mul*.json"))]
    units = {
        other.digest: other
        for other in (exact, *shipped)
        if isinstance(other, Multiplier) and (other.a, other.b) == (unit.a, unit.b)
    }
    return [other for digest, other in units.items() if digest != unit.digest]
