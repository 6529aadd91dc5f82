"""A tile's Verilog as a function of commands and data."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwlut.accel import generate_tile
from hwlut.accel.simulation.marks import Marks, Ran
from hwlut.hdl import Rtl
from hwlut.units.tile import Tile
from hwlut.verify.beats import streams
from hwlut.verify.engine import refused
from hwlut.verify.harness import WHOLE, Bench
from hwlut.verify.tools import find_verilator
from hwlut.verify.verilated import build

__all__ = ["Verilated"]

_LINGER = 64
_WATCHDOG = 1024
_MOST = 0.95


@dataclass(frozen=True, kw_only=True)
class Verilated:
    """A tile in Verilator, with pauses.

    rtl: of the tile.
    idle, stall: chance of an input pausing, of an output refusing, in a cycle.
    longest: most cycles from mark to mark, in which nothing need come or go.
    """

    rtl: Rtl
    idle: float
    stall: float
    longest: int

    def __post_init__(self) -> None:
        for label, chance in (("idle", self.idle), ("stall", self.stall)):
            if not 0 <= chance <= _MOST:
                raise ValueError(f"{label} must be a chance from 0 to {_MOST}, not {chance}")

    @classmethod
    def of(cls, tile: Tile, idle: float, stall: float, longest: int) -> "Verilated":
        """A tile's own Verilog, built; ToolError for missing tools."""
        made = generate_tile(tile)
        found = cls(rtl=Rtl(made.verilog, made.description), idle=idle, stall=stall, longest=longest)
        build(found.rtl)
        return found

    @property
    def tool(self) -> str:
        """Verilator and its version."""
        return str(find_verilator())

    def run(
        self,
        words: np.ndarray,
        data: np.ndarray,
        results: int,
        marks: int,
        seed: int,
        *,
        waves: Path | None = None,
        window: range = WHOLE,
        activity: np.ndarray | None = None,
    ) -> Ran:
        """As of `hwlut.accel.simulation.engines.Engine`.

        waves, window, activity: as in `hwlut.verify.harness.Bench`.
        """
        ends = streams(self.rtl.description)
        given = {"s_axis_command": words.astype("<u8").view(np.uint8).reshape(-1, 8), "s_axis": data}
        room = {"m_axis": results, "m_axis_mark": marks}
        sent = {name: np.ascontiguousarray(given[name]) for name, stream in ends.items() if stream.input}
        received = {
            name: np.zeros((room[name], stream.bytes), np.uint8) for name, stream in ends.items() if not stream.input
        }
        times = np.zeros(marks, np.int64)
        with Bench(build(self.rtl, waves is not None), seed, waves) as bench:
            ran = bench.run(
                sent,
                received,
                {"m_axis_mark": times},
                watchdog=_WATCHDOG + self.longest,
                linger=_LINGER,
                idle=self.idle,
                stall=self.stall,
                window=window,
                activity=activity,
            )
        came = ran.done["m_axis_mark"]
        fault = ran.fault
        if fault is None and window is WHOLE:
            left = ((name, ran.done[name], len(beats)) for name, beats in sent.items() if ran.done[name] < len(beats))
            fault = next((refused(*each) for each in left), None)
        return Ran(
            results=received["m_axis"][: ran.done["m_axis"], : data.shape[1]],
            marks=Marks(**ends["m_axis_mark"].unpack(received["m_axis_mark"][:came])),
            times=times[:came],
            fault=fault,
        )
