"""What a search came to, and its file."""

import dataclasses
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from hwlut.fields import shorten
from hwlut.nn.quantized import Operands, QuantizedLayer, QuantizedProduct
from hwlut.quant.precision import Precision
from hwlut.records import held, read_record, write_record
from hwlut.search.cost import LayerShape

__all__ = ["Configuration", "QuantizedOperation", "content_of", "numbers_of", "write_content"]

_SCHEMA = "hwlut.quantization/1"
_LIMIT = 64 << 20
_Kind = TypeVar("_Kind")


@dataclasses.dataclass(frozen=True)
class QuantizedOperation:
    """An operation as it was found.

    precision: its formats. shape, cost: how large it is, and what it costs. decision: the one that it belongs to.
    steps: "weight" and "activation", the steps of their codes, one or one a channel; zero_points likewise, where there
    are any. An operand that is not quantized, or whose steps follow each input, has none.
    """

    precision: Precision
    shape: LayerShape
    cost: float
    decision: str
    steps: Mapping[str, list[float]]
    zero_points: Mapping[str, list[int]]

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "precision": str(self.precision),
            "macs": self.shape.macs,
            "weights": self.shape.weights,
            "cost": self.cost,
            "decision": self.decision,
            "steps": dict(self.steps),
            "zero_points": dict(self.zero_points),
        }

    @classmethod
    def of(cls, label: str, given: Any) -> "QuantizedOperation":
        """From JSON; TypeError or ValueError, naming the key, for anything else."""
        found = held(label, given, _Plain)
        try:
            precision = Precision.parse(found.precision)
        except ValueError as error:
            raise ValueError(f"{label} {error}") from None
        return cls(
            precision=precision,
            shape=LayerShape(found.macs, found.weights),
            cost=found.cost,
            decision=found.decision,
            steps=found.steps,
            zero_points=found.zero_points,
        )


@dataclasses.dataclass(frozen=True)
class _Plain:
    """An operation in JSON."""

    precision: str
    macs: int
    weights: int
    cost: float
    decision: str
    steps: Mapping[str, list[float]]
    zero_points: Mapping[str, list[int]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configuration:
    """``config.json`` of a search.

    request: what was asked for: the task's name, "search" and "training". source: where the task is found again.
    operations: by module path. owners: modules with products of activations, and how many. left: why other operations
    are not quantized. cost, target, least, most: of the configuration, the most it could be, the ends of the space.
    metric, loss: on the test data; held-out. probabilities: of each decision's choice in the end, by the policy, where
    there is one. evaluations: held-out ones that the search took.
    """

    request: Mapping[str, Any]
    source: Any
    operations: Mapping[str, QuantizedOperation]
    owners: Mapping[str, int]
    left: Mapping[str, str]
    cost: float
    target: float
    least: float
    most: float
    metric: float
    loss: float
    probabilities: Mapping[str, float]
    evaluations: int

    @property
    def quantizers(self) -> Operands:
        """How operands are quantized."""
        return Operands(**self.request["search"]["quantizers"])

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """Each operation: path, precision, share of the cost, and how sure the policy was."""
        return [
            (
                name,
                str(each.precision),
                f"{100 * each.cost / self.cost if self.cost else 0:.1f} %",
                f"{self.probabilities[each.decision]:.2f}" if each.decision in self.probabilities else "",
            )
            for name, each in self.operations.items()
        ]

    def save(self, path: str | Path) -> Path:
        """Write it as JSON."""
        return write_content(Path(path), _SCHEMA, self)

    @classmethod
    def load(cls, path: str | Path) -> "Configuration":
        """Read one; ValueError, naming the file, for anything else."""
        return content_of(Path(path), "configuration", _SCHEMA, cls, _check)


def _check(found: Configuration) -> None:
    held("request task", found.request.get("task"), str)
    search = held("request search", found.request.get("search"), Mapping[str, Any])
    held("request search quantizers", search.get("quantizers"), Mapping[str, Any])
    assert found.quantizers


def write_content(path: Path, schema: str, found: Any) -> Path:
    """Write the fields of a result, whose `operations` are of `QuantizedOperation`, as JSON."""
    content = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    content["operations"] = {name: each.plain() for name, each in found.operations.items()}
    write_record(path, "result", schema, content, _plain)
    return path


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else dict(value)


def content_of(path: Path, what: str, schema: str, kind: type[_Kind], check: Callable[[_Kind], None]) -> _Kind:
    """The result that `write_content` wrote, which `check` finds no fault with; ValueError, naming the file, for
    anything else."""
    hints = typing.get_type_hints(kind)
    content = read_record(path, what, schema, hints, _LIMIT)
    try:
        plain = held("operations", content["operations"], Mapping[str, Any])
        operations = {name: QuantizedOperation.of(f"operations {shorten(name)}", each) for name, each in plain.items()}
        others = {name: held(name, content[name], hint) for name, hint in hints.items() if name != "operations"}
        found = kind(**others | {"operations": operations})
        check(found)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return found


def numbers_of(operation: QuantizedLayer | QuantizedProduct) -> dict[str, Any]:
    """Steps and zero points that the quantizers of both operands keep, as `QuantizedOperation` has them."""
    found: dict[str, Any] = {"steps": {}, "zero_points": {}}
    for label, choice in zip(("weight", "activation"), operation.choices):
        quantizer = None if choice is None else choice.quantizer(choice.selected)
        if quantizer is None or quantizer.source == "dynamic":
            continue
        operand = torch.zeros(1, device=next(iter(quantizer.state_dict().values())).device)
        if label == "weight" and isinstance(operation, QuantizedLayer):
            operand = operation.weight.detach()
        kept = quantizer.quantize(operand)
        found["steps"][label] = kept.step.flatten().tolist()
        if not quantizer.symmetric:
            found["zero_points"][label] = kept.zero_point.flatten().tolist()
    return found
