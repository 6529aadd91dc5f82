"""Links from a page to files, relative to where the page lies."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from hwlut.report.folder import File, Folder
from hwlut.report.html import Html, tag

__all__ = ["Links"]


@dataclass(frozen=True)
class Links:
    """From the page at a path to the files of a folder."""

    folder: Folder
    page: Path

    def to(self, file: File) -> Html:
        """A link that shows the file's path within the folder."""
        target = os.path.relpath(self.folder.root.resolve() / file.path, Path(os.path.realpath(self.page)).parent)
        return tag("a", shown(file.path), href=quote(f"./{target}", errors="surrogateescape"), class_="path")


def shown(path: Path) -> str:
    """A path as text, whatever bytes its name has."""
    return os.fsencode(path).decode("utf-8", "replace")
