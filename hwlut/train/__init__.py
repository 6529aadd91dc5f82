"""Training: problems, the loop, the states it keeps, and the figure a model comes to."""

from hwlut.train.control import Control
from hwlut.train.data import TASKS, named_task
from hwlut.train.evaluation import evaluate, sample
from hwlut.train.images import ImageFolder
from hwlut.train.models import MODELS
from hwlut.train.options import Finetune
from hwlut.train.states import load_state, save_state, warm_start
from hwlut.train.task import Task
from hwlut.train.training import Evaluation, Finetuned, finetune

__all__ = [
    "Control",
    "MODELS",
    "TASKS",
    "Evaluation",
    "Finetune",
    "Finetuned",
    "ImageFolder",
    "Task",
    "evaluate",
    "finetune",
    "load_state",
    "named_task",
    "sample",
    "save_state",
    "warm_start",
]
