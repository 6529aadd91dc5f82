"""What the commands print: results on stdout, notes and progress on stderr."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["cell", "columns", "emit", "note", "progress"]

_LINE_LIMIT = 600

Step = Callable[[int, int, str], None]
"""Called with how many are done, of how many, and what was done last."""


def note(text: str) -> None:
    """One line on stderr, whatever `text` holds."""
    line = _printable(" ".join(text.split()))
    shown = line if len(line) <= _LINE_LIMIT else f"{line[:_LINE_LIMIT]}..."
    print(f"hwlut: {shown}", file=sys.stderr)


def _printable(text: str) -> str:
    """`text` with control characters, which could move a terminal's cursor, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def emit(content: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    print(json.dumps(content, allow_nan=False))


def columns(rows: Sequence[Sequence[Any]], headers: Sequence[str] = ()) -> None:
    """Rows in columns: a rich table on a terminal, plain aligned text elsewhere."""
    texts = [[cell(value) for value in row] for row in rows]
    right = [all(isinstance(value, (int, float, type(None))) for value in column) for column in zip(*rows)]
    if sys.stdout.isatty():
        _rich_columns(texts, headers, right)
        return
    widths = [max(map(len, column)) for column in zip(*texts, *([headers] if headers else []))]
    for line in [list(headers), *texts] if headers else texts:
        cells = (text.rjust(width) if flag else text.ljust(width) for text, width, flag in zip(line, widths, right))
        print("  ".join(cells).rstrip())


def cell(value: Any) -> str:
    """`value` as a table has it."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else _printable(str(value))


def _rich_columns(texts: list[list[str]], headers: Sequence[str], right: list[bool]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=bool(headers), pad_edge=False, header_style="bold")
    for index, flag in enumerate(right):
        header = headers[index] if headers else ""
        table.add_column(header, justify="right" if flag else "left", overflow="fold", style="" if headers else None)
    for line in texts:
        table.add_row(*map(Text, line))
    Console().print(table)


@contextmanager
def progress(label: str) -> Iterator[Step]:
    """Shows long work: a bar on a terminal, a line a step elsewhere; yields what to call at each step."""
    if not sys.stderr.isatty():
        yield lambda done, total, last: note(f"{label} {done}/{total}: {last}")
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total, last: bar.update(task, completed=done, total=total, description=f"{label}: {last}")
