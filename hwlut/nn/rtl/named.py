"""Designs by name, for operators: a compiled graph holds a string in the place of a design."""

from typing import TYPE_CHECKING, Any

from hwlut.files import digest_of

if TYPE_CHECKING:
    from hwlut.hdl import Rtl

__all__ = ["Named", "found"]

_known: dict[str, Any] = {}


class Named:
    """What an operator finds by its `key`: the digest of a design, and of what else there is to tell by."""

    def __init__(self, rtl: "Rtl | None", *others: str):
        design = () if rtl is None else (rtl.verilog, rtl.description)
        self.key = digest_of(type(self).__name__, *design, *others)
        _known[self.key] = self

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        _known.setdefault(self.key, self)


def found(key: str) -> Any:
    """What has that key in this process; RuntimeError where there is nothing."""
    if key not in _known:
        raise RuntimeError(f"RTL design {key[:12]}... must be known to this process: make a layer of it first")
    return _known[key]
