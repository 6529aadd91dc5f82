"""The frame of a program's C file: what its head says, the prototype, and the function that calls all others."""

import re
from dataclasses import dataclass
from string import Template

from hwlut.program.c.arrays import storage_of
from hwlut.units import Program
from hwlut.units.ports import Port

__all__ = ["MEMBERS", "Layout", "file_text", "kind_of_port"]

_FILE = Template("""\
/* $name: a program of integers. C99; no heap, no state: the function may run in any number of threads$threads.

   Compile this file by itself. A file that calls it defines ${name}_PROTOTYPES before it includes it, and gets the
   prototype alone.

$ports
   Codes must be of their formats: none is looked at whether it is. $constants bytes of constants$workspace_bytes.
   sha256 of the program: $digest */
#ifndef ${name}_INCLUDED
#define ${name}_INCLUDED

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

$workspace$prototype;

#ifdef __cplusplus
}
#endif

#endif

#ifndef ${name}_PROTOTYPES

$definitions
#endif
""")

MEMBERS = {
    "int8_t": "s8",
    "uint8_t": "u8",
    "int16_t": "s16",
    "uint16_t": "u16",
    "int32_t": "s32",
    "uint32_t": "u32",
    "int64_t": "s64",
}
"""Of a workspace: the array of each type."""

_Given = tuple[Port, str, tuple[int, ...]]
"""A port, its name in C, and the shape of its numbers for a batch of one."""


@dataclass(frozen=True)
class Layout:
    """What the file takes, gives and needs.

    ports: of inputs. results: of outputs. workspace: how many numbers of each type it has.
    """

    ports: list[_Given]
    results: list[_Given]
    workspace: dict[str, int]


def kind_of_port(port: Port) -> str:
    """The narrowest type of its codes."""
    return storage_of((port.format.min, port.format.max))


def file_text(program: Program, layout: Layout, definitions: str, calls: list[str], constants: int) -> str:
    """The file.

    definitions: of all functions but the last. calls: what that does for an item. constants: how many bytes they have.
    """
    name, workspace = program.name, ""
    parameters = ["size_t batch", *(f"const {kind_of_port(port)} *{given}" for port, given, _ in layout.ports)]
    parameters += [f"{kind_of_port(port)} *{given}" for port, given, _ in layout.results]
    if layout.workspace:
        parameters.append(f"{name}_workspace *workspace")
        members = "".join(f"    {kind} {MEMBERS[kind]}[{count}];\n" for kind, count in layout.workspace.items())
        workspace = f"typedef struct {{\n{members}}} {name}_workspace;\n\n"
    prototype = f"void {name}({', '.join(parameters)})"
    unused = [given for _, given, _ in layout.ports if not re.search(rf"\\b{given}\\b", " ".join(calls))]
    size = sum(int(kind.strip("uint_")) // 8 * count for kind, count in layout.workspace.items())
    main = [
        *(prototype, "{"),
        *(f"    (void){given};" for given in unused),
        "    for (size_t item = 0; item < batch; ++item) {",
        *(f"        {call}" for call in calls),
        *("    }", "}", ""),
    ]
    return _FILE.substitute(
        name=name,
        ports="".join(
            [
                *(_described("input", *each) for each in layout.ports),
                *(_described("output", *each) for each in layout.results),
            ]
        ),
        constants=constants,
        threads=", each\n   with its own workspace" if layout.workspace else "",
        workspace_bytes=f", {size} of a workspace" if layout.workspace else "",
        digest=program.digest,
        workspace=workspace,
        prototype=prototype,
        definitions="\n".join([definitions, *main]),
    )


def _described(label: str, port: Port, given: str, shape: tuple[int, ...]) -> str:
    sizes = ", ".join(map(str, ("batch", *shape[1:])))
    return f"   {label} {given}: {kind_of_port(port)} [{sizes}], {_meaning(port)}\n"


def _meaning(port: Port) -> str:
    """What codes of a port stand for."""
    codes = f"{port.format.min} to {port.format.max}"
    if not port.real:
        return f"integers {codes}"
    multiplier, shift = port.step or (1, port.format.frac)
    code = f"(code - {port.zero_point})" if port.zero_point else "code"
    times = f" * {multiplier}" if multiplier != 1 else ""
    return f"codes {codes} for {code}{times} * 2^{-shift}"
