"""What a search came to, and its file."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwlut.fields import shorten
from hwlut.files import read_json, write_atomic
from hwlut.nn.quantized import Operands
from hwlut.quant.precision import Precision
from hwlut.search.cost import LayerShape

__all__ = ["Configuration", "QuantizedOperation"]

_SCHEMA = "hwlut.quantization/1"
_LIMIT = 64 << 20


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
    def of(cls, given: Mapping[str, Any]) -> "QuantizedOperation":
        """From JSON."""
        return cls(
            precision=Precision.parse(given["precision"]),
            shape=LayerShape(given["macs"], given["weights"]),
            cost=given["cost"],
            decision=given["decision"],
            steps=given["steps"],
            zero_points=given["zero_points"],
        )


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
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        content["operations"] = {name: each.plain() for name, each in self.operations.items()}
        write_atomic(Path(path), json.dumps({"schema": _SCHEMA} | content, indent=1, default=dict) + "\n")
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> "Configuration":
        """Read one; ValueError, naming the file, for anything else."""
        path = Path(path)
        content = read_json(path, "configuration", _LIMIT)
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(content, dict) or content.get("schema") != _SCHEMA or set(content) != {"schema", *names}:
            raise ValueError(f"{path}: configuration must be an object of schema, which is {_SCHEMA}, and its keys")
        try:
            operations = {name: QuantizedOperation.of(each) for name, each in content["operations"].items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: operations must be as a search writes them: {shorten(str(error))}") from None
        return cls(**{name: content[name] for name in names} | {"operations": operations})
