"""Codes for a program: every combination where there are few, else edges and a sample; and values of its nodes."""

import itertools
from collections.abc import Sequence

import numpy as np

from hwlut.units import Program
from hwlut.units.nodes import Extent, format_of
from hwlut.units.ports import Port
from hwlut.verify.stimulus import EXHAUSTIVE_LIMIT, Stimulus, codes_of, coverage, draw, evaluator, stimulus

__all__ = ["edges", "evaluate", "tapped"]

_SAMPLE = 1 << 18
_EDGES = 1 << 14
_CHUNK = 1 << 18  # codes that the definition takes at once


def tapped(program: Program, values: str | Sequence[str]) -> Program:
    """`program` with these of its values as outputs beside its own, in the order in which they are computed.

    values: names, or "all" for what its nodes compute from its inputs.

    Raises ValueError for a name that is no value's.
    """
    moving = {port.name for port in program.inputs}
    for node in program.nodes:
        if moving.intersection(node.operands):
            moving.add(node.name)
    own = {port.name: port for port in program.outputs}
    asked = moving - {port.name for port in program.inputs} if values == "all" else set(values)
    if isinstance(values, str) and values != "all":
        raise TypeError(f"values must be names or 'all', not {values!r}")
    if unknown := sorted(asked - set(program.spans)):
        raise ValueError(f"values must be those of {program.name}, not {unknown[0]!r}")
    wanted = [name for name in program.spans if name in asked or name in own]
    ports = tuple(own.get(name) or Port(name, format_of(program.spans[name])) for name in wanted)
    return program.replace(outputs=ports)


def evaluate(program: Program, codes: Sequence[np.ndarray], engine: str) -> np.ndarray:
    """Results of codes of each input, all of one shape, in software: int64 [*shape, outputs].

    Shapes of ports, which hardware does not know, are not looked at. Raises ValueError for an engine that does not
    compute the program.
    """
    import torch

    plain = program.replace(
        **{key: tuple(_shapeless(port) for port in getattr(program, key)) for key in ("inputs", "outputs")}
    )
    single = len(program.inputs) == len(program.outputs) == 1 and program.extent is Extent.CODES
    if engine != "reference" and not single:
        raise ValueError(f"engine {engine} computes programs of one code and one result, not {program.name}")
    given = [torch.from_numpy(np.ascontiguousarray(each)) for each in codes]
    found = []
    for part in zip(*(each.split(max(1, _CHUNK * len(each) // max(1, each.numel()))) for each in given)):
        results = plain(*part) if engine == "reference" else evaluator(plain, engine)(part[0], {})
        held = results if isinstance(results, tuple) else (results,)
        found.append(torch.stack([each.cpu().to(torch.int64) for each in held], dim=-1))
    return torch.cat(found).numpy()


def _shapeless(port: Port) -> Port:
    return Port(port.name, port.format, None, port.step, port.zero_point)


def edges(program: Program) -> list[np.ndarray]:
    """Of each input the codes at the ends of its format and around 0."""
    near = [(port.format, (port.format.min, port.format.max, 0)) for port in program.inputs]
    return [
        np.unique(np.clip([end + step for end in ends for step in (-1, 0, 1)], format.min, format.max))
        for format, ends in near
    ]


@stimulus.register
def _(unit: Program, scale: int | None, seed: int) -> Stimulus:
    at = unit.chosen_scale(scale)
    if unit.extent is not Extent.CODES:
        where = (
            "in a simulator" if unit.extent is Extent.ROWS else "by hwlut run, since it has no hardware as one stream"
        )
        raise ValueError(f"Program {unit.name!r} of {unit.extent.name.lower()} must be checked {where}")
    formats, rng = [port.format for port in unit.inputs], np.random.default_rng(seed)
    if len(formats) == 1:
        q, exhaustive = codes_of(formats[0], [], EXHAUSTIVE_LIMIT, rng)
        codes, scope = [q], coverage(exhaustive, seed)
    elif exhaustive := sum(format.bits for format in formats) < EXHAUSTIVE_LIMIT.bit_length():
        every = [np.arange(format.min, format.max + 1, dtype=np.int64) for format in formats]
        codes = [axis.reshape(-1) for axis in np.meshgrid(*every, indexing="ij")]
        scope = "every combination of codes"
    else:
        codes = [
            np.concatenate([ends, sample])
            for ends, sample in zip(_combined(edges(unit), rng), (draw(format, _SAMPLE, rng) for format in formats))
        ]
        scope = f"edges and a sample (seed {seed}) of the combinations of codes"

    names = [port.name for port in unit.outputs]
    labels = {port.name: np.repeat(each, len(names)) for port, each in zip(unit.inputs, codes)}
    if at is not None:
        labels["scale"] = np.full_like(labels[unit.inputs[0].name], at)
        scope += f" at scale {at}"
    if len(names) > 1:
        labels["value"] = np.tile(names, len(codes[0]))
    return Stimulus(
        inputs=dict(zip((port.name for port in unit.inputs), codes)),
        labels=labels,
        results=lambda engine: evaluate(unit, codes, engine).reshape(-1),
        exhaustive=exhaustive,
        scope=scope,
        count=len(codes[0]),
    )


def _combined(ends: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Every combination of one number of each array, or, where these are many, some of them."""
    if np.prod([float(len(each)) for each in ends]) <= _EDGES:
        return [np.array(each) for each in zip(*itertools.product(*ends))]
    return [rng.choice(each, _EDGES) for each in ends]
