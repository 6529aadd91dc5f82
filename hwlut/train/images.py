"""Images, resized and cropped to squares: from a folder for each class, or from a column of a table."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

__all__ = ["ImageFolder", "ImageTable", "Square"]

_KINDS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MARGIN = 8


@dataclasses.dataclass(frozen=True)
class Square:
    """An image of Pillow's as a normalised tensor: float32 [3, size, size].

    It is resized, its shorter side to size / share, and cropped to a square: from the middle, or with `moved` from a
    random place and mirrored or not, by torch's generator. With a share of 1 that place may be beyond the image, whose
    margins of size // 8 are black.

    mean, std: of red, green and blue in [0, 1]; by default ImageNet's.
    """

    size: int
    moved: bool = False
    mean: Sequence[float] = _MEAN
    std: Sequence[float] = _STD
    share: float = 0.875

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"Square share must be above 0 and at most 1, not {self.share!r}")

    def __call__(self, image: Any) -> torch.Tensor:
        pixels = torch.from_numpy(self._cropped(image.convert("RGB"))).permute(2, 0, 1).float() / 255
        if self.moved and torch.rand(()) < 0.5:
            pixels = pixels.flip(2)
        mean, std = (torch.tensor(tuple(each)).view(3, 1, 1) for each in (self.mean, self.std))
        return (pixels - mean) / std

    def _cropped(self, image: Any) -> np.ndarray:
        """uint8 [size, size, 3]."""
        from PIL import Image

        scale = self.size / self.share / min(image.size)
        width, height = (max(self.size, round(side * scale)) for side in image.size)
        spare = width - self.size, height - self.size
        left, top = (each // 2 for each in spare)
        if self.moved:
            margin = self.size // _MARGIN if self.share == 1 else 0
            left, top = (int(torch.randint(-margin, each + margin + 1, ())) for each in spare)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        return np.array(image.crop((left, top, left + self.size, top + self.size)))


class ImageFolder(Dataset[tuple[torch.Tensor, int]]):
    """Images ``folder/class/name.png`` (.jpg and others too) as pairs of tensor and class number, in order of names.

    Parameters
    ----------
    size, moved, mean, std, share: how an image becomes a tensor: see `Square`.
    classes: names of all classes, where the numbers are to be those of another folder; by default the folder's own.

    Raises ValueError, naming it, for a folder without classes, a class without images or not among `classes`, and,
    when it is read, for an image that cannot be.
    """

    def __init__(
        self,
        folder: str | Path,
        size: int,
        *,
        moved: bool = False,
        classes: Sequence[str] | None = None,
        mean: Sequence[float] = _MEAN,
        std: Sequence[float] = _STD,
        share: float = 0.875,
    ):
        folder = Path(folder)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"ImageFolder size must be an integer of at least 1, not {size!r}")
        if not folder.is_dir():
            raise ValueError(f"{folder}: ImageFolder must be a folder of folders, one a class; there is none")
        found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        if not found:
            raise ValueError(f"{folder}: ImageFolder must hold a folder for each class; it holds none")
        self.classes = list(classes or found)
        self.square = Square(size, moved, mean, std, share)
        self.files: list[tuple[Path, int]] = []
        for name in found:
            if name not in self.classes:
                raise ValueError(f"{folder / name}: class must be one of the {len(self.classes)} of training")
            files = sorted(path for path in (folder / name).iterdir() if path.suffix.lower() in _KINDS)
            if not files:
                raise ValueError(f"{folder / name}: class must have an image ({', '.join(_KINDS)}); it has none")
            number = self.classes.index(name)
            self.files += [(path, number) for path in files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        path, number = self.files[place]
        try:
            with Image.open(path) as opened:
                image = opened.convert("RGB")
        except Exception as error:  # Pillow's readers raise whatever a damaged file leads to
            raise ValueError(f"{path}: image cannot be read: {error}") from None
        return self.square(image), number


class ImageTable(Dataset[tuple[torch.Tensor, int]]):
    """Rows of a table, a data set of ``datasets``, as pairs of tensor and class number.

    image, label: the columns, of Pillow's images and of numbers.
    """

    def __init__(self, rows: Any, square: Square, image: str, label: str = "label"):
        self.rows, self.square, self._image, self._label = rows, square, image, label

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        row = self.rows[place]
        return self.square(row[self._image]), int(row[self._label])
