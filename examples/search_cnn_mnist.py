"""LeNet-5 for digits: a task of `hwlut search --task search_cnn_mnist`."""

from examples.data import Digits, mnist
from examples.models import LeNet5
from hwlut.train import Finetune, Task

__all__ = ["task"]


def task() -> Task:
    train, test = mnist()
    return Task(
        name="search_cnn_mnist",
        model=LeNet5,
        train=Digits(train, moved=True),
        test=Digits(test),
        dense=Finetune(epochs=10, learning_rate=2e-3),
    )
