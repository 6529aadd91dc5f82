"""Verification: every engine's results compared with another's, as integers, on every code."""

from hwlut.verify.checker import ENGINES, SOFTWARE, check
from hwlut.verify.report import Report

__all__ = ["ENGINES", "SOFTWARE", "Report", "check"]
