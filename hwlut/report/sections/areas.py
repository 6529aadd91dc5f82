"""Areas: what the blocks of a tile take up, and units by themselves."""

from typing import Any

from hwlut.report.charts import bar
from hwlut.report.folder import Folder
from hwlut.report.html import Html, joined, table, tag
from hwlut.report.links import Links

__all__ = ["areas"]


def areas(folder: Folder, links: Links) -> Html | None:
    """Bars of blocks and of memories for each tile, and a table of units."""
    parts = [joined([_blocks(found, links.to(file)), _memories(found)]) for file, found in _tiles(folder)]
    units = [
        [found["unit"], found["target"], found["gate_equivalents"], found["area"], found["delay"], links.to(file)]
        for file, found in folder.saved("hwlut.synth/1", "unit")
    ]
    if units:
        headers = ("unit", "target", ">gate equivalents", ">um²", ">ns", "file")
        parts.append(joined([tag("h3", "Units"), table("Pre-layout", headers, units)]))
    return joined(parts) if parts else None


def _tiles(folder: Folder) -> Any:
    return folder.saved("hwlut.synth/1", "blocks")


def _blocks(found: dict[str, Any], link: Html) -> Html:
    gates = found["gate_equivalents"] is not None
    key, unit = ("gate_equivalents", "kGE") if gates else ("area", "um²")
    sizes = [block[key] or 0 for block in found["blocks"]]
    whole, most = sum(sizes) or 1, max(sizes, default=0) or 1
    rows = [
        [block["name"], _size(size, gates), f"{size / whole:.1%}", bar(size / most), block["count"], block["registers"],
         block["delay"]]
        for block, size in sorted(zip(found["blocks"], sizes), key=lambda pair: -pair[1])
    ]  # fmt: skip
    rows.append(["all", _size(whole, gates), "100.0%", "", "", found["registers"], found["delay"]])
    headers = ("block", f">{unit}", ">share", "", ">instances", ">registers", ">ns")
    told = f"Pre-layout, without RAM: {found['tool']}, {found['liberty']}"
    return joined([tag("h3", f"{found['tile']}: ", link), table(told, headers, rows)])


def _size(value: float, gates: bool) -> str:
    return f"{value / 1000:.2f}" if gates else f"{value:,.0f}"


def _memories(found: dict[str, Any]) -> Html:
    most = max(found["memories"].values(), default=0) or 1
    rows = [[name, bits, bar(bits / most)] for name, bits in found["memories"].items()]
    rows.append(["all", found["ram_bits"], ""])
    return table(f"RAM of {found['tile']}, which counts in no area", ("memory", ">bits", ""), rows)
