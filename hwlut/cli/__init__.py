"""The `hwlut` command: one module a subcommand; heavy packages are imported where they are used."""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor

import typer
from typer.exceptions import TyperException

from hwlut.cli import (
    compress,
    eval,
    explore,
    export,
    fit,
    gen_rtl,
    import_,
    info,
    lutnn,
    plot,
    prove,
    reduce,
    report,
    run,
    search,
    sim,
    synth,
    tile,
)
from hwlut.cli.screen import note
from hwlut.errors import ToolError

__all__ = ["app", "main"]

# Typer's rich help doubles the time that --help takes.
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
app.command("fit")(fit.fit)
app.command("import")(import_.import_)
app.command("export")(export.export)
app.command("reduce")(reduce.reduce)
app.command("tile")(tile.tile)
app.command("gen-rtl")(gen_rtl.gen_rtl)
app.command("sim")(sim.sim)
app.command("prove")(prove.prove)
app.command("synth")(synth.synth)
app.command("eval")(eval.evaluate)
app.command("plot")(plot.plot)
app.command("info")(info.info)
app.command("run")(run.run)
app.command("report")(report.report)
app.add_typer(lutnn.app, name="lutnn")
app.add_typer(search.app, name="search")
app.add_typer(compress.app, name="compress")
app.command("explore")(explore.explore)


@app.callback()
def _about() -> None:
    """Fit look-up units, write them as Verilog, and prove that hardware and software agree."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status.

    0: done. 1: a check failed. 2: wrong use, bad input or a missing tool, told in one line. 130: interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = typer.main.get_command(app).main(given or ["--help"], prog_name="hwlut", standalone_mode=False)
        sys.stdout.flush()
        return status or 0
    except BrokenPipeError:  # the reader has gone; nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except TyperException as error:
        note(error.format_message())
    except OSError as error:
        note(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except (TypeError, ValueError, ToolError) as error:
        note(str(error))
    except MemoryError as error:
        note(str(error) or "more memory is needed than there is")
    except BrokenExecutor:
        note("a process of --jobs was ended from outside, as where memory runs out; what others finished is kept")
    return 2
