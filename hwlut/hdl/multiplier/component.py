"""A stream of products."""

from amaranth.hdl import Module, Value

from hwlut.hdl.component import UnitComponent, checked_stages, component
from hwlut.hdl.multiplier.dot import DotComponent, dot_component
from hwlut.hdl.multiplier.product import product
from hwlut.hdl.stream import Beat, BeatField, Pipeline
from hwlut.units.multiplier import STAGES, Multiplier
from hwlut.units.requantize import Requantize

__all__ = ["CombinationalComponent", "MultiplierComponent"]

_CUTS: dict[int, tuple[str, ...]] = {1: (), 2: ("sum",), 3: ("operands", "sum")}


class CombinationalComponent(UnitComponent):
    """A `Multiplier` as hardware without a register: fields ``a`` and ``b`` in, ``p`` out in the same cycle."""

    unit: Multiplier

    def __init__(self, unit: Multiplier):
        super().__init__(unit, *_beats(unit), scale=None, latency=0)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
            self.o.payload.p.eq(product(m, self.unit, self.i.payload.a, self.i.payload.b)),
        ]
        return m


class MultiplierComponent(UnitComponent):
    """A `Multiplier` as hardware: fields ``a`` and ``b`` in, ``p`` out.

    Parameters
    ----------
    unit: the multiplier.
    stages: 1 to 3 rows of registers.
    """

    unit: Multiplier

    def __init__(self, unit: Multiplier, stages: int):
        super().__init__(unit, *_beats(unit), scale=None, latency=stages)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipeline, cuts = Pipeline(m, self.i, self.o), _CUTS[self.latency]

        def register(place: str, /, **values: Value) -> tuple[Value, ...]:
            return pipeline.register_if(place in cuts, **values)

        found = product(m, self.unit, pipeline.payload.a, pipeline.payload.b, register)
        (p,) = pipeline.register(p=found)
        pipeline.finish(p=p)
        return m


def _beats(unit: Multiplier) -> tuple[Beat, Beat]:
    """The factors, and the product."""
    fields = [
        BeatField(name, format.bits, format.signed, None)
        for name, format in (("a", unit.a), ("b", unit.b), ("p", unit.product))
    ]
    return Beat(tuple(fields[:2])), Beat(tuple(fields[2:]))


@component.register(Multiplier)
def _component(
    unit: Multiplier,
    *,
    scale: int | None = None,
    stages: int | None = None,
    terms: int | None = None,
    lanes: int | None = None,
    requantize: Requantize | None = None,
    combinational: bool = False,
) -> MultiplierComponent | CombinationalComponent | DotComponent:
    if scale is not None:
        raise ValueError(f"Multiplier scale must not be given, not {scale}")
    if combinational and (stages, terms) != (None, None):
        raise ValueError(f"Multiplier {'terms' if stages is None else 'stages'} must not be given with combinational")
    if terms is not None:
        return dot_component(unit, stages, terms, lanes, requantize)
    for name, given in (("lanes", lanes), ("requantize", requantize)):
        if given is not None:
            raise ValueError(f"Multiplier {name} must be given with terms")
    if combinational:
        return CombinationalComponent(unit)
    return MultiplierComponent(unit, checked_stages(stages, STAGES, max(_CUTS), "Multiplier"))
