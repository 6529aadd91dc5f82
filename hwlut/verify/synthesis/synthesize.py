"""A unit's hardware mapped to gates, and the gates compared with the unit."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwlut.errors import ToolError
from hwlut.hdl import Rtl, generate
from hwlut.unit import Unit
from hwlut.verify.checker import check
from hwlut.verify.report import Report
from hwlut.verify.synthesis.flow import Netlist, map_verilog
from hwlut.verify.synthesis.liberty import Liberty

__all__ = ["Synthesis", "synthesize"]


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """Result of `synthesize`: pre-layout figures, for comparison with others of the same flow.

    unit, digest, scale: what was mapped. liberty: name of the cell library, gate: its two-input NAND; None for an FPGA.
    netlist: the figures. recheck: the comparison of the netlist with the unit, or None where it could not be run,
    which `unchecked` explains.
    """

    unit: str
    digest: str
    scale: int | None
    liberty: str | None
    gate: str | None
    netlist: Netlist
    recheck: Report | None
    unchecked: str | None

    @property
    def ok(self) -> bool:
        """False where the netlist was re-checked and differs."""
        return self.recheck is None or self.recheck.ok

    def to_dict(self) -> dict[str, Any]:
        """JSON-able content, without the netlist's text."""
        content = asdict(self) | {"ok": self.ok, "pre_layout": True}
        netlist = content.pop("netlist")
        del netlist["verilog"], netlist["flat"]
        return content | netlist | {"recheck": self.recheck.to_dict() if self.recheck else None}

    def __str__(self) -> str:
        netlist = self.netlist
        rows = [
            ("unit", f"{self.unit} (digest {self.digest[:12]})"),
            ("scale", "with each beat, or none" if self.scale is None else str(self.scale)),
            ("target", self.liberty or f"{netlist.target}, an estimate"),
            ("by", netlist.tool),
        ]
        if netlist.area is not None:
            gates = netlist.gate_equivalents
            equal = "no two-input NAND to count in" if gates is None else f"{gates:.0f} GE (of {self.gate})"
            rows.append(("area", f"{netlist.area:.0f} um^2, {equal}, pre-layout"))
            delay = "unknown" if netlist.delay is None else f"{netlist.delay:.2f} ns, no wires, by {netlist.delay_by}"
            rows.append(("delay", delay))
        else:
            rows.append(("LUTs", f"{netlist.luts}, without memory and multiplier blocks, before placement"))
        rows.append(("registers", str(netlist.registers)))
        if netlist.ram_bits:
            rows.append(("RAM", f"{netlist.ram_bits} bits, in neither area nor delay"))
        rows.append(("re-check", self._recheck()))
        return "\n".join(f"{label:<9} {text}" for label, text in rows)

    def _recheck(self) -> str:
        report = self.recheck
        if report is None:
            return f"not run ({self.unchecked})"
        if report.ok:
            return f"PASS, the netlist equals the unit on {report.scope} ({report.vectors})"
        first = ", ".join(f"{key} {value}" for key, value in (report.first or {}).items())
        return f"FAIL, {report.mismatches} mismatches" + (f" ({first})" if first else f", {report.fault}")


def synthesize(
    unit: Unit,
    *,
    scale: int | None = None,
    target: str = "liberty",
    liberty: str | Path | None = None,
    verilog: Rtl | None = None,
) -> Synthesis:
    """Map the hardware of `unit` to cells, and compare the mapped netlist with the unit on every code.

    Parameters
    ----------
    unit: what is mapped.
    scale: as for `hwlut.hdl.generate`: hard-wired, or taken with each beat where None.
    target: "liberty" (standard cells), "ice40" or "xilinx" (7 series).
    liberty: the cell library's file; by default OSU's for TSMC 180 nm, of Debian's qflow-tech-osu018.
    verilog: what to map instead of the default design, from `hwlut.hdl.generate`.

    Raises ValueError for bad arguments, ToolError where yosys or the liberty file is missing. A missing simulator
    leaves `recheck` empty.
    """
    if liberty is not None and target != "liberty":
        raise ValueError(f"liberty must be given with target liberty alone, not {target}")
    rtl = generate(unit, scale=scale) if verilog is None else verilog
    cells = Liberty.read(None if liberty is None else Path(liberty)) if target == "liberty" else None
    netlist = map_verilog(rtl.verilog, rtl.description["module"], target, cells)
    recheck = unchecked = None
    try:
        recheck = check(unit, scale=rtl.description["scale"], verilog=Rtl(netlist.flat, rtl.description))
    except ToolError as error:
        unchecked = str(error)
    return Synthesis(
        unit=unit.name,
        digest=unit.digest,
        scale=rtl.description["scale"],
        liberty=cells.path.name if cells else None,
        gate=cells.gate if cells else None,
        netlist=netlist,
        recheck=recheck,
        unchecked=unchecked,
    )
