"""Random tiles, and random networks that they can compute."""

import random

from hwlut import Fixed, Multiplier
from hwlut.accel.programs import random_program
from hwlut.program import range_reduced, softmax
from hwlut.units import Operation, Tile

__all__ = ["network", "tile"]

_BUILT = 2  # tiles of a seed that are run as hardware, too, since to build one takes a minute

_MULTIPLIERS = (
    Multiplier(family="exact", bits=8, signed=True),
    Multiplier(family="exact", a=Fixed(8, signed=False), b=Fixed(6)),
    Multiplier(family="exact", bits=4, signed=True),
    Multiplier(family="drum", bits=6, signed=True, k=3),
    Multiplier(family="roba", bits=8, signed=False),
    Multiplier(family="mitchell", a=Fixed(8, signed=False), b=Fixed(8)),
)


def tile(r):
    """A small tile of any kind of array, with few words of weights and constants, so that layers need several loads."""
    value_bits = r.randint(20, 48)
    fields = {}
    if r.random() < 0.4:
        fields |= {"entries": r.choice([2, 4, 8, 16]), "encoder": r.choice(["l2", "l1", "chebyshev", "tree"])}
        fields["entry_bits"] = r.choice([4, 8])
    if r.random() < 0.5:
        fields |= {"table_inputs": r.randint(3, 8), "table_outputs": r.randint(4, 12), "tables": r.randint(1, 3)}
    if r.random() < 0.3:
        exp = range_reduced("exp", input=Fixed(8, 4), output=Fixed(16, 8))
        rows = softmax(input=Fixed(8, 4), output=Fixed(8, 8, signed=False), most=16)
        fields["operators"] = r.choice([(exp,), (rows,), (exp, rows)])
    operations = [each for each in Operation if r.random() < 0.8]
    return Tile(
        rows=r.randint(1, 5), columns=r.randint(1, 5), multipliers=r.sample(_MULTIPLIERS, r.randint(1, 3)),
        value_bits=value_bits, accumulator_bits=r.randint(18, 40), input_bits=r.randint(5, 12), operations=operations,
        loops=r.randint(2, 6), inputs=512, weights=r.choice([96, 256]), constants=r.choice([48, 128]),
        operands=r.choice([32, 64]), **fields,
    )  # fmt: skip


def network(r, seed):
    """A program of tensors, a tile that computes it, and whether that is one of the few that are built."""
    built = r.random() < 0.5
    held = tile(random.Random(f"tile {seed} {r.randrange(_BUILT)}") if built else r)
    return random_program(held, r.randrange(1 << 30), nodes=r.randint(1, 15)), held, built
