"""Batches over processes until the time is over; what they found, counted."""

import dataclasses
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

from hwlut.workers import spawned
from soak.found import SHARED, Batch, Finding
from soak.kinds import KINDS, kind_of

__all__ = ["Campaign"]

_ABOUT = 512  # vectors, as `soak.batch` has it

_BATCHES = 20  # that a process runs before another takes its place, since libraries stay loaded


class _Lane:
    """One process at a time, and the batches that wait for it."""

    def __init__(self, folder: Path, number: int, seed: int, kind: str | None):
        self.journal = folder / f"lane_{number}.json"
        self.numbers: Sequence[int] = ()
        self._seed, self._kind, self._done = seed, kind, 0
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, numbers: Sequence[int]) -> Future[Batch]:
        if self._done == _BATCHES:
            self.close()
        if self._pool is None:
            self._pool, self._done = spawned(1), 0
        self._done += 1
        self.numbers = numbers
        from soak.batch import run_batch

        return self._pool.submit(run_batch, self._seed, numbers, str(self.journal), self._kind)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = None


@dataclasses.dataclass
class Campaign:
    """Cases of a seed from a number on.

    kind: all of one, or None. keys: of the units, none twice. units, results: how many, by kind and engine. refused:
    likewise, what an engine does not compute. findings: what differed, failed or crashed. beyond: the number after the
    last one.
    """

    seed: int
    kind: str | None = None
    keys: dict[str, str] = dataclasses.field(default_factory=dict)
    units: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    results: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    findings: list[Finding] = dataclasses.field(default_factory=list)
    seconds: Counter[str] = dataclasses.field(default_factory=Counter)
    beyond: int = 0

    def run(
        self,
        first: int,
        until: Callable[[int], bool],
        processes: int,
        size: int,
        told: Callable[[Finding | None], None],
    ) -> None:
        """Batches of a size, until it is so of the number of units; `told` is called after each batch, and with
        each finding.
        """
        with tempfile.TemporaryDirectory(prefix="hwlut-soak-") as folder:
            lanes = [_Lane(Path(folder), number, self.seed, self.kind) for number in range(processes)]
            again: list[Sequence[int]] = []
            fresh = _ranges(first, size)
            running: dict[Future[Batch], _Lane] = {}
            try:
                while True:
                    for lane in lanes:
                        if lane not in running.values() and (again or not until(len(self.keys))):
                            numbers = again.pop() if again else next(fresh)
                            self.beyond = max(self.beyond, numbers[-1] + 1)
                            running[lane.submit(numbers)] = lane
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        lane = running.pop(future)
                        for finding in self._taken(future, lane, again):
                            self.findings.append(finding)
                            told(finding)
                        told(None)
            finally:
                for lane in lanes:
                    lane.close()

    def _taken(self, future: Future[Batch], lane: _Lane, again: list[Sequence[int]]) -> list[Finding]:
        """Findings of a batch that ended; of one whose process did not, what it did then, and the rest comes again."""
        try:
            batch = future.result()
        except Exception as error:  # BrokenProcessPool, or what the shared steps raised
            lane.close()
            return self._crashed(error, lane, again)
        for number, (kind, key) in batch.keys.items():
            if key in self.keys:
                continue
            self.keys[key] = kind
            for (of, engine), compared in batch.compared.items():
                if of == number:
                    self.units[kind, engine] += 1
                    self.results[kind, engine] += compared
            self.refused.update((kind, engine) for of, engine in batch.refused if of == number)
        self.seconds.update(batch.seconds)
        return batch.findings

    def _crashed(self, error: BaseException, lane: _Lane, again: list[Sequence[int]]) -> list[Finding]:
        number, engine = json.loads(lane.journal.read_text()) if lane.journal.exists() else (None, "draw")
        numbers = list(lane.numbers)
        if number is None and len(numbers) > 1:  # at what is done to all: one of either half
            middle = len(numbers) // 2
            again += [numbers[:middle], numbers[middle:]]
            return []
        number = numbers[0] if number is None else number
        if rest := [each for each in numbers if each != number]:
            again.append(rest)
        kind = self.kind or kind_of(number)
        engine = "verilator" if engine == SHARED else engine
        return [Finding(number, kind, engine, f"{type(error).__name__}: {error}"[:2000], _ABOUT)]

    def table(self) -> str:
        """Units and results by kind and engine."""
        engines = list(dict.fromkeys(engine for _, engine in self.units))
        wrong = Counter((finding.kind, finding.engine) for finding in self.findings)
        rows = [("kind", "engine", "units", "results", "refused", "mismatches")]
        for kind in KINDS:
            for engine in engines:
                if self.units[kind, engine] or wrong[kind, engine] or self.refused[kind, engine]:
                    counts = (counter[kind, engine] for counter in (self.units, self.results, self.refused, wrong))
                    rows.append((kind, engine, *map(str, counts)))
        widths = [max(map(len, column)) for column in zip(*rows)]
        return "\n".join("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows)


def _ranges(first: int, size: int) -> Iterator[range]:
    while True:
        yield range(first, first := first + size)
