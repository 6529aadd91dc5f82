"""What a check of a tile found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["TileReport"]


@dataclass(frozen=True, kw_only=True)
class TileReport:
    """Result of `check_tile`.

    Parameters
    ----------
    tile, digest: what was checked. engine, tool: what simulated it, with versions. seed: of all that is random.
    runs: different runs. commands: of all of them. cycles: likewise, of the model, without stalls.
    tests: of each test, what is wrong in it, or None.
    seconds: wall time of the check.
    """

    tile: str
    digest: str
    engine: str
    tool: str
    seed: int
    runs: int
    commands: int
    cycles: int
    tests: Mapping[str, str | None]
    seconds: float

    @property
    def ok(self) -> bool:
        """True when something was tested and nothing was wrong."""
        return bool(self.tests) and not any(self.tests.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON-able content, with `ok`."""
        return {"ok": self.ok} | asdict(self)

    def __str__(self) -> str:
        failed = {name: message for name, message in self.tests.items() if message}
        rows = [
            ("tile", f"{self.tile} (digest {self.digest[:12]})"),
            ("engine", f"{self.engine}: {self.tool}"),
            ("against", "the model"),
            ("runs", f"{self.runs}: {self.commands} commands, {self.cycles} cycles without stalls"),
            ("tests", f"{len(self.tests)}, {len(failed)} failed"),
            *(("failed", f"{name}: {message}") for name, message in failed.items()),
            ("result", f"{'PASS' if self.ok else 'FAIL'} in {self.seconds:.2f} s"),
        ]
        return "\n".join(f"{label:<8} {text}" for label, text in rows)
