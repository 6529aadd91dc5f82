"""Which outputs of a design depend on its inputs within a cycle."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hwlut.verify.proofs.netlist import netlist

__all__ = ["paths"]


def paths(verilog: str, module: str) -> dict[str, str]:
    """The outputs of `module` to which a path of logic leads from an input, the clock's included, and that input.

    A register stops a path if it is of a rising ``clk``. ValueError for another register, and for Verilog that yosys
    refuses.
    """
    with tempfile.TemporaryDirectory(prefix="hwlut-proof-") as name:
        design = netlist(verilog, module, Path(name))["modules"][module]
    ports = design["ports"]
    (clock,) = ports["clk"]["bits"] if "clk" in ports else (None,)
    leads: dict[int | str, set[int | str]] = {}
    for sources, targets in _edges(design, module, clock):
        for bit in sources:
            leads.setdefault(bit, set()).update(targets)
    found: dict[str, str] = {}
    for start, port in ports.items():
        if port["direction"] != "input":
            continue
        reached, waiting = set(port["bits"]), list(port["bits"])
        while waiting:
            new = leads.get(waiting.pop(), set()) - reached
            reached |= new
            waiting += new
        for end, other in ports.items():
            if other["direction"] == "output" and reached & set(other["bits"]):
                found.setdefault(end, start)
    return found


def _edges(design: Mapping[str, Any], module: str, clock: Any) -> Iterator[tuple[list[Any], list[Any]]]:
    """Of each cell, the bits that what it gives depends on in the same cycle, and what it gives."""
    for cell in design["cells"].values():
        wires = cell["connections"]
        given = [bit for name, bits in wires.items() if cell["port_directions"][name] == "output" for bit in bits]
        if cell["type"] in ("$dff", "$dffe", "$sdff", "$sdffe", "$sdffce"):
            if wires["CLK"] != [clock] or int(cell["parameters"]["CLK_POLARITY"], 2) != 1:
                raise ValueError(f"{module} must have no registers but those of a rising clk")
        elif cell["type"].startswith("$mem"):
            yield wires["RD_ADDR"], given
        else:
            taken = [b for name, bits in wires.items() if cell["port_directions"][name] == "input" for b in bits]
            yield [bit for bit in taken if not isinstance(bit, str)], given
