"""Tasks by name: data that packages bring or that lie on disk, with a model by name."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwlut.fields import shorten
from hwlut.train.data.digits import Digits, Split, digits, mnist
from hwlut.train.data.glue import GLUE, glue
from hwlut.train.data.pictures import cifar10, imagenet
from hwlut.train.data.problem import Problem
from hwlut.train.data.vowels import japanese_vowels
from hwlut.train.models.families import Published
from hwlut.train.models.inputs import Images, Series, Tokens
from hwlut.train.models.named import checked_model, published
from hwlut.train.models.named import model as named_model
from hwlut.train.task import Task

__all__ = ["TASKS", "named_task"]

_GLUE = "nyu-mll/glue"


@dataclasses.dataclass(frozen=True)
class _Source:
    """inputs: their kind. read: the problem, for a model and the options given. needs: options that must be, each with
    what makes such a folder. may: those that can be."""

    inputs: type[Images] | type[Series] | type[Tokens]
    read: Callable[..., Problem]
    needs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    may: tuple[str, ...] = ()


def _of_digits(read: Callable[[], tuple[Split, Split]], moved: bool) -> Callable[..., Problem]:
    def problem(_: Published) -> Problem:
        train, test = read()
        return Problem(Digits(train, moved), Digits(test), Images(*train[0].shape[1:]), 10)

    return problem


def _of_glue(task: str) -> Callable[..., Problem]:
    return lambda model, **options: glue(task, model, **options)


def _saved(*names: str) -> str:
    return f"datasets.load_dataset({', '.join(map(repr, names))}).save_to_disk(FOLDER)"


_TOKENIZER = "transformers.AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER)"
_PICTURES = "{}, or train/CLASS/*.png and {}/CLASS/*.png"
_SOURCES = {
    "mnist": _Source(Images, _of_digits(mnist, moved=True)),
    "digits": _Source(Images, _of_digits(digits, moved=False)),
    "japanese-vowels": _Source(Series, lambda _, **options: japanese_vowels(**options), may=("data",)),
    "cifar10": _Source(Images, cifar10, {"data": _PICTURES.format(_saved("uoft-cs/cifar10"), "test")}, ("size",)),
    "imagenet-1k": _Source(
        Images, imagenet, {"data": _PICTURES.format(_saved("ILSVRC/imagenet-1k"), "val")}, ("size",)
    ),
    **{
        task: _Source(Tokens, _of_glue(task), {"data": _saved(_GLUE, task), "tokenizer": _TOKENIZER}, ("length",))
        for task in GLUE
    },
}

TASKS: tuple[str, ...] = tuple(_SOURCES)
"""The names that `named_task` knows."""


def named_task(
    task: str,
    model: str,
    *,
    data: str | Path | None = None,
    tokenizer: str | Path | None = None,
    size: int | None = None,
    length: int | None = None,
    weights: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
    told: Callable[[str], None] | None = None,
) -> Task:
    """The training problem of a task and a model, both by name; nothing is ever downloaded.

    Parameters
    ----------
    task: one of `TASKS`. Digits and vowels come with packages; the others are read from a folder.
    model: one of `hwlut.train.models.MODELS` that takes such inputs.
    data: the folder: what ``save_to_disk`` of datasets wrote, or of images a folder a class in ``train`` and in
        ``test`` or ``val``; of vowels the two .ts files, by default those in aeon.
    tokenizer: of texts, the folder that ``save_pretrained`` wrote.
    size: of the images of cifar10 (by default their own 32) and imagenet-1k (by default the model's), in pixels.
    length: of a text in tokens, by default 128.
    weights, config, told: of the model: see `hwlut.train.models.model`.
    seed: of the weights that are drawn: each call of the task's ``model`` gives the same.

    Images are normalised as the published weights of the model expect; what is reported is the share of right classes,
    but for stsb. ValueError, in one line, for names unknown or that do not go together, and for data that do not fit;
    ToolError for a package that is not installed.
    """
    if task not in _SOURCES:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, not {shorten(task)}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"named_task seed must be an integer of at least 0, not {shorten(seed)}")
    source = _SOURCES[task]
    name = checked_model(model, source.inputs)
    options = _options(task, source, {"data": data, "tokenizer": tokenizer, "size": size, "length": length})
    problem = source.read(published(name), **options)

    def build() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return named_model(name, problem.inputs, problem.classes, weights=weights, config=config, told=told)

    return Task(
        name=f"{name}_{task}".replace("-", "_"),
        model=build,
        train=problem.train,
        test=problem.test,
        loss=problem.loss,
        metric=problem.metric,
    )


def _options(task: str, source: _Source, given: dict[str, Any]) -> dict[str, Any]:
    """The options that are given, folders as paths; ValueError for one that the task lacks or does not take."""
    found: dict[str, Any] = {}
    for option, value in given.items():
        if value is None:
            if option in source.needs:
                raise ValueError(f"{task} {option} must be a folder; make one by {source.needs[option]}")
            continue
        if option not in source.needs and option not in source.may:
            taken = ", ".join((*source.needs, *source.may)) or "no option of its data"
            raise ValueError(f"{task} takes {taken}, not {option}")
        if option in ("data", "tokenizer"):
            value = Path(value)
            if not value.is_dir():
                made = f"; make one by {source.needs[option]}" if option in source.needs else ""
                raise ValueError(f"{value}: {task} {option} must be a folder; there is none{made}")
        elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{task} {option} must be an integer of at least 1, not {shorten(value)}")
        found[option] = value
    return found
