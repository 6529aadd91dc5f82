"""Verilog of many modules, of which those that are the same are one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hwlut.files import digest_of

__all__ = ["Distinct", "distinct"]

_MODULE = re.compile(r"^module (\S+)\s*\(.*?^endmodule$", re.MULTILINE | re.DOTALL)
_INSTANCE = re.compile(r"^  (\S+) +(\S+) +\(\n(.*?)^  \);$", re.MULTILINE | re.DOTALL)
_CONNECTION = re.compile(r"^    \.(\\\S+|[\w$]+) ?\(", re.MULTILINE)
_MEMORY = re.compile(r"^  reg \[\d+:0\] (\S+) \[\d+:0\];$", re.MULTILINE)
_TOKEN = re.compile(
    r"""(?P<kept> ^\ \ \S+\ +\S+\ +\($ | ^\ \ \ \ \.\S+?\( | \(\*\ .*?\ \*\) | "[^"]*" | '\w+ | \$\w+ )
    | (?P<name> \\\S+\  | [A-Za-z_][\w$]* )""",
    re.MULTILINE | re.VERBOSE,
)
_KEYWORDS = frozenset(
    "always assign begin case casez clk default else end endcase endfunction endmodule for function if initial inout"
    " input integer module negedge or output parameter posedge reg signed wire".split()
)
"""Names that stay, the clock's among them."""


@dataclass(frozen=True)
class Distinct:
    """A module whose name tells its content, and whose own names do not matter.

    text: Verilog; its instances have the names of others. instances: the name of each one's module.
    """

    text: str
    instances: Mapping[str, str]

    @property
    def ports(self) -> str:
        """The module without its content."""
        declared = re.findall(r"^  (?:input|output) .*;$", self.text, re.MULTILINE)
        return "\n".join([self.text[: self.text.index(";") + 1], *declared, "endmodule\n"])


def distinct(verilog: str, top: str) -> tuple[dict[str, Distinct], str]:
    """The distinct modules of `verilog`, as yosys writes it, by name; and the name of `top`."""
    texts = {match[1]: match[0] for match in _MODULE.finditer(verilog)}
    found: dict[str, Distinct] = {}
    known: dict[str, tuple[str, Mapping[str, str]]] = {}

    def named(name: str) -> tuple[str, Mapping[str, str]]:
        """What a module is called from now on, and its ports by what they were called."""
        if name not in known:
            instances: dict[str, str] = {}

            def replaced(match: re.Match[str]) -> str:
                if match[1] not in texts:
                    return match[0]
                kind, ports = named(match[1])
                instances[match[2]] = kind
                connected = _CONNECTION.sub(lambda port: f"    .{ports[port[1]]}(", match[3])
                return f"  {kind} {match[2]} (\n{connected}  );"

            text, names = _renamed(_INSTANCE.sub(replaced, texts[name].replace(f"module {name}", "module", 1)))
            kind = f"m{digest_of(text)[:24]}"
            found[kind] = Distinct(text.replace("module", f"module {kind}", 1), instances)
            known[name] = kind, names
        return known[name]

    return found, named(top)[0]


def _renamed(text: str) -> tuple[str, dict[str, str]]:
    """A module whose names, but those of memories, are numbers in the order of their appearance; and those by what they
    were called."""
    names = {name: name for name in (*_KEYWORDS, *_MEMORY.findall(text))}

    def renamed(match: re.Match[str]) -> str:
        if match["kept"]:
            return match["kept"]
        name = match["name"].strip()
        return names.setdefault(name, f"n${len(names)}")

    return _TOKEN.sub(renamed, text), names
