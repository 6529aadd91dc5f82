"""Expressions of combinational Verilog."""

import re
from dataclasses import dataclass
from typing import Any

from hwlut.fields import shorten
from hwlut.importers.source import NESTING_LIMIT, Source

__all__ = ["WIDTH_LIMIT", "Expression", "Parser", "whole"]

WIDTH_LIMIT = 1 << 16
"""Most bits of a net or an expression."""

_NUMBER = re.compile(r"([0-9]{1,5})[ \t]*'([bodhBODH])[ \t]*([0-9a-fA-F_]{1,64})|([0-9]{1,9})")
_BASES = {"b": 2, "o": 8, "d": 10, "h": 16}
_LEVELS = {"||": 1, "&&": 2, "|": 3, "^": 4, "~^": 4, "^~": 4, "&": 5, "==": 6, "!=": 6, "+": 7, "-": 7}
_CHAINED = ("|", "^", "&")
_FLAGS = ("all", "any", "odd", "!", "&&", "||", "==", "!=")


@dataclass(frozen=True)
class Expression:
    """An operator and its operands.

    ``bits`` (name, high, low), ``const`` (value), ``cat`` (first operand highest), ``rep`` (times, what), ``?``,
    ``~``, ``!``, ``all``, ``any``, ``odd`` (reductions), or a binary operator; |, ^ and & have two operands or more.
    `width`: bits where it stands alone.
    """

    operator: str
    operands: tuple[Any, ...]
    line: int
    width: int
    depth: int = 1


def whole(nets: dict[str, tuple[int, int]], name: str, line: int) -> Expression:
    """All bits of one of `nets`."""
    high, low = nets[name]
    return Expression("bits", (name, high, low), line, high - low + 1)


class Parser:
    """Parses expressions of `nets`, with their (high, low) bits, and of named `constants`."""

    def __init__(self, source: Source):
        self.source = source
        self.nets: dict[str, tuple[int, int]] = {}
        self.constants: dict[str, int] = {}

    def constant(self) -> int:
        """A number or the name of one."""
        line, token = self.source.line, self.source.next()
        if token in self.constants:
            return self.constants[token]
        return int(self.number(token, line).operands[0])

    def target(self) -> Expression:
        """What an assignment drives: a net, bits of one, or several of these in braces."""
        source, line = self.source, self.source.line
        if not source.accept("{"):
            return self.bits(source.name(), line)
        self.source.descend()
        parts = [self.target()]
        while source.accept(","):
            parts.append(self.target())
        source.expect("}")
        self.source.ascend()
        return self.node("cat", parts, line)

    def bits(self, name: str, line: int) -> Expression:
        """A net, one of its bits or a part of it."""
        source = self.source
        if name not in self.nets:
            source.fail(f"{shorten(name)} is not declared", line)
        if not source.accept("["):
            return whole(self.nets, name, line)
        high = low = self.constant()
        if source.accept(":"):
            low = self.constant()
        source.expect("]")
        top, bottom = self.nets[name]
        if not bottom <= low <= high <= top:
            source.fail(f"{shorten(name)} has bits [{top}:{bottom}], not [{high}:{low}]", line)
        return Expression("bits", (name, high, low), line, high - low + 1)

    def node(self, operator: str, operands: list[Expression], line: int, times: int = 1) -> Expression:
        """An operator on expressions; `times` is of ``rep``."""
        depth = 1 + max(operand.depth for operand in operands)
        if depth > NESTING_LIMIT:
            self.source.fail(f"the expression is nested more than {NESTING_LIMIT} deep", line)
        widths = [operand.width for operand in operands]
        width = sum(widths) * times if operator in ("cat", "rep") else max(widths[operator == "?" :])
        if width > WIDTH_LIMIT:
            self.source.fail(f"the expression is more than {WIDTH_LIMIT} bits wide", line)
        held = (times, *operands) if operator == "rep" else tuple(operands)
        return Expression(operator, held, line, 1 if operator in _FLAGS else width, depth)

    def expression(self) -> Expression:
        """An expression, from the conditional operator down."""
        source = self.source
        source.descend()
        value = self.operation(1)
        if source.accept("?"):
            line, yes = source.line, self.expression()
            source.expect(":")
            value = self.node("?", [value, yes, self.expression()], line)
        source.ascend()
        return value

    def operation(self, level: int) -> Expression:
        """Binary operators of `level` and those that bind tighter; a chain of one operator is one node."""
        operands, operator, line = [self.unary()], "", self.source.line
        while (own := _LEVELS.get(self.source.peek(), 0)) >= level:
            found = self.source.next()
            if operator and not (found == operator and found in _CHAINED):
                operands = [self.node(operator, operands, line)]
            operator, line = found, self.source.line
            operands.append(self.operation(own + 1))
        return self.node(operator, operands, line) if operator else operands[0]

    def unary(self) -> Expression:
        source = self.source
        source.descend()
        line, token = source.line, source.next()
        if token in ("~", "!"):
            value = self.node(token, [self.unary()], line)
        elif token.strip("~") in _CHAINED:
            value = self.node({"&": "all", "|": "any", "^": "odd"}[token.strip("~")], [self.unary()], line)
            if "~" in token:
                value = self.node("!", [value], line)
        elif token == "(":
            value = self.expression()
            source.expect(")")
        elif token == "{":
            value = self.braces(line)
        elif token[0].isdigit() or token[0] == "'":
            value = self.number(token, line)
        elif token in self.constants:
            value = Expression("const", (self.constants[token],), line, 32)
        elif re.fullmatch(r"[A-Za-z_]\w*", token, re.ASCII):
            value = self.bits(token, line)
        else:
            source.fail(f"unexpected {shorten(token)} in an expression", line)
        source.ascend()
        return value

    def braces(self, line: int) -> Expression:
        """A concatenation, or a repeated one."""
        source = self.source
        first = self.expression()
        if source.accept("{"):
            times = first.operands[0] if first.operator == "const" else 0
            if not 1 <= times <= WIDTH_LIMIT:
                source.fail(f"how often to repeat must be a number from 1 to {WIDTH_LIMIT}", line)
            repeated = self.braces(line)
            source.expect("}")
            return self.node("rep", [repeated], line, times)
        parts = [first]
        while source.accept(","):
            parts.append(self.expression())
        source.expect("}")
        return self.node("cat", parts, line)

    def number(self, token: str, line: int) -> Expression:
        found = _NUMBER.fullmatch(token)
        if not found and re.search("'[sS]", token):
            self.source.fail(f"signed numbers are not read: {shorten(token)}", line)
        if not found and token[0] == "'":
            self.source.fail(f"{shorten(token)} needs a width, such as 1{token}", line)
        if not found:
            self.source.fail(f"{shorten(token)} is no number of 0s and 1s", line)
        if found[4]:
            return Expression("const", (int(found[4]),), line, 32)
        width, base = int(found[1]), _BASES[found[2].lower()]
        try:
            value = int(found[3].replace("_", "") or "-", base)
        except ValueError:
            self.source.fail(f"{shorten(token)} is no number of 0s and 1s", line)
        if not 1 <= width <= 4096 or value >> width:
            self.source.fail(f"{shorten(token)} does not fit in its width", line)
        return Expression("const", (value,), line, width)
