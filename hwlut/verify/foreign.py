"""Verilog that hwlut did not write, before a simulator executes it: nothing in it may reach beyond the simulation."""

import re

from hwlut.fields import shorten

__all__ = ["check_foreign"]

_TASKS = frozenset(
    "$bits $clog2 $display $error $fatal $finish $floor $info $monitor $pow $random $realtime $rtoi $signed $stop "
    "$strobe $time $unsigned $urandom $warning $write".split()
)
_DIRECTIVES = frozenset(
    "`begin_keywords `celldefine `default_nettype `else `elsif `end_keywords `endcelldefine `endif `ifdef `ifndef "
    "`line `nounconnected_drive `resetall `timescale `unconnected_drive `undef".split()
)
_TOKEN = re.compile(
    r"""
    (?P<harmless> \\ (?!\$(?!\w*__)[A-Za-z]\w*\s) [\w$.:<>\[\]]+ (?=\s) | `define[ ]+[A-Za-z_]\w* (?=\s) )
  | (?P<task> \$[A-Za-z_]\w* )
  | (?P<directive> (?<![\w$]) `[A-Za-z_]\w* )
  | [`$] | \b (?:import|export|bind) \b | [\x00-\x08\x0b\x0e-\x1f\x7f] | \r(?!\n)
    """,
    re.VERBOSE | re.ASCII,
)


def check_foreign(text: str) -> None:
    """ValueError, naming the line, for Verilog that reads or writes files, calls C or a shell, or includes others.

    System tasks and directives are those of a list, so that new ones, and Verilator's own C++, are refused, too. They
    are refused in comments and strings as well: where these end, each simulator has its own mind. So are characters
    that some drop within a word, and macros that have parameters or begin within a word, which put words together; a
    macro has a capital letter, which no directive has. Else a ``$`` stands in escaped names alone: Icarus takes one
    like ``\\$system`` for the task, but no task has two underscores, as names of Amaranth have.
    """
    for found in _TOKEN.finditer(text):
        kind, token = found.lastgroup, found[0]
        right = (
            kind == "harmless"
            or kind == "task"
            and token in _TASKS
            or kind == "directive"
            and (token in _DIRECTIVES or token != token.lower())
        )
        if not right:
            line = text.count("\n", 0, found.start()) + 1
            raise ValueError(f"line {line}: {shorten(token)} has no place in a design that is simulated")
