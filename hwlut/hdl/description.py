"""The ``.rtl.json`` file: what a design's ports are, and whether a file really says so."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

from hwlut.fields import shorten
from hwlut.files import read_bytes
from hwlut.hdl.axi import RESETS
from hwlut.hdl.checks import check_integer, check_keys
from hwlut.hdl.command_description import COMMAND_KEYS, beside_streams, check_commanded
from hwlut.names import check_name
from hwlut.records import parse_json
from hwlut.unit import from_content
from hwlut.units.reductions import MOST_PLACES
from hwlut.units.requantize import Requantize

__all__ = ["SCHEMA", "VARIANTS", "read_description", "summed_requantize"]

SCHEMA = "hwlut.rtl/1"

VARIANTS = ("sum", "rows", "stream_rows")
"""Keys that say that a result is not one beat's."""

_SIZE_LIMIT = 4 << 20
_WIDTH_LIMIT = 1 << 16
_CYCLES_LIMIT = 1 << 20
_TERMS_LIMIT = 1 << 21
_LOAD_LIMIT = 1 << 28
_PASSES_LIMIT = 1 << 12
_KEYS = ("schema", "module", "digest", "scale", "reset", "latency", "cycles_per_beat", "ports")
_SUM_KEYS = ("terms", "requantize")
_ROWS_KEYS = ("inputs", "outputs", "cycles", "cycles_per_output", "load_cycles")
_STREAM_ROWS_KEYS = ("least", "most", "passes")
_PORT_KEYS = ("name", "dir", "width", "fields")
_FIELD_KEYS = ("name", "lsb", "bits", "signed", "frac")
_HANDSHAKE = ("tvalid", "tready")
_PAYLOAD = ("tdata", "tuser", "tlast")


def read_description(path: Path) -> dict[str, Any]:
    """Content of an ``.rtl.json`` file; ValueError naming the file and what is wrong with it.

    What simulates a design is built from this content alone, so everything in it is checked.
    """
    data = read_bytes(path, _SIZE_LIMIT)
    try:
        content = parse_json(data)
    except ValueError as error:
        raise ValueError(f"{path}: no RTL description: {error}") from None
    try:
        _check(content)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return content


def _check(content: Any) -> None:
    tile = isinstance(content, dict) and "tile" in content
    given = COMMAND_KEYS if tile else [key for key in VARIANTS if isinstance(content, dict) and key in content]
    check_keys("RTL description", content, (*_KEYS, *given))
    if content["schema"] != SCHEMA:
        raise ValueError(f"schema must be {SCHEMA}, not {shorten(content['schema'])}")
    check_name(content["module"], "module")
    if not isinstance(content["digest"], str) or not re.fullmatch("[0-9a-f]{64}", content["digest"]):
        raise ValueError(f"digest must be 64 hexadecimal digits, not {shorten(content['digest'])}")
    if content["scale"] is not None:
        check_integer("scale", content["scale"], 0, 62)
    if content["reset"] is not None and content["reset"] not in RESETS:
        raise ValueError(f"reset must be one of {', '.join(RESETS)}, not {shorten(content['reset'])}")
    clocked = content["reset"] is not None
    if not tile:
        check_integer("latency", content["latency"], int(clocked), _CYCLES_LIMIT if clocked else 0)
        check_integer("cycles_per_beat", content["cycles_per_beat"], 1, _CYCLES_LIMIT)
    if not isinstance(content["ports"], list):
        raise TypeError(f"ports must be a list, not {shorten(content['ports'])}")
    for port in content["ports"]:
        _check_port(port)
    if tile:
        check_commanded(content)
        _check_streams(content, beside_streams({port["name"]: port for port in content["ports"]}))
        return
    if clocked:
        _check_streams(content, set())
    else:
        _check_plain(content)
    _check_sum(content)
    if "rows" in content:
        _check_rows(content)
    if "stream_rows" in content:
        _check_stream_rows(content["stream_rows"])


def _check_port(port: Any) -> None:
    check_keys("port", port, _PORT_KEYS)
    name = check_name(port["name"], "port name")
    if port["dir"] not in ("input", "output"):
        raise ValueError(f"{name} dir must be input or output, not {shorten(port['dir'])}")
    check_integer(f"{name} width", port["width"], 1, _WIDTH_LIMIT)
    if not isinstance(port["fields"], list):
        raise TypeError(f"{name} fields must be a list, not {shorten(port['fields'])}")
    end = 0
    for field in port["fields"]:
        check_keys(f"{name} field", field, _FIELD_KEYS)
        label = f"{name} field {check_name(field['name'], 'field name')}"
        check_integer(f"{label} bits", field["bits"], 1, 64)
        check_integer(f"{label} lsb", field["lsb"], end, port["width"] - field["bits"])
        if field["lsb"] % 8:
            raise ValueError(f"{label} lsb must be a multiple of 8, not {field['lsb']}")
        end = field["lsb"] + field["bits"]
        if not isinstance(field["signed"], bool):
            raise TypeError(f"{label} signed must be true or false, not {shorten(field['signed'])}")
        fracs = field["frac"] if isinstance(field["frac"], list) else [field["frac"]]
        for frac in fracs:
            if frac is not None:
                check_integer(f"{label} frac", frac, 0, 64)


def _check_plain(content: Mapping[str, Any]) -> None:
    """Ports of a combinational design: inputs and outputs, each a field of its own name."""
    names = [port["name"] for port in content["ports"]]
    if len(set(names)) != len(names) or {port["dir"] for port in content["ports"]} != {"input", "output"}:
        raise ValueError("ports must be inputs and outputs of different names")
    for port in content["ports"]:
        if [(field["name"], field["bits"]) for field in port["fields"]] != [(port["name"], port["width"])]:
            raise ValueError(f"{port['name']} must be one field of its name and width where there is no reset")


def _check_streams(content: Mapping[str, Any], others: Collection[str]) -> None:
    """clk, the reset and complete streams, each port once, and nothing else but what is in `others`."""
    ports = {port["name"]: port for port in content["ports"]}
    if len(ports) != len(content["ports"]):
        raise ValueError("port names must differ")
    for name in ("clk", content["reset"]):
        if name not in ports or ports[name]["dir"] != "input" or ports[name]["width"] != 1:
            raise ValueError(f"ports must hold {name}, an input of width 1")
    directions: dict[str, str] = {}
    for name, port in ports.items():
        stream, _, role = name.rpartition("_")
        if name in ("clk", content["reset"], *others):
            continue
        if not stream or role not in (*_HANDSHAKE, *_PAYLOAD):
            raise ValueError(f"port {name} must be clk, the reset or a part of a stream")
        if role in _PAYLOAD:
            directions.setdefault(stream, port["dir"])
            if directions[stream] != port["dir"]:
                raise ValueError(f"stream {stream} must have one direction")
        elif port["width"] != 1:
            raise ValueError(f"{name} width must be 1, not {port['width']}")
    for stream, direction in directions.items():
        back = "output" if direction == "input" else "input"
        for role, wanted in zip(_HANDSHAKE, (direction, back)):
            if ports.get(f"{stream}_{role}", {}).get("dir") != wanted:
                raise ValueError(f"stream {stream} must have {stream}_{role}, an {wanted}")
    if set(directions.values()) != {"input", "output"}:
        raise ValueError("ports must hold at least one stream in and one out")


def _check_sum(content: Mapping[str, Any]) -> None:
    """`last` on the input and ``sum``, or on both streams and ``stream_rows``: the one where the other is."""
    ends = [name for name in ("s_axis_tlast", "m_axis_tlast") if any(port["name"] == name for port in content["ports"])]
    given = [key for key in VARIANTS if key in content]
    wanted = {"sum": ["s_axis_tlast"], "stream_rows": ["s_axis_tlast", "m_axis_tlast"]}
    for key, needed in wanted.items():
        if key in content and ends != needed:
            raise ValueError(f"{key} must be given only with {' and '.join(needed)}")
    if len(given) > 1:
        raise ValueError(f"{given[0]} must be given without {given[1]}")
    if ends and not set(given) & set(wanted):
        missing = "stream_rows" if "m_axis_tlast" in ends else "sum"
        raise ValueError(f"{missing} must be given with {' and '.join(ends)}")
    if "sum" in content:
        check_keys("sum", content["sum"], _SUM_KEYS)
        check_integer("sum terms", content["sum"]["terms"], 1, _TERMS_LIMIT)
        summed_requantize(content["sum"])


def _check_stream_rows(rows: Any) -> None:
    check_keys("stream_rows", rows, _STREAM_ROWS_KEYS)
    check_integer("stream_rows most", rows["most"], 1, MOST_PLACES)
    check_integer("stream_rows least", rows["least"], 1, rows["most"])
    check_integer("stream_rows passes", rows["passes"], 1, _PASSES_LIMIT)


def _check_rows(content: Mapping[str, Any]) -> None:
    if content["reset"] is None:
        raise ValueError("rows must be given with a reset")
    rows = content["rows"]
    check_keys("rows", rows, _ROWS_KEYS)
    for key in _ROWS_KEYS[:-1]:
        check_integer(f"rows {key}", rows[key], 1, _CYCLES_LIMIT)
    loads = any(port["name"] == "s_axis_load_tlast" for port in content["ports"])
    if loads != (rows["load_cycles"] is not None):
        raise ValueError(f"rows load_cycles must be {'given with' if loads else 'null without'} s_axis_load")
    if loads:
        check_integer("rows load_cycles", rows["load_cycles"], 1, _LOAD_LIMIT)


def summed_requantize(sum: Mapping[str, Any]) -> Requantize | None:
    """The unit behind the accumulator, by the ``sum`` of a description; ValueError where it says something else."""
    content = sum["requantize"]
    if content is None:
        return None
    if not isinstance(content, dict) or content.get("schema") != Requantize.schema:
        raise ValueError(f"sum requantize must be null or a unit of {Requantize.schema}, not {shorten(content)}")
    try:
        return cast(Requantize, from_content(content))
    except (TypeError, ValueError) as error:
        raise ValueError(f"sum requantize: {error}") from None
