"""Searches: what each choice costs a layer and harms the model, and the best choices under a budget."""

from hwlut.search.assignment import Assignment, assign
from hwlut.search.blocks import Block, CostTable, synthesized
from hwlut.search.cost import Bits, Cost, LayerShape, bit_operations, memory

__all__ = [
    "Assignment",
    "Bits",
    "Block",
    "Cost",
    "CostTable",
    "LayerShape",
    "assign",
    "bit_operations",
    "memory",
    "synthesized",
]
