"""The sections of a report: functions of what a folder has that give HTML, or None for nothing."""

from hwlut.report.sections.areas import areas
from hwlut.report.sections.fronts import fronts
from hwlut.report.sections.layers import cycles, layers, operations
from hwlut.report.sections.listing import damaged, listing, units
from hwlut.report.sections.summary import summary
from hwlut.report.sections.training import training
from hwlut.report.sections.waveforms import traced_layers, waveforms

__all__ = [
    "areas",
    "cycles",
    "damaged",
    "fronts",
    "layers",
    "listing",
    "operations",
    "summary",
    "traced_layers",
    "training",
    "units",
    "waveforms",
]
