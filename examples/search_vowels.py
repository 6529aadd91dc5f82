"""A transformer for spoken vowels, series of 7 to 29 steps: a task of `hwlut search --task search_vowels`."""

from examples.data import japanese_vowels
from examples.models import SeriesTransformer
from hwlut.train import Finetune, Task

__all__ = ["task"]


def task() -> Task:
    vowels = japanese_vowels()
    return Task(
        name="search_vowels",
        model=lambda: SeriesTransformer(vowels.inputs.channels, vowels.inputs.length, vowels.classes),
        train=vowels.train,
        test=vowels.test,
        dense=Finetune(epochs=60, batch=30, learning_rate=2e-3),
    )
