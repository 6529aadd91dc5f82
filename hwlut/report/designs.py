"""Designs that an exploration found."""

from dataclasses import dataclass
from typing import Any

from hwlut.report.folder import File, Folder

__all__ = ["Design", "chosen_of", "designs_of"]


@dataclass(frozen=True)
class Design:
    """One of ``explore.json``, with its network; `chosen` is the best one. Both as the file has them."""

    content: dict[str, Any]
    network: dict[str, Any]
    chosen: bool

    @property
    def label(self) -> str:
        """Network and size of the array."""
        return f"{self.network['label']}, {self.content['rows']} x {self.content['columns']}"

    @property
    def whole(self) -> bool:
        """Whether it has an area, cycles and an accuracy."""
        return None not in (self.content["area"], self.content["cycles"], self.network["accuracy"])


def designs_of(found: dict[str, Any]) -> list[Design]:
    """Those of an exploration, but for any of a network that there is not."""
    networks = found["networks"]
    return [
        Design(design, networks[design["network"]], index == found["best"])
        for index, design in enumerate(found["designs"])
        if 0 <= design["network"] < len(networks)
    ]


def chosen_of(folder: Folder) -> list[tuple[File, Design]]:
    """The chosen designs of a folder, each with the file of its exploration."""
    explored = folder.saved("hwlut.explore/1", "designs")
    return [(file, design) for file, found in explored for design in designs_of(found) if design.chosen]
