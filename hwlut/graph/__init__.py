"""What a model computes: its operations by module path, a read-only map."""

from hwlut.graph.operation import Graph, Operation, Source
from hwlut.graph.tracing import trace

__all__ = ["Graph", "Operation", "Source", "trace"]
