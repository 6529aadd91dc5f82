"""Searches: what each choice costs a layer and harms the model, and the best choices under a budget."""

from hwlut.search.assignment import Assignment, assign
from hwlut.search.blocks import Block, CostTable, synthesized
from hwlut.search.cost import Bits, Cost, LayerShape, bit_operations, memory
from hwlut.search.flow import Found, open_search, search
from hwlut.search.front import Front, Trial, front
from hwlut.search.integer_files import load_integers, save_integers
from hwlut.search.lookup_cost import lookup_area, lookup_unit, lookup_units
from hwlut.search.lookups import AssignedLookup, LookupAssignment, assign_lookups, lookup_bytes, lookup_cycles
from hwlut.search.multipliers import AssignedMultiplier, MultiplierAssignment, assign_multipliers
from hwlut.search.options import Search
from hwlut.search.precision_cost import block_cost, file_cost, multiplier_of, multipliers_of, space_for
from hwlut.search.result import Configuration, QuantizedOperation
from hwlut.search.reward import REWARDS
from hwlut.search.schedule import SCHEDULES
from hwlut.search.sensitivity import sensitivities
from hwlut.search.space import Decision, Space, space_of
from hwlut.search.uniform import quantize_uniform

__all__ = [
    "REWARDS",
    "SCHEDULES",
    "AssignedLookup",
    "AssignedMultiplier",
    "Assignment",
    "Bits",
    "Block",
    "Configuration",
    "Cost",
    "CostTable",
    "Decision",
    "Found",
    "Front",
    "LayerShape",
    "LookupAssignment",
    "MultiplierAssignment",
    "QuantizedOperation",
    "Search",
    "Space",
    "Trial",
    "assign",
    "assign_lookups",
    "assign_multipliers",
    "bit_operations",
    "block_cost",
    "file_cost",
    "front",
    "load_integers",
    "lookup_area",
    "lookup_bytes",
    "lookup_cycles",
    "lookup_unit",
    "lookup_units",
    "memory",
    "multiplier_of",
    "multipliers_of",
    "open_search",
    "quantize_uniform",
    "save_integers",
    "search",
    "sensitivities",
    "space_for",
    "space_of",
    "synthesized",
]
