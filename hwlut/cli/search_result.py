"""What `hwlut search` prints and draws of a search, or of a front of several."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwlut.cli.plot import save_picture
from hwlut.cli.screen import columns, emit

if TYPE_CHECKING:
    from hwlut.search import Configuration, Front

__all__ = ["draw_front", "draw_search", "show_front", "show_search"]


def show_search(
    found: "Configuration", folder: Path, plots: Mapping[str, Path], as_json: bool, now: float | None = None
) -> None:
    """Print a search; now: the metric as it was measured again."""
    if as_json:
        emit(_told(found, folder, plots) | ({} if now is None else {"now": now}))
        return
    columns(found.rows, ("operation", "format", "cost", "probability"))
    print()
    rows = [
        ("cost", f"{found.cost:.6g}, of at most {found.target:.6g} ({100 * found.cost / (found.target or 1):.1f} %)"),
        ("metric", f"{100 * found.metric:.2f} %"),
        *([] if now is None else [("now", f"{100 * now:.2f} %")]),
        ("held-out loss", f"{found.loss:.4g}"),
        *(("plot", str(path)) for path in plots.values()),
        ("run", str(folder)),
    ]
    columns(rows)


def show_front(found: "Front", folder: Path, plots: Mapping[str, Path], as_json: bool) -> None:
    """Print a front."""
    if as_json:
        import dataclasses

        trials = [dataclasses.asdict(trial) for trial in found.trials]
        emit({"run": str(folder), "kind": found.kind, "trials": trials, "plots": _paths(plots)})
        return
    rows = [
        (trial.target, f"{trial.cost:.6g}", f"{100 * trial.metric:.2f} %", trial.loss, "yes" if trial.optimal else "no")
        for trial in found.trials
    ]
    columns(rows, (found.kind.replace("_", " "), "cost", "metric", "held-out loss", "optimal"))
    print()
    columns([*(("plot", str(path)) for path in plots.values()), ("run", str(folder))])


def draw_search(found: "Configuration", folder: Path) -> dict[str, Path]:
    """Pictures of the bits of every operation, and where there was a policy, of its way."""
    from hwlut.plot.search import bits_figure, policy_figure
    from hwlut.train.log import read_log

    bits = {name: each.precision for name, each in found.operations.items()}
    drawn = {"bits": bits_figure({name: (each.weight_bits, each.activation_bits) for name, each in bits.items()})}
    lines = read_log(folder / "log.jsonl")
    if any("policy" in line for line in lines):
        drawn["policy"] = policy_figure(lines)
    paths = {name: folder / f"{name}.png" for name in drawn}
    for name, path in paths.items():
        save_picture(drawn[name], path, "png")
    return paths


def draw_front(found: "Front", folder: Path) -> dict[str, Path]:
    """Pictures of each search, and that of the front, which is named."""
    from hwlut.plot.search import front_figure
    from hwlut.search import Configuration

    for trial in found.trials:
        draw_search(Configuration.load(folder / trial.folder / "config.json"), folder / trial.folder)
    points = [(trial.cost, trial.metric, f"{trial.target:g}", trial.optimal) for trial in found.trials]
    path = folder / "front.png"
    save_picture(front_figure(points, found.kind.replace("_", " ")), path, "png")
    return {"front": path}


def _told(found: "Configuration", folder: Path, plots: Mapping[str, Path]) -> dict[str, Any]:
    operations = {
        name: {
            "precision": str(each.precision),
            "cost": each.cost,
            "decision": each.decision,
            "probability": found.probabilities.get(each.decision),
        }
        for name, each in found.operations.items()
    }
    return {
        "run": str(folder),
        "task": found.request["task"],
        "metric": found.metric,
        "loss": found.loss,
        "cost": found.cost,
        "target": found.target,
        "least": found.least,
        "most": found.most,
        "evaluations": found.evaluations,
        "operations": operations,
        "left": dict(found.left),
        "plots": _paths(plots),
    }


def _paths(plots: Mapping[str, Path]) -> dict[str, str]:
    return {name: str(path) for name, path in plots.items()}
