"""The Verilog of many units by one run of yosys: what `hwlut.hdl.generate` gives for each alone, but for the numbers of
yosys's dummy registers and the order of a module's assignments."""

import contextlib
import re
import tempfile
import unittest.mock
from collections.abc import Iterator, Sequence
from pathlib import Path

from amaranth.back import verilog

from hwlut.hdl import Rtl, convert, emit, generate
from hwlut.hdl.streamed import streamed
from soak.case import Case

__all__ = ["emitted"]

_PLACE = re.compile(r"((?:// .*\n)+)place (\d+)\n")
_MODULE = re.compile(r"^(?:\(\*.*\*\)\n)*module (?:\\(\S+) |(\w+))\(", re.MULTILINE)


def emitted(cases: Sequence[Case]) -> list[Rtl | Exception]:
    """The design of each case, of a combinational one between streams, or what was raised for it.

    All is `generate`'s but yosys, which is run on the RTLIL of all together, and then the parts of its text.
    """
    gathered: list[str] = []
    found: list[Rtl | Exception] = []
    with _gathering(gathered):
        for case in cases:
            try:
                rtl = generate(case.unit, **(case.form or {}))
                found.append(streamed(case.unit, rtl) if rtl.description["reset"] is None else rtl)
            except Exception as error:
                found.append(error)
    texts = _converted(gathered) if gathered else []

    def written(place: re.Match[str]) -> str:
        about = [line[3:] for line in place[1].splitlines()[:-1]]
        return convert.sealed(about, convert._INITIAL.sub(r"\1;", texts[int(place[2])]))

    return [
        each if isinstance(each, Exception) else Rtl(_PLACE.sub(written, each.verilog), each.description, each.design)
        for each in found
    ]


@contextlib.contextmanager
def _gathering(gathered: list[str]) -> Iterator[None]:
    """Within this, designs are not converted but gathered, and texts say at which place."""

    def gather(text: str, **options: object) -> str:
        gathered.append(text)
        return f"place {len(gathered) - 1}\n"

    with tempfile.TemporaryDirectory(prefix="hwlut-soak-") as folder:

        def build(kind, key, fill):
            fill(made := Path(tempfile.mkdtemp(dir=folder)))
            return made

        with (
            unittest.mock.patch.object(verilog, "_convert_rtlil_text", gather),
            unittest.mock.patch.object(emit, "build_once", build),
        ):
            yield


def _converted(gathered: Sequence[str]) -> list[str]:
    """Verilog of each RTLIL text."""
    with convert._same_yosys():
        text = verilog._convert_rtlil_text("\n".join(gathered), strip_internal_attrs=True)
    starts = [*(match.start() for match in _MODULE.finditer(text)), len(text)]
    head = text[: starts[0]]
    modules = {}
    for start, end in zip(starts, starts[1:]):
        match = _MODULE.match(text, start)
        modules[match[1] or match[2]] = text[start:end].rstrip("\n") + "\n"
    texts = []
    for each in gathered:
        names = sorted(name.lstrip("\\") for name in re.findall(r"^module (\S+)", each, re.MULTILINE))
        texts.append(head + "\n".join(modules[name] for name in names))
    return texts
