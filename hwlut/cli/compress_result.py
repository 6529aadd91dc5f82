"""What `hwlut compress` prints and draws."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwlut.cli.plot import save_picture
from hwlut.cli.screen import columns, emit

if TYPE_CHECKING:
    from hwlut.prune import Compression, Groups

__all__ = ["draw_compression", "show_compression", "show_groups"]


def show_compression(
    found: "Compression", folder: Path, plots: Mapping[str, Path], as_json: bool, now: float | None = None
) -> None:
    """Print a compression; now: the metric as it was measured again."""
    if as_json:
        emit(_told(found, folder, plots) | ({} if now is None else {"now": now}))
        return
    if found.operations:
        rows = [
            (name, str(each.precision), f"{each.shape.macs:,}", f"{each.shape.weights:,}")
            for name, each in found.operations.items()
        ]
        columns(rows, ("operation", "format", "MACs", "weights"))
        print()
    if found.removed:
        gone = [(name, f"{len(each)} of {found.couplings[name]}") for name, each in found.removed.items()]
        columns(gone, ("coupling", "groups removed"))
        print()
    sizes = [
        (name.replace("_", " "), f"{was:,}", f"{now:,}", f"{100 * now / was:.2f} %" if was else "")
        for name, was, now in (
            (name, getattr(found.before, name), getattr(found.after, name)) for name in found.before.plain()
        )
    ]
    columns(sizes, ("", "dense", "compressed", "relative"))
    print()
    removed, every = sum(map(len, found.removed.values())), sum(found.couplings.values())
    columns(
        [
            *([("removed", f"{removed} of {every} groups")] if every else []),
            *([("difference", f"{found.difference:.2g}, from the masked model in float64")] if every else []),
            ("metric", f"{100 * found.metric:.2f} %"),
            *([] if now is None else [("now", f"{100 * now:.2f} %")]),
            ("loss", f"{found.loss:.4g}"),
            *(("plot", str(path)) for path in plots.values()),
            ("run", str(folder)),
        ]
    )


def show_groups(found: "Groups", as_json: bool) -> None:
    """Print what can be removed."""
    if as_json:
        parts = {
            each.name: {
                "groups": each.size,
                "tensors": [[part.tensor, part.dim, int((part.groups >= 0).sum())] for part in each.parts],
            }
            for each in found
        }
        emit({"groups": len(found), "couplings": parts, "left": dict(found.left)})
        return
    print(found)


def draw_compression(found: "Compression", folder: Path) -> dict[str, Path]:
    """Pictures of the bits of every operation, and of the groups that stay; of the way there, where it was logged."""
    from hwlut.plot.prune import groups_figure, stages_figure
    from hwlut.plot.search import bits_figure
    from hwlut.prune import Joint
    from hwlut.train.log import read_log

    drawn = {}
    if found.operations:
        bits = {name: each.precision for name, each in found.operations.items()}
        drawn["bits"] = bits_figure({name: (each.weight_bits, each.activation_bits) for name, each in bits.items()})
    if found.couplings:
        drawn["groups"] = groups_figure(found.couplings, {name: len(each) for name, each in found.removed.items()})
    log = folder / "log.jsonl"
    if found.request["method"] == "joint" and log.exists():
        lines = read_log(log)
        if lines:
            stages = Joint(**found.request["compression"]).lengths(lines[-1]["steps"])
            drawn["stages"] = stages_figure(lines, stages._asdict())
    paths = {name: folder / f"{name}.png" for name in drawn}
    for name, path in paths.items():
        save_picture(drawn[name], path, "png")
    return paths


def _told(found: "Compression", folder: Path, plots: Mapping[str, Path]) -> dict[str, Any]:
    return {
        "run": str(folder),
        "task": found.request["task"],
        "metric": found.metric,
        "loss": found.loss,
        "sparsity": found.sparsity,
        "relative_bit_operations": found.relative,
        "before": found.before.plain(),
        "after": found.after.plain(),
        "cost": found.cost,
        "difference": found.difference,
        "mismatches": found.mismatches,
        "couplings": dict(found.couplings),
        "removed": {name: list(each) for name, each in found.removed.items()},
        "left": dict(found.left),
        "operations": {name: str(each.precision) for name, each in found.operations.items()},
        "unquantized": dict(found.unquantized),
        "plots": {name: str(path) for name, path in plots.items()},
    }
