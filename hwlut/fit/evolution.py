"""The genetic search of GQA-LUT (Dong et al., DAC 2024, arXiv 2403.19591), whole generations at a time."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from hwlut.files import digest_of, read_bytes, write_atomic
from hwlut.fit.objective import check_integer
from hwlut.fit.reals import reals
from hwlut.records import parse_json

__all__ = ["Evolution", "Errors"]

Errors = Callable[[np.ndarray], np.ndarray]
"""(individuals, genes) float64, each row ascending -> (individuals,) float64, the lower the better."""

_SCHEMA = "hwlut.genetic/1"
_LIMIT = 1 << 28
_NOISE = 0.2
_SHARE = 0.05
_MOVED = 0.9
_REPORTS = 5


@dataclass(frozen=True, kw_only=True)
class Evolution:
    """How a population of breakpoints evolves: the published settings unless given.

    In each generation tournaments choose the parents; of each pair, some swap the genes between two
    cuts; of the children, some mutate; those that changed are evaluated anew. Genes stay in the
    range of the search, and the best individual ever seen is the result.

    Parameters
    ----------
    population: individuals, 2 to 100,000. generations: 0 to 10,000,000.
    crossover, mutation: the chances of a pair to swap and of a child to mutate, 0 to 1.
    tournament: individuals drawn for each parent, the best of which it is.
    mutation_mode: "rounding", where each gene draws u from [0, 1) for each j of `decimal_bits`:
        from 0.05 j to 0.05 (j + 1) it is rounded to 2^-j, from 0.9 on it moves by N(0, 0.2); or
        "gaussian", where it moves so with chance 0.1.
    decimal_bits: the lowest and highest j, 0 to 17.
    elite: the best individuals that replace the worst of the next generation.
    checkpoint: a file that keeps the state, and from which an interrupted run goes on.
    progress: called now and then with the generations done, their number and a text.
    """

    population: int = 50
    generations: int = 500
    crossover: float = 0.7
    mutation: float = 0.2
    tournament: int = 3
    mutation_mode: str = "rounding"
    decimal_bits: tuple[int, int] = (0, 6)
    elite: int = 1
    checkpoint: str | Path | None = field(default=None, compare=False)
    progress: Callable[[int, int, str], None] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for label, low, high in (
            ("population", 2, 100_000),
            ("generations", 0, 10_000_000),
            ("tournament", 1, 100_000),
        ):
            check_integer(f"genetic {label}", getattr(self, label), low, high)
        check_integer("genetic elite", self.elite, 0, self.population - 1)
        for label in ("crossover", "mutation"):
            chance = getattr(self, label)
            if isinstance(chance, bool) or not isinstance(chance, (int, float)):
                raise TypeError(f"genetic {label} must be a number, not {chance!r}")
            if not 0 <= chance <= 1:
                raise ValueError(f"genetic {label} must be from 0 to 1, not {chance}")
        if self.mutation_mode not in ("rounding", "gaussian"):
            raise ValueError(f"genetic mutation_mode must be one of rounding, gaussian, not {self.mutation_mode!r}")
        if not isinstance(self.decimal_bits, (tuple, list)) or len(self.decimal_bits) != 2:
            raise TypeError(f"genetic decimal_bits must be two integers, not {self.decimal_bits!r}")
        for bits in self.decimal_bits:
            check_integer("genetic decimal_bits", bits, 0, 17)
        if self.decimal_bits[0] > self.decimal_bits[1]:
            raise ValueError(f"genetic decimal_bits must be ascending, not {self.decimal_bits}")

    def evolve(
        self, errors: Errors, genes: int, search: tuple[float, float], seed: int, problem: str = ""
    ) -> np.ndarray:
        """The best individual, (genes,) float64 ascending in `search`, for the errors given.

        `problem` names what the errors stand for, so that a checkpoint of another is refused.
        """
        problem = digest_of(problem, genes, list(search), seed, self.settings | {"generations": None})
        generator = np.random.Generator(np.random.PCG64(seed))
        state = self._resumed(problem, generator, errors, genes, search)
        if state is None:
            individuals = np.sort(generator.uniform(*search, (self.population, genes)), axis=1)
            scores = errors(individuals)
            state = _State(0, individuals, scores, individuals[scores.argmin()], float(scores.min()))
        every = max(1, self.generations // _REPORTS)
        while state.generation < self.generations:
            state = self._next(state, errors, search, generator)
            if state.generation % every == 0 or state.generation == self.generations:
                if self.checkpoint is not None:
                    write_atomic(Path(self.checkpoint), state.dumps(problem, generator))
                if self.progress is not None:
                    self.progress(state.generation, self.generations, f"error {state.best_score:.4g}")
        return state.best

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the result, as plain JSON."""
        parts = {part.name: getattr(self, part.name) for part in fields(self) if part.compare}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in parts.items()}

    def _next(
        self, state: "_State", errors: Errors, search: tuple[float, float], generator: np.random.Generator
    ) -> "_State":
        drawn = generator.integers(self.population, size=(self.population, self.tournament))
        parents = drawn[np.arange(self.population), state.scores[drawn].argmin(axis=1)]
        individuals, scores = state.individuals[parents], state.scores[parents]
        changed = self._cross(individuals, generator) | self._mutate(individuals, search, generator)
        individuals[changed] = np.sort(individuals[changed], axis=1)
        if changed.any():
            scores[changed] = errors(individuals[changed])
        if self.elite:
            kept = np.argpartition(state.scores, self.elite - 1)[: self.elite]
            worst = np.argpartition(scores, -self.elite)[-self.elite :]
            individuals[worst], scores[worst] = state.individuals[kept], state.scores[kept]
        best = int(scores.argmin())
        if scores[best] < state.best_score:
            return _State(state.generation + 1, individuals, scores, individuals[best].copy(), float(scores[best]))
        return _State(state.generation + 1, individuals, scores, state.best, state.best_score)

    def _cross(self, individuals: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Swap the genes of pairs between two cuts, in place; which individuals that concerns."""
        count, genes = individuals.shape
        changed = np.zeros(count, dtype=bool)
        if genes < 2:
            return changed
        pairs = np.flatnonzero(generator.random(count // 2) < self.crossover)
        first = generator.integers(1, genes + 1, len(pairs))
        second = generator.integers(1, genes, len(pairs))
        second += second >= first
        places = np.arange(genes)
        swapped = (np.minimum(first, second)[:, None] <= places) & (places < np.maximum(first, second)[:, None])
        mothers, fathers = individuals[2 * pairs], individuals[2 * pairs + 1]
        individuals[2 * pairs] = np.where(swapped, fathers, mothers)
        individuals[2 * pairs + 1] = np.where(swapped, mothers, fathers)
        changed[2 * pairs] = changed[2 * pairs + 1] = True
        return changed

    def _mutate(
        self, individuals: np.ndarray, search: tuple[float, float], generator: np.random.Generator
    ) -> np.ndarray:
        """Round or move genes of some individuals, in place; which individuals that concerns."""
        chosen = generator.random(len(individuals)) < self.mutation
        genes = individuals[chosen]
        low, high = self.decimal_bits if self.mutation_mode == "rounding" else (0, 0)
        draws = generator.random((high - low + 1, *genes.shape))
        moved = draws >= _MOVED
        noise = np.zeros_like(draws)
        noise[moved] = generator.normal(0, _NOISE, np.count_nonzero(moved))
        for j, u, shift in zip(range(low, high + 1), draws, noise):
            if self.mutation_mode == "rounding":
                rounds = (_SHARE * j <= u) & (u < _SHARE * (j + 1))
                genes = np.where(rounds, np.rint(genes * 2.0**j) * 2.0**-j, genes)
            genes = genes + shift
        individuals[chosen] = np.clip(genes, *search)
        return chosen

    def _resumed(
        self, problem: str, generator: np.random.Generator, errors: Errors, genes: int, search: tuple[float, float]
    ) -> "_State | None":
        """The checkpoint's state, where there is one, and `generator` as it was then."""
        if self.checkpoint is None or not Path(self.checkpoint).exists():
            return None
        path = Path(self.checkpoint)
        try:
            content = parse_json(read_bytes(path, _LIMIT))
            if content["schema"] != _SCHEMA:
                raise ValueError
            if content["problem"] != problem:
                raise _Foreign(f"{path}: a checkpoint of another fit")
            check_integer("generation", content["generation"], 0, 10_000_000)
            state = _State(
                content["generation"],
                reals("individuals", content["individuals"]).reshape(self.population, genes),
                reals("scores", content["scores"]).reshape(self.population),
                reals("best", content["best"]).reshape(genes),
                float(reals("best_score", content["best_score"])),
            )
            state.check(errors, search)
            generator.bit_generator.state = content["random"]
        except _Foreign as error:
            raise ValueError(str(error)) from None
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise ValueError(f"{path}: not a checkpoint of a genetic fit") from None
        if state.generation > self.generations:
            raise ValueError(f"{path}: is at generation {state.generation}, beyond the {self.generations} asked for")
        return state


class _Foreign(Exception):
    """A checkpoint that is whole, but of another run."""


@dataclass(frozen=True)
class _State:
    """A generation with its errors, and the best individual up to it."""

    generation: int
    individuals: np.ndarray
    scores: np.ndarray
    best: np.ndarray
    best_score: float

    def check(self, errors: Errors, search: tuple[float, float]) -> None:
        """Raise ValueError unless every row ascends in `search` and has the error that stands beside it."""
        rows = np.vstack([self.individuals, self.best])
        scores = np.append(self.scores, self.best_score)
        low, high = search
        if not ((low <= rows) & (rows <= high)).all() or (rows[:, 1:] < rows[:, :-1]).any():
            raise ValueError("individuals must be ascending and in the range of the search")
        if not np.isfinite(scores).all() or self.best_score > self.scores.min():
            raise ValueError("scores must be finite, and none below the best")
        if not np.allclose(errors(rows), scores, rtol=1e-6, atol=1e-12):
            raise ValueError("scores must be those of the individuals")

    def dumps(self, problem: str, generator: np.random.Generator) -> str:
        content = {
            "schema": _SCHEMA,
            "problem": problem,
            "generation": self.generation,
            "individuals": self.individuals.tolist(),
            "scores": self.scores.tolist(),
            "best": self.best.tolist(),
            "best_score": self.best_score,
            "random": generator.bit_generator.state,
        }
        return json.dumps(content) + "\n"
