"""Programs executed fast, on CPUs and GPUs: the same integers as the definition's."""

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch

from hwlut.fields import shorten
from hwlut.ops.evaluate import narrowest
from hwlut.program.engine import codes as _codes  # noqa: F401
from hwlut.program.engine import movement as _movement  # noqa: F401 (each registers its nodes)
from hwlut.program.engine import products as _products  # noqa: F401
from hwlut.program.engine.exactly import exactly
from hwlut.program.engine.prepared import Compute, Place, as_integers, fits_float32, prefers_real, prepared
from hwlut.program.engine.runs import compiled_run, runs
from hwlut.program.engine.units import TABLE_BITS, applied, by_table, fits_kernel, rescaled
from hwlut.units import Program, Requantize
from hwlut.units.applied import Rescale
from hwlut.units.codes import result_dtype
from hwlut.units.nodes import Extent, Node, format_of
from hwlut.units.operations import Apply, Clamp

__all__ = ["Engine"]


class _Step(NamedTuple):
    """name: of the result. frees: values that nothing takes after this."""

    name: str
    operands: tuple[str, ...]
    compute: Compute
    frees: tuple[str, ...]


class Engine:
    """``engine(*codes)`` is ``program(*codes)``, and ``engine.values`` gives values between.

    Weights and tables lie on `device` as tensors from the start; nothing is compiled for them, so that an engine for a
    program of other weights takes little more than to copy them. Values between nodes are held by the narrowest
    integers, or by float32 where that is what the next node multiplies; sums are taken in float32 where it is proven to
    hold all partial ones.

    Parameters
    ----------
    program: what is executed.
    device: of weights and codes.
    compiled: whether runs of arithmetic are compiled on CPUs where there is a compiler, once for each program up to its
        `Entries`, at its first execution: a fraction of a second each. Best left out where other constants come often.

    Codes may be of any integer dtype of the definition, and are taken to lie in the inputs' formats: those that do not
    give no error, and any result. Shapes are checked as the definition does. Raises TypeError for another kind of
    program or number of codes.
    """

    def __init__(self, program: Program, device: torch.device | str = "cpu", compiled: bool = True):
        if not isinstance(program, Program):
            raise TypeError(f"Engine program must be a Program, not {shorten(program)}")
        self.program = program
        self.device = torch.device(device)
        self.compiled = compiled and self.device.type == "cpu"
        self._named = {node.name: node for node in program.nodes}
        self._taken = Counter(name for node in program.nodes for name in node.operands)
        self._plans: dict[frozenset[str], list[_Step]] = {}
        self._computes: dict[str, Compute] = {}
        self._constants: dict[str, torch.Tensor] = {}
        fixed = _constants(program)
        self._real = self._represented(fixed)
        with exactly(self.device):
            for node in program.nodes:
                place = self._place(node)
                if node.name in fixed:
                    self._constants[node.name] = self._constant(node, place)
                else:
                    self._computes[node.name] = prepared(node, place)

    def _represented(self, fixed: set[str]) -> dict[str, bool | None]:
        """Which values are best held by float32; None for those of which it does not matter."""
        spans = self.program.spans
        real: dict[str, bool | None] = dict.fromkeys(spans)
        moving = [node for node in self.program.nodes if node.name not in fixed]
        whole: set[str] = set()
        if self.compiled:  # runs take and give integers
            groups = runs(moving, {port.name for port in self.program.outputs})
            whole = {node.name for run in groups.values() for node in run}
        for node in reversed(moving):
            wish = False if node.name in whole else prefers_real(node, self._place(node, real))
            for operand in node.operands if wish is not None else ():
                real[operand] = real[operand] or (wish and fits_float32(spans[operand]))
        return real

    def _place(self, node: Node, real: dict[str, bool | None] | None = None) -> Place:
        spans = self.program.spans
        operands = tuple(spans[operand] for operand in node.operands)
        held = (self._real if real is None else real)[node.name]
        return Place(operands, spans[node.name], held, self.device, self.compiled)

    def _constant(self, node: Node, place: Place) -> torch.Tensor:
        """What is made of constants alone, computed once."""
        result = node(*(self._constants[operand].long() for operand in node.operands))
        wide = torch.as_tensor(result, dtype=torch.int64, device=self.device)
        return wide.to(place.dtype) if wide.dim() else wide

    def __call__(self, *codes: torch.Tensor) -> Any:
        """Results of the codes of each input, as the program's: a tensor, or a tuple where there are several."""
        outputs = self.program.outputs
        values = self._run(codes, frozenset(port.name for port in outputs))
        results = [values[port.name] for port in outputs]
        if self.program.extent is not Extent.TENSORS:
            shape = torch.broadcast_shapes(*(each.shape for each in codes))
            results = [result.expand(shape) for result in results]
        results = [result.to(result_dtype(port.format)) for result, port in zip(results, outputs)]
        return results[0] if len(results) == 1 else tuple(results)

    def values(self, *codes: torch.Tensor, keep: Iterable[str]) -> dict[str, torch.Tensor]:
        """The values named in `keep`, each in the narrowest integer dtype that holds its span.

        Others are freed as soon as nothing needs them, or not computed at all. Raises ValueError for a name that is
        none of the program's values.
        """
        names = frozenset(keep)
        spans = self.program.spans
        if unknown := sorted(names - set(spans)):
            raise ValueError(f"Engine keep must be of the program's values, not {unknown[0]!r}")
        return {name: value.to(narrowest(format_of(spans[name]))) for name, value in self._run(codes, names).items()}

    def _run(self, codes: tuple[torch.Tensor, ...], keep: frozenset[str]) -> dict[str, torch.Tensor]:
        inputs = self.program.inputs
        self.program.check_shapes(*codes)
        if keep not in self._plans:
            self._plans[keep] = self._plan(keep)
        values = dict(self._constants)
        with exactly(self.device):
            for port, given in zip(inputs, codes):
                values[port.name] = given.float() if self._real[port.name] else given
            for step in self._plans[keep]:
                values[step.name] = step.compute(*(values[operand] for operand in step.operands))
                for name in step.frees:
                    del values[name]
        return {name: values[name] for name in keep}

    def _plan(self, keep: frozenset[str]) -> list[_Step]:
        """The steps that lead to what is kept, in order."""
        needed, nodes = set(keep), []
        for node in reversed(self.program.nodes):
            if node.name in needed and node.name in self._computes:
                nodes.append(node)
                needed.update(node.operands)
        groups = runs(nodes[::-1], keep) if self.compiled else {}
        inside = {node.name for run in groups.values() for node in run} - set(groups)
        steps: list[_Step] = []
        later = set(keep) | set(self._constants)
        for node in nodes:
            if node.name in inside:
                continue
            operands, compute = node.operands, self._computes[node.name]
            if node.name in groups:
                operands, compute = self._compiled(groups[node.name])
            elif isinstance(node, Clamp) and (before := self._held(node, keep)) is not None:
                operands, compute = before.operands, self._clamped(before, node)
                inside.add(before.name)
            steps.append(_Step(node.name, operands, compute, tuple(set(operands) - later)))
            later.update(operands)
        return steps[::-1]

    def _held(self, node: Clamp, keep: frozenset[str]) -> Rescale | Apply | None:
        """The Requantize before a clamp, where only that takes its result: its own ends then do the clamping."""
        before = self._named.get(node.of)
        alone = self._taken[node.of] == 1 and node.of not in keep and node.of in self._computes
        if not alone or not isinstance(before, Rescale | Apply) or not isinstance(before.unit, Requantize):
            return None
        return before if fits_kernel(self.program.spans[before.of]) else None

    def _compiled(self, run: list[Node]) -> tuple[tuple[str, ...], Compute]:
        known = {name: self._named[name] for name in self._constants}
        steps = [(node.name, node.operands, self._computes[node.name]) for node in run]

        def singly(values: dict[str, torch.Tensor]) -> torch.Tensor:
            found = self._constants | values
            for name, operands, compute in steps:
                found[name] = compute(*(found[operand] for operand in operands))
            return found[run[-1].name]

        return compiled_run(run, known, self.program.spans, self._place(run[-1]), singly)

    def _clamped(self, before: Rescale | Apply, node: Clamp) -> Compute:
        place = dataclasses.replace(self._place(node), spans=self._place(before).spans)
        return rescaled(before, place, place.span)


def _constants(program: Program) -> set[str]:
    """Names of the values that no input reaches."""
    found: set[str] = set()
    for node in program.nodes:
        if node.extent is not Extent.TENSORS and found.issuperset(node.operands):
            found.add(node.name)
    return found


@applied.register
def _(unit: Program, node: Apply, place: Place) -> Compute:
    """By a table or an engine of its own."""
    if unit.extent is Extent.CODES and unit.input.bits <= TABLE_BITS:
        return by_table(node, place)
    engine = Engine(unit, place.device, place.compiled)
    return lambda value: place.given(engine(as_integers(value)))
