"""What a design that adds up products is sent, and what it must answer."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hwlut.hdl.description import summed_requantize
from hwlut.unit import Unit
from hwlut.units import Multiplier, Requantize
from hwlut.verify.beats import streams
from hwlut.verify.stimulus import Stimulus, check_device

__all__ = ["sums"]

_PAIRS = 1 << 16
_LONGEST = 1 << 14  # beats of a sum of any products
_BATCH = 1 << 15  # sums that a kernel takes at once
_SHORT = 32  # beats up to which every length comes


def sums(unit: Unit, description: Mapping[str, Any], seed: int, short: bool = False) -> Stimulus:
    """Sums of products of `unit` of every kind of length, for the design of an ``.rtl.json``.

    One beat first, by which the latency is measured. Then sums as long as the design takes them, of the greatest
    product alone and of the least; and up to 2^14 beats long, of both mixed and of any; and one of each length from 1
    to 32 beats. Then every pair of codes (of more than 2^16 the ends of both formats and a sample) in random order,
    parted into sums of random lengths. With `short`, for what is slow, no sum is longer than 2^14 beats.

    `inputs` are by field and beat, `labels` and results by sum: the label ``terms`` is how many products it has, ``a``
    and ``b`` are its first pair.

    Raises ValueError for a unit that is no Multiplier.
    """
    if not isinstance(unit, Multiplier):
        raise ValueError(f"{type(unit).__name__} {unit.name!r} has no products to add up")
    rng = np.random.default_rng([seed, 2])
    requantize = summed_requantize(description["sum"])
    source = next(stream for stream in streams(description).values() if stream.input)
    lanes = sum(name.startswith("a") for name in source.fields) or 1
    most = max(1, description["sum"]["terms"] // lanes)
    (a, b), every = _pairs(unit, rng)
    products = _products(unit, a, b)
    lengths, pairs = _plan(products, lanes, min(most, _LONGEST) if short else most, rng)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    channels = rng.integers(0, requantize.channels if requantize else 1, len(pairs))

    suffixes = [""] if lanes == 1 else [str(lane) for lane in range(lanes)]
    inputs = {f"{name}{x}": codes[pairs[:, i]] for name, codes in (("a", a), ("b", b)) for i, x in enumerate(suffixes)}
    inputs["last"] = np.isin(np.arange(len(pairs)), ends - 1).astype(np.int64)
    labels = {
        "sum": np.arange(len(lengths)),
        "terms": lengths * lanes,
        "a": a[pairs[starts, 0]],
        "b": b[pairs[starts, 0]],
    }
    if requantize is not None and requantize.channels > 1:
        inputs["channel"] = channels
        labels["channel"] = channels[ends - 1]

    def results(engine: str) -> np.ndarray:
        if engine == "reference":
            found = np.add.reduceat(products[pairs].sum(1), starts)
        else:
            check_device(engine)
            found = np.empty(len(starts), np.int64)
            for length in np.unique(lengths):
                for at in _parted(np.flatnonzero(lengths == length)):
                    taken = pairs[starts[at, None] + np.arange(length)].reshape(len(at), -1)
                    found[at] = _matmul(unit, a[taken], b[taken], engine)
        return found if requantize is None else _requantized(requantize, found, channels[ends - 1])

    covered = "every pair of codes" if every else f"edges and a sample (seed {seed}) of the pairs"
    longest = int(lengths.max())
    scope = f"sums of 1 to {longest * lanes} products, the extreme ones and {covered} among them"
    if longest < most:
        scope += f", but not the longest, of {most * lanes}"
    return Stimulus(inputs=inputs, labels=labels, results=results, exhaustive=False, scope=scope)


def _pairs(unit: Multiplier, rng: np.random.Generator) -> tuple[tuple[np.ndarray, np.ndarray], bool]:
    """Codes a and b of pairs, in random order, and whether that is every pair."""
    formats = (unit.a, unit.b)
    if every := unit.pairs <= _PAIRS:
        pairs = np.array(list(itertools.product(*(range(f.min, f.max + 1) for f in formats))), np.int64)
    else:
        edges = [{f.min, f.min + 1, -1, 0, 1, f.max - 1, f.max} & set(range(f.min, f.max + 1)) for f in formats]
        sample = [rng.integers(f.min, f.max, _PAIRS, endpoint=True) for f in formats]
        pairs = np.concatenate([np.array(list(itertools.product(*edges)), np.int64), np.stack(sample, 1)])
    a, b = rng.permutation(pairs).T.copy()
    return (a, b), every


def _products(unit: Multiplier, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    import torch

    return unit(torch.from_numpy(a), torch.from_numpy(b)).to(torch.int64).numpy()


def _plan(products: np.ndarray, lanes: int, most: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Beats of each sum, and which pair each lane of each beat takes, int64 (beats, lanes)."""
    count, longest = len(products), min(most, _LONGEST)
    ends = np.array([products.argmax(), products.argmin()])
    whole = [np.full((most, lanes), end) for end in ends]
    whole += [ends[rng.integers(0, 2, (longest, lanes))], rng.integers(0, count, (longest, lanes))]
    left = -(-count // lanes)
    filled = np.concatenate([np.arange(count), rng.integers(0, count, left * lanes - count)]).reshape(left, lanes)
    # Every order of magnitude of a length is as likely as every other.
    lengths = np.minimum(np.exp(rng.uniform(0, np.log(longest + 1), left)), longest).astype(np.int64)
    kept = lengths[: np.searchsorted(np.cumsum(lengths), left) + 1]
    kept[-1] -= kept.sum() - left
    short = np.arange(1, min(longest, _SHORT) + 1)
    first, drawn = (rng.integers(0, count, (beats, lanes)) for beats in (1, short.sum()))
    pairs = np.concatenate([first, *whole, drawn, filled])
    return np.concatenate([[1], [len(each) for each in whole], short, kept]), pairs


def _parted(places: np.ndarray) -> Iterator[np.ndarray]:
    return (places[start : start + _BATCH] for start in range(0, len(places), _BATCH))


def _matmul(unit: Multiplier, a: np.ndarray, b: np.ndarray, device: str) -> np.ndarray:
    """Sums of the products of codes (n, terms), each of its row, (n,)."""
    import torch

    from hwlut.ops.approx_matmul import approx_matmul

    left, right = (torch.from_numpy(codes).to(device) for codes in (a, b))
    return approx_matmul(left[:, None], right[:, :, None], unit).reshape(-1).cpu().numpy()


def _requantized(unit: Requantize, acc: np.ndarray, channel: np.ndarray) -> np.ndarray:
    import torch

    codes = torch.from_numpy(acc)[:, None].expand(-1, unit.channels)
    return unit(codes).to(torch.int64).numpy()[np.arange(len(acc)), channel]
