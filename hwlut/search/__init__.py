"""Searches: what each choice costs a layer and harms the model, and the best choices under a budget."""

from hwlut.search.assignment import Assignment, assign
from hwlut.search.blocks import Block, CostTable, synthesized
from hwlut.search.cost import Bits, Cost, LayerShape, bit_operations, memory
from hwlut.search.lookups import AssignedLookup, LookupAssignment, assign_lookups, lookup_bytes, lookup_cycles
from hwlut.search.multipliers import AssignedMultiplier, MultiplierAssignment, assign_multipliers
from hwlut.search.sensitivity import sensitivities

__all__ = [
    "AssignedLookup",
    "AssignedMultiplier",
    "Assignment",
    "Bits",
    "Block",
    "Cost",
    "CostTable",
    "LayerShape",
    "LookupAssignment",
    "MultiplierAssignment",
    "assign",
    "assign_lookups",
    "assign_multipliers",
    "bit_operations",
    "lookup_bytes",
    "lookup_cycles",
    "memory",
    "sensitivities",
    "synthesized",
]
