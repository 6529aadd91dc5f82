"""Training problems: a dense model, its data, its loss; and the files that hold them."""

import dataclasses
import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from hwlut.fields import shorten
from hwlut.share import share
from hwlut.train.options import Finetune

__all__ = ["Task", "cross_entropy", "logits_of", "task_file", "top1"]

_SHIPPED = ("lut_", "search_", "compress_")


def logits_of(output: Any) -> torch.Tensor:
    """The logits in a model's output: itself, its ``.logits``, or the first of several."""
    logits = getattr(output, "logits", output)
    if isinstance(logits, (tuple, list)) and logits:
        logits = logits[0]
    if not isinstance(logits, torch.Tensor):
        raise TypeError(f"Task logits must be found in the model's output, not in {type(output).__name__}")
    return logits


def cross_entropy(output: Any, target: torch.Tensor) -> torch.Tensor:
    """The mean cross entropy of the logits."""
    return F.cross_entropy(logits_of(output), target)


def top1(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Whether each sample's largest logit is that of its class, 0 or 1 [batch]."""
    return (logits.argmax(-1) == target).float()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A training problem.

    Parameters
    ----------
    name: matches ``[A-Za-z_][A-Za-z0-9_]*``.
    model: makes the dense model, a new one at each call; with its weights, unless `dense` is given.
    train, test: data sets with a length, of pairs (input, target); an input is a tensor, a tuple of positional or a
        dict of keyword arguments. What an item draws must come from torch's own generator.
    loss: of the model's output and the targets; by default the mean cross entropy of the logits.
    logits: those in the model's output; by default it or its ``.logits``.
    metric: of logits and targets, a number a sample [batch], 0 to 1, whose mean is reported; by default top-1.
    dense: how the dense model is trained first. None where it comes with weights.
    """

    name: str
    model: Callable[[], nn.Module]
    train: Any
    test: Any
    loss: Callable[[Any, Any], torch.Tensor] = cross_entropy
    logits: Callable[[Any], torch.Tensor] = logits_of
    metric: Callable[[torch.Tensor, Any], torch.Tensor] = top1
    dense: Finetune | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise ValueError(f"Task name must be an identifier, not {shorten(self.name)}")
        for label in ("model", "loss", "logits", "metric"):
            if not callable(getattr(self, label)):
                raise TypeError(f"Task {label} must be a function, not {type(getattr(self, label)).__name__}")
        for label in ("train", "test"):
            data = getattr(self, label)
            if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
                raise TypeError(f"Task {label} must be a data set with a length and items, not {type(data).__name__}")
            if not len(data):
                raise ValueError(f"Task {label} must have at least one sample")
        if self.dense is not None and not isinstance(self.dense, Finetune):
            raise TypeError(f"Task dense must be a Finetune, not {type(self.dense).__name__}")

    @staticmethod
    def load(given: str | Path) -> "Task":
        """What ``task()`` of a Python file returns; where there is no such file, of the shipped example of that name.

        The file is run as Python imports it: modules beside it can be imported, and one in a package is that package's.
        Raises ValueError, naming the file, where it cannot be run, defines no ``task`` or returns another thing.
        """
        path, _ = task_file(given)
        define = getattr(_imported(path), "task", None)
        if not callable(define):
            raise ValueError(f"{path}: a task file must define task(), which returns a hwlut.train.Task")
        try:
            found = define()
        except Exception as error:
            raise ValueError(f"{path}: task() raised {type(error).__name__}: {error}") from error
        if not isinstance(found, Task):
            raise ValueError(f"{path}: task() must return a hwlut.train.Task, not {type(found).__name__}")
        return found


def task_file(given: str | Path) -> tuple[Path, bool]:
    """The task file at a path; where there is none, the shipped example of that name, and True."""
    path = Path(given)
    if path.is_file():
        if path.suffix != ".py":
            raise ValueError(f"task must be a Python file (.py), not {str(given)!r}")
        return path, False
    shipped = share("examples", path.name.removesuffix(".py") + ".py")
    names = [file.stem for kind in _SHIPPED for file in sorted(share("examples").glob(f"{kind}*.py"))]
    if str(path.parent) not in (".", "examples") or shipped.stem not in names:
        raise ValueError(f"task must be a Python file or a shipped example ({', '.join(names)}), not {str(given)!r}")
    return shipped, True


def _imported(path: Path) -> types.ModuleType:
    """The module of a file, by its full name where it lies in a package."""
    folder, parts = Path(os.path.realpath(path)).parent, [path.stem]
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    name = ".".join(parts)
    top = sys.modules.get(parts[0])
    origin = getattr(top, "__file__", None)
    if len(parts) > 1 and origin and Path(origin).resolve().parent != folder / parts[0]:
        raise ValueError(f"{path}: its package {parts[0]!r} must not be loaded already from {Path(origin).parent}")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))  # for good: its functions may import when they are called
    try:
        if len(parts) > 1:
            return importlib.import_module(name)
        specification = importlib.util.spec_from_file_location(f"hwlut_task_{name}", path)
        assert specification is not None and specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[specification.name] = module  # what dataclasses and pickle look it up by
        specification.loader.exec_module(module)
        return module
    except (Exception, SystemExit) as error:
        raise ValueError(f"{path}: cannot be run: {type(error).__name__}: {error}") from error
