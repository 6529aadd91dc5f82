"""The options of `hwlut search` that were given, and the task and the parts of a model that they name."""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from hwlut.cli.tasks import file_source

__all__ = ["Asked", "flag", "found_by_all", "parts", "run_folder", "task_source"]

_OF_NAMED_TASKS = ("data", "tokenizer", "size", "length", "config")
_FLAGS = {"method": "--search"}


@dataclasses.dataclass(frozen=True)
class Asked:
    """Options by their names in Python: the value of each, and those that were given, in the order of the command."""

    values: Mapping[str, Any]
    given: tuple[str, ...]

    @classmethod
    def of(cls, context: typer.Context) -> "Asked":
        """Those of a command that is called."""

        def told(name: str) -> bool:
            source = context.get_parameter_source(name)
            return source is not None and source.name != "DEFAULT"

        return cls(dict(context.params), tuple(filter(told, context.params)))

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def __contains__(self, name: str) -> bool:
        return name in self.given

    def only(self, names: Iterable[str]) -> list[str]:
        """Those of some options that were given."""
        return [name for name in names if name in self]

    def refuse(self, names: Iterable[str], reason: str) -> None:
        """ValueError for the first of some options that was given."""
        if found := self.only(names):
            raise ValueError(f"{flag(found[0])} must be left out {reason}")

    def renamed(self, names: Mapping[str, str]) -> dict[str, Any]:
        """Values of those that were given, by other names."""
        return {other: self[name] for name, other in names.items() if name in self}


def flag(name: str) -> str:
    """An option as it is written."""
    return _FLAGS.get(name, "--" + name.replace("_", "-"))


def found_by_all(asked: Asked, path: Path) -> Path:
    """A path that Dask's workers find too, wherever they run."""
    return Path(os.path.realpath(path)) if asked["dask"] else path


def run_folder(asked: Asked, name: str, first: bool) -> Path:
    """The folder of a run of the task of this name; ValueError where it holds one that is not to go on."""
    name = asked["exp_name"] or name
    if Path(name).name != name:
        raise ValueError(f"--exp-name must be the name of a folder, not {name!r}")
    folder: Path = asked["output_root_dir"] / name
    if first and (folder / "request.json").exists() and not asked["resume"]:
        raise ValueError(f"{folder} holds a run: go on with it by --resume, or give another --exp-name")
    return folder


def task_source(asked: Asked) -> Any:
    """Where the task is found, for `hwlut.search.source.task_of`."""
    from hwlut.train import TASKS

    task, model = asked["task"], asked["model"]
    if task is None:
        raise ValueError(f"--task must be given: a task file, a shipped one, or with --model one of {', '.join(TASKS)}")
    if model is None:
        asked.refuse(_OF_NAMED_TASKS, "without --model, which a named task needs")
        if task in TASKS:
            raise ValueError(f"--model must be given with the named task {task}")
        try:
            return file_source(task)
        except ValueError as error:
            raise ValueError(f"{error}; or, with --model, one of {', '.join(TASKS)}") from None
    if task not in TASKS:
        raise ValueError(f"--model must be left out but with a named task ({', '.join(TASKS)}), not {task!r}")
    paths = {name: os.path.realpath(asked[name]) for name in ("data", "tokenizer", "weights") if name in asked}
    sizes = {name: asked[name] for name in ("size", "length") if name in asked}
    config = {"config": _config(asked["config"])} if "config" in asked else {}
    return {"task": task, "model": model, "seed": asked["seed"]} | paths | sizes | config


def parts(asked: Asked) -> list[str]:
    """Of `hwlut.search.parts.PARTS`, those that were asked for."""
    from hwlut.search.parts import PARTS

    found = [part for part in PARTS if f"quantize_{part.replace('-', '_')}" in asked]
    if found:
        asked.refuse(("include",), f"with --quantize-{found[0]}, which is a pattern of names too")
    return found


def _config(given: list[str]) -> dict[str, Any]:
    """KEY=VALUE, with the value as JSON, or else as text."""
    import json

    found = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not (key and equals):
            raise ValueError(f"--config must be KEY=VALUE, not {each!r}")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found
