"""Images in a folder for each class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

__all__ = ["ImageFolder"]

_KINDS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SHARE = 0.875


class ImageFolder(Dataset[tuple[torch.Tensor, int]]):
    """Images ``folder/class/name.png`` (.jpg and others too) as pairs of tensor and class number, in order of names.

    An image is resized, its shorter side to size / 0.875, and cropped to a square: from the middle, or with `moved`
    from a random place and mirrored or not, by torch's generator. Then it is normalised: float32 [3, size, size].

    Parameters
    ----------
    size: of the square.
    classes: names of all classes, where the numbers are to be those of another folder; by default the folder's own.
    mean, std: of red, green and blue in [0, 1]; by default ImageNet's.

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
        self.size, self.moved = size, moved
        self._mean, self._std = (torch.tensor(tuple(each)).view(3, 1, 1) for each in (mean, std))
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
        path, number = self.files[place]
        pixels = torch.from_numpy(self._square(path)).permute(2, 0, 1).float() / 255
        if self.moved and torch.rand(()) < 0.5:
            pixels = pixels.flip(2)
        return (pixels - self._mean) / self._std, number

    def _square(self, path: Path) -> np.ndarray:
        """The image, resized and cropped: uint8 [size, size, 3]."""
        from PIL import Image

        try:
            with Image.open(path) as opened:
                image = opened.convert("RGB")
        except Exception as error:  # Pillow's readers raise whatever a damaged file leads to
            raise ValueError(f"{path}: image cannot be read: {error}") from None
        scale = self.size / _SHARE / min(image.size)
        width, height = (max(self.size, round(side * scale)) for side in image.size)
        spare = width - self.size, height - self.size
        left, top = (each // 2 for each in spare)
        if self.moved:
            left, top = (int(torch.randint(each + 1, ())) for each in spare)
        resized = image.resize((width, height), Image.Resampling.BICUBIC)
        return np.array(resized.crop((left, top, left + self.size, top + self.size)))
