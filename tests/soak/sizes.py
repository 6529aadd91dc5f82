"""How many vectors a unit is sent: what a check sends, in the same kinds, but few of each."""

import contextlib
import unittest.mock

from hwlut.verify import programs, reload, row_runs, rows, stimulus, stream_rows, sums

__all__ = ["FEW", "SOME", "sized"]

SOME, FEW = 512, 32


@contextlib.contextmanager
def sized(about):
    """Within this, stimuli and plans of `hwlut.verify` have about so many vectors of each kind."""
    special, block = stimulus._special, max(2, about // 64)

    def thinned(format):
        found = special(format)
        return found[:: max(1, len(found) * 4 // about)]

    changes = {
        stimulus: {"EXHAUSTIVE_LIMIT": about, "PAIRS_LIMIT": 2 * about, "_SAMPLE": about, "_PAIRS": about,
                   "_BLOCKS": 2, "_BLOCK": block, "_special": thinned},
        programs: {"EXHAUSTIVE_LIMIT": about, "_SAMPLE": about, "_EDGES": about},
        rows: {"MOST_ROWS": about // 4, "_FEWEST_ROWS": about // 16},
        row_runs: {"_ROWS": {True: max(16, about // 16)}, "_CYCLES": {True: 4 * about}, "_LOADING": {True: about}},
        stream_rows: {"_PLACES": {True: about}, "_LONGEST": {True: about // 4}},
        sums: {"_PAIRS": about, "_LONGEST": max(4, about // 8), "_SHORT": 8},
        reload: {"_MOST_BEATS": about},
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        for module, values in changes.items():
            stack.enter_context(unittest.mock.patch.multiple(module, **values))
        yield
