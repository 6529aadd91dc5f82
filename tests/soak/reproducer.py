"""A finding as a folder, from which one command runs it again."""

import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import hwlut
from hwlut.files import write_atomic
from hwlut.unit import Unit
from soak.batch import simulated
from soak.case import Case, drawn
from soak.difference import Difference
from soak.emission import emitted
from soak.engines import SOFTWARE
from soak.found import SHARED, Finding
from soak.hardware import driven
from soak.library import Library

__all__ = ["replayed", "shrunk", "written"]

_LEAST = 8


def written(seed: int, finding: Finding, folder: Path) -> Path:
    """The folder of a finding: its unit's files, the form's and the tile's, and ``case.json``, which has the rest."""
    place = folder / f"{finding.kind}_{seed}_{finding.number}_{finding.engine.replace(' ', '_')}"
    case = drawn(seed, finding.number, finding.kind)
    content = {"seed": seed, **dataclasses.asdict(finding)}
    for key in ("idle", "stall", "interrupt", "built"):
        content[key] = getattr(case, key)
    content["vectors"] = case.seed
    content["form"] = None if case.form is None else dict(case.form)
    place.mkdir(parents=True, exist_ok=True)
    case.unit.save(place / "unit.json")
    for name, value in {"tile": case.tile, **(case.form or {})}.items():
        if isinstance(value, Unit):
            value.save(place / f"{name}.json")
    if content["form"] and "requantize" in content["form"]:
        del content["form"]["requantize"]
    write_atomic(place / "case.json", json.dumps(content, indent=1) + "\n")
    return place


def _read(folder: Path) -> tuple[Case, Finding]:
    content = json.loads((folder / "case.json").read_text())
    finding = Finding(**{field.name: content[field.name] for field in dataclasses.fields(Finding)})
    units = {path.stem: hwlut.load(path) for path in folder.glob("*.json") if path.name != "case.json"}
    form = content["form"]
    if form is not None and "requantize" in units:
        form = form | {"requantize": units["requantize"]}
    case = Case(
        kind=finding.kind, number=finding.number, unit=units["unit"], form=form, tile=units.get("tile"),
        built=content["built"], idle=content["idle"], stall=content["stall"], interrupt=content["interrupt"],
        seed=content["vectors"],
    )  # fmt: skip
    return case, finding


def replayed(folder: Path) -> str | None:
    """What differs when the finding of a folder is run again; None where nothing does."""
    case, finding = _read(folder)
    return _differs(case, finding.engine, finding.about)


def _differs(case: Case, engine: str, about: int) -> str | None:
    try:
        _computed(case, engine, about)
    except Difference as difference:
        return str(difference)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _computed(case: Case, engine: str, about: int) -> None:
    if engine in SOFTWARE:
        SOFTWARE[engine][2](case, about)
        return
    (rtl,) = emitted([case])
    if isinstance(rtl, Exception):
        raise rtl
    if engine not in ("verilator", SHARED):
        simulated(case, rtl, engine, about)
        return
    with tempfile.TemporaryDirectory(prefix="hwlut-soak-") as folder:
        library = Library([rtl], Path(folder))
        if library.errors:
            raise Difference(library.errors[0])
        driven(case, rtl, lambda job: library.run(0, job), about)


def shrunk(folder: Path, differs: Callable[[Case, str, int], str | None] = _differs) -> None:
    """Make the finding of a folder smaller while it remains: fewer vectors, then no resets and no pauses."""
    case, finding = _read(folder)
    about = finding.about
    while about > _LEAST and differs(case, finding.engine, about // 4):
        about //= 4
    changes: dict[str, object] = {"about": about}
    for simpler in ({"interrupt": False}, {"idle": 0.0}, {"stall": 0.0}):
        if differs(dataclasses.replace(case, **simpler), finding.engine, about):
            case = dataclasses.replace(case, **simpler)
            changes |= simpler
    if message := differs(case, finding.engine, about):
        changes["message"] = message
        content = json.loads((folder / "case.json").read_text()) | changes
        write_atomic(folder / "case.json", json.dumps(content, indent=1) + "\n")
