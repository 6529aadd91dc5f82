"""A tile's files: Verilog, description, register map and C header."""

from dataclasses import dataclass, field
from typing import Any

from hwlut.accel.hdl import Executor, TileTop
from hwlut.accel.hdl.written import WrittenOperator, operator_verilog, written
from hwlut.accel.header import header
from hwlut.accel.model import check_written
from hwlut.accel.port import port_registers
from hwlut.accel.register_map import register_map
from hwlut.files import digest_of
from hwlut.hdl.description import SCHEMA
from hwlut.hdl.emit import Rtl, check_free_name, check_reset, emitted, sources
from hwlut.units.tile import Tile

__all__ = ["TileRtl", "generate_tile"]


@dataclass(frozen=True)
class TileRtl(Rtl):
    """`Rtl` of a tile, which has a register map and a C header beside its Verilog and its description.

    tile: what it is. Of the description, scale, latency and cycles_per_beat are None; tile is the tile's content, and
    registers the registers of its AXI4-Lite port: name, address, access, reset, description and fields.
    """

    tile: Tile = field(kw_only=True)

    ENDS = Rtl.ENDS | {"header": ".h", "registers": "_registers.md"}

    def texts(self) -> dict[str, str]:
        return super().texts() | {"header": header(self.tile), "registers": register_map(self.tile)}


def generate_tile(tile: Tile, reset: str = "rst") -> TileRtl:
    """Verilog of a tile with the ports of docs/tile.md, and its description.

    Parameters
    ----------
    reset: "rst" (active high) or "aresetn" (active low), both synchronous.

    Raises ValueError where memories are so large that the machine has no room to write them.
    """
    check_reset(reset)

    operators = written(tile)

    def design() -> TileTop:
        check_written(tile)
        top = TileTop(
            tile,
            reset,
            Executor(tile, lambda number: WrittenOperator(tile.operators[number], operators[number])),
        )
        check_free_name(tile, [port["name"] for port in top.ports])
        return top

    patterns = ("hdl/**/*.py", "units/*.py", "accel/hdl/**/*.py", "accel/*.py")
    key = digest_of(tile.digest, tile.name, reset, sources(*patterns))
    rtl = emitted(key, design, lambda top: _describe(tile, top), operator_verilog(operators))
    return TileRtl(rtl.verilog, rtl.description, rtl.design, tile=tile)


def _describe(tile: Tile, top: TileTop) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "module": tile.name,
        "digest": tile.digest,
        "scale": None,
        "reset": top.reset,
        "latency": None,
        "cycles_per_beat": None,
        "ports": top.ports,
        "tile": tile.content(),
        "registers": [register.content() for register in port_registers(tile)],
    }
