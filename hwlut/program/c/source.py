"""Programs as one C file that needs nothing but standard headers."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from hwlut.files import write_atomic
from hwlut.program.c import movement as c_movement
from hwlut.program.c.arrays import KINDS, Array, aligned, axes_of, index, nest, storage_of, strides_of
from hwlut.program.c.file import MEMBERS, Layout, file_text, kind_of_port
from hwlut.program.c.groups import Wanted, groups, laid_out, roots, single
from hwlut.program.c.look_up import result_kind
from hwlut.program.c.names import check_function, parameter_names
from hwlut.program.c.nodes import Nodes
from hwlut.program.c.operations import Body, node_term
from hwlut.program.c.sample import sampled
from hwlut.program.c.steps import Step, steps
from hwlut.program.c.terms import Term, helpers, literal
from hwlut.units import Program
from hwlut.units.applied import LookUp, Rescale
from hwlut.units.nodes import Span
from hwlut.units.operations import Constant
from hwlut.units.ports import Port
from hwlut.units.reductions import Entries

__all__ = ["c_source", "export_c"]


def c_source(program: Program) -> str:
    """One C99 file that computes `program`, bit for bit, without Python: ``void NAME(size_t batch, ...)``.

    The function takes a pointer to the codes of each input, for all items of the batch after each other, and then one
    for those of each output, all of the narrowest types that hold their formats; and behind these, where it needs one,
    a ``NAME_workspace``, of which each thread has its own. The comment in the file's head has types, shapes and sizes.
    An item of an input has the shape of its port; of a program of codes, a port without one has one number.

    Raises ValueError for inputs of programs of rows and tensors without a shape, for programs whose items of a batch
    depend on each other, and for what C does not hold: approximate multipliers of more than 2^16 pairs of codes, units
    of rows under `Apply`, windows of nothing but padding, and names that are keywords of C.
    """
    return _Source(program).text()


def export_c(program: Program, path: str | Path) -> Path:
    """Write `c_source` to `path`."""
    path = Path(path)
    write_atomic(path, c_source(program))
    return path


class _Source:
    """The parts of the file: a function for each group of steps, and the one that calls them item by item."""

    def __init__(self, program: Program):
        self._program, self._name = program, check_function(program.name)
        self._steps, self._outputs = steps(program)
        self._shapes, self._results = sampled(program, self._steps, self._outputs)
        self._spans = _spans(program, self._steps)
        self._roots = roots(self._steps, self._shapes)
        self._groups = groups(self._steps, self._shapes, self._roots)
        self._nodes = Nodes(self._name)
        self._inputs, self._ends = parameter_names(program)
        self._written = self._direct()
        self._stored, totals = self._layout()
        self._functions: list[str] = []
        self._calls: list[str] = []
        self._workspace = {kind: totals[kind] for kind in KINDS if kind in totals}

    def _direct(self) -> dict[int, int]:
        """The arrays that lie in an output's from the first, and in which."""
        found: dict[int, int] = {}
        made = {n for group in self._groups for n in group}
        for k, (n, port) in enumerate(zip(self._outputs, self._program.outputs)):
            root = self._roots[n]
            fits = math.prod(self._shapes[n]) == math.prod(self._results[k]) and self._kind(root) == kind_of_port(port)
            if root in made and fits:
                found.setdefault(root, k)
        return found

    def _kind(self, root: int) -> str:
        """The type of an array."""
        node = self._steps[root].node
        return result_kind(node.unit) if isinstance(node, LookUp) else storage_of(self._spans[root])

    def _layout(self) -> tuple[dict[int, str], dict[str, int]]:
        """How the file finds each array that others take, and how many numbers of each type the workspace has."""
        last: dict[int, int] = {}
        for stage, group in enumerate(self._groups):
            for root in {self._roots[operand] for n in group for operand in self._steps[n].operands} - {*group}:
                last[root] = stage
        last |= dict.fromkeys((self._roots[n] for n in self._outputs), len(self._groups))
        wanted = {}
        for stage, group in enumerate(self._groups):
            for n in group:
                if n in last and n not in self._written:
                    wanted[n] = Wanted(self._kind(n), math.prod(self._shapes[n]), stage, last[n])
        offsets, totals = laid_out(wanted)
        found = {n: _after(f"workspace->{MEMBERS[wanted[n].kind]}", str(offset)) for n, offset in offsets.items()}
        for n in (*range(len(self._inputs)), *self._written):
            name = self._inputs[n] if n < len(self._inputs) else self._ends[self._written[n]]
            found[n] = _after(name, _item(math.prod(self._shapes[n])))
        return found, totals

    def text(self) -> str:
        for stage, group in enumerate(self._groups):
            self._group(stage, group)
        for k, n in enumerate(self._outputs):
            if self._written.get(self._roots[n]) != k:
                self._copied_out(k, n)
        parts = "\n".join([*self._nodes.definitions, *self._functions])
        definitions = "\n".join([*helpers(parts), parts])
        layout = Layout(
            ports=[(port, *each) for port, each in zip(self._program.inputs, zip(self._inputs, self._shapes))],
            results=[(port, *each) for port, each in zip(self._program.outputs, zip(self._ends, self._results))],
            workspace=self._workspace,
        )
        return file_text(self._program, layout, definitions, self._calls, self._nodes.functions.bytes)

    def _operand(self, n: int) -> Array:
        """Value `n` as functions take it."""
        root = self._roots[n]
        return Array(f"x{root}", self._kind(root), self._shapes[n], self._spans[root])

    def _group(self, stage: int, group: list[int]) -> None:
        steps = [self._steps[n] for n in group]
        results = {n: replace(self._operand(n), name=f"y{n}") for n in group if n in self._stored}
        operands = [operand for step in steps for operand in step.operands]
        taken = list(dict.fromkeys(operand for operand in operands if self._roots[operand] not in group))
        if single(steps[0]):
            lines = self._places(group, results, taken)
        elif steps[0].node is None:
            lines = c_movement.expanded(results[group[0]], self._operand(operands[0]))
        else:
            arrays = [self._operand(operand) for operand in operands]
            lines = self._nodes.statements(steps[0].node, results[group[0]], arrays)
        comment = "\n   ".join(self._told(step) for step in steps)
        self._function(f"{stage}_{steps[-1].name}", comment, lines, taken, results)

    def _told(self, step: Step) -> str:
        operands = ", ".join(self._steps[operand].name for operand in step.operands)
        return f"{step.name} = {step.node.op if step.node else 'the shape of the second of'}({operands})"

    def _places(self, group: list[int], results: dict[int, Array], taken: list[int]) -> list[str]:
        """Statements for values that are made place by place."""
        shape = self._shapes[group[0]]
        arrays = {n: self._operand(n) for n in taken if not isinstance(self._steps[n].node, Constant)}
        strides = [strides_of(shape), *(aligned(each.shape, shape) for each in arrays.values())]
        axes, (to, *of) = axes_of(shape, *strides)
        body, terms = Body(""), {}
        for n in taken:
            node = self._steps[n].node
            if isinstance(node, Constant):
                terms[n] = literal(node.value)
        for (n, each), along in zip(arrays.items(), of):
            terms[n] = body.let(f"a{n}", each.at(index(zip(axes, along))))
        for n in group:
            step = self._steps[n]
            operands = [terms[operand if operand in terms else self._roots[operand]] for operand in step.operands]
            terms[n] = body.let(f"v{n}_{step.name.replace('.', '__')}", self._term(step, operands))
            if n in results:
                body.lines.append(results[n].put(index(zip(axes, to)), terms[n]))
        return nest(axes, body.used())

    def _term(self, step: Step, operands: list[Term]) -> Term:
        if isinstance(step.node, Rescale):
            return self._nodes.functions.apply(step.node.unit, operands[0], step.name)
        assert step.node is not None
        return node_term(step.node, operands, self._nodes.functions)

    def _copied_out(self, k: int, n: int) -> None:
        """The function that copies value `n` to output `k`."""
        port = self._program.outputs[k]
        y = Array(f"y{n}", kind_of_port(port), self._results[k], (port.format.min, port.format.max))
        lines = c_movement.expanded(y, self._operand(n))
        self._stored.setdefault(-1 - k, _after(self._ends[k], _item(y.size)))
        self._function(f"output_{port.name}", f"output {port.name}", lines, [n], {-1 - k: y})

    def _function(self, name: str, comment: str, lines: list[str], taken: list[int], results: dict[int, Array]) -> None:
        """Define a function, and call it."""
        name, text = f"{self._name}_{name.replace('.', '__')}", "\n".join(lines)
        parameters, arguments = [], []
        for root in dict.fromkeys(self._roots[n] for n in taken):
            if re.search(rf"\bx{root}\b", text):
                parameters.append(f"const {self._kind(root)} *restrict x{root}")
                arguments.append(self._where(root))
        for n, y in results.items():
            parameters.append(f"{y.kind} *restrict {y.name}")
            arguments.append(self._stored[n])
        body = "".join(f"    {line}\n" for line in lines)
        self._functions.append(f"/* {comment} */\nstatic void {name}({', '.join(parameters)})\n{{\n{body}}}\n")
        self._calls.append(f"{name}({', '.join(arguments)});")

    def _where(self, root: int) -> str:
        """The array of a value as calls name it; that of constants is defined when it is first asked for."""
        node = self._steps[root].node
        if isinstance(node, (Constant, Entries)):
            values = np.array([node.value]) if isinstance(node, Constant) else node.values
            return self._nodes.constants("values", values).name
        return self._stored[root]


def _spans(program: Program, steps: list[Step]) -> list[Span]:
    """Of all values."""
    found: list[Span] = []
    for n, step in enumerate(steps):
        taken = [found[operand] for operand in step.operands]
        if step.node is not None:
            found.append(step.node.span(*taken))
        else:
            found.append(taken[0] if taken else _span(program.inputs[n]))
    return found


def _span(port: Port) -> Span:
    return port.format.min, port.format.max


def _after(name: str, offset: str) -> str:
    return name if offset == "0" else f"{name} + {offset}"


def _item(size: int) -> str:
    return "item" if size == 1 else f"item * {size}"
