"""Small tiles of every kind."""

from hwlut.fixed import Fixed
from hwlut.program import range_reduced, softmax
from hwlut.units import Multiplier, Tile

__all__ = ["TILES"]

_EXACT = Multiplier(family="exact", bits=8, signed=True)
_MIXED = Multiplier(family="drum", a=Fixed(6, signed=False), b=Fixed(8, signed=False), k=4)
_SMALL = {"values": 64, "inputs": 16, "weights": 16, "constants": 8}


def _tiles() -> dict[str, Tile]:
    exp = range_reduced("exp", input=Fixed(8, 4), output=Fixed(16, 8))
    rows = softmax(input=Fixed(8, 4), output=Fixed(8, 8, signed=False), most=16)
    return {
        "array": Tile(rows=3, columns=4, multipliers=(_EXACT, _MIXED), operands=4, loops=3, **_SMALL),
        "tables": Tile(
            rows=2,
            columns=3,
            multipliers=(_MIXED,),
            value_bits=12,
            accumulator_bits=20,
            input_bits=5,
            factor_bits=11,
            operations=("add", "less", "bits"),
            table_inputs=3,
            table_outputs=7,
            tables=3,
            loops=2,
            values=50,
            inputs=11,
            weights=9,
            constants=5,
        ),
        "tree": Tile(rows=2, columns=2, entries=4, encoder="tree", entry_bits=4, operations=(), loops=4, **_SMALL),
        "l1": Tile(rows=1, columns=3, entries=8, encoder="l1", value_bits=9, accumulator_bits=16, loops=1, **_SMALL),
        "l2": Tile(rows=4, columns=1, entries=2, encoder="l2", multipliers=(_EXACT,), operands=2, **_SMALL),
        "chebyshev": Tile(rows=1, columns=2, entries=4, encoder="chebyshev", loops=3, **_SMALL),
        "operators": Tile(rows=2, columns=2, multipliers=(_EXACT,), operators=(exp, rows), value_bits=24, **_SMALL),
        "wide": Tile(
            rows=1, columns=1, multipliers=(_EXACT,), accumulator_bits=48, value_bits=48, input_bits=32, **_SMALL
        ),
        "least": Tile(rows=1, columns=1, multipliers=(_EXACT,), loops=1, values=2, inputs=2, weights=2, constants=2),
    }


TILES = _tiles()
"""By what is special in each."""
