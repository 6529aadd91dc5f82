"""Gated clocks taken out of a design, which then is the same in each cycle of its one clock."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hwlut.verify.proofs.netlist import netlist, yosys

__all__ = ["one_clock"]

_WRITE = "read_json design.json; opt_clean; write_verilog -noattr design.v"


def one_clock(verilog: str, module: str) -> str:
    """`verilog` with registers and memories of ``clk`` and an enable in place of those of a gated clock.

    A gated clock is ``clk`` and a register of the falling edge, which holds half a cycle later what the enable was:
    so both are the same where all inputs change at rising edges. Other clocks stay as they are.

    ValueError for Verilog that yosys refuses.
    """
    if "negedge" not in verilog:
        return verilog
    with tempfile.TemporaryDirectory(prefix="hwlut-proof-") as name:
        folder = Path(name)
        design = netlist(verilog, module, folder)
        _enable(design["modules"][module])
        (folder / "design.json").write_text(json.dumps(design))
        yosys(_WRITE, module, folder)
        return (folder / "design.v").read_text()


def _enable(design: dict[str, Any]) -> None:
    cells = design["cells"]
    (clock,) = design["ports"]["clk"]["bits"]
    enables = _enables(cells.values(), clock)
    for name, cell in list(cells.items()):
        wires = cell["connections"]
        if cell["type"] == "$dff" and (enable := enables.get(wires["CLK"][0])) is not None:
            cell["type"] = "$dffe"
            cell["parameters"]["EN_POLARITY"] = "1"
            cell["port_directions"]["EN"] = "input"
            wires |= {"CLK": [clock], "EN": [enable]}
        elif cell["type"] == "$mem_v2":
            ports = wires["WR_CLK"]
            width = len(wires["WR_EN"]) // max(1, len(ports))
            for port, driver in enumerate(ports):
                if (enable := enables.get(driver)) is not None:
                    ports[port] = clock
                    part = slice(port * width, (port + 1) * width)
                    gated = _new_bits(design, width)
                    cells[f"{name}_enable_{port}"] = _mux(wires["WR_EN"][part], enable, gated)
                    wires["WR_EN"][part] = gated


def _enables(cells: Any, clock: Any) -> dict[Any, Any]:
    """The enable of each gated clock."""
    held: dict[Any, Any] = {}
    for cell in cells:
        if cell["type"] == "$dff" and cell["connections"]["CLK"] == [clock]:
            if int(cell["parameters"]["CLK_POLARITY"], 2) == 0:
                held |= dict(zip(cell["connections"]["Q"], cell["connections"]["D"]))
    found = {}
    for cell in cells:
        if cell["type"] == "$and":
            (a, *_), (b, *_), (y, *_) = (cell["connections"][name] for name in "ABY")
            for one, other in ((a, b), (b, a)):
                if one == clock and other in held:
                    found[y] = held[other]
    return found


def _new_bits(design: dict[str, Any], width: int) -> list[int]:
    """Numbers of wires that nothing uses."""
    most = max(bit for net in design["netnames"].values() for bit in net["bits"] if isinstance(bit, int))
    bits = list(range(most + 1, most + 1 + width))
    design["netnames"][f"$enabled_{most}"] = {"hide_name": 1, "bits": bits, "attributes": {}}
    return bits


def _mux(taken: list[Any], enable: Any, given: list[Any]) -> dict[str, Any]:
    """`taken` where `enable` is 1, else 0."""
    return {
        "hide_name": 1,
        "type": "$mux",
        "parameters": {"WIDTH": f"{len(taken):032b}"},
        "attributes": {},
        "port_directions": {"A": "input", "B": "input", "S": "input", "Y": "output"},
        "connections": {"A": ["0"] * len(taken), "B": taken, "S": [enable], "Y": given},
    }
