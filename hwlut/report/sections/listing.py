"""Files: every one with its link, and those that are damaged."""

from hwlut.report.folder import File, Folder
from hwlut.report.html import Html, joined, table, tag
from hwlut.report.links import Links
from hwlut.unit import Unit

__all__ = ["damaged", "listing", "units"]


def listing(folder: Folder, links: Links) -> Html | None:
    """Links, kinds and sizes."""
    rows = [[links.to(file), file.kind, file.size, _digest(file)] for file in folder.files]
    return table(f"{len(rows):,} files", ("file", "kind", ">bytes", "digest"), rows) if rows else None


def damaged(folder: Folder, links: Links) -> Html | None:
    """Files that could not be read, and why."""
    rows = [[links.to(file), file.error] for file in folder.damaged]
    if not rows:
        return None
    told = tag("p", "Nothing of these files is in this report.", class_="bad")
    return joined([told, table("Damaged files", ("file", "error"), rows)])


def units(folder: Folder) -> Html | None:
    """Parameter tables, and what they cost by arithmetic alone."""
    found = [(unit, unit.cost()) for _, unit in folder.of(Unit)]
    rows = [
        [unit.name, type(unit).__name__, unit.function, cost.storage_bits, cost.multiplier_bits, cost.adder_bits,
         cost.latency]
        for unit, cost in found
    ]  # fmt: skip
    headers = ("unit", "kind", "function", ">storage bits", ">multiplier bits", ">adder bits", ">latency")
    return table("By arithmetic alone", headers, rows) if rows else None


def _digest(file: File) -> str | None:
    if isinstance(file.content, Unit):
        return file.content.digest[:12]
    return file.content["digest"][:12] if isinstance(file.content, dict) else None
