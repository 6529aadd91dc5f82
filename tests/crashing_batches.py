"""Batches at which a process ends, in a module that a new process imports at once."""

import json
import os
from pathlib import Path

from soak.found import SHARED, Batch

__all__ = ["crashing"]


def crashing(seed, numbers, journal, kind):
    """Cases of which the third ends the process, as does what is done to more than five at once."""
    path = Path(journal)
    if len(numbers) > 5:
        path.write_text(json.dumps([None, SHARED]))
        os._exit(1)
    for number in numbers:
        path.write_text(json.dumps([number, "cpu"]))
        if number == 3:
            os._exit(1)
    return Batch(
        keys={number: ("direct", str(number)) for number in numbers},
        compared={(number, "cpu"): 7 for number in numbers},
    )
