"""Random streams of commands and data that a tile must take, for tests of hardware and of its model."""

from hwlut.accel.streams.stream import streams

__all__ = ["streams"]
