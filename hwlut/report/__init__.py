"""Reports: a static HTML page on what hwlut's files in a folder say."""

from hwlut.report.folder import File
from hwlut.report.write import Written, write_report

__all__ = ["File", "Written", "write_report"]
