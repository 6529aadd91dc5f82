"""The kernel of a program of codes or rows as C++: a row at a time, in a loop before, between and after reductions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from string import Template

from hwlut.fixed import Fixed, signed_bits
from hwlut.program.c.operations import Body, Functions, node_term
from hwlut.program.c.steps import Place, Step, entries, places_of, steps
from hwlut.program.c.terms import HELPERS, Term, clamp, helpers, kind_of, literal
from hwlut.units import Program
from hwlut.units.nodes import Span
from hwlut.units.reductions import Maximum, Sum

__all__ = ["RANGES", "Source", "row_source"]

RANGES = {
    "uint8_t": (0, 255),
    "int8_t": (-128, 127),
    "int16_t": (-(1 << 15), (1 << 15) - 1),
    "int32_t": (-(1 << 31), (1 << 31) - 1),
    "int64_t": (-(1 << 63), (1 << 63) - 1),
}
"""Lowest and highest number of each type of codes."""

_CODES = 1 << 12  # a table of as many results lies in the nearest cache


# Of a number without the bit below its leading one, float32 and float64 are never rounded up to the next power of two.
# Unlike a count of zeros, this is vectorized.
_FAST = {
    "leading_one_32": """\
static inline int32_t leading_one_32(int32_t value)
{
    const float real = (float)(value & ~(value >> 1));
    int32_t word;
    __builtin_memcpy(&word, &real, 4);
    const int32_t place = (word >> 23) - 127;
    return place < 0 ? 0 : place;
}
""",
    "leading_one_64": """\
static inline int32_t leading_one_64(int64_t value)
{
    const double real = (double)(value & ~(value >> 1));
    int64_t word;
    __builtin_memcpy(&word, &real, 8);
    const int32_t place = (int32_t)(word >> 52) - 1023;
    return place < 0 ? 0 : place;
}
""",
}

_FILE = Template("""\
#include <omp.h>
#include <stdint.h>

namespace {

$functions
void row(int64_t count$parameters)
{
$body}

}  // namespace

/* Rows of `places`, the last one as long as `total` leaves it; row r of an input is its row r modulo a period. `space`
   has $buffers times `stride` words of 8 bytes for each thread. */
extern "C" void run(int64_t rows, int64_t places, int64_t total, int64_t stride, const void *const *inputs,
                    const int64_t *periods, void *const *outputs, int64_t *space, int threads)
{
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t r = 0; r < rows; ++r) {
        const int64_t start = r * places;
        int64_t *own = space + omp_get_thread_num() * $buffers * stride;
        (void)own, (void)periods;
        row(total - start < places ? total - start : places$arguments);
    }
}
""")


@dataclass(frozen=True)
class Source:
    """text: C++. places: of each output. buffers: rows of words of 8 bytes that a thread needs beside."""

    text: str
    places: tuple[Place, ...]
    buffers: int


_ROW = "(periods[{n}] == rows ? r : r % periods[{n}])"


def row_source(program: Program, types: Sequence[str], places: dict[str, Place], outs: Sequence[str]) -> Source:
    """C++ with the function ``run``, which computes `program` on rows; its comment has the contract.

    It depends on the values of `Entries` by their widths alone: these are inputs, after those of the program.

    Parameters
    ----------
    types: of the codes of each input and of each of `entries`, as C has them.
    places: of each input and each of `entries`.
    outs: C types of the outputs.
    """
    try:
        return _Rows(program, types, places, outs, exact=False).source()
    except ValueError:  # what is proven of the values is not of all of their width
        return _Rows(program, types, places, outs, exact=True).source()


@dataclass
class _Phase:
    """What a row has between two reductions: statements, the loop's own, and what is before and behind the loop."""

    row: Body = field(default_factory=Body)
    start: list[str] = field(default_factory=list)
    each: Body = field(default_factory=lambda: Body("        "))
    held: dict[int, Term] = field(default_factory=dict)


class _Rows:
    def __init__(
        self, program: Program, types: Sequence[str], places: dict[str, Place], outs: Sequence[str], exact: bool
    ):
        self._types, self._outs = types, outs
        self._steps, self._outputs = steps(program)
        self._places = places_of(self._steps, places)
        self._functions = Functions("f", _CODES, kind_of)
        self._inputs = _input_spans(program, exact)
        self._source = {step.name: n for n, step in enumerate(self._steps) if step.name in self._inputs}
        self._phase = self._phases()
        self._made = [_Phase() for _ in range(max(self._phase) + 1)]
        self._terms: dict[int, Term] = {}
        self._buffers: dict[str, str] = {}
        self._before: list[str] = []
        self._behind: list[str] = []

    def _reduces(self, step: Step) -> bool:
        return isinstance(step.node, (Sum, Maximum)) and self._places[step.operands[0]] is Place.EACH

    def _phases(self) -> list[int]:
        """The phase in which each value is there; of one that is made at each place, the last that serves all."""
        first: list[int] = []
        for step in self._steps:
            ready = max((first[operand] for operand in step.operands), default=0)
            first.append(ready + self._reduces(step))
        latest = list(first)
        for n, step in reversed(list(enumerate(self._steps))):
            if self._places[n] is Place.EACH and n not in self._outputs:
                users = [(m, user) for m, user in enumerate(self._steps) if n in user.operands]
                taken = [latest[m] - self._reduces(user) for m, user in users]
                latest[n] = min(taken, default=first[n]) if step.operands else 0
        return latest

    def source(self) -> Source:
        parameters, arguments = self._input_pointers()
        for n in range(len(self._steps)):
            self._step(n)
        for k, n in enumerate(self._outputs):
            self._output(k, n)
            each = self._places[n] is Place.EACH
            parameters.append(f"{self._outs[k]} *__restrict__ y{k}")
            arguments.append(f"({self._outs[k]} *)outputs[{k}] + {'start' if each else 'r'}")
        for k, (name, kind) in enumerate(self._buffers.items()):
            parameters.append(f"{kind} *__restrict__ {name}")
            arguments.append(f"({kind} *)(own + {k} * stride)")
        body = [*self._before]
        for phase in self._made:
            body += [*phase.row.lines, *phase.start]
            if phase.each.lines:
                body += [*_LOOP, *phase.each.lines, "    }"]
        body += self._behind
        functions = "\n".join(self._functions.definitions)
        text = _FILE.substitute(
            functions="\n".join([*helpers("\n".join([functions, *body]), HELPERS | _FAST), functions]),
            parameters="".join(f", {each}" for each in parameters),
            arguments="".join(f", {each}" for each in arguments),
            body="".join(f"{line}\n" for line in body),
            buffers=len(self._buffers),
        )
        return Source(text, tuple(self._places[n] for n in self._outputs), len(self._buffers))

    def _input_pointers(self) -> tuple[list[str], list[str]]:
        """Parameters and arguments of the inputs; their terms, of which those that need it are made before all else."""
        parameters, arguments = [], []
        for k, (name, span) in enumerate(self._inputs.items()):
            n, kind, row = self._source[name], self._types[k], _ROW.format(n=k)
            each = self._places[n] is Place.EACH
            parameters.append(f"const {kind} *__restrict__ x{k}")
            arguments.append(f"(const {kind} *)inputs[{k}] + {row}{' * places' if each else ''}")
            code = Term(f"x{k}[{'i' if each else '0'}]", RANGES[kind])
            given = Term(f"({code.kind}){code.text}" if kind not in ("int32_t", "int64_t") else code.text, code.span)
            held = clamp(given, *span)
            if not each:
                self._terms[n] = self._made[0].row.let(f"v{n}", held)
            elif held == code:
                self._terms[n] = code
            else:
                self._before += [*_LOOP, f"        {self._buffer(f'b{n}', span)}[i] = {held.text};", "    }"]
                self._terms[n] = Term(f"b{n}[i]", span)
        return parameters, arguments

    def _buffer(self, name: str, span: Span) -> str:
        self._buffers[name] = kind_of(span)
        return name

    def _taken(self, n: int, phase: _Phase, at: int) -> Term:
        """Value `n` as an operand of what `phase`, the number `at`, has in its loop."""
        term = self._terms[n]
        if self._places[n] is not Place.EACH or term.fixed is not None or n in phase.held:
            return phase.held.get(n, term)
        if term.text[0] not in "xb" and at > self._phase[n]:
            made = self._made[self._phase[n]]
            name = f"b{n}"
            if name not in self._buffers:
                made.each.lines.append(f"        {self._buffer(name, term.span)}[i] = {term.text};")
            term = Term(f"{name}[i]", term.span)
        phase.held[n] = phase.each.let(f"v{n}", term) if "[" in term.text else term
        return phase.held[n]

    def _step(self, n: int) -> None:
        step = self._steps[n]
        if n in self._source.values():
            return
        phase = self._made[self._phase[n]]
        if self._reduces(step):
            self._terms[n] = self._reduced(n, step)
            return
        if self._places[n] is Place.EACH:
            operands = [self._taken(operand, phase, self._phase[n]) for operand in step.operands]
        else:
            operands = [self._terms[operand] for operand in step.operands]
        if step.node is None or isinstance(step.node, (Sum, Maximum)):  # as it is; reductions of a row of one
            self._terms[n] = operands[0]
        else:
            body = phase.each if self._places[n] is Place.EACH else phase.row
            name = f"v{n}_{step.name.replace('.', '__')}"
            self._terms[n] = body.let(name, node_term(step.node, operands, self._functions))
        if self._places[n] is Place.EACH:
            phase.held[n] = self._terms[n]

    def _reduced(self, n: int, step: Step) -> Term:
        """A sum or a maximum of what is made at each place, in the phase before."""
        at, node = self._phase[n] - 1, step.node
        phase = self._made[at]
        value = self._taken(step.operands[0], phase, at)
        assert node is not None
        span, name = node.span(value.span), f"v{n}_{step.name.replace('.', '__')}"
        kind = kind_of(span)
        first = 0 if isinstance(node, Sum) else span[0]
        phase.start.append(f"    {kind} {name} = {literal(first).text};")
        if isinstance(node, Sum):
            phase.each.lines.append(f"        {name} += {value.to(kind)};")
        else:
            phase.each.lines.append(f"        {name} = {value.text} > {name} ? {value.text} : {name};")
        return Term(name, span)

    def _output(self, k: int, n: int) -> None:
        kind = self._outs[k]
        if self._places[n] is not Place.EACH:
            self._behind.append(f"    y{k}[0] = ({kind}){self._terms[n].text};")
            return
        phase = self._made[self._phase[n]]
        value = self._taken(n, phase, self._phase[n])
        if kind in ("int32_t", "int64_t"):
            phase.each.lines.append(f"        y{k}[i] = {value.text};")
            return
        # A loop of its own: of one with narrow numbers in it, the rest would be made for many places at once.
        phase.each.lines.append(f"        {self._buffer(f'o{k}', value.span)}[i] = {value.text};")
        self._behind += [*_LOOP, f"        y{k}[i] = ({kind})o{k}[i];", "    }"]


_LOOP = ("#pragma GCC ivdep", "    for (int64_t i = 0; i < count; ++i) {")


def _input_spans(program: Program, exact: bool) -> dict[str, Span]:
    """What each input can be; of `Entries` all integers of their width, unless `exact`."""
    spans: dict[str, Span] = {port.name: (port.format.min, port.format.max) for port in program.inputs}
    for name, node in entries(program).items():
        span = node.span()
        format = Fixed(signed_bits(*span))
        spans[name] = span if exact else (format.min, format.max)
    return spans
