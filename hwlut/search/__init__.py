"""Searches: what each choice costs a layer and harms the model, and the best choices under a budget."""

from hwlut.search.assignment import Assignment, assign
from hwlut.search.blocks import Block, CostTable, synthesized
from hwlut.search.cost import Bits, Cost, LayerShape, bit_operations, memory
from hwlut.search.multipliers import AssignedMultiplier, MultiplierAssignment, assign_multipliers
from hwlut.search.sensitivity import sensitivities

__all__ = [
    "AssignedMultiplier",
    "Assignment",
    "Bits",
    "Block",
    "Cost",
    "CostTable",
    "LayerShape",
    "MultiplierAssignment",
    "assign",
    "assign_multipliers",
    "bit_operations",
    "memory",
    "sensitivities",
    "synthesized",
]
