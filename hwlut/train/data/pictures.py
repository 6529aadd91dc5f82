"""Colour images from disk: CIFAR-10, and ImageNet's thousand classes."""

from pathlib import Path

from hwlut.train.data.problem import Problem
from hwlut.train.data.tables import check_labels, is_table, read_tables
from hwlut.train.images import ImageFolder, ImageTable, Square
from hwlut.train.models.families import Published
from hwlut.train.models.inputs import Images

__all__ = ["cifar10", "imagenet"]

_TESTS = ("val", "validation", "test")


def cifar10(model: Published, data: Path, size: int | None = None) -> Problem:
    """50,000 training and 10,000 test images of 32 x 32, whole but for random shifts in training.

    Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009).
    """
    return _pictures(model, data, size or 32, 10, "test", ("img", "image"), share=1.0)


def imagenet(model: Published, data: Path, size: int | None = None) -> Problem:
    """The 1.28 million training and 50,000 validation images, in the size that the model was published with.

    Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge" (arXiv 1409.0575).
    """
    return _pictures(model, data, size or model.side, 1000, "validation", ("image", "img"), share=0.875)


def _pictures(
    model: Published, data: Path, size: int, classes: int, test: str, columns: tuple[str, ...], share: float
) -> Problem:
    mean, std = model.family.mean, model.family.std
    inputs = Images(3, size, size)
    if is_table(data):
        rows = read_tables(data, ("train", test), ("label",))
        image = next((each for each in columns if each in rows[0].column_names), columns[0])
        rows = read_tables(data, ("train", test), (image, "label"))
        for each in rows:
            check_labels(data, each, classes)
        train, held = (
            ImageTable(each, Square(size, moved, mean, std, share), image) for each, moved in zip(rows, (True, False))
        )
        return Problem(train, held, inputs, classes)
    shown = ImageFolder(data / "train", size, moved=True, mean=mean, std=std, share=share)
    if len(shown.classes) != classes:
        raise ValueError(f"{data / 'train'}: there must be {classes} classes, not {len(shown.classes)}")
    place = next((data / name for name in _TESTS if (data / name).is_dir()), data / test)
    return Problem(
        shown, ImageFolder(place, size, classes=shown.classes, mean=mean, std=std, share=share), inputs, classes
    )
