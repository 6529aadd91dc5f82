"""Summary: whether the checks passed, and the figures that matter most."""

from collections.abc import Iterator, Sequence
from typing import Any

from hwlut.lutnn.record import Record
from hwlut.prune import Compression
from hwlut.report.designs import chosen_of
from hwlut.report.folder import Folder
from hwlut.report.html import Html, cell, joined, table, tag
from hwlut.report.links import Links
from hwlut.report.pairs import Pair
from hwlut.search import Configuration

__all__ = ["summary"]

_STAGES = {"dense": "dense model", "converted": "converted to look-ups", "finetuned": "finetuned look-ups"}


def summary(folder: Folder, pairs: Sequence[Pair], links: Links) -> Html:
    """The verdict, cards, checks and accuracies."""
    checks = list(_checks(folder, links))
    accuracies = list(_accuracies(folder, links))
    cards = [*_accuracy_cards(accuracies), *_tile_cards(folder, pairs), *_model_cards(folder, pairs)]
    parts = [_verdict(folder, [ok for _, ok, _, _ in checks])]
    if cards:
        parts.append(tag("dl", *(_card(*each) for each in cards), class_="cards"))
    if checks:
        results = [[what, _told(ok), why, file] for what, ok, why, file in checks]
        parts.append(table("Checks", ("check", "result", "of", "file"), results))
    if accuracies:
        shares = [[what, f"{value:.2%}", samples, file] for what, value, samples, file in accuracies]
        parts.append(table("Accuracy, by the task's metric", ("of", ">accuracy", ">samples", "file"), shares))
    return joined(parts)


def _verdict(folder: Folder, results: list[bool]) -> Html:
    failed = results.count(False)
    if failed:
        said = tag("p", f"FAIL: {failed} of {_counted(len(results), 'check')} failed.", class_="verdict bad")
    elif results:
        said = tag("p", f"PASS: {_counted(len(results), 'check')}, none failed.", class_="verdict good")
    else:
        said = tag("p", "No checks are in this folder.", class_="verdict warn")
    damaged = len(folder.damaged)
    told = tag("p", f"{_counted(damaged, 'file')} could not be read: ", tag("a", "which", href="#damaged"), ".",
               class_="verdict bad")  # fmt: skip
    return joined([said, told if damaged else None])


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _told(ok: bool) -> Html:
    return tag("strong", "PASS" if ok else "FAIL", class_="good" if ok else "bad")


def _checks(folder: Folder, links: Links) -> Iterator[tuple[str, bool, str, Html]]:
    """What was checked, whether it passed, of what or why not, and its file."""
    for file, run in folder.saved("hwlut.run/1", "layers"):
        told = f"{run['samples']:,} samples in {run['engine']}: every code and each layer's cycles"
        yield f"{run['program']} on {run['tile']}", run["ok"], run["difference"] or told, links.to(file)
    for file, found in folder.saved("hwlut.sim/1", "ok"):
        if "tests" in found:
            failed = [f"{name}: {why}" for name, why in found["tests"].items() if why]
            told = (
                failed[0]
                if failed
                else f"{len(found['tests'])} tests of the tile in {found['engine']}, against the model"
            )
            yield found["tile"], found["ok"], told, links.to(file)
        else:
            told = f"{found['vectors']:,} vectors in {found['engine']}"
            yield found["unit"], found["ok"], told, links.to(file)
    for file, found in folder.saved("hwlut.synth/1", "unit"):
        yield f"netlist of {found['unit']}", found["ok"], "re-check of the mapped netlist", links.to(file)


def _accuracies(folder: Folder, links: Links) -> Iterator[tuple[str, float, int | None, Html]]:
    """Of what, how much, of how many samples, and the file; in the order from float to hardware."""
    for file, record in folder.of(Record):
        for stage, value in record.metrics.items():
            yield _STAGES.get(stage, stage), value, None, links.to(file)
    chosen = [(design.network, links.to(file)) for file, design in chosen_of(folder)]
    made = [(each, links.to(file)) for file, each in folder.saved("hwlut.made/1", "metric")]
    for network, link in chosen:
        if network["float_accuracy"] is not None:
            yield "float model of the chosen design", network["float_accuracy"], None, link
    for each, link in made:
        yield "float model", each["float_accuracy"], None, link
    results: list[tuple[Any, Any]] = [*folder.of(Configuration), *folder.of(Compression)]
    for file, result in results:
        what = "quantized model" if isinstance(result, Configuration) else "compressed model"
        yield what, result.metric, None, links.to(file)
    for each, link in made:
        yield "program", each["metric"], None, link
    for network, link in chosen:
        if network["metric"] is not None:
            yield "chosen design", network["metric"], None, link
    for file, run in folder.saved("hwlut.run/1", "metric"):
        what = f"{run['name']} on {run['tile']}" if "layers" in run else f"{run['name']}, the program"
        yield what, run["metric"], run["samples"], links.to(file)


def _accuracy_cards(accuracies: list[tuple[str, float, int | None, Html]]) -> Iterator[tuple[str, str, str]]:
    """The first and the last."""
    for what, value, samples, _ in dict.fromkeys([*accuracies[:1], *accuracies[-1:]]):
        yield "Accuracy", f"{value:.2%}", what if samples is None else f"{what}, {samples:,} samples"


def _tile_cards(folder: Folder, pairs: Sequence[Pair]) -> Iterator[tuple[str, str, str]]:
    """Of the first run and of its tile's area, or of the first that has one."""
    run = next((pair.run for pair in pairs if pair.run is not None), None)
    tiles = [found for _, found in folder.saved("hwlut.synth/1", "blocks")]
    area = next((each for each in tiles if run is not None and each["tile"] == run["tile"]), None)
    area = tiles[0] if area is None and tiles and run is None else area
    if run is not None:
        told = f"{run['program']} on {run['tile']}, with stalls"
        yield "Cycles a sample", cell(float(run["cycles_per_sample"])), told
        yield "Utilisation", f"{run['utilisation']:.1%}", "of the array, over all layers"
    if area is None:
        return
    gates = area["gate_equivalents"]
    size, unit = (area["area"], "um²") if gates is None else (gates / 1000, "kGE")
    yield "Area", f"{size:,.1f} {unit}", f"{area['tile']}, pre-layout, without RAM"
    if run is not None:
        value = size * run["cycles_per_sample"] / (1e6 if gates is None else 1e3)
        yield "Area × cycles", f"{value:,.1f}", "m² · 10⁻⁶ a sample" if gates is None else "MGE cycles a sample"
    yield "RAM", _bits(area["ram_bits"]), f"{area['tile']}, all memories"
    if area["delay"] is not None:
        yield "Longest path", f"{area['delay']:.2f} ns", "of a block by itself, no wires"


def _model_cards(folder: Folder, pairs: Sequence[Pair]) -> Iterator[tuple[str, Any, str]]:
    """Of the first program and of the first compression, where a design was chosen that of its network."""
    for pair, program in [(pair, pair.program) for pair in pairs if pair.program is not None][:1]:
        if macs := [row.macs for row in pair.rows if row.macs is not None]:
            yield "MACs a sample", cell(sum(macs)), program.name
        yield "Digest", tag("span", program.digest[:12], class_="path"), f"of program {program.name}"
    networks = {file.path.parent / design.network["folder"] for file, design in chosen_of(folder)}
    compressions = [
        each for file, each in folder.of(Compression) if not networks or networks.intersection(file.path.parents)
    ]
    for found in compressions[:1]:
        yield "Bit operations", f"{found.relative:.2%}", "of the dense model's in 32 bits"
        yield "Sparsity", f"{found.sparsity:.1%}", "of the groups of channels are gone"


def _bits(number: int) -> str:
    for size, unit in ((1e6, "Mbit"), (1e3, "kbit")):
        if number >= size:
            return f"{number / size:,.2f} {unit}"
    return f"{number} bit"


def _card(label: str, value: Any, told: str) -> Html:
    return tag("div", tag("dt", label), tag("dd", value, class_="value"), tag("dd", told, class_="told"))
