"""Task files as arguments of commands."""

import os

from hwlut.cli.screen import note

__all__ = ["file_source"]


def file_source(given: str) -> str:
    """What finds the task of a file again: the file's full path, or, with a note, the name of the shipped one."""
    from hwlut.train.task import task_file

    path, shipped = task_file(given)
    if shipped:
        note(f"no file {given}: taking the shipped example {path}")
    return path.stem if shipped else os.path.realpath(path)
