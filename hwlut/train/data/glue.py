"""The tasks of GLUE: one text or two, and a class, or for stsb a number."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from hwlut.fields import shorten
from hwlut.train.data.problem import Problem
from hwlut.train.data.tables import check_labels, read_tables
from hwlut.train.models.families import Published
from hwlut.train.models.inputs import Tokens
from hwlut.train.packages import needed
from hwlut.train.task import logits_of

__all__ = ["GLUE", "Texts", "closeness", "glue", "squared_error"]

_SPAN = 5.0
_LENGTH = 128


@dataclasses.dataclass(frozen=True)
class _Glue:
    columns: tuple[str, ...]
    classes: int = 2
    test: str = "validation"


GLUE = {
    "cola": _Glue(("sentence",)),
    "sst2": _Glue(("sentence",)),
    "mrpc": _Glue(("sentence1", "sentence2")),
    "stsb": _Glue(("sentence1", "sentence2"), classes=1),
    "qqp": _Glue(("question1", "question2")),
    "mnli": _Glue(("premise", "hypothesis"), classes=3, test="validation_matched"),
    "qnli": _Glue(("question", "sentence")),
    "rte": _Glue(("sentence1", "sentence2")),
    "wnli": _Glue(("sentence1", "sentence2")),
}
"""Columns and classes as the data set has them: Wang et al. (arXiv 1804.07461), table 1. Its test labels are not
public, so the data tested on are those of validation."""


def glue(task: str, model: Published, data: Path, tokenizer: Path, length: int | None = None) -> Problem:
    """A task of GLUE, its texts cut and padded to `length` tokens, by default 128.

    Judged by accuracy, which is what GLUE reports of sst2, mnli, qnli, rte and wnli; beside it GLUE reports F1 of mrpc
    and qqp, and instead of it Matthews' correlation of cola, which are no means over samples. stsb, similarities from 0
    to 5, is a regression: its loss is the squared error and its figure `closeness`, where GLUE has correlations.
    """
    kind, length = GLUE[task], length or _LENGTH
    train, test = read_tables(data, ("train", kind.test), (*kind.columns, "label"))
    reader = _tokenizer(tokenizer)
    if kind.classes > 1:
        for rows in (train, test):
            check_labels(data, rows, kind.classes)
    real = kind.classes == 1
    shown, held = (Texts(rows, kind.columns, reader, length, model.family.types, real) for rows in (train, test))
    inputs = Tokens(len(reader), length, reader.pad_token_id)
    if real:
        return Problem(shown, held, inputs, 1, squared_error, closeness)
    return Problem(shown, held, inputs, kind.classes)


class Texts(Dataset[tuple[dict[str, Tensor], Tensor]]):
    """Rows as pairs of keyword arguments, int64 [length] each, and the label, int64 or for a regression float32.

    types: whether ``token_type_ids`` are among them.
    """

    def __init__(self, rows: Any, columns: tuple[str, ...], tokenizer: Any, length: int, types: bool, real: bool):
        self.rows, self._columns, self._tokenizer, self._length = rows, columns, tokenizer, length
        self._types, self._real = types, real

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[dict[str, Tensor], Tensor]:
        row = self.rows[place]
        found = self._tokenizer(
            *(row[column] for column in self._columns),
            truncation=True,
            max_length=self._length,
            padding="max_length",
            return_attention_mask=True,
            return_token_type_ids=self._types,
        )
        names = ("input_ids", "attention_mask", *(("token_type_ids",) if self._types else ()))
        label = torch.tensor(row["label"], dtype=torch.float32 if self._real else torch.int64)
        return {name: torch.tensor(found[name]) for name in names}, label


def squared_error(output: Any, target: Tensor) -> Tensor:
    """The mean squared error of the only logit."""
    return F.mse_loss(logits_of(output).squeeze(-1).float(), target)


def closeness(logits: Tensor, target: Tensor) -> Tensor:
    """1 - |logit - target| / 5, at least 0, of each sample [batch]."""
    return (1 - (logits.squeeze(-1) - target).abs() / _SPAN).clamp(min=0)


def _tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder, with a token for padding: its own, or the one that ends a text."""
    needed("transformers")
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # its readers raise whatever a damaged folder leads to
        raise ValueError(f"{folder}: tokenizer cannot be read: {shorten(str(error))}") from None
    if found.pad_token_id is None:
        if found.eos_token is None:
            raise ValueError(f"{folder}: tokenizer must have a token for padding or one that ends a text; it has none")
        found.pad_token = found.eos_token
    found.padding_side = "right"
    return found
