"""Lines of a model's source: where its operations are, and where it cannot be captured."""

import linecache
import re
import sysconfig
import textwrap
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch.fx import Node

__all__ = ["cause_of", "line_of", "place_of", "refusal", "shown"]

_Place = tuple[str, int]

_TORCH = str(Path(torch.__file__).parent)
_PYTHON = sysconfig.get_path("stdlib")
_HERE = str(Path(__file__).parent)
_PACKAGES = re.compile(r".*[/\\](?:site|dist)-packages[/\\]")


def place_of(node: Node) -> _Place | None:
    """File and line of the model that made the node, of torch where no other did."""
    found = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    frames = [(file, int(line)) for file, line in found]
    return _innermost(frames) or (frames[-1] if frames else None)


def line_of(node: Node) -> str:
    """ "file:line" of the model that made the node."""
    place = place_of(node)
    return "" if place is None else shown(place)


def cause_of(error: BaseException, *between: str) -> tuple[_Place | None, str]:
    """The line of the model at which export, or a call of it, failed, and why, in one line.

    between: files that come between the model and torch.
    """
    text = textwrap.shorten(str(error), 160, placeholder="...") or type(error).__name__
    reason = "what runs depends on the values of a tensor" if "data-dependent" in text else text
    for each in _causes(error):
        frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(each.__traceback__)]
        frames = [frame for frame in frames if frame[0] not in between]
        if place := _innermost(frames):
            return place, reason
    return None, reason


def refusal(place: _Place | None, reason: str) -> ValueError:
    """The error for a model that has no graph."""
    expected = "trace model must be one that torch.export captures"
    if place is None:
        return ValueError(f"{expected}: {reason}")
    return ValueError(f"{expected}, unlike {shown(place)}: {linecache.getline(*place).strip()} ({reason})")


def _innermost(frames: Iterable[_Place]) -> _Place | None:
    """The last place outside torch, Python's own modules, generated code and this package."""
    own = [place for place in frames if not _foreign(place[0])]
    return own[-1] if own else None


def _foreign(file: str) -> bool:
    python = file.startswith(_PYTHON) and not _PACKAGES.match(file)
    return python or file.startswith(("<", _TORCH, _HERE))


def shown(place: _Place) -> str:
    """ "file:line", below the working directory or site-packages where the file is there."""
    file, line = place
    path = Path(file)
    if path.is_relative_to(Path.cwd()):
        file = str(path.relative_to(Path.cwd()))
    return f"{_PACKAGES.sub('', file)}:{line}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it, from the last to the first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
