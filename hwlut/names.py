"""Names that are safe as a Verilog module, a C identifier and a file."""

import hashlib
import re

from hwlut.fields import shorten

__all__ = ["LONGEST", "check_name", "legal_name", "shortened_name"]

LONGEST = 64
"""Characters of a name."""

_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

# Reserved words of IEEE 1364-2005 and IEEE 1800-2017.
_KEYWORDS = frozenset(
    """
    accept_on alias always always_comb always_ff always_latch and assert assign assume automatic
    before begin bind bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle
    checker class clocking cmos config const constraint context continue cover covergroup
    coverpoint cross deassign default defparam design disable dist do edge else end endcase
    endchecker endclass endclocking endconfig endfunction endgenerate endgroup endinterface
    endmodule endpackage endprimitive endprogram endproperty endsequence endspecify endtable
    endtask enum event eventually expect export extends extern final first_match for force
    foreach forever fork forkjoin function generate genvar global highz0 highz1 if iff ifnone
    ignore_bins illegal_bins implements implies import incdir include initial inout input inside
    instance int integer interconnect interface intersect join join_any join_none large let
    liblist library local localparam logic longint macromodule matches medium modport module nand
    negedge nettype new nexttime nmos nor noshowcancelled not notif0 notif1 null or output
    package packed parameter pmos posedge primitive priority program property protected pull0
    pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase
    randsequence rcmos real realtime ref reg reject_on release repeat restrict return rnmos rpmos
    rtran rtranif0 rtranif1 s_always s_eventually s_nexttime s_until s_until_with scalared
    sequence shortint shortreal showcancelled signed small soft solve specify specparam static
    string strong strong0 strong1 struct super supply0 supply1 sync_accept_on sync_reject_on
    table tagged task this throughout time timeprecision timeunit tran tranif0 tranif1 tri tri0
    tri1 triand trior trireg type typedef union unique unique0 unsigned until until_with untyped
    use uwire var vectored virtual void wait wait_order wand weak weak0 weak1 while wildcard wire
    with within wor xnor xor
    """.split()
)


def check_name(name: object, label: str) -> str:
    """`name` itself when it can name a module and a file, else TypeError or ValueError."""
    if not isinstance(name, str):
        raise TypeError(f"{label} must be a string, not {shorten(name)}")
    if not _PATTERN.fullmatch(name):
        raise ValueError(f"{label} must match [A-Za-z_][A-Za-z0-9_]{{0,63}}, not {shorten(name)}")
    if name in _KEYWORDS:
        raise ValueError(f"{label} must not be a Verilog keyword, not {name!r}")
    return name


def legal_name(text: str) -> str:
    """A name like `text` that can name a module and a file: other characters become "_", and "layer" is put before
    what starts with a digit or is a keyword; what is too long ends with the start of its digest."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)
    try:
        return check_name(name, "name")
    except ValueError:
        name = f"layer_{name}".rstrip("_")
        return name if len(name) <= LONGEST else shortened_name(name, text)


def shortened_name(name: str, text: str) -> str:
    """`name` with the start of the digest of `text` in its end."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{name[: LONGEST - 9]}_{digest}"
