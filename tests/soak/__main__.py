"""python -m soak MINUTES: random units through all engines; see CONTRIBUTING.md."""

import argparse
import contextlib
import sys
import time
from pathlib import Path

__all__ = ["main"]


def main(arguments=None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(prog="./dev soak", description="Random units through all engines.")
    parser.add_argument("minutes", nargs="?", type=float, help="how long to go on")
    parser.add_argument("--seed", type=int, default=0, help="of everything")
    parser.add_argument("--first", type=int, default=0, help="number of the first case, to go on where a run ended")
    parser.add_argument("--units", type=int, help="end after so many units, too")
    parser.add_argument("--kind", help="cases of one kind only")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch", type=int, default=40, help="cases that share a build")
    parser.add_argument("--folder", type=Path, default=Path("build/soak"), help="where findings are written")
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="run one finding again")
    given = parser.parse_args(arguments)
    if (given.minutes is None) == (given.replay is None):
        parser.error("MINUTES or --replay must be given")
    from soak.kinds import KINDS

    if given.kind not in (None, *KINDS):
        parser.error(f"--kind must be one of {', '.join(KINDS)}, not {given.kind!r}")
    return _replay(given.replay) if given.replay else _soak(given)


def _replay(folder: Path) -> int:
    from soak.reproducer import replayed

    message = replayed(folder)
    print(f"{folder}: {message or 'agrees'}")
    return int(message is not None)


def _soak(given) -> int:
    from soak.campaign import Campaign

    start, campaign = time.monotonic(), Campaign(given.seed, given.kind)

    def over(units: int) -> bool:
        late = time.monotonic() - start >= 60 * given.minutes
        return late or (given.units is not None and units >= given.units)

    def told(finding) -> None:
        if finding is None:
            results = sum(campaign.results.values())
            seconds = time.monotonic() - start
            counts = f"{len(campaign.keys)} units, {results} results, {len(campaign.findings)} mismatches"
            print(f"{seconds:7.0f} s  {counts}, next --first {campaign.beyond}", flush=True)
            return
        print(f"{finding.kind} {finding.number}, {finding.engine}: {finding.message}", flush=True)
        if finding.engine == "draw":  # that alone there is nothing of yet
            return
        from soak.reproducer import shrunk, written

        place = written(given.seed, finding, given.folder)
        if not finding.message.startswith("BrokenProcessPool"):
            shrunk(place)
        print(f"    again: ./dev soak --replay {place}", flush=True)

    with contextlib.suppress(KeyboardInterrupt):  # what is known by then is told
        campaign.run(given.first, over, given.processes, given.batch, told)
    print(campaign.table())
    seconds = ", ".join(f"{stage} {value:.0f}" for stage, value in campaign.seconds.most_common())
    print(f"seconds of processors: {seconds}")
    return int(bool(campaign.findings))


if __name__ == "__main__":
    sys.exit(main())
