"""What a tile does with its commands, in numpy, and when: the reference that hardware is compared with."""

from hwlut.accel.model.checking import check
from hwlut.accel.model.cycles import Span, Work, profile
from hwlut.accel.model.machine import Failure, Machine, Marked, Ran

__all__ = ["Failure", "Machine", "Marked", "Ran", "Span", "Work", "check", "profile"]
