"""Of which kind the case of a number is."""

import random

__all__ = ["KINDS", "kind_of"]

KINDS = {
    "pwl": 28, "direct": 8, "requantize": 16, "multiplier": 20, "sum": 6, "lut_matmul": 4, "codes": 8, "rows": 5,
    "network": 5,
}  # fmt: skip
"""How many of a hundred cases are of each kind."""

_ORDER = [kind for kind, share in KINDS.items() for _ in range(share)]


def kind_of(number: int) -> str:
    """The kind of a case: in every hundred as many of each as `KINDS` says, in any order."""
    return random.Random(number // len(_ORDER)).sample(_ORDER, len(_ORDER))[number % len(_ORDER)]
