"""Random programs that a tile must compute, for tests of its compiler and of its hardware."""

from hwlut.accel.programs.drawn import random_program

__all__ = ["random_program"]
