"""A residual network for digits: a task of `hwlut search --task search_resnet_mnist`."""

from examples.data import Digits, mnist
from examples.models import ResNet
from hwlut.train import Finetune, Task

__all__ = ["task"]


def task() -> Task:
    train, test = mnist()
    return Task(
        name="search_resnet_mnist",
        model=ResNet,
        train=Digits(train, moved=True),
        test=Digits(test),
        dense=Finetune(epochs=15, learning_rate=2e-3),
    )
