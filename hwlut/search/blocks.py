"""Costs of synthesised blocks, kept in a file."""

import dataclasses
import json
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hwlut.fields import shorten
from hwlut.files import read_bytes, write_atomic
from hwlut.records import parse_json
from hwlut.search.cost import Cost
from hwlut.unit import Unit

if TYPE_CHECKING:
    from hwlut.verify.synthesis import Synthesis

__all__ = ["Block", "CostTable", "synthesized"]

_SCHEMA = "hwlut.costs/1"
_LIMIT = 64 << 20
_SHARED = ("form", "liberty", "tool")
_FIGURES = ("area", "gate_equivalents", "delay", "registers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """A unit's hardware in standard cells, before layout, as `hwlut.verify.synthesis.synthesize` tells it.

    area: um^2. gate_equivalents: the same in two-input NANDs, None where the liberty has none. delay: ns, None where
    unknown. registers: flip-flops. form: the options of `hwlut.hdl.generate`, as text; empty for the default design.
    liberty: name of the cell library's file. tool: what mapped it, with versions.
    """

    name: str
    area: float
    gate_equivalents: float | None
    delay: float | None
    registers: int
    form: str
    liberty: str
    tool: str

    def __post_init__(self) -> None:
        for key in ("name", *_SHARED):
            if not isinstance(getattr(self, key), str):
                raise TypeError(f"Block {key} must be a string, not {shorten(getattr(self, key))}")
        for key in _FIGURES:
            value = getattr(self, key)
            if value is None and key in ("gate_equivalents", "delay"):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"Block {key} must be a number, not {shorten(value)}")
            if not 0 <= value < math.inf:
                raise ValueError(f"Block {key} must be a finite number from 0, not {value}")

    @classmethod
    def of(cls, found: "Synthesis", form: str = "") -> "Block":
        """The figures of one synthesis; ValueError where its netlist was compared with the unit and differs."""
        if not found.ok:
            raise ValueError(f"{found.unit}: the netlist is not the unit: {found.recheck}")
        figures = {key: getattr(found.netlist, key) for key in (*_FIGURES, "tool")}
        return cls(name=found.unit, form=form, liberty=found.liberty or "", **figures)


@dataclasses.dataclass(frozen=True)
class CostTable:
    """Blocks by the digest of their unit, all of one form, cell library and version of the tools, so that they compare.

    ``table[unit]`` is the block of a unit; `cost` makes a `Cost` of them.
    """

    blocks: Mapping[str, Block] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", MappingProxyType(dict(self.blocks)))
        for key in _SHARED:
            found = sorted({getattr(block, key) for block in self.blocks.values()})
            if len(found) > 1:
                raise ValueError(f"costs must be of one {key}, not of {' and '.join(found)}")

    def __getitem__(self, unit: Unit) -> Block:
        if unit.digest not in self.blocks:
            raise ValueError(f"costs must have a block of {unit.name!r} (digest {unit.digest[:12]})")
        return self.blocks[unit.digest]

    def cost(self, figure: str = "area", times: Mapping[Hashable, float] | None = None) -> Cost:
        """The `Cost` of choices that are units, alike in every layer unless `times` says how often each layer has or
        uses its block: its multiply-accumulates, for one.

        figure: "area", "gate_equivalents", "delay" or "registers".
        """
        if figure not in _FIGURES:
            raise ValueError(f"costs figure must be one of {', '.join(_FIGURES)}, not {shorten(figure)}")

        def cost(layer: Any, choice: Any) -> float:
            block = self[choice]
            number = getattr(block, figure)
            if number is None:
                raise ValueError(f"costs must have the {figure} of {block.name!r}")
            if times is None:
                return number
            if layer not in times:
                raise ValueError(f"costs times must have an entry for layer {shorten(layer)}")
            return number * times[layer]

        return cost

    def save(self, path: str | Path) -> Path:
        """Write the table as JSON, a block a line."""
        lines = (
            f"  {json.dumps(digest)}: {json.dumps(dataclasses.asdict(block))}" for digest, block in self.blocks.items()
        )
        body = ",\n".join(lines)
        write_atomic(Path(path), f'{{"schema": "{_SCHEMA}",\n "units": {{\n{body}\n }}}}\n')
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> "CostTable":
        """Read a table; ValueError, naming the file, for anything else."""
        path = Path(path)
        data = read_bytes(path, _LIMIT)
        try:
            content = parse_json(data)
        except ValueError as error:
            raise ValueError(f"{path}: no costs: {error}") from None
        try:
            return cls(_blocks(content))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from None


def _blocks(content: Any) -> dict[str, Block]:
    if not isinstance(content, dict) or set(content) != {"schema", "units"} or content["schema"] != _SCHEMA:
        raise ValueError(f"costs must be an object of schema, which is {_SCHEMA}, and units")
    if not isinstance(content["units"], dict):
        raise TypeError(f"units must be an object, not {shorten(content['units'])}")
    keys = {field.name for field in dataclasses.fields(Block)}
    blocks = {}
    for digest, given in content["units"].items():
        if not isinstance(given, dict) or set(given) != keys:
            raise ValueError(f"unit {shorten(digest)} must be an object of {', '.join(sorted(keys))}")
        blocks[digest] = Block(**given)
    return blocks


def synthesized(
    units: Iterable[Unit],
    *,
    file: str | Path | None = None,
    liberty: str | Path | None = None,
    form: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> CostTable:
    """The costs of `units`.

    Parameters
    ----------
    file: a table to start from, where it is there, and to keep: written anew with each block that is done, so that an
        interrupted run goes on.
    liberty: the cell library's file; OSU's for TSMC 180 nm unless given.
    form: options of `hwlut.hdl.generate`, such as ``{"combinational": True}``; the default design without.
    executor: where they are mapped; by default processes of this machine, one a core, started by spawning.
    progress: called after each with how many are done, of how many, and its name.

    Raises ValueError where a netlist is not its unit, or the file's blocks are of another form, liberty or tool, and
    ToolError for missing tools.
    """
    from hwlut.verify.synthesis import synthesize_each

    wanted = {unit.digest: unit for unit in units}
    table = CostTable.load(file) if file is not None and Path(file).exists() else CostTable()
    named = " ".join(f"{name}={value}" for name, value in sorted((form or {}).items()))
    if other := {block.form for block in table.blocks.values()} - {named}:
        raise ValueError(f"{file}: costs must be of form {named!r}, not {other.pop()!r}")
    missing = [unit for digest, unit in wanted.items() if digest not in table.blocks]
    for done, (place, found) in enumerate(synthesize_each(missing, liberty=liberty, form=form, executor=executor), 1):
        table = CostTable({**table.blocks, missing[place].digest: Block.of(found, named)})
        if file is not None:
            table.save(file)
        if progress is not None:
            progress(done, len(missing), found.unit)
    return table
