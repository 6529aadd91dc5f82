"""Folders that `save_to_disk` of ``datasets`` wrote."""

from pathlib import Path
from typing import Any

from hwlut.fields import shorten
from hwlut.train.packages import needed

__all__ = ["check_labels", "is_table", "read_tables"]


def is_table(data: Path) -> bool:
    """Whether a folder holds data sets by name, such as train and test."""
    return (data / "dataset_dict.json").is_file()


def read_tables(data: Path, names: tuple[str, ...], columns: tuple[str, ...]) -> list[Any]:
    """The data sets of these names; ValueError, naming the folder, unless they are there and have these columns."""
    if not is_table(data):
        raise ValueError(
            f"{data}: data must be what save_to_disk wrote of {', '.join(names)}; dataset_dict.json is missing"
        )
    needed("datasets")
    import datasets

    try:
        found = datasets.load_from_disk(str(data))
    except Exception as error:  # its readers raise whatever a damaged folder leads to
        raise ValueError(f"{data}: data cannot be read: {shorten(str(error))}") from None
    for name in names:
        if name not in found:
            raise ValueError(f"{data}: data must hold {', '.join(names)}, not {shorten(sorted(found))}")
    for name in names:
        for column in columns:
            if column not in found[name].column_names:
                told = shorten(found[name].column_names)
                raise ValueError(f"{data}: {name} must have the columns {', '.join(columns)}, not {told}")
    return [found[name] for name in names]


def check_labels(data: Path, rows: Any, classes: int) -> None:
    """ValueError, naming the folder, unless all labels are from 0 to below `classes`."""
    labels = rows.unique("label")
    if not labels or not all(0 <= label < classes for label in labels):
        wrong = sorted(label for label in labels if not 0 <= label < classes)
        raise ValueError(f"{data}: label must be from 0 to {classes - 1}, not {shorten(wrong)}")
