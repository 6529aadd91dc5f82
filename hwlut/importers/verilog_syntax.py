"""The combinational subset of Verilog that circuits are published in, as modules of assignments and instances."""

import re
from dataclasses import dataclass, field

from hwlut.fields import shorten
from hwlut.importers.source import Source
from hwlut.importers.verilog_expressions import WIDTH_LIMIT, Expression, Parser, whole

__all__ = ["Instance", "Module", "parse"]

_TOKEN = re.compile(
    r"[A-Za-z_]\w*|(?:[0-9]+[ \t]*)?'[sS]?[bodhBODH][ \t]*\w+|[0-9]\w*|`[^\n]*|\$\w*|~[&|^]|\^~|&&|\|\||==|!=", re.ASCII
)
_BANNED = frozenset(
    "always always_comb always_ff and begin buf bufif0 bufif1 case casex casez deassign defparam disable else end "
    "event final for force forever fork function generate genvar if import include initial inout integer logic nand "
    "nor not notif0 notif1 or parameter primitive real reg release repeat signed specify supply0 supply1 task time "
    "tri wait while xnor xor".split()
)


@dataclass
class Instance:
    """A use of a module; connections by port name, or by position where the names are numbers."""

    module: str
    line: int
    connections: dict[str | int, Expression | None]


@dataclass
class Module:
    """A module: nets with their (high, low) bits, ports in order with their directions."""

    name: str
    line: int
    ports: list[str] = field(default_factory=list)
    directions: dict[str, str] = field(default_factory=dict)
    nets: dict[str, tuple[int, int]] = field(default_factory=dict)
    assignments: list[tuple[Expression, Expression]] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)


def parse(text: str) -> dict[str, Module]:
    """The modules in `text` by name; ValueError, naming the line, for anything beyond the subset."""
    source = Source(text, _TOKEN)
    modules: dict[str, Module] = {}
    while source.peek():
        if source.peek().startswith("`"):
            if not re.match(r"`(timescale|default_nettype)\b", source.peek()):
                source.fail(f"{shorten(source.peek())} has no place here")
            source.next()
            continue
        module = _Modules(source).module()
        if module.name in modules:
            source.fail(f"module {shorten(module.name)} stands twice", module.line)
        modules[module.name] = module
    return modules


class _Modules(Parser):
    def __init__(self, source: Source):
        super().__init__(source)
        self.held = Module("", source.line, nets=self.nets)

    def module(self) -> Module:
        source, held = self.source, self.held
        source.expect("module")
        held.name = source.name()
        if source.accept("("):
            self.ports()
        source.expect(";")
        while not source.accept("endmodule"):
            self.item()
        for port in held.ports:
            if port not in held.directions:
                source.fail(f"port {shorten(port)} of {held.name} is neither input nor output", held.line)
        return held

    def ports(self) -> None:
        """The list of ports, with or without their directions."""
        source = self.source
        direction, span = "", (0, 0)
        while not source.accept(")"):
            if source.peek() in ("input", "output"):
                direction = source.next()
                source.accept("wire")
                span = self.span()
            line, name = source.line, source.name()
            if name in self.held.ports:
                source.fail(f"port {shorten(name)} stands twice", line)
            self.held.ports.append(name)
            if direction:
                self.port(name, direction, span, line)
            if source.peek() != ")":
                source.expect(",")

    def port(self, name: str, direction: str, span: tuple[int, int], line: int) -> None:
        if name not in self.held.ports or name in self.held.directions:
            self.source.fail(f"{shorten(name)} is not in the list of ports, or is declared twice", line)
        self.held.directions[name] = direction
        self.net(name, span, line)

    def net(self, name: str, span: tuple[int, int], line: int) -> None:
        if name in self.constants or self.nets.get(name, span) != span:
            self.source.fail(f"{shorten(name)} is declared twice", line)
        if name in self.nets and name not in self.held.directions:
            self.source.fail(f"{shorten(name)} is declared twice", line)
        self.nets[name] = span

    def item(self) -> None:
        """One declaration, assignment or instance."""
        source = self.source
        line, token = source.line, source.next()
        if token in ("input", "output", "wire"):
            source.accept("wire")
            span = self.span()
            while True:
                line, name = source.line, source.name()
                if token == "wire":
                    self.net(name, span, line)
                    if source.accept("="):
                        self.held.assignments.append((whole(self.nets, name, line), self.expression()))
                else:
                    self.port(name, token, span, line)
                if not source.accept(","):
                    break
        elif token == "localparam":
            name = source.name()
            if name in self.constants or name in self.nets:
                source.fail(f"{shorten(name)} is declared twice", line)
            source.expect("=")
            self.constants[name] = self.constant()
        elif token == "assign":
            while True:
                target = self.target()
                source.expect("=")
                self.held.assignments.append((target, self.expression()))
                if not source.accept(","):
                    break
        elif token in _BANNED or not re.fullmatch(r"[A-Za-z_]\w*", token, re.ASCII):
            source.fail(f"{shorten(token)} has no place in a combinational circuit", line)
        else:
            self.instance(token, line)
        source.expect(";")

    def instance(self, module: str, line: int) -> None:
        source = self.source
        source.name()
        source.expect("(")
        connections: dict[str | int, Expression | None] = {}
        while not source.accept(")"):
            port: str | int = len(connections)
            if source.accept("."):
                port = source.name()
                source.expect("(")
                given = None if source.peek() == ")" else self.expression()
                source.expect(")")
            else:
                given = self.expression()
            if port in connections or len({type(key) for key in [*connections, port]}) > 1:
                source.fail(f"port {shorten(port)} is connected twice, or ports by name and by position are mixed")
            connections[port] = given
            if source.peek() != ")":
                source.expect(",")
        self.held.instances.append(Instance(module, line, connections))

    def span(self) -> tuple[int, int]:
        """``[high:low]``, or one bit without."""
        if self.source.peek() in _BANNED:
            self.source.fail(f"{shorten(self.source.peek())} has no place in a combinational circuit")
        if not self.source.accept("["):
            return 0, 0
        line, high = self.source.line, self.constant()
        self.source.expect(":")
        low = self.constant()
        self.source.expect("]")
        if not high >= low or high >= WIDTH_LIMIT:
            self.source.fail(f"a range must fall, from at most {WIDTH_LIMIT - 1}, not [{high}:{low}]", line)
        return high, low
