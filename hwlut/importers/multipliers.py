"""Files of multipliers from other projects, as Multiplier units, and back.

Product tables: ``approxtorch`` (ApproxTorch's text), ``adapt`` (AdaPT's C header), ``torchapprox`` (numpy) and
``tfapprox`` (raw 16-bit words). Circuits: ``evoapprox-c`` and ``verilog`` (EvoApproxLib), as netlists.
"""

import re
from pathlib import Path
from typing import Any

from hwlut import __version__
from hwlut.fields import shorten
from hwlut.files import read_bytes, write_atomic
from hwlut.fixed import Fixed
from hwlut.importers import c_circuit, verilog_circuit
from hwlut.importers.netlist import Netlist
from hwlut.importers.product_tables import ORDERS, READERS, WRITERS, check, reordered
from hwlut.importers.source import published
from hwlut.units.multiplier import BITS, Multiplier

__all__ = ["CIRCUITS", "FORMATS", "ORDERS", "SIZE_LIMIT", "TABLES", "read", "recognise", "write"]

TABLES = tuple(READERS)
"""Names of the formats of product tables, which are read and written."""

CIRCUITS = ("evoapprox-c", "verilog")
"""Names of the formats of circuits, which are read alone."""

FORMATS = TABLES + CIRCUITS
"""Names of all formats."""

SIZE_LIMIT = 2 << 20
"""Most bytes of a file."""

_TABLE_BITS = 8
_CIRCUIT_NAME = re.compile(r"mul([0-9]{1,2})(?:x([0-9]{1,2}))?([us])(?:_|\b)")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)


def recognise(path: str | Path) -> str | None:
    """The format that the file at `path` is in, from what it holds; None where that does not tell, as of raw words."""
    return _recognised(read_bytes(Path(path), SIZE_LIMIT))


def read(
    path: str | Path,
    format: str | None = None,
    *,
    order: str | None = None,
    signed: bool | None = None,
    bits: int | tuple[int, int] | None = None,
    name: str | None = None,
) -> Multiplier:
    """The multiplier in the file at `path`.

    Parameters
    ----------
    format: one of FORMATS; None for what the content tells.
    order: of both operands of a table, and needed there: ``value`` (ascending) or ``pattern`` (bit patterns
        ascending: 0 to 127, then -128 to -1). A circuit has none.
    signed: of both operands. Needed for a table; for a circuit where its name does not tell, as mul8s_... does.
    bits: of both operands, or (a, b). 8, or 2 to 7, for a table; for a circuit in C where its name does not tell.
    name: of the unit; the circuit's, or the file's stem.

    A circuit's published figures, which its file states in comments, are kept in `meta` under ``published``. Names
    of EvoApproxLib do not identify a circuit, as its releases reuse them; `digest` does.
    Raises ValueError, naming the file and where it can the line, for anything else.
    """
    path = Path(path)
    data = read_bytes(path, SIZE_LIMIT)
    try:
        if format is None and (format := _recognised(data)) is None:
            raise ValueError(f"format must be given, one of {', '.join(FORMATS)}: the content does not tell it")
        if format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {shorten(format)}")
        if signed is not None and not isinstance(signed, bool):
            raise TypeError(f"signed must be true or false, not {shorten(signed)}")
        wanted = _widths(bits)
        meta: dict[str, Any] = {"method": "import", "format": format, "file": path.name, "hwlut": __version__}
        if format in TABLES:
            fields = _table(data, format, order, signed, wanted) | {"name": re.sub(r"\W", "_", path.stem)}
            meta["order"] = order
        elif order is not None:
            raise ValueError(f"order is of tables: a circuit has none, not {shorten(order)}")
        else:
            text = data.decode("utf-8", "replace")
            fields = (_c if format == "evoapprox-c" else _verilog)(text, signed, wanted)
            meta |= {"published": figures} if (figures := published(text)) else {}
        return Multiplier(**fields | ({} if name is None else {"name": name}), meta=meta)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def write(unit: Multiplier, path: str | Path, format: str, order: str) -> Path:
    """Write all products of `unit` as a table in one of TABLES, its operands in `order`.

    Raises TypeError for another kind of unit, and ValueError where the operands are not of one format of at most 8
    bits, or a product does not fit twice their bits.
    """
    if not isinstance(unit, Multiplier):
        raise TypeError(f"unit must be a Multiplier, not {type(unit).__name__}")
    if format not in TABLES:
        raise ValueError(f"format must be one of {', '.join(TABLES)}, not {shorten(format)}")
    _checked_order(order)
    if unit.a != unit.b or unit.a.bits > _TABLE_BITS:
        raise ValueError(
            f"{format} holds operands of one format of at most {_TABLE_BITS} bits, not {unit.a} and {unit.b}"
        )
    products = unit.products().numpy()
    held = Fixed(2 * unit.a.bits, signed=unit.a.signed)
    for end in (int(products.min()), int(products.max())):
        if not held.min <= end <= held.max:
            raise ValueError(f"{format} holds products from {held.min} to {held.max}, not {end}")
    path = Path(path)
    write_atomic(path, WRITERS[format](reordered(products, unit.a, order), unit.a.signed))
    return path


def _recognised(data: bytes) -> str | None:
    if data.startswith(b"\x93NUMPY"):
        return "torchapprox"
    try:
        text = _COMMENT.sub(" ", data.decode("utf-8"))
    except UnicodeDecodeError:
        return None
    if re.search(r"\bendmodule\b", text):
        return "verilog"
    if re.search(r"\]\s*\[\s*\w+\s*\]\s*=\s*\{", text):
        return "adapt"
    if re.search(r"\breturn\b", text):
        return "evoapprox-c"
    return "approxtorch" if re.fullmatch(r"[-+0-9.eE\s]*[0-9][-+0-9.eE\s]*", text[:4096]) else None


def _checked_order(order: str | None) -> str:
    if order is None or order not in ORDERS:
        given = "it must be given for a table" if order is None else f"not {shorten(order)}"
        raise ValueError(f"order must be one of {', '.join(ORDERS)}: {given}")
    return order


def _widths(bits: Any) -> tuple[int, int] | None:
    if bits is None:
        return None
    pair: tuple[int, int] = bits if isinstance(bits, tuple) and len(bits) == 2 else (bits, bits)
    for width in pair:
        if isinstance(width, bool) or not isinstance(width, int):
            raise TypeError(f"bits must be an integer or two, not {shorten(bits)}")
        if not BITS[0] <= width <= BITS[1]:
            raise ValueError(f"bits must be from {BITS[0]} to {BITS[1]}, not {width}")
    return pair


def _table(
    data: bytes, format: str, order: str | None, signed: bool | None, wanted: tuple[int, int] | None
) -> dict[str, Any]:
    order = _checked_order(order)
    if signed is None:
        raise ValueError("signed must be given for a table: true or false")
    bits = {_TABLE_BITS} if wanted is None else set(wanted)
    if len(bits) != 1 or max(bits) > _TABLE_BITS:
        raise ValueError(f"a table's operands have one number of bits, at most {_TABLE_BITS}, not {wanted}")
    operand = Fixed(bits.pop(), signed=signed)
    products = reordered(READERS[format](data, 1 << operand.bits, signed), operand, order)
    check(products, operand, order)
    return {"family": "table", "a": operand, "b": operand, "products": products}


def _c(text: str, signed: bool | None, wanted: tuple[int, int] | None) -> dict[str, Any]:
    circuit = c_circuit.parse(text)
    name = circuit.signature.name
    told = _CIRCUIT_NAME.match(name)
    if wanted is None and told is not None:
        wanted = _widths((int(told[1]), int(told[2] or told[1])))
    if wanted is None:
        raise ValueError(f"bits must be given: the name {name} does not tell them, as mul8s_... or mul8x4u_... do")
    for parameter, (held, _) in circuit.signature.parameters:
        needed = wanted[parameter.lower() == "b"]
        if held < needed:
            raise ValueError(f"line {circuit.signature.line}: {parameter} holds {held} bits, not {needed}")
    signed = _signed(name, signed)
    net = Netlist(*wanted)
    return _netlist(net, name, circuit.evaluate(net, signed), wanted, signed)


def _verilog(text: str, signed: bool | None, wanted: tuple[int, int] | None) -> dict[str, Any]:
    circuit = verilog_circuit.parse(text)
    name = circuit.top.name
    widths = circuit.width("a"), circuit.width("b")
    if wanted not in (None, widths):
        raise ValueError(f"bits must be those of the ports, {widths}, not {wanted}")
    _widths(widths)
    signed = _signed(name, signed)
    net = Netlist(*widths)
    return _netlist(net, name, circuit.evaluate(net), widths, signed)


def _signed(name: str, signed: bool | None) -> bool:
    told = _CIRCUIT_NAME.match(name)
    if signed is not None:
        return signed
    if told is None:
        raise ValueError(f"signed must be given: the name {name} does not tell it, as mul8s_... and mul8u_... do")
    return told[3] == "s"


def _netlist(net: Netlist, name: str, word: list[int], widths: tuple[int, int], signed: bool) -> dict[str, Any]:
    """The unit's fields; bits of the result above those of a product must be zeros or copies of its sign."""
    size = sum(widths)
    kept, above = word[:size], set(word[size:])
    if not (above <= {0} or (signed and above <= {kept[-1]})):
        raise ValueError(f"the result must be of at most {size} bits")
    gates, outputs = net.finish(kept)
    a, b = (Fixed(width, signed=signed) for width in widths)
    circuit = {"outputs": outputs} | ({"gates": gates} if len(gates) else {})
    return {"family": "netlist", "a": a, "b": b, "name": name} | circuit
