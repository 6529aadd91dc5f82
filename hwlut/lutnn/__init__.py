"""Networks on look-ups: from a dense model to one that is trained, measured and deployed."""

from hwlut.lutnn.c_source import c_source, write_c
from hwlut.lutnn.costs import Costs, CountedLayer, costs
from hwlut.lutnn.evaluation import evaluate, sample
from hwlut.lutnn.flow import Result, open_run, run
from hwlut.lutnn.images import ImageFolder
from hwlut.lutnn.layers import save_units, units
from hwlut.lutnn.onnx_export import export_onnx
from hwlut.lutnn.options import Finetune
from hwlut.lutnn.replacement import Replaced, replace
from hwlut.lutnn.states import load_state, save_state, warm_start
from hwlut.lutnn.task import Task
from hwlut.lutnn.training import Evaluation, Finetuned, finetune

__all__ = [
    "Costs",
    "CountedLayer",
    "Evaluation",
    "Finetune",
    "Finetuned",
    "ImageFolder",
    "Replaced",
    "Result",
    "Task",
    "c_source",
    "costs",
    "evaluate",
    "export_onnx",
    "finetune",
    "load_state",
    "open_run",
    "replace",
    "run",
    "sample",
    "save_state",
    "save_units",
    "units",
    "warm_start",
    "write_c",
]
