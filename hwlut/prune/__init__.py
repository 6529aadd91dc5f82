"""Structured pruning and mixed precision, jointly: the sparsity and the bits asked for are those that come out."""

from hwlut.prune.budget import Budget
from hwlut.prune.construct import Constructed, construct
from hwlut.prune.control import Compressing
from hwlut.prune.coupling import Coupling, Groups, Part
from hwlut.prune.equality import difference, mismatches
from hwlut.prune.flow import Compressed, compress, open_compressed
from hwlut.prune.groups import groups
from hwlut.prune.masks import Mask, mask_
from hwlut.prune.optimizer import JointOptimizer
from hwlut.prune.options import Joint
from hwlut.prune.quantizing import quantize_ranged
from hwlut.prune.result import Compression
from hwlut.prune.sequential import Sequential
from hwlut.prune.shrink import shrink
from hwlut.prune.size import Size, size_of
from hwlut.prune.stages import STAGES, Stages

__all__ = [
    "STAGES",
    "Budget",
    "Compressed",
    "Compressing",
    "Compression",
    "Constructed",
    "Coupling",
    "Groups",
    "Joint",
    "JointOptimizer",
    "Mask",
    "Part",
    "Sequential",
    "Size",
    "Stages",
    "compress",
    "construct",
    "difference",
    "groups",
    "mask_",
    "mismatches",
    "open_compressed",
    "quantize_ranged",
    "shrink",
    "size_of",
]
