"""What comes of cases, as processes tell it to each other."""

import dataclasses

__all__ = ["SHARED", "Batch", "Finding"]

SHARED = "all designs together"
"""The engine, in a journal, of what is done to all cases of a batch at once."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """That an engine gave another result than the definition, or failed.

    number, kind: of the case. engine: which. message: what differed. about: the number of vectors, as `sized` takes it.
    """

    number: int
    kind: str
    engine: str
    message: str
    about: int


@dataclasses.dataclass
class Batch:
    """What came of some cases.

    keys: the kind and the `Case.key` of each, by number. compared: results that agreed, by number and engine. refused:
    what an engine does not compute, and why, likewise. findings: the rest. seconds: of processors, by engine
    or stage.
    """

    keys: dict[int, tuple[str, str]] = dataclasses.field(default_factory=dict)
    compared: dict[tuple[int, str], int] = dataclasses.field(default_factory=dict)
    refused: dict[tuple[int, str], str] = dataclasses.field(default_factory=dict)
    findings: list[Finding] = dataclasses.field(default_factory=list)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
