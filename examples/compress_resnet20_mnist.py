"""A narrow ResNet-20 for digits: a task of `hwlut compress --task compress_resnet20_mnist`."""

from examples.data import Digits, mnist
from examples.models import ResNet
from hwlut.train import Finetune, Task

__all__ = ["task"]


def task() -> Task:
    train, test = mnist()
    return Task(
        name="compress_resnet20_mnist",
        model=lambda: ResNet(8, depths=(3, 3, 3)),
        train=Digits(train, moved=True),
        test=Digits(test),
        dense=Finetune(epochs=15, learning_rate=2e-3),
    )
