"""Multipliers written as straight-line C functions, as EvoApproxLib has them, read as netlists.

The text is neither compiled nor run: each expression is evaluated on words of netlist nodes while it is parsed, by
C's rules (integer promotion, usual conversions, two's complement).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hwlut.fields import shorten
from hwlut.importers.c_values import TYPES, Type, Value, binary, literal, select, unary
from hwlut.importers.netlist import Netlist
from hwlut.importers.source import Source

__all__ = ["Circuit", "Signature", "parse"]

_TOKEN = re.compile(r"[A-Za-z_]\w*|[0-9]\w*|#[^\n]*|<<=|>>=|<<|>>|&&|\|\||[&|^+\-*]=|==|!=", re.ASCII)
_INCLUDE = re.compile(r"#\s*include\s*<(stdint|stdlib|stdio|inttypes)\.h>\s*")
_QUALIFIERS = ("const", "static", "inline", "extern")
_BANNED = frozenset(
    "asm auto break case continue default do double else enum float for goto if register return sizeof static struct "
    "switch typedef union void volatile while".split()
)
_LEVELS = {"||": 1, "&&": 2, "|": 3, "^": 4, "&": 5, "==": 6, "!=": 6, "<<": 7, ">>": 7, "+": 8, "-": 8, "*": 9}
_CALLS_LIMIT = 8
_ARRAY_LIMIT = 4096

_Made = TypeVar("_Made")


@dataclass
class _Variable:
    type: Type
    cells: list[Value | None]
    array: bool = False
    constant: bool = False


@dataclass(frozen=True)
class Signature:
    """A function as declared: the parameters' names and (bits, signed), in order, and where its body starts."""

    name: str
    result: Type
    parameters: tuple[tuple[str, Type], ...]
    line: int
    body: int = field(repr=False)


@dataclass(frozen=True)
class Circuit:
    """A file's multiplier: its signature, and what to evaluate it with."""

    signature: Signature
    reader: "_Reader" = field(repr=False)

    def evaluate(self, net: Netlist, signed: bool) -> list[int]:
        """The bits of the result; the parameter called a is `net.a`, b is `net.b`, in either order and case.

        A parameter of a signed type wider than its operand carries the operand's sign above it, one of an unsigned
        type zeros. `signed`: of both operands.
        """
        operands = {"a": net.a, "b": net.b}
        given = [Value(operands[name.lower()], signed and type[1]).to(type) for name, type in self.signature.parameters]
        return self.reader.call(net, self.signature, given).bits


def parse(text: str) -> Circuit:
    """The multiplier in `text`: the last function, of two integers called a and b.

    Raises ValueError, naming the line, for anything else; bodies are looked at when they are evaluated.
    """
    return _Reader(text).circuit()


class _Reader:
    def __init__(self, text: str):
        self.source = Source(text, _TOKEN)
        self.functions: dict[str, Signature] = {}
        self.net = Netlist(1, 1)
        self.scope: dict[str, _Variable] = {}
        self.calls: list[str] = []

    def circuit(self) -> Circuit:
        source = self.source
        while source.peek():
            if source.peek().startswith("#"):
                if not _INCLUDE.fullmatch(source.peek()):
                    source.fail(f"{shorten(source.peek())} has no place here")
                source.next()
            else:
                self.declare()
        if not self.functions:
            source.fail("there is no function")
        last = list(self.functions.values())[-1]
        if sorted(name.lower() for name, _ in last.parameters) != ["a", "b"]:
            given = ", ".join(name for name, _ in last.parameters)
            source.fail(f"the last function, {last.name}, must have two parameters, a and b, not ({given})", last.line)
        return Circuit(last, self)

    def declare(self) -> None:
        """Take one function; its body is skipped."""
        source = self.source
        while source.peek() in _QUALIFIERS:
            source.next()
        line, result, name = source.line, self.type(), source.name()
        if name in self.functions or name in TYPES or name in _BANNED:
            source.fail(f"{shorten(name)} cannot be declared here", line)
        source.expect("(")
        parameters = [self.parameter()]
        while source.accept(","):
            parameters.append(self.parameter())
        source.expect(")")
        names = [parameter for parameter, _ in parameters]
        if len(set(names)) < len(names):
            source.fail(f"two parameters of {shorten(name)} have one name", line)
        source.expect("{")
        self.functions[name] = Signature(name, result, tuple(parameters), line, source.position)
        depth = 1
        while depth:
            depth += {"{": 1, "}": -1}.get(source.next(), 0)

    def parameter(self) -> tuple[str, Type]:
        self.source.accept("const")
        type = self.type()
        return self.source.name(), type

    def type(self) -> Type:
        source, name = self.source, ""
        while (longer := f"{name} {source.peek()}".lstrip()) in TYPES:
            name = longer
            source.next()
        if not name:
            source.fail(f"expected an integer type such as uint8_t, not {shorten(source.peek())}")
        return TYPES[name]

    def call(self, net: Netlist, function: Signature, given: list[Value]) -> Value:
        """Evaluate a function's body, and go back to where the source stood."""
        source = self.source
        if len(self.calls) == _CALLS_LIMIT:
            source.fail(f"calls are nested more than {_CALLS_LIMIT} deep")
        kept = source.position, self.scope, self.net
        self.net = net
        self.calls.append(function.name)
        self.scope = {
            name: _Variable(type, [value.to(type)]) for (name, type), value in zip(function.parameters, given)
        }
        source.position = function.body
        while (result := self.statement()) is None:
            pass
        if source.peek() != "}":
            source.fail("nothing may follow return")
        self.calls.pop()
        source.position, self.scope, self.net = kept
        return result.to(function.result)

    def statement(self) -> Value | None:
        """Take one statement; the value, when it is return."""
        source, result = self.source, None
        self.checked(source.line, "", self.net.spend)
        token = source.peek()
        if source.accept(";"):
            return None
        if token in TYPES or token == "const":
            self.declaration()
        elif source.accept("return"):
            result = self.expression()
        elif token == "}":
            source.fail(f"{shorten(self.calls[-1])} ends without return")
        elif token in _BANNED or token == "{":
            source.fail(f"{token!r} has no place in straight-line code")
        else:
            self.assignment()
        source.expect(";")
        return result

    def declaration(self) -> None:
        source = self.source
        constant = source.accept("const")
        type = self.type()
        while True:
            line, name, count, array = source.line, source.name(), 1, False
            if name in self.scope or name in self.functions or name in TYPES or name in _BANNED:
                source.fail(f"{shorten(name)} cannot be declared here", line)
            if source.accept("["):
                count, array = self.constant("the size of an array"), True
                if not 1 <= count <= _ARRAY_LIMIT:
                    source.fail(f"the size of an array must be from 1 to {_ARRAY_LIMIT}, not {count}")
                source.expect("]")
            self.checked(line, "", self.net.spend, count)
            variable = _Variable(type, [None] * count, array, constant)
            if not array and source.accept("="):
                variable.cells[0] = self.expression().to(type)
            self.scope[name] = variable
            if not source.accept(","):
                return

    def assignment(self) -> None:
        source, line = self.source, self.source.line
        variable, index = self.place(source.name(), line)
        operator = source.next()
        if operator != "=" and not (operator.endswith("=") and operator[:-1] in _LEVELS and operator[0] not in "=!"):
            source.fail(f"expected an assignment, not {shorten(operator)}", line)
        if variable.constant:
            source.fail("a constant must not be assigned to", line)
        value = self.expression()
        if operator != "=":
            old = self.read(variable, index, line)
            value = self.checked(line, "", binary, self.net, operator[:-1], old, value)
        variable.cells[index] = value.to(variable.type)

    def place(self, name: str, line: int) -> tuple[_Variable, int]:
        """The variable called `name`, and the element of it that the source goes on to state."""
        if name not in self.scope:
            self.source.fail(f"{shorten(name)} is not declared", line)
        variable, index = self.scope[name], 0
        if self.source.accept("["):
            index = self.constant("an index")
            self.source.expect("]")
            if not variable.array or not 0 <= index < len(variable.cells):
                self.source.fail(f"{shorten(name)} has no element {index}", line)
        elif variable.array:
            self.source.fail(f"{shorten(name)} is an array and needs an index", line)
        return variable, index

    def read(self, variable: _Variable, index: int, line: int) -> Value:
        if (value := variable.cells[index]) is None:
            self.source.fail("a variable is used before it has a value", line)
        return value

    def constant(self, label: str) -> int:
        line, value = self.source.line, self.expression()
        return self.checked(line, label, value.number)

    def checked(self, line: int, label: str, made: Callable[..., _Made], *arguments: Any) -> _Made:
        """What `made` returns; its ValueErrors get the line and the label."""
        try:
            return made(*arguments)
        except ValueError as error:
            self.source.fail(f"{label} {error}".strip(), line)

    def expression(self) -> Value:
        """An expression, from the conditional operator down."""
        source = self.source
        source.descend()
        value = self.operation(1)
        if source.accept("?"):
            line, yes = source.line, self.expression()
            source.expect(":")
            value = self.checked(line, "", select, self.net, value, yes, self.expression())
        source.ascend()
        return value

    def operation(self, level: int) -> Value:
        """Binary operators of `level` and those that bind tighter."""
        value = self.unary()
        while (own := _LEVELS.get(self.source.peek(), 0)) >= level:
            line, operator = self.source.line, self.source.next()
            value = self.checked(line, "", binary, self.net, operator, value, self.operation(own + 1))
        return value

    def unary(self) -> Value:
        source = self.source
        source.descend()
        line, token = source.line, source.next()
        self.checked(line, "", self.net.spend)
        if token in ("~", "-", "+", "!"):
            value = self.checked(line, "", unary, self.net, token, self.unary())
        elif token == "(" and source.peek() in TYPES:
            type = self.type()
            source.expect(")")
            value = self.unary().to(type)
        elif token == "(":
            value = self.expression()
            source.expect(")")
        elif token[0].isdigit():
            value = self.checked(line, shorten(token), literal, token)
        elif source.peek() == "(" and token in self.functions:
            value = self.invocation(token, line)
        elif re.fullmatch(r"[A-Za-z_]\w*", token, re.ASCII) and token not in _BANNED and token not in TYPES:
            value = self.read(*self.place(token, line), line)
        else:
            source.fail(f"unexpected {shorten(token)} in an expression", line)
        source.ascend()
        return value

    def invocation(self, name: str, line: int) -> Value:
        """A call of a function that stands before the one it is called in."""
        order = list(self.functions)
        if order.index(name) >= order.index(self.calls[-1]):
            self.source.fail(f"{shorten(name)} is not declared before its call", line)
        self.source.expect("(")
        given = [self.expression()]
        while self.source.accept(","):
            given.append(self.expression())
        self.source.expect(")")
        function = self.functions[name]
        if len(given) != len(function.parameters):
            self.source.fail(f"{shorten(name)} takes {len(function.parameters)} arguments, not {len(given)}", line)
        return self.call(self.net, function, given)
