"""The TABLE argument of most commands, and the output files of all."""

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwlut.cli.screen import note
from hwlut.share import share

if TYPE_CHECKING:
    from hwlut.units import Unit

__all__ = ["Domain", "Json", "Scale", "Table", "TablePath", "keep", "open_table", "writing"]

TablePath = Annotated[
    str, typer.Argument(metavar="TABLE", help="A parameter table, or the name of a shipped one, such as gelu_8.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Scale = Annotated[int | None, typer.Option(help="One of the table's scales; all of them unless given.")]
Domain = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="LOW HIGH", help="Real interval; the function's own unless given."),
]


_EXAMPLES = ("gelu_8", "exp_16", "mul8s_exact")


@dataclass(frozen=True)
class Table:
    """A unit and the file it came from; `shipped` when hwlut brought that file."""

    unit: "Unit"
    path: Path
    shipped: bool

    @property
    def source(self) -> dict[str, Any]:
        """What every command's JSON says of its table."""
        return {
            "table": str(self.path),
            "shipped": self.shipped,
            "name": self.unit.name,
            "function": self.unit.function,
            "digest": self.unit.digest,
        }

    def told(self, command: str) -> dict[str, Any]:
        """Likewise, of a command whose JSON is a file that `hwlut report` reads."""
        return {"schema": f"hwlut.{command}/1"} | self.source


def open_table(given: str) -> Table:
    """The table at path `given`, also in GQA-LUT's format; where no such file is, the shipped one; both with a note."""
    from hwlut.importers import gqa_lut
    from hwlut.units import load

    path = Path(given)
    if path.exists() and not path.is_dir():
        if not gqa_lut.recognises(path):
            return Table(load(path), path, shipped=False)
        (unit,) = gqa_lut.read(path)
        note(f"{given} is in GQA-LUT's format: read as {unit.name}, by the rule x >= p")
        return Table(unit, path, shipped=False)
    shipped = share("pretrained", path.name.removesuffix(".json") + ".json")
    if str(path.parent) not in (".", "pretrained") or not shipped.is_file():
        names = sorted(file.stem for file in share("pretrained").glob("*.json"))
        near = difflib.get_close_matches(path.stem, names, n=4, cutoff=0.5) or _EXAMPLES
        where = f"table must be a file or the name of one in {shipped.parent}, such as {', '.join(near)}"
        raise ValueError(f"{where}, not {given!r}")
    note(f"no file {given}: taking the shipped table {shipped}")
    return Table(load(shipped), shipped, shipped=True)


def keep(source: Path, target: Path, what: str, remedy: str) -> None:
    """Refuse to write `target` where it is the file `source` that a command reads."""
    if os.path.realpath(target) == os.path.realpath(source):
        raise ValueError(f"{target} is the file to {what}: -o must be another {remedy}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Names `path` in the error when it, or a file in it, cannot be written."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror or error}") from None
