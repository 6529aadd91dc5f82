"""A vision transformer for digits: a task of `hwlut search --task search_vit_mnist`."""

from examples.data import Digits, mnist
from examples.models import VisionTransformer
from hwlut.train import Finetune, Task

__all__ = ["task"]


def task() -> Task:
    train, test = mnist()
    return Task(
        name="search_vit_mnist",
        model=VisionTransformer,
        train=Digits(train, moved=True),
        test=Digits(test),
        dense=Finetune(epochs=40, learning_rate=2e-3),
    )
