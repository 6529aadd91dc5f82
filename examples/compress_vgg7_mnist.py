"""A narrow VGG-7 for digits: a task of `hwlut compress --task compress_vgg7_mnist`."""

from examples.data import Digits, mnist
from examples.models import VGG7
from hwlut.train import Finetune, Task

__all__ = ["task"]


def task() -> Task:
    train, test = mnist()
    return Task(
        name="compress_vgg7_mnist",
        model=lambda: VGG7(8),
        train=Digits(train, moved=True),
        test=Digits(test),
        dense=Finetune(epochs=10, learning_rate=2e-3),
    )
