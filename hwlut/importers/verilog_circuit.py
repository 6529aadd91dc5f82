"""Multipliers in structural Verilog, as EvoApproxLib has them, read as netlists."""

from collections.abc import Iterator
from dataclasses import dataclass

from hwlut.fields import shorten
from hwlut.importers import verilog_syntax
from hwlut.importers.netlist import AND, OR, XNOR, XOR, Netlist
from hwlut.importers.verilog_expressions import Expression, whole
from hwlut.importers.verilog_syntax import Instance, Module

__all__ = ["CELLS", "Circuit", "parse"]

_BINARY = {"&": AND, "|": OR, "^": XOR, "~^": XNOR, "^~": XNOR}
_REDUCTIONS = {"all": AND, "any": OR, "odd": XOR}
_ITEMS_LIMIT = 1 << 17
_BITS_LIMIT = 1 << 20
_LEVELS_LIMIT = 16
_INSTANCE_WORK = 16

_CELL_LOGIC = {
    "INVX1 INVX2 INVX4 INVX8": ("A", "Y = ~A"),
    "BUFX2 BUFX4 CLKBUF1 CLKBUF2 CLKBUF3": ("A", "Y = A"),
    "AND2X1 AND2X2": ("A, B", "Y = A & B"),
    "OR2X1 OR2X2": ("A, B", "Y = A | B"),
    "XOR2X1": ("A, B", "Y = A ^ B"),
    "XNOR2X1": ("A, B", "Y = ~(A ^ B)"),
    "NAND2X1": ("A, B", "Y = ~(A & B)"),
    "NAND3X1": ("A, B, C", "Y = ~(A & B & C)"),
    "NOR2X1": ("A, B", "Y = ~(A | B)"),
    "NOR3X1": ("A, B, C", "Y = ~(A | B | C)"),
    "AOI21X1": ("A, B, C", "Y = ~(A & B | C)"),
    "AOI22X1": ("A, B, C, D", "Y = ~(A & B | C & D)"),
    "OAI21X1": ("A, B, C", "Y = ~((A | B) & C)"),
    "OAI22X1": ("A, B, C, D", "Y = ~((A | B) & (C | D))"),
    "MUX2X1": ("A, B, S", "Y = S ? B : A"),
    "HAX1": ("A, B", "YS = A ^ B, YC = A & B"),
    "FAX1": ("A, B, C", "YS = A ^ B ^ C, YC = A & B | C & (A ^ B)"),
}


def _cell(name: str, inputs: str, logic: str) -> str:
    outputs = ", ".join(part.split()[0] for part in logic.split(", "))
    return f"module {name}(input {inputs}, output {outputs}); assign {logic}; endmodule\n"


CELLS = verilog_syntax.parse("".join(_cell(name, *how) for names, how in _CELL_LOGIC.items() for name in names.split()))
"""Cells that a file may use without their modules. MUX2X1 is not inverting: A where S is 0, as in EvoApproxLib."""


@dataclass(frozen=True)
class Circuit:
    """A file's multiplier: its top module and all the others."""

    top: Module
    modules: dict[str, Module]

    def width(self, port: str) -> int:
        """Bits of the operand a or b, whose port may be upper or lower case."""
        high, low = next(span for name, span in self.top.nets.items() if name.lower() == port)
        return high - low + 1

    def evaluate(self, net: Netlist) -> list[int]:
        """The bits of the output, over `net.a` and `net.b`."""
        return _Elaboration(self, net).output()


def parse(text: str) -> Circuit:
    """The multiplier in `text`: the one module that no other uses, with inputs A and B and one output.

    Raises ValueError, naming the line, for anything else.
    """
    modules = verilog_syntax.parse(text)
    used = {instance.module for module in modules.values() for instance in module.instances}
    tops = [module for name, module in modules.items() if name not in used and _multiplies(module)]
    if len(tops) != 1:
        raise ValueError(
            f"line 1: exactly one module that no other uses must have inputs A and B and one output, not {len(tops)}"
        )
    return Circuit(tops[0], CELLS | modules)


def _multiplies(module: Module) -> bool:
    """Whether the ports are those of a multiplier, not of a cell."""
    inputs = sorted(name.lower() for name, way in module.directions.items() if way == "input")
    wide = all(module.nets[name][0] > module.nets[name][1] for name in module.ports)
    return inputs == ["a", "b"] and len(module.ports) == 3 and wide


@dataclass(frozen=True)
class _Scope:
    """An instance of a module: where the bits of its nets begin among all bits."""

    module: Module
    starts: dict[str, int]

    def bits(self, expression: Expression) -> list[int]:
        """The numbers of the bits that a target names, lowest first."""
        if expression.operator == "cat":
            return [bit for part in reversed(expression.operands) for bit in self.bits(part)]
        if expression.operator != "bits":
            raise ValueError(f"line {expression.line}: an output must be connected to a net")
        name, high, low = expression.operands
        first = self.starts[name] - self.module.nets[name][1]
        return list(range(first + low, first + high + 1))


@dataclass(frozen=True)
class _Item:
    """Bits that are driven together, by an expression in its scope."""

    targets: list[int]
    scope: _Scope
    expression: Expression


class _Elaboration:
    """All modules made one list of items, evaluated in the order that their bits need."""

    def __init__(self, circuit: Circuit, net: Netlist):
        self.circuit = circuit
        self.net = net
        self.count = 0
        self.items: list[_Item] = []
        self.drivers: dict[int, int] = {}
        self.names: list[tuple[int, str]] = []
        self.values: dict[int, int] = {}
        self.top = self.enter(circuit.top, 0)
        for name in circuit.top.nets:
            if circuit.top.directions.get(name) == "input":
                nodes = net.a if name.lower() == "a" else net.b
                self.values |= {self.top.starts[name] + place: node for place, node in enumerate(nodes)}

    def enter(self, module: Module, level: int) -> _Scope:
        """Lay out a module's nets, its assignments and its instances."""
        if level > _LEVELS_LIMIT:
            raise ValueError(f"line {module.line}: modules are nested more than {_LEVELS_LIMIT} deep")
        scope = _Scope(module, {})
        for name, (high, low) in module.nets.items():
            scope.starts[name] = self.count
            self.names.append((self.count, name))
            self.count += high - low + 1
        if self.count > _BITS_LIMIT:
            raise ValueError(f"line {module.line}: the circuit has more than {_BITS_LIMIT} bits of nets")
        for target, expression in module.assignments:
            self.drive(scope.bits(target), scope, expression, target.line)
        for instance in module.instances:
            self.instantiate(scope, instance, level)
        return scope

    def instantiate(self, scope: _Scope, instance: Instance, level: int) -> None:
        self.net.spend(_INSTANCE_WORK)
        module = self.circuit.modules.get(instance.module)
        if module is None:
            raise ValueError(f"line {instance.line}: there is no module or known cell {shorten(instance.module)}")
        inner = self.enter(module, level + 1)
        open_inputs = {port for port, way in module.directions.items() if way == "input"}
        for key, given in instance.connections.items():
            port = module.ports[key] if isinstance(key, int) and key < len(module.ports) else key
            if not isinstance(port, str) or port not in module.directions:
                raise ValueError(f"line {instance.line}: {module.name} has no port {shorten(port)}")
            every = whole(module.nets, port, instance.line)
            if given is not None and module.directions[port] == "input":
                self.drive(inner.bits(every), scope, given, instance.line)
                open_inputs.remove(port)
            elif given is not None:
                self.drive(scope.bits(given)[: every.width], inner, every, instance.line)
        if open_inputs:
            raise ValueError(f"line {instance.line}: port {min(open_inputs)!r} of {module.name} is not connected")

    def drive(self, targets: list[int], scope: _Scope, expression: Expression, line: int) -> None:
        if len(self.items) == _ITEMS_LIMIT:
            raise ValueError(f"line {line}: the circuit has more than {_ITEMS_LIMIT} assignments")
        for bit in targets:
            if bit in self.drivers:
                raise ValueError(f"line {line}: {self.name(bit)} has two drivers")
            self.drivers[bit] = len(self.items)
        self.items.append(_Item(targets, scope, expression))

    def name(self, bit: int) -> str:
        """A bit's net, for messages."""
        start, name = max(pair for pair in self.names if pair[0] <= bit)
        return f"bit {bit - start} of {shorten(name)}"

    def output(self) -> list[int]:
        (name,) = (name for name, way in self.circuit.top.directions.items() if way == "output")
        line = self.circuit.top.line
        for bit in self.drivers:
            if bit in self.values:
                raise ValueError(f"line {line}: {self.name(bit)}, an input, has a driver")
        bits = self.top.bits(whole(self.circuit.top.nets, name, line))
        for bit in bits:
            self.settle(bit, line)
        return [self.values[bit] for bit in bits]

    def settle(self, bit: int, line: int) -> None:
        """Evaluate what drives a bit, after all that it needs, without recursion."""
        stack = [] if bit in self.values else [self.driver(bit, line)]
        opened: set[int] = set()
        while stack:
            index = stack[-1]
            item = self.items[index]
            if item.targets[0] in self.values:
                stack.pop()
                continue
            if index in opened:
                self.evaluate(item)
                stack.pop()
                continue
            opened.add(index)
            for needed, read_at in self.reads(item.expression, item.scope):
                if needed not in self.values:
                    other = self.driver(needed, read_at)
                    if other in opened:
                        raise ValueError(f"line {read_at}: {self.name(needed)} depends on itself")
                    stack.append(other)

    def driver(self, bit: int, line: int) -> int:
        if bit not in self.drivers:
            raise ValueError(f"line {line}: {self.name(bit)} has no driver")
        return self.drivers[bit]

    def reads(self, expression: Expression, scope: _Scope) -> Iterator[tuple[int, int]]:
        """The bits that an expression is of, and the lines where it reads them."""
        self.net.spend(expression.width)
        if expression.operator == "bits":
            for bit in scope.bits(expression):
                yield bit, expression.line
        elif expression.operator != "const":
            for operand in expression.operands[expression.operator == "rep" :]:
                yield from self.reads(operand, scope)

    def evaluate(self, item: _Item) -> None:
        width = max(len(item.targets), item.expression.width)
        try:
            values = self.value(item.expression, item.scope, width)
        except ValueError as error:
            raise ValueError(f"line {item.expression.line}: {error}") from None
        self.values |= dict(zip(item.targets, values))

    def value(self, expression: Expression, scope: _Scope, width: int) -> list[int]:
        """An expression's bits where its context is `width` wide, lowest first."""
        net, operator, operands = self.net, expression.operator, expression.operands
        net.spend(width)
        if operator == "bits":
            bits = [self.values[bit] for bit in scope.bits(expression)]
        elif operator == "const":
            bits = [operands[0] >> place & 1 for place in range(expression.width)]
        elif operator == "cat":
            bits = [bit for operand in reversed(operands) for bit in self.alone(operand, scope)]
        elif operator == "rep":
            bits = self.alone(operands[1], scope) * operands[0]
        elif operator in _REDUCTIONS:
            bits = [net.reduce(_REDUCTIONS[operator], self.alone(operands[0], scope))]
        elif operator == "!":
            bits = net.invert([self.truth(operands[0], scope)])
        elif operator in ("&&", "||"):
            bits = [net.gate(AND if operator == "&&" else OR, *(self.truth(operand, scope) for operand in operands))]
        elif operator in ("==", "!="):
            wide = max(operand.width for operand in operands)
            same = net.bitwise(XNOR, *(self.value(operand, scope, wide) for operand in operands))
            bits = [net.reduce(AND, same)]
            bits = bits if operator == "==" else net.invert(bits)
        elif operator == "?":
            yes, no = (self.value(operand, scope, width) for operand in operands[1:])
            bits = net.select(self.truth(operands[0], scope), yes, no)
        else:
            words = [self.value(operand, scope, width) for operand in operands]
            bits = words[0]
            if operator == "~":
                bits = net.invert(bits)
            for word in words[1:]:
                if operator in _BINARY:
                    bits = net.bitwise(_BINARY[operator], bits, word)
                else:
                    bits = net.add(bits, word) if operator == "+" else net.subtract(bits, word)
        return bits[:width] + [0] * (width - len(bits))

    def alone(self, expression: Expression, scope: _Scope) -> list[int]:
        return self.value(expression, scope, expression.width)

    def truth(self, expression: Expression, scope: _Scope) -> int:
        return self.net.reduce(OR, self.alone(expression, scope))
