"""What a quantization search decides: operations of a model, grouped, and the precisions that each group may have."""

import fnmatch
import itertools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from hwlut.fields import shorten
from hwlut.graph import Graph, Operation, trace
from hwlut.graph.operation import PRODUCTS
from hwlut.nn.quantized import product_name, split_attention
from hwlut.nn.quantized.layers import layer_kind
from hwlut.quant.formats import Format
from hwlut.quant.precision import Precision
from hwlut.search.cost import Cost, LayerShape

__all__ = ["Decision", "Space", "space_of"]

_LAYERS = ("linear", "conv1d", "conv2d", "conv3d", "embedding")


@dataclass(frozen=True)
class Decision:
    """One precision for all its operations.

    weights, activations: the formats there are for each. tied: whether both are always one and the same, of `weights`.
    """

    name: str
    operations: tuple[str, ...]
    weights: tuple[Format | None, ...]
    activations: tuple[Format | None, ...]
    tied: bool

    @cached_property
    def choices(self) -> tuple[Precision, ...]:
        """Every precision, activations changing fastest."""
        if self.tied:
            return tuple(Precision(each, each) for each in self.weights)
        return tuple(Precision(*pair) for pair in itertools.product(self.weights, self.activations))

    @cached_property
    def upgrades(self) -> tuple[tuple[int, ...], ...]:
        """Of each choice, the places of those with more bits for an operand and fewer for none."""
        bits = [(choice.weight_bits, choice.activation_bits) for choice in self.choices]
        return tuple(
            tuple(
                place
                for place, (w, a) in enumerate(bits)
                if w >= weight and a >= activation and w + a > weight + activation
            )
            for weight, activation in bits
        )

    @property
    def heads(self) -> tuple[int, ...]:
        """Sizes of the independent parts of a choice: of one format, or of weights and of activations."""
        return (len(self.weights),) if self.tied else (len(self.weights), len(self.activations))


@dataclass(frozen=True)
class Space:
    """All decisions of a search, in the order of the model.

    shapes: of every operation that is decided on. owners: modules whose own forward has products of activations, with
    the number of them in a call. left: why other operations with weights or products are left as they are.
    """

    decisions: tuple[Decision, ...]
    shapes: Mapping[str, LayerShape]
    owners: Mapping[str, int]
    left: Mapping[str, str]

    def costs(self, cost: Cost) -> dict[tuple[str, Precision], float]:
        """What each choice of each decision costs: the sum over its operations."""
        return {
            (decision.name, choice): sum(cost(name, choice) for name in decision.operations)
            for decision in self.decisions
            for choice in decision.choices
        }

    def precisions(self, chosen: Mapping[str, Precision]) -> dict[str, Precision]:
        """The precision of each operation, by that of each decision."""
        return {name: chosen[decision.name] for decision in self.decisions for name in decision.operations}

    def __str__(self) -> str:
        lines = [
            f"{decision.name}: {', '.join(map(str, decision.choices))} for {', '.join(decision.operations)}"
            for decision in self.decisions
        ]
        return "\n".join([*lines, *(f"{name}: left, {reason}" for name, reason in self.left.items())])


def space_of(
    model: nn.Module,
    sample: Any,
    formats: Sequence[Format | None],
    *,
    include: Collection[str] = ("*",),
    exclude: Collection[str] = (),
    decide: str | Sequence[str] = "layer",
    operands: str = "same",
    activation: Format | None = None,
) -> Space:
    """The space of `model`, whose every ``nn.MultiheadAttention`` is first split into layers, in place.

    Linear layers, convolutions, embeddings and products of activations take part.

    Parameters
    ----------
    sample: a batch of one that the model is called with, for `hwlut.graph.trace`.
    formats: to choose from; None is no quantization.
    include, exclude: patterns of names (``"blocks.*"``; ``*`` also spans dots); one of the first must match, none of
        the second.
    decide: one precision for each "layer"; for each "block", which is the innermost member of a list of modules that
        holds several operations; one for "all"; or for regular expressions: operations in which one is found with the
        same groups go together, and those in which none is, each by itself.
    operands: "same", one format for weights and activations; "separate", one for each; "weights", for these alone,
        activations having the format `activation` and products of activations being left.

    Raises ValueError where nothing takes part, or a pattern or expression matches nothing.
    """
    if operands not in ("same", "separate", "weights"):
        raise ValueError(f"search operands must be one of same, separate, weights, not {shorten(operands)}")
    if activation is not None and operands != "weights":
        raise ValueError(f"search activation must be left out unless operands are weights, not {activation}")
    given = tuple(formats)
    if not given or len(set(given)) != len(given):
        raise ValueError(f"search formats must be at least one and all different, not {shorten(given)}")
    split_attention(model)
    graph = trace(model, sample)
    shapes, owners, left = _operations(model, graph)
    if operands == "weights":
        left |= {name: "a product of activations" for name in shapes if not shapes[name].weights}
    if shapes:
        _match(shapes, left, include, exclude)
    kept = [name for name in shapes if name not in left]
    if not kept:
        raise ValueError(
            f"search must leave something to quantize; it leaves out {shorten(list(left)) if left else 'all there is'}"
        )
    activations = (activation,) if operands == "weights" else given
    decisions = tuple(
        Decision(name, tuple(names), given, activations, operands == "same")
        for name, names in _groups(kept, decide).items()
    )
    return Space(decisions, {name: shapes[name] for name in kept}, _acting(owners, kept), left)


def _operations(model: nn.Module, graph: Graph) -> tuple[dict[str, LayerShape], dict[str, int], dict[str, str]]:
    """Shapes of what can be quantized, the number of products in a call of each owner, and what cannot be."""
    modules = dict(model.named_modules())
    shapes: dict[str, LayerShape] = {}
    counts: Counter[tuple[str, int]] = Counter()
    left: dict[str, str] = {}
    for operation in graph:
        if _is_product(operation):
            for macs in _halves(operation):
                name = product_name(operation.path, counts[operation.path, operation.call])
                counts[operation.path, operation.call] += 1
                _add(shapes, name, LayerShape(macs, 0))
        elif operation.kind in _LAYERS and layer_kind(modules[operation.path]) is not None:
            _add(shapes, operation.path, LayerShape(operation.macs, operation.weights))
        elif operation.kind in _LAYERS or operation.macs:
            left[operation.path or operation.name] = f"{operation.kind} of {operation.module} has no quantized form"
    owners: dict[str, int] = {}
    for (path, _), count in counts.items():
        owners[path] = max(count, owners.get(path, 0))
    return shapes, owners, left


def _is_product(operation: Operation) -> bool:
    """Whether it is one that `hwlut.nn.quantized.computing_products` finds."""
    factors = {"self", "other"}, {"self", "mat2"}
    written = operation.kind == "attention" or set(operation.arguments) in factors
    return operation.kind in PRODUCTS and written and not operation.weights


def _halves(operation: Operation) -> tuple[int, ...]:
    """Multiply-accumulates of each product: scores and context of an attention have as many."""
    half = operation.macs // 2
    return (operation.macs,) if operation.kind == "matmul" else (operation.macs - half, half)


def _add(shapes: dict[str, LayerShape], name: str, shape: LayerShape) -> None:
    """Another call of the operation `name`."""
    before = shapes.get(name)
    shapes[name] = shape if before is None else LayerShape(before.macs + shape.macs, before.weights)


def _match(names: Iterable[str], left: dict[str, str], include: Collection[str], exclude: Collection[str]) -> None:
    """Add to `left` those that no pattern includes, or one excludes."""
    for label, patterns in (("include", include), ("exclude", exclude)):
        for pattern in patterns:
            if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
                raise ValueError(
                    f"search {label} {pattern!r} must match an operation; there are {shorten(list(names))}"
                )
    for name in names:
        if name in left:
            continue
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in include):
            left[name] = "not included"
        elif any(fnmatch.fnmatchcase(name, pattern) for pattern in exclude):
            left[name] = "excluded"


def _groups(names: list[str], decide: str | Sequence[str]) -> dict[str, list[str]]:
    """Names of operations by that of their decision."""
    if isinstance(decide, str) and decide not in ("layer", "block", "all"):
        raise ValueError(f"search decide must be layer, block, all or a list of expressions, not {shorten(decide)}")
    keys: Callable[[str], str]
    if decide == "block":
        keys = _block_of(names)
    elif isinstance(decide, str):
        keys = (lambda _: "all") if decide == "all" else (lambda name: name)
    else:
        keys = _expressed(names, decide)
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(keys(name), []).append(name)
    return groups


def _block_of(names: list[str]) -> Callable[[str], str]:
    """The innermost member of a list that holds several of the names; a name by itself where there is none."""

    def block(name: str) -> str:
        parts = name.split(".")
        for end in range(len(parts) - 1, 0, -1):
            path = ".".join(parts[:end])
            if parts[end - 1].isdigit() and sum(each.startswith(f"{path}.") for each in names) > 1:
                return path
        return name

    return block


def _expressed(names: list[str], expressions: Sequence[str]) -> Callable[[str], str]:
    """What of a name the first expression found in it captures."""
    compiled = []
    for expression in expressions:
        try:
            compiled.append(re.compile(expression))
        except re.error as error:
            raise ValueError(f"search decide must be regular expressions, not {expression!r}: {error}") from None
        if not any(compiled[-1].search(name) for name in names):
            raise ValueError(f"search decide {expression!r} must be found in an operation; there are {shorten(names)}")

    def key(name: str) -> str:
        for each in compiled:
            if found := each.search(name):
                return " ".join((each.pattern, *(group or "" for group in found.groups())))
        return name

    return key


def _acting(owners: Mapping[str, int], kept: list[str]) -> dict[str, int]:
    """Owners of a kept product, and those inside them, whose products would else be taken for theirs."""
    direct = [path for path, count in owners.items() if any(product_name(path, i) in kept for i in range(count))]
    return {
        path: count
        for path, count in owners.items()
        if any(path == outer or not outer or path.startswith(f"{outer}.") for outer in direct)
    }
