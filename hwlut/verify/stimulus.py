"""What a unit is checked on: every code where that is feasible, else its edges and a sample."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING

import numpy as np

from hwlut.errors import ToolError
from hwlut.fixed import Fixed
from hwlut.units import Direct, Multiplier, Pwl, Requantize, Unit
from hwlut.units.multiplier import PAIRS_LIMIT

if TYPE_CHECKING:
    import torch

__all__ = [
    "EXHAUSTIVE_LIMIT",
    "Stimulus",
    "check_device",
    "check_seed",
    "codes_of",
    "coverage",
    "draw",
    "evaluator",
    "inner",
    "outer",
    "stimulus",
]

EXHAUSTIVE_LIMIT = 1 << 22
"""Up to this many vectors every code is checked."""

_SAMPLE = 1 << 18
_PAIRS = 1 << 20  # pairs drawn one by one
_BLOCKS, _BLOCK = 4, 1 << 8  # how many blocks of all pairs of fresh codes, and how many codes of each operand
_CHUNK = 1 << 20  # pairs of which the definition is evaluated at once
_BATCH = 1 << 15  # pairs that a kernel takes as a batch of products of 1 x 1


@dataclass(frozen=True, kw_only=True)
class Stimulus:
    """Vectors for one unit, one beat in and one beat out each; of sums, one beat out for several in (`sums`).

    inputs: int64 (n,) by field of the input beat. labels: what a mismatch shows of a vector, int64
    (n,) by name. results: by the name of a software engine ("reference", "cpu", "cuda"), the int64
    (n,) results. exhaustive: whether every code is there. scope: which vectors these are, in words. count: how many,
    where each has several results.
    """

    inputs: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    results: Callable[[str], np.ndarray]
    exhaustive: bool
    scope: str
    count: int | None = None

    @property
    def vectors(self) -> int:
        """How many these are."""
        return len(next(iter(self.labels.values()))) if self.count is None else self.count


def codes_of(format: Fixed, edges: list[int], share: int, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Every code of `format` where there are at most `share`; else neighbours of `edges` and a random sample."""
    if 1 << format.bits <= share:
        return np.arange(format.min, format.max + 1, dtype=np.int64), True
    special = [edge + step for edge in (*edges, format.min, format.max, 0) for step in (-2, -1, 0, 1, 2)]
    held = np.clip(np.array(special, dtype=np.int64), format.min, format.max)
    sample = rng.integers(format.min, format.max, _SAMPLE, dtype=np.int64, endpoint=True)
    return np.unique(np.concatenate([held, sample])), False


def coverage(exhaustive: bool, seed: int) -> str:
    """Which codes `codes_of` gives, in words."""
    return "every code" if exhaustive else f"edges and a sample (seed {seed}) of the codes"


@singledispatch
def stimulus(unit: Unit, scale: int | None, seed: int) -> Stimulus:
    """Vectors for `unit`, at one scale, or at every one where None; `seed` drives any sampling."""
    raise ValueError(f"{type(unit).__name__} {unit.name!r} cannot be checked")


@stimulus.register
def _(unit: Pwl, scale: int | None, seed: int) -> Stimulus:
    scales = unit.scales if scale is None else (unit.chosen_scale(scale),)
    rng = np.random.default_rng(seed)
    blocks = []
    exhaustive = True
    for at in scales:
        edges = [sign * code for code in unit.breakpoint_codes(at) for sign in (1, -1)]
        codes, every = codes_of(unit.input, edges, EXHAUSTIVE_LIMIT // len(scales), rng)
        blocks.append(codes)
        exhaustive &= every
    q = np.concatenate(blocks)
    s = np.repeat(np.array(scales, dtype=np.int64), [len(block) for block in blocks])

    def results(engine: str) -> np.ndarray:
        import torch

        evaluate = evaluator(unit, engine)
        parts = [evaluate(torch.from_numpy(codes), {"scale": at}) for codes, at in zip(blocks, scales)]
        return np.concatenate([part.cpu().to(torch.int64).numpy() for part in parts])

    inputs = {"q": q}
    if len(scales) > 1:
        inputs["scale"] = s - scales[0]
    labels = {"q": q, "scale": s}
    where = f"at scale {scales[0]}" if len(scales) == 1 else f"at scales {', '.join(map(str, scales))}"
    scope = f"{coverage(exhaustive, seed)} {where}"
    return Stimulus(inputs=inputs, labels=labels, results=results, exhaustive=exhaustive, scope=scope)


@stimulus.register
def _(unit: Direct, scale: int | None, seed: int) -> Stimulus:
    at = unit.chosen_scale(scale)
    q, exhaustive = codes_of(unit.input, [], EXHAUSTIVE_LIMIT, np.random.default_rng(seed))

    def results(engine: str) -> np.ndarray:
        import torch

        return evaluator(unit, engine)(torch.from_numpy(q), {}).cpu().to(torch.int64).numpy()

    labels = {"q": q, "scale": np.full_like(q, at)}
    scope = f"{coverage(exhaustive, seed)} at scale {at}"
    return Stimulus(inputs={"q": q}, labels=labels, results=results, exhaustive=exhaustive, scope=scope)


@stimulus.register
def _(unit: Requantize, scale: int | None, seed: int) -> Stimulus:
    if scale is not None:
        raise ValueError(f"Requantize scale must not be given, not {scale}")
    edges = []
    for m, shift in zip(unit.multipliers, unit.shifts):
        # Where the output saturates, and where the input is half an output step.
        targets = (unit.output.min - unit.zero_point, unit.output.max - unit.zero_point, 1)
        edges += [(target << shift) // (2 * m) for target in targets if m] + [(t << shift) // m for t in targets if m]
    edges = [edge for edge in edges if unit.input.min <= edge <= unit.input.max]
    share = EXHAUSTIVE_LIMIT // unit.channels
    codes, exhaustive = codes_of(unit.input, edges, share, np.random.default_rng(seed))
    acc = np.repeat(codes, unit.channels)
    channel = np.tile(np.arange(unit.channels, dtype=np.int64), len(codes))

    def results(engine: str) -> np.ndarray:
        import torch

        table = torch.from_numpy(acc).reshape(-1, unit.channels)
        return evaluator(unit, engine)(table, {}).cpu().to(torch.int64).reshape(-1).numpy()

    inputs = {"acc": acc} | ({"channel": channel} if unit.channels > 1 else {})
    scope = coverage(exhaustive, seed) + (f" of {unit.channels} channels" if unit.channels > 1 else "")
    return Stimulus(inputs=inputs, labels=dict(inputs), results=results, exhaustive=exhaustive, scope=scope)


def _special(format: Fixed) -> np.ndarray:
    """Powers of two, their neighbours and the ends."""
    powers = [1 << place for place in range(format.bits)]
    near = [sign * (power + step) for power in powers for step in (-1, 0, 1) for sign in (1, -1)]
    return np.unique([format.min, format.max, *(code for code in near if format.min <= code <= format.max)])


def draw(format: Fixed, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random codes, half of them of random width."""
    codes = rng.integers(format.min, format.max, count, dtype=np.int64, endpoint=True)
    return codes >> np.where(rng.integers(0, 2, count), rng.integers(0, format.bits, count), 0)


@stimulus.register
def _(unit: Multiplier, scale: int | None, seed: int) -> Stimulus:
    if scale is not None:
        raise ValueError(f"Multiplier scale must not be given, not {scale}")
    formats = (unit.a, unit.b)
    exhaustive = unit.pairs <= PAIRS_LIMIT
    if exhaustive:
        blocks = [tuple(np.arange(format.min, format.max + 1, dtype=np.int64) for format in formats)]
        drawn = [np.empty(0, np.int64)] * 2
        scope = "every pair"
    else:
        rng = np.random.default_rng(seed)
        special = tuple(map(_special, formats))
        blocks = [special, *(tuple(draw(format, _BLOCK, rng) for format in formats) for _ in range(_BLOCKS))]
        drawn = [draw(format, _PAIRS, rng) for format in formats]
        scope = (
            f"all pairs of {len(special[0])} codes of a with {len(special[1])} of b: powers of two, their neighbours "
            f"and the ends of the range; and at random (seed {seed}) {_PAIRS} pairs and {_BLOCKS} blocks of all pairs "
            f"of {_BLOCK} codes with {_BLOCK}"
        )

    def results(engine: str) -> np.ndarray:
        parts = [outer(unit, engine, *block) for block in blocks]
        return np.concatenate(parts if exhaustive else [*parts, inner(unit, engine, *drawn)])

    pairs = {
        "a": np.concatenate([*(np.repeat(a, len(b)) for a, b in blocks), drawn[0]]),
        "b": np.concatenate([*(np.tile(b, len(a)) for a, b in blocks), drawn[1]]),
    }
    return Stimulus(inputs=pairs, labels=dict(pairs), results=results, exhaustive=exhaustive, scope=scope)


def outer(unit: Multiplier, engine: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """All products of codes a (A,) and b (B,) in software, int64 (A B,): by the definition, or by the kernels of
    `hwlut.ops.approx_matmul` on a device, as the product of a column and a row.
    """
    import torch

    rows, columns = torch.from_numpy(a)[:, None], torch.from_numpy(b)[None]
    if engine == "reference":
        parts = [unit(part, columns) for part in rows.split(max(1, _CHUNK // len(b)))]
    else:
        from hwlut import ops

        check_device(engine)
        parts = [ops.approx_matmul(rows.to(engine), columns.to(engine), unit)]
    return np.concatenate([part.reshape(-1).cpu().to(torch.int64).numpy() for part in parts])


def inner(unit: Multiplier, engine: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The products of codes a (N,) and b (N,) in software, each with its own, int64 (N,); on a device as a batch of
    products of 1 x 1.
    """
    import torch

    left, right = torch.from_numpy(a), torch.from_numpy(b)
    if engine == "reference":
        return unit(left, right).to(torch.int64).numpy()
    from hwlut import ops

    check_device(engine)
    parts = [
        ops.approx_matmul(x.to(engine)[:, None, None], y.to(engine)[:, None, None], unit).reshape(-1).cpu()
        for x, y in zip(left.split(_BATCH), right.split(_BATCH))
    ]
    return torch.cat(parts).to(torch.int64).numpy()


def check_seed(seed: int, seeds: int = 1 << 31) -> None:
    """ValueError for what is no seed below `seeds`."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < seeds:
        raise ValueError(f"seed must be an integer from 0 to {seeds - 1}, not {seed!r}")


def check_device(engine: str) -> None:
    """Raises ToolError where `engine` is cuda and there is no GPU."""
    import torch

    if engine == "cuda" and not torch.cuda.is_available():
        raise ToolError("cuda", "no GPU that torch can use", "run on a machine with one, with a CUDA build of torch")


def evaluator(unit: Unit, engine: str) -> Callable[["torch.Tensor", dict[str, int]], "torch.Tensor"]:
    """What computes `unit` in software: its definition, or its kernel on a device."""
    if engine == "reference":
        return lambda codes, arguments: unit(codes, **arguments)
    from hwlut import ops

    check_device(engine)
    return lambda codes, arguments: ops.evaluate(unit, codes.to(engine), **arguments)
