"""Spoken vowels as series of unequal lengths, from the files that aeon ships."""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hwlut.train.data.problem import Problem
from hwlut.train.models.inputs import Series
from hwlut.train.packages import needed

__all__ = ["japanese_vowels", "read_series"]

_NAME = "JapaneseVowels"
_REMEDY = "its files are enough: pip install --no-deps aeon"


def japanese_vowels(data: str | Path | None = None) -> Problem:
    """270 training and 370 test utterances by 9 speakers: 12 coefficients a step, 7 to 29 steps, padded to 29.

    Kudo, Toyama and Shimbo, "Multidimensional Curve Classification Using Passing-Through Regions" (1999). A sample is
    (series [12, 29], mask [29]); each coefficient is normalised by its mean and deviation over all training steps.

    data: folder of JapaneseVowels_TRAIN.ts and JapaneseVowels_TEST.ts; by default aeon's, which is not imported.
    """
    folder = _folder() if data is None else Path(data)
    train, test = (read_series(folder / f"{_NAME}_{part}.ts") for part in ("TRAIN", "TEST"))
    steps = torch.cat([series for series, _ in train], dim=1)
    mean, std = steps.mean(1, keepdim=True), steps.std(1, keepdim=True)
    length = max(series.shape[1] for series, _ in (*train, *test))
    names = sorted({label for _, label in train})

    def padded(part: list[tuple[Tensor, str]]) -> _Series:
        values = torch.zeros(len(part), len(steps), length)
        mask = torch.zeros(len(part), length, dtype=torch.bool)
        for place, (series, _) in enumerate(part):
            values[place, :, : series.shape[1]] = (series - mean) / std
            mask[place, : series.shape[1]] = True
        return _Series(values, mask, torch.tensor([names.index(label) for _, label in part]))

    return Problem(padded(train), padded(test), Series(len(steps), length), len(names))


def read_series(path: Path) -> list[tuple[Tensor, str]]:
    """The series of a .ts file, float32 [channels, length], each with the name of its class.

    After the line ``@data`` each line is a sample: its channels and last its class, parted by colons, and in a channel
    the values, parted by commas. ValueError, naming the file, for another.
    """
    try:
        _, _, body = path.read_text().partition("@data\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: series cannot be read: {error}") from None
    found = []
    try:
        for line in filter(None, map(str.strip, body.splitlines())):
            *channels, label = line.split(":")
            found.append((torch.tensor([[float(value) for value in each.split(",")] for each in channels]), label))
    except ValueError:
        raise ValueError(
            f"{path}: series must be numbers, as many in each channel; line {line[:40]!r}... is not"
        ) from None
    if not found or len({len(series) for series, _ in found}) != 1 or not all(s.isfinite().all() for s, _ in found):
        raise ValueError(f"{path}: series must be finite, of the same channels, and at least one")
    return found


class _Series(Dataset[tuple[tuple[Tensor, Tensor], Tensor]]):
    def __init__(self, series: Tensor, masks: Tensor, labels: Tensor):
        self.series, self.masks, self.labels = series, masks, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        return (self.series[place], self.masks[place]), self.labels[place]


def _folder() -> Path:
    needed("aeon", remedy=_REMEDY)
    found = importlib.util.find_spec("aeon")
    assert found is not None and found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "datasets" / "data" / _NAME
