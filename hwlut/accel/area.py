"""What a tile takes up as gates, block by block."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwlut.accel.rtl import generate_tile
from hwlut.units.tile import Tile
from hwlut.verify.synthesis import Liberty, Part, map_modules

__all__ = ["Block", "TileArea", "tile_area"]

_BLOCKS = {
    "executor row cell product": "multipliers",
    "executor row cell": "accumulators",
    "executor row encoder": "encoders",
    "executor row lane operation": "operations",
    "executor row lane requantization": "requantizers",
    "executor row lane operators": "operators",
    "executor row lane": "lanes",
    "executor row": "rows",
    "executor feed": "nests",
    "executor step": "nests",
    "executor store": "nests",
    "executor sequencer": "nests",
    "executor": "control",
    "": "front end",
}
"""Blocks by what the path of an instance has in it, numbers left out; the first counts."""

_MEMORIES = {
    "values": "values",
    "inputs": "inputs",
    "weights": "weights",
    "offsets": "constants",
    "multipliers": "constants",
    "shifts": "constants",
    "tables": "tables",
    "operands": "operands",
}
"""A tile's memories by the names of what holds them; others are queues, or within operators."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """What all instances of a block take up by themselves.

    count: of instances. area: um^2. gate_equivalents: the same in two-input NANDs, where the liberty has one.
    registers: flip-flops. delay: ns, as of `Part`, the longest of its instances.
    """

    name: str
    count: int
    area: float
    gate_equivalents: float | None
    registers: int
    delay: float | None


@dataclass(frozen=True, kw_only=True)
class TileArea:
    """Result of `tile_area`: pre-layout figures, for comparison with others of the same flow.

    liberty: name of the cell library, gate: its two-input NAND. tool: what mapped it, with versions.
    modules: distinct ones that were mapped. blocks: all of them; their sum is the whole.
    memories: bits of RAM by memory, which count in no area; of one that is read twice in a cycle, of two copies.
    delay_by: what estimated delays, None without OpenSTA.
    """

    tile: str
    digest: str
    liberty: str
    gate: str | None
    tool: str
    modules: int
    blocks: tuple[Block, ...]
    memories: Mapping[str, int]
    delay_by: str | None

    @property
    def delay(self) -> float | None:
        """ns, the longest of a block, so that no shorter clock period is possible, without wires."""
        return max((block.delay for block in self.blocks if block.delay is not None), default=None)

    @property
    def area(self) -> float:
        """Of all blocks, um^2."""
        return sum(block.area for block in self.blocks)

    @property
    def gate_equivalents(self) -> float | None:
        """Of all blocks, where the liberty has a two-input NAND."""
        return None if self.gate is None else sum(block.gate_equivalents or 0 for block in self.blocks)

    @property
    def registers(self) -> int:
        """Flip-flops of all blocks."""
        return sum(block.registers for block in self.blocks)

    @property
    def ram_bits(self) -> int:
        """Of all memories."""
        return sum(self.memories.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON-able content, with the sums."""
        sums = {name: getattr(self, name) for name in ("area", "gate_equivalents", "registers", "ram_bits", "delay")}
        return {"pre_layout": True} | asdict(self) | sums


def tile_area(tile: Tile, liberty: str | Path | None = None) -> TileArea:
    """What a tile's Verilog takes up, each of its distinct modules mapped once and kept in the cache.

    liberty: the standard cells' file; by default OSU's for TSMC 180 nm, of Debian's qflow-tech-osu018.

    Raises ValueError for a liberty file that is none, ToolError where yosys or the default one is missing.
    """
    cells = Liberty.read(None if liberty is None else Path(liberty))
    rtl = generate_tile(tile)
    found = map_modules(rtl.verilog, rtl.description["module"], cells)
    unit = None if cells.gate is None else cells.areas[cells.gate]
    return TileArea(
        tile=tile.name,
        digest=tile.digest,
        liberty=cells.path.name,
        gate=cells.gate,
        tool=found.tool,
        modules=found.modules,
        blocks=tuple(_blocks(found.parts, unit)),
        memories=_memories(found.parts),
        delay_by=found.delay_by,
    )


def _blocks(parts: Iterable[Part], unit: float | None) -> list[Block]:
    inside: dict[str, list[Part]] = {name: [] for name in _BLOCKS.values()}
    for part in parts:
        path = " ".join(map(_unnumbered, part.path))
        inside[next(name for inner, name in _BLOCKS.items() if inner in path)].append(part)
    return [
        Block(
            name=name,
            count=len(those),
            area=(area := sum(part.area for part in those)),
            gate_equivalents=None if unit is None else area / unit,
            registers=sum(part.registers for part in those),
            delay=max((part.delay for part in those if part.delay is not None), default=None),
        )
        for name, those in inside.items()
        if those
    ]


def _memories(parts: Iterable[Part]) -> dict[str, int]:
    found = dict.fromkeys(_MEMORIES.values(), 0) | {"operators": 0, "queues": 0}
    for part in parts:
        for memory, bits in part.memories.items():
            other = "operators" if "operators" in part.path else "queues"
            found[_MEMORIES.get(_unnumbered(memory), other)] += bits
    return {name: bits for name, bits in found.items() if bits}


def _unnumbered(name: str) -> str:
    """A name without what tells instances and equal names apart."""
    return re.sub(r"(_\d+|\$\d+)+$", "", name)
