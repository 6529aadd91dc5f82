"""An executor between streams: dispatcher, loader and queues."""

from typing import Any

from amaranth.hdl import Cat, EnableInserter, Module, Mux, ResetSignal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwlut.accel.hdl.counters import Counters
from hwlut.accel.hdl.dispatcher import Dispatcher
from hwlut.accel.hdl.loader import Loader
from hwlut.accel.hdl.streams import COMMAND, MARK, data_beat, result_beat
from hwlut.accel.port import ACTIVITY
from hwlut.units.tile import Tile

__all__ = ["StreamedExecutor"]

_QUEUE = 8
"""Beats that each queue takes up."""


class StreamedExecutor(wiring.Component):
    """What takes commands and data and gives results and marks; what of it is known beside that goes to the registers.

    Parameters
    ----------
    tile: what it is built for.
    executor: what computes, an `Executor` of the tile; it stands still in all cycles in which the tile does not move.
    """

    def __init__(self, tile: Tile, executor: Any):
        self._tile = tile
        self._executor = executor
        super().__init__(
            {
                "command": In(COMMAND.signature()),
                "data": In(data_beat(tile).signature()),
                "result": Out(result_beat(tile).signature()),
                "mark": Out(MARK.signature()),
                "running": Out(1),
                "failed": Out(1),
                "error": Out(8),
                "ended": Out(1),
                "runs": Out(32),
                "counters": Out(data.StructLayout(Counters.LAYOUT)),
                "activity": Out(len(ACTIVITY)),
                "operates": Out(max(1, len(tile.operators))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        executor = self._executor
        m.submodules.dispatcher = dispatcher = Dispatcher(self._tile)
        loader, move = Loader(self._tile), dispatcher.move
        m.submodules.loader = EnableInserter(move)(loader)
        m.submodules.executor = EnableInserter(move)(executor)

        commands, beats = self._take(m, "command"), self._take(m, "data")
        results, marks = self._give(m, "result"), self._give(m, "mark")

        command = dispatcher.command.payload
        m.d.comb += [
            dispatcher.command.payload.eq(commands.r_data),
            dispatcher.command.valid.eq(commands.r_rdy),
            commands.r_en.eq(dispatcher.command.ready),
            marks.w_data.eq(dispatcher.mark.payload),
            marks.w_en.eq(dispatcher.mark.valid),
            dispatcher.mark.ready.eq(marks.w_rdy),
            dispatcher.computing.eq(executor.busy),
            dispatcher.invalid.eq(executor.invalid),
            dispatcher.overflow.eq(executor.overflow),
            dispatcher.loading.eq(loader.loading),
            dispatcher.starved.eq(loader.loading & ~beats.r_rdy),
            dispatcher.resulting.eq(executor.result_valid),
            dispatcher.blocked.eq(executor.result_valid & ~results.w_rdy),
        ]
        m.d.comb += [
            executor.set_enable.eq(dispatcher.set),
            executor.set_register.eq(command.argument),
            executor.set_value.eq(command.value),
            executor.start.eq(dispatcher.start),
            results.w_data.eq(Cat(executor.result_data, executor.result_last)),
            results.w_en.eq(executor.result_valid & move),
        ]
        address = len(loader.address)
        m.d.comb += [
            loader.start.eq(dispatcher.load),
            loader.target.eq(command.argument),
            loader.address.eq(command.value[:address]),
            loader.words.eq(command.value[address:]),
            beats.r_en.eq((loader.loading & move) | dispatcher.failed),
            executor.load_enable.eq(loader.loading),
            executor.load_data.eq(beats.r_data),
        ]
        for name in ("load_target", "load_address", "load_part"):
            m.d.comb += getattr(executor, name).eq(getattr(loader, name))

        m.d.comb += self.operates.eq(Mux(move, executor.operates, 0))
        works = Cat(executor.feeding, executor.draining, executor.storing, loader.loading)
        m.d.comb += self.activity.eq(Cat(Mux(move, works, 0), dispatcher.stalled))
        for name in ("running", "failed", "error", "ended", "runs", "counters"):
            m.d.comb += getattr(self, name).eq(getattr(dispatcher, name))
        return m

    def _queue(self, m: Module, name: str) -> tuple[SyncFIFOBuffered, Any]:
        port = getattr(self, name)
        queue = SyncFIFOBuffered(width=port.payload.shape().size, depth=_QUEUE)
        m.submodules[f"{name}_queue"] = queue
        return queue, port

    def _take(self, m: Module, name: str) -> SyncFIFOBuffered:
        """A queue behind a stream that comes in."""
        queue, port = self._queue(m, name)
        m.d.comb += [
            queue.w_data.eq(port.payload),
            queue.w_en.eq(port.valid),
            port.ready.eq(queue.w_rdy & ~ResetSignal()),
        ]
        return queue

    def _give(self, m: Module, name: str) -> SyncFIFOBuffered:
        """A queue before a stream that goes out."""
        queue, port = self._queue(m, name)
        m.d.comb += [
            port.payload.eq(queue.r_data),
            port.valid.eq(queue.r_rdy & ~ResetSignal()),
            queue.r_en.eq(port.ready),
        ]
        return queue
