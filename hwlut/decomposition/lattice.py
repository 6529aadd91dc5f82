"""Short bases of the lattice that a table's rows span."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from hwlut.decomposition.terms import Terms
from hwlut.errors import ToolError

__all__ = ["LIMIT", "Distinct", "lattice_terms"]

LIMIT = 1024
"""A lattice is sought only of tables with at most so many distinct rows and columns."""

_PROGRAM = """
import json, resource, sys
from flint import fmpz_mat
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]), int(sys.argv[1])))
for line in sys.stdin.read().splitlines():
    rows = fmpz_mat(json.loads(line)).lll().tolist()
    print(json.dumps([[int(entry) for entry in row] for row in rows if any(row)]), flush=True)
"""


def lattice_terms(tables: Sequence[np.ndarray], seconds: int) -> Iterator[tuple[int, Terms]]:
    """With the number of its table (int64 [A, B]): v a short basis of the lattice of its rows, u their coordinates.

    The bases come from FLINT's LLL on the distinct rows (Lenstra, Lenstra, Lovasz, Mathematische Annalen 261, 1982).
    A table above `LIMIT` is left out, and so is one whose coordinates float64 does not find. After `seconds` of
    processor time no further terms come.
    """
    grids = {number: Distinct(table) for number, table in enumerate(tables) if table.any()}
    grids = {number: grid for number, grid in grids.items() if max(grid.entries.shape) <= LIMIT}
    for (number, grid), basis in zip(grids.items(), _bases([grid.entries for grid in grids.values()], seconds)):
        coordinates = np.rint(np.linalg.lstsq(basis.T.astype(float), grid.entries.T.astype(float), rcond=None)[0])
        u = coordinates.astype(np.int64)
        if np.array_equal(u.T @ basis, grid.entries):
            yield number, Terms.of(u[:, grid.row], basis[:, grid.column])


class Distinct:
    """A table without its repeated rows and columns: table = entries[row][:, column]."""

    def __init__(self, table: np.ndarray):
        rows, self.row = _distinct_rows(table)
        columns, self.column = _distinct_rows(np.ascontiguousarray(rows.T))
        self.entries = np.ascontiguousarray(columns.T)


def _distinct_rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows in lexicographic order without repetitions, and the place of each row of the table among them."""
    # Equal rows have equal sums of random multiples; sorting those first is faster than sorting long rows.
    sums = table @ np.random.default_rng(0).integers(-(1 << 62), 1 << 62, table.shape[1])
    _, first, place = np.unique(sums, return_index=True, return_inverse=True)
    if not np.array_equal(table[first][place], table):
        return np.unique(table, axis=0, return_inverse=True)
    rows, order = np.unique(table[first], axis=0, return_inverse=True)
    return rows, order[place]


def _bases(matrices: Sequence[np.ndarray], seconds: int) -> Iterator[np.ndarray]:
    """The LLL-reduced row basis of each matrix, as long as time is left.

    FLINT cannot be interrupted, and its time has no useful bound, so it works in a process that may be ended.
    """
    if not matrices:
        return
    command = [sys.executable, "-c", _PROGRAM, str(seconds)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdin and process.stdout and process.stderr
        try:
            try:
                process.stdin.write("\n".join(json.dumps(matrix.tolist()) for matrix in matrices))
                process.stdin.close()
            except BrokenPipeError:
                pass
            for line in process.stdout:
                if line.endswith("\n"):
                    yield np.array(json.loads(line), dtype=np.int64)
            if process.wait() > 0:
                problem = (process.stderr.read().strip() or "failed").splitlines()[-1]
                raise ToolError("python-flint", problem, "pip install python-flint")
        finally:
            process.kill()
