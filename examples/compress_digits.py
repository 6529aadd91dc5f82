"""A residual network of four blocks for digits of 8 x 8: a task of `hwlut compress --task compress_digits`."""

from examples.data import Digits, digits
from examples.models import ResNet
from hwlut.train import Finetune, Task

__all__ = ["task"]


def task() -> Task:
    train, test = digits()
    return Task(
        name="compress_digits",
        model=lambda: ResNet(16, depths=(2, 2), stride=1),
        train=Digits(train),
        test=Digits(test),
        dense=Finetune(epochs=20, batch=64, learning_rate=3e-3, ema=0.0),
    )
