"""Reports of folders, written."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwlut import __version__
from hwlut.files import write_atomic
from hwlut.report import sections
from hwlut.report.folder import File, Folder
from hwlut.report.links import Links, shown
from hwlut.report.page import page
from hwlut.report.pairs import pairs_of
from hwlut.report.vcd import Waves

__all__ = ["Written", "write_report"]


@dataclass(frozen=True)
class Written:
    """A report that was written. path, title: of the page. files: that were in the folder, damaged ones among them."""

    path: Path
    title: str
    files: tuple[File, ...]

    @property
    def damaged(self) -> list[File]:
        """Those that could not be read, with their errors."""
        return [file for file in self.files if file.error is not None]


def write_report(
    folder: str | Path,
    path: str | Path,
    *,
    title: str | None = None,
    layer: str | None = None,
    waves: str | Path | None = None,
) -> Written:
    """Write a page on what hwlut's files in a folder say; the same files give the same page, byte for byte.

    Parameters
    ----------
    folder: with its subfolders. What is not known is linked; what is damaged, too, and named with its error.
    path: of the page, an HTML file. Links are relative to where it lies.
    title: by default the folder's name.
    layer, waves: which waveform is shown: that of a layer, by its name in a run of the folder, or of a file in the
        folder; by default the first ones.

    Raises ValueError for a folder that is none or has too many files, and for a layer or waves that are not there.
    """
    path, found = Path(path), Folder.read(folder, without=Path(path))
    links, pairs = Links(found, path), pairs_of(found)
    chosen = _chosen(found, layer, waves)
    title = title or shown(Path(found.root.resolve().name)) or "hwlut"
    known = sum(file.content is not None for file in found.files)
    content = page(
        title,
        f"{len(found.files)} files, of which {known} were read; by hwlut {__version__}.",
        [
            ("summary", "Summary", sections.summary(found, pairs, links)),
            ("damaged", "Damaged files", sections.damaged(found, links)),
            ("layers", "Layers", sections.layers(pairs)),
            ("cycles", "Cycles", sections.cycles(pairs)),
            ("areas", "Areas", sections.areas(found, links)),
            ("fronts", "Fronts", sections.fronts(found, links)),
            ("operations", "Operations", sections.operations(found, links)),
            ("training", "Training", sections.training(found, links)),
            ("waveforms", "Waveforms", sections.waveforms(chosen, found, links)),
            ("units", "Units", sections.units(found)),
            ("files", "Files", sections.listing(found, links)),
        ],
    )
    write_atomic(path, content.encode("utf-8", "replace"))  # JSON may hold half a surrogate pair
    return Written(path, title, found.files)


def _chosen(folder: Folder, layer: str | None, waves: str | Path | None) -> Sequence[tuple[File, Waves]]:
    """The dumps to show; ValueError where there are none of that layer or path."""
    found = folder.of(Waves)
    if waves is not None:
        wanted = Path(os.path.realpath(waves))
        found = [each for each in found if (folder.root / each[0].path).resolve() == wanted]
        if not found:
            raise ValueError(f"waves must be a whole dump in {folder.root}, not {str(waves)!r}")
    if layer is not None:
        layers = sections.traced_layers(folder)
        known = sorted({layers[file.path.name] for file, _ in found if file.path.name in layers})
        found = [each for each in found if layers.get(each[0].path.name) == layer]
        if not found:
            there = f"of {', '.join(known)}" if known else "one whose waves are in the folder"
            raise ValueError(f"layer must be {there}, not {layer!r}")
    return found
