"""What a tile does with its commands, in numpy, and when: the reference that hardware is compared with."""

from hwlut.accel.model.checking import check
from hwlut.accel.model.cycles import Span, Work, profile
from hwlut.accel.model.machine import Failure, Machine, Marked, Ran
from hwlut.accel.model.room import check_room, check_written

__all__ = ["Failure", "Machine", "Marked", "Ran", "Span", "Work", "check", "check_room", "check_written", "profile"]
