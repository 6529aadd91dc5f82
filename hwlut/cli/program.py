"""The nodes of a program in a table."""

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwlut.units import Program
    from hwlut.units.nodes import Node
    from hwlut.units.ports import Port

__all__ = ["HEADERS", "PORTS", "macs_of", "node_rows", "port_rows"]

HEADERS = ("value", "op", "takes", "bits", "shape", "weights", "MACs")
PORTS = ("port", "value", "format", "step", "zero", "shape")


@functools.lru_cache(maxsize=1)
def _sizes(program: "Program") -> dict[str, tuple[int, ...]]:
    """The shape of each value for a batch of one; none where those of the inputs are open."""
    from hwlut.program.shapes import shapes
    from hwlut.units.nodes import Extent

    if program.extent is not Extent.TENSORS or any(port.shape is None for port in program.inputs):
        return {}
    return shapes(program)


def macs_of(program: "Program") -> int | None:
    """Multiply-accumulates for one sample of a program of tensors; None of others."""
    from hwlut.program.shapes import macs

    sizes = _sizes(program)
    return sum(macs(node, sizes) for node in program.nodes) if sizes else None


def port_rows(direction: str, ports: "tuple[Port, ...]") -> list[list[Any]]:
    """A row for each port, under `PORTS`."""
    return [
        [direction, port.name, str(port.format), port.scale if port.real else None, port.zero_point, _shape(port.shape)]
        for port in ports
    ]


def node_rows(program: "Program") -> list[list[Any]]:
    """A row for each node, under `HEADERS`."""
    from hwlut.program.shapes import macs
    from hwlut.units.nodes import format_of

    sizes = _sizes(program)
    return [
        [
            node.name,
            node.op,
            ", ".join(node.operands) or None,
            str(format_of(program.spans[node.name])),
            _shape(sizes.get(node.name)),
            _numbers(node),
            (macs(node, sizes) or None) if sizes else None,
        ]
        for node in program.nodes
    ]


def _shape(shape: tuple[int, ...] | None) -> str | None:
    return None if shape is None else " x ".join(map(str, shape)) or "1"


def _numbers(node: "Node") -> int | None:
    """Weights of a product."""
    weights = getattr(node, "weights", None)
    return None if weights is None else int(weights.size)
