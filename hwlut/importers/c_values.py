"""Integers of C as words of netlist nodes: types, conversions and operators."""

import re
from dataclasses import dataclass

from hwlut.importers.netlist import AND, NOT, OR, XNOR, XOR, Netlist

__all__ = ["INT", "TYPES", "Type", "Value", "binary", "literal", "select", "truth", "unary"]

Type = tuple[int, bool]
"""Bits, and whether signed."""

INT: Type = (32, True)

TYPES: dict[str, Type] = {"signed": INT, "unsigned": (32, False)}
"""Types by name; those of C itself as gcc has them on 64-bit Linux, where char is signed."""

for _bits, _names in {8: ["char"], 16: ["short"], 32: ["int"], 64: ["long", "long long"]}.items():
    for _name in _names + [f"{name} int" for name in _names if _bits in (16, 64)]:
        TYPES |= {_name: (_bits, True), f"signed {_name}": (_bits, True), f"unsigned {_name}": (_bits, False)}
TYPES |= {f"{'' if signed else 'u'}int{bits}_t": (bits, signed) for bits in (8, 16, 32, 64) for signed in (True, False)}

_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,19})([uU]?(?:[lL]|ll|LL)?|(?:[lL]|ll|LL)[uU])")


@dataclass(frozen=True)
class Value:
    """A number of a type: its bits, least significant first."""

    bits: list[int]
    signed: bool

    def to(self, type: Type) -> "Value":
        """Converted as C converts: cut, or extended by its own sign."""
        bits, signed = type
        filling = self.bits[-1] if self.signed else 0
        return Value((self.bits + [filling] * (bits - len(self.bits)))[:bits], signed)

    def promoted(self) -> "Value":
        """As an int, unless it is at least as wide."""
        return self.to(INT) if len(self.bits) < 32 else self

    def number(self) -> int:
        """The number itself; ValueError unless it is a constant."""
        if any(bit > 1 for bit in self.bits):
            raise ValueError("must be a constant")
        number = sum(bit << place for place, bit in enumerate(self.bits))
        return number - (self.bits[-1] << len(self.bits)) if self.signed else number


def literal(token: str) -> Value:
    """A decimal or hexadecimal number in the type that C gives it; ValueError for any other."""
    found = _NUMBER.fullmatch(token)
    if not found:
        raise ValueError("must be a decimal or hexadecimal number")
    number, suffix = int(found[1], 0), found[2].lower()
    types: list[Type] = [(32, True), (32, False), (64, True), (64, False)]
    if "l" in suffix:
        types = types[2:]
    if "u" in suffix or found[1][:2] not in ("0x", "0X"):
        types = [type for type in types if type[1] != ("u" in suffix)]
    for bits, signed in types:
        if number < 1 << (bits - signed):
            return Value([number >> place & 1 for place in range(bits)], signed)
    raise ValueError("must fit in 64 bits")


def truth(net: Netlist, value: Value) -> int:
    """1 where the value is not 0."""
    return net.reduce(OR, value.bits)


def unary(net: Netlist, operator: str, x: Value) -> Value:
    """The result of ``~``, ``-``, ``+`` or ``!``."""
    x = x.promoted()
    if operator == "!":
        return _flag(net.gate(NOT, truth(net, x), 0))
    if operator == "-":
        return Value(net.subtract([0] * len(x.bits), x.bits), x.signed)
    return Value(net.invert(x.bits), x.signed) if operator == "~" else x


def binary(net: Netlist, operator: str, x: Value, y: Value) -> Value:
    """The result of a binary operator; ValueError for a shift whose distance is not a constant within the width."""
    if operator in ("&&", "||"):
        return _flag(net.gate(AND if operator == "&&" else OR, truth(net, x), truth(net, y)))
    if operator in ("<<", ">>"):
        return _shift(operator, x.promoted(), y)
    x, y = _alike(x, y)
    if operator in ("==", "!="):
        same = net.reduce(AND, net.bitwise(XNOR, x.bits, y.bits))
        return _flag(same if operator == "==" else net.gate(NOT, same, 0))
    gates = {"&": AND, "|": OR, "^": XOR}
    if operator in gates:
        return Value(net.bitwise(gates[operator], x.bits, y.bits), x.signed)
    return Value({"+": net.add, "-": net.subtract, "*": net.multiply}[operator](x.bits, y.bits), x.signed)


def select(net: Netlist, choice: Value, x: Value, y: Value) -> Value:
    """``choice ? x : y``."""
    x, y = _alike(x, y)
    return Value(net.select(truth(net, choice), x.bits, y.bits), x.signed)


def _flag(bit: int) -> Value:
    return Value([bit], False).to(INT)


def _alike(x: Value, y: Value) -> tuple[Value, Value]:
    """Both in the type that C computes them in."""
    x, y = x.promoted(), y.promoted()
    bits = max(len(x.bits), len(y.bits))
    common = (bits, all(value.signed for value in (x, y) if len(value.bits) == bits))
    return x.to(common), y.to(common)


def _shift(operator: str, x: Value, distance: Value) -> Value:
    width = len(x.bits)
    try:
        places = distance.number()
    except ValueError:
        raise ValueError("the distance of a shift must be a constant") from None
    if not 0 <= places < width:
        raise ValueError(f"the distance of a shift must be from 0 to {width - 1}, not {places}")
    if operator == "<<":
        return Value([0] * places + x.bits[: width - places], x.signed)
    return Value(x.bits[places:] + [x.bits[-1] if x.signed else 0] * places, x.signed)
