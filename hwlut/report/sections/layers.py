"""Layers: what each is, its widths, multiplier, cycles and share."""

from collections.abc import Sequence
from typing import Any

from hwlut.prune import Compression
from hwlut.report.charts import bar
from hwlut.report.folder import File, Folder
from hwlut.report.html import Html, joined, table, tag
from hwlut.report.links import Links
from hwlut.report.pairs import MOST_PAIRS, Pair
from hwlut.search import Configuration

__all__ = ["cycles", "layers", "operations"]

_HEADERS = (
    "layer", "computes", "in", "out", "operands", ">weights", "multiplier or look-up", ">accumulator", ">MACs",
    ">cycles", ">of all cycles", ">utilisation", "requantization",
)  # fmt: skip
_MOST_OPERATIONS = 200


def layers(pairs: Sequence[Pair]) -> Html | None:
    """A table for each program."""
    return _each(pairs, _layers)


def cycles(pairs: Sequence[Pair]) -> Html | None:
    """Bars of the cycles of each layer, for each run."""
    return _each([pair for pair in pairs if pair.run is not None], _cycles)


def operations(folder: Folder, links: Links) -> Html | None:
    """Formats that a search or a compression has found for the operations of a model, by module path."""
    found = []
    results: list[tuple[File, Any]] = [*folder.of(Configuration), *folder.of(Compression)]
    for file, result in results:
        total = sum(each.cost for each in result.operations.values())
        rows = [
            [name, str(each.precision), each.shape.macs, each.shape.weights, f"{each.cost / total if total else 0:.1%}"]
            for name, each in list(result.operations.items())[:_MOST_OPERATIONS]
        ]
        headers = ("operation", "weights/activations", ">MACs", ">weights", ">of the cost")
        caption = f"The first {_MOST_OPERATIONS}" if len(result.operations) > _MOST_OPERATIONS else "All"
        found.append(joined([tag("h3", "Operations of ", links.to(file)), table(caption, headers, rows)]))
    return joined(found) if found else None


def _each(pairs: Sequence[Pair], show: Any) -> Html | None:
    """What is shown of each pair, but for the first folded up."""
    if not pairs:
        return None
    parts = [
        tag("details", tag("summary", pair.name), show(pair), open=not index)
        for index, pair in enumerate(pairs[:MOST_PAIRS])
    ]
    left = len(pairs) - MOST_PAIRS
    more = tag("p", f"{left} more are left out.", class_="note") if left > 0 else None
    return joined([*parts, more])


def _layers(pair: Pair) -> Html:
    ran = {layer["name"]: layer for layer in pair.run["layers"]} if pair.run else {}
    batches = pair.run["batches"] if pair.run else 1
    taken = {row.name: _cycles_of(ran.get(row.name), row.cycles, batches) for row in pair.rows}
    whole = sum(each or 0 for each in taken.values())
    rows: list[list[Any]] = []
    for row in pair.rows:
        layer, spent = ran.get(row.name), taken[row.name]
        rows.append(
            [
                row.name,
                ", ".join(row.operations),
                _shape(row.taken),
                _shape(row.given),
                None if row.activations is None else f"{row.activations} × {row.weights}",
                row.count,
                row.by,
                None if row.accumulator is None else f"{row.accumulator} bits",
                row.macs,
                None if spent is None else round(spent),
                f"{spent / whole:.1%}" if spent is not None and whole else None,
                f"{layer['utilisation']:.1%}" if layer else None,
                row.requantized,
            ]
        )
    if pair.program is None:
        return tag("p", "The program of this run is not in the folder.", class_="note")
    caption = "Shapes and MACs of a sample"
    if whole:
        caption += "; cycles of a batch, " + ("of the run" if ran else "of the first one, by the analytic model")
    parts = [table(caption, _HEADERS, rows)]
    if pair.refusal is not None:
        parts.append(tag("p", f"Node by node, since the tile does not compute it: {pair.refusal}", class_="warn"))
    return joined(parts)


def _cycles_of(layer: Any, modelled: int | None, batches: int) -> float | None:
    return modelled if layer is None else layer["cycles"] / max(batches, 1)


def _shape(sizes: tuple[int, ...] | None) -> str | None:
    return None if sizes is None else "×".join(map(str, sizes)) or "1"


def _cycles(pair: Pair) -> Html:
    assert pair.run is not None
    most = max((layer["cycles"] for layer in pair.run["layers"]), default=0) or 1
    whole = pair.run["cycles"] or 1
    rows = [
        [
            layer["name"],
            layer["cycles"],
            f"{layer['cycles'] / whole:.1%}",
            bar(layer["cycles"] / most),
            f"{layer['utilisation']:.1%}",
            layer["model_cycles"],
        ]
        for layer in pair.run["layers"]
    ]
    caption = f"Cycles of {pair.run['batches']:,} batches, without stalls, and utilisation of the array"
    return table(caption, ("layer", ">cycles", ">share", "", ">utilisation", ">analytic model"), rows)
