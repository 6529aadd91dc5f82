"""Memories: one for each row or column, and in parts where their words come in several beats."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Shape, Signal, Value, unsigned
from amaranth.lib.memory import Memory

from hwlut.hdl.arithmetic import named

__all__ = ["Beats", "loaded", "stored"]


@dataclass(frozen=True)
class Beats:
    """What is written into a memory, a beat each cycle: a part of a word of the bits that a beat has.

    bits: of a word, in all.
    """

    enable: Value
    address: Value
    part: Value
    data: Value
    bits: int


def stored(
    m: Module, name: str, shape: Shape, depth: int, reads: Sequence[Value], enable: Value, address: Value, data: Value
) -> list[Signal]:
    """What a memory holds at the addresses `reads`, a cycle later; `enable` has a bit for each equal part of `data`."""
    m.submodules[name] = memory = Memory(shape=shape, depth=depth, init=[])
    write = memory.write_port(granularity=len(data) // len(enable) if len(enable) > 1 else None)
    m.d.comb += [write.en.eq(enable), write.addr.eq(address), write.data.eq(data)]
    ports = [memory.read_port() for _ in reads]
    m.d.comb += [port.addr.eq(read) for port, read in zip(ports, reads)]
    return [named(m, f"{name}_{number}", port.data) for number, port in enumerate(ports)]


def loaded(m: Module, name: str, low: int, bits: int, depth: int, read: Value, beats: Beats) -> Value:
    """What a memory of bits `low` to `low` + `bits` of each word holds at the address `read`, a cycle later."""
    beat = len(beats.data)
    found = []
    for part in range(low // beat, (low + bits - 1) // beat + 1):
        first, end = max(low - part * beat, 0), min(low + bits - part * beat, beat)
        enable = beats.enable & (beats.part == part) if beats.bits > beat else beats.enable
        found += stored(
            m, f"{name}_{part}", unsigned(end - first), depth, [read], enable, beats.address, beats.data[first:end]
        )
    return Cat(*found)
