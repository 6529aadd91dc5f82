"""Designs of many modules: each distinct one is mapped to standard cells once, whatever number of times it is there."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwlut.files import build_once, digest_of
from hwlut.verify.synthesis import flow, ram
from hwlut.verify.synthesis.distinct import Distinct, distinct
from hwlut.verify.synthesis.liberty import Liberty

__all__ = ["Hierarchy", "Part", "map_modules"]


@dataclass(frozen=True)
class Part:
    """What an instance of a module takes up by itself, without the instances in it.

    path: names of instances from the top on. area: um^2. registers: flip-flops.
    memories: bits of each RAM by its name, which count nowhere else; of one with several reads, of a copy for each.
    delay: ns, of the longest way from and to registers and ports of the module by itself; None where there is none, or
    no OpenSTA.
    """

    path: tuple[str, ...]
    area: float
    registers: int
    memories: Mapping[str, int]
    delay: float | None


@dataclass(frozen=True)
class Hierarchy:
    """A design mapped module by module, so that no logic moves between modules.

    tool: what mapped it, with versions. modules: how many distinct ones there are. parts: every instance.
    verilog: the netlist as instances of cells, top: the name of its top module.
    delay_by: what estimated delays; None where OpenSTA is not installed.
    """

    tool: str
    modules: int
    parts: tuple[Part, ...]
    verilog: str
    top: str
    delay_by: str | None


def map_modules(verilog: str, module: str, liberty: Liberty | None = None) -> Hierarchy:
    """`verilog`, as `hwlut.hdl` writes it, mapped to the cells of `liberty`; every module is kept in the cache.

    Parameters
    ----------
    verilog, module: the text, and its top module, whose clock is ``clk``.
    liberty: by default OSU's for TSMC 180 nm.

    Raises ValueError for Verilog that yosys refuses, ToolError for missing tools.
    """
    yosys, sta = flow.find_yosys(), flow.find_sta()
    cells = Liberty.read() if liberty is None else liberty
    modules, top = distinct(verilog, module)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        folders = dict(zip(modules, pool.map(lambda name: _mapped(name, modules, yosys, sta, cells), modules)))
    found = {name: json.loads((folder / "module.json").read_text()) for name, folder in folders.items()}
    return Hierarchy(
        tool=", ".join([yosys[1], *([sta[1]] if sta else [])]),
        modules=len(found),
        parts=tuple(_parts(found, top)),
        verilog="\n".join((folder / "mapped.v").read_text() for folder in folders.values()),
        top=top,
        delay_by=sta and sta[1],
    )


def _mapped(
    name: str, modules: Mapping[str, Distinct], yosys: tuple[str, str], sta: tuple[str, str] | None, liberty: Liberty
) -> Path:
    """A folder with the netlist of a module and its figures, in which other modules are black boxes."""
    design, inner = modules[name].text, set(modules[name].instances.values())
    ports = "".join(modules[each].ports for each in sorted(inner))
    script = [
        "read_verilog -lib ports.v",
        "read_verilog design.v",
        *flow.map_steps("liberty", name),
        "write_json cells.json",
        flow.WRITE_MAPPED,
    ]
    sources = [(Path(__file__).parent / file).read_bytes() for file in ("flow.py", "modules.py", "ram.py")]
    key = digest_of(design, script, yosys[1], sta and sta[1], liberty.digest, *sources)

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="hwlut-synthesis-") as place:
            work = Path(place)
            for file, text in {"design.v": design, "ports.v": ports, **ram.FILES}.items():
                (work / file).write_text(text)
            (work / "cells.lib").symlink_to(liberty.path.resolve())
            flow.run_yosys(yosys[0], script, name, work, liberty)
            mapped = json.loads((work / "cells.json").read_text())
            figures = flow.counted(mapped, name, "liberty", liberty, inner)
            cells = mapped["modules"][name]["cells"]
            instances = {each: cell["type"] for each, cell in cells.items() if cell["type"] in inner}
            kept = {"area": figures["area"], "registers": figures["registers"], "memories": ram.held(cells)}
            clocked = "clk" in mapped["modules"][name]["ports"]
            kept["delay"] = flow.timed("", sta, name, clocked, work)["delay"] if sta else None
            (folder / "module.json").write_text(json.dumps(kept | {"instances": instances}))
            shutil.copyfile(work / "mapped.v", folder / "mapped.v")

    return build_once("synthesis", key, build)


def _parts(found: Mapping[str, Any], name: str, path: tuple[str, ...] = ()) -> Iterator[Part]:
    module = found[name]
    yield Part(path, module["area"], module["registers"], module["memories"], module["delay"])
    for instance, kind in module["instances"].items():
        yield from _parts(found, kind, (*path, instance))
