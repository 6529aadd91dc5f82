"""DeiT with the projections of its last blocks by look-ups: the recipe, on Hugging Face's model and images from disk.

    python -m examples.lut_deit --model DIR --images DIR [--last-blocks 3] -o DIR

The model is a folder as `save_pretrained` writes it: config.json, and model.safetensors unless it is to be trained
first; the images are DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg. Nothing is ever downloaded.
"""

import argparse
import dataclasses
import fnmatch
import os
from pathlib import Path

from torch import nn

from hwlut.lutnn import run
from hwlut.nn import Lookup
from hwlut.train import Finetune, ImageFolder, Task

__all__ = ["LOOKUP", "OPTIONS", "names", "task"]

LOOKUP = Lookup(k=16, v=32)
OPTIONS = Finetune(epochs=20, batch=128, learning_rate=1e-4, weight_decay=0.05, distill=0.5)
NAMES = ("*.q_proj", "*.k_proj", "*.v_proj", "*.query", "*.key", "*.value", "*.qkv", "*.fc1", "*.intermediate.dense")


def names(model: nn.Module) -> list[str]:
    """Patterns of the projections to queries, keys and values and of the MLPs' first layers, as `model` has them."""
    return [pattern for pattern in NAMES if any(fnmatch.fnmatch(name, pattern) for name, _ in model.named_modules())]


def task(model: str | None = None, images: str | None = None) -> Task:
    """The task of two folders, which HWLUT_DEIT_MODEL and HWLUT_DEIT_IMAGES name unless they are given."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import DeiTConfig, DeiTForImageClassification

    folder = _folder(model, "HWLUT_DEIT_MODEL")
    data = _folder(images, "HWLUT_DEIT_IMAGES")
    config = DeiTConfig.from_json_file(folder / "config.json")
    train = ImageFolder(data / "train", config.image_size, moved=True)
    test = ImageFolder(data / "test", config.image_size, classes=train.classes)
    if len(train.classes) != config.num_labels:
        raise ValueError(f"{data}: images must be of {config.num_labels} classes, not {len(train.classes)}")
    trained = (folder / "model.safetensors").is_file()

    def dense() -> nn.Module:
        if trained:
            return DeiTForImageClassification.from_pretrained(folder, local_files_only=True)
        return DeiTForImageClassification(config)

    return Task(
        name="lut_deit",
        model=dense,
        train=train,
        test=test,
        dense=None if trained else Finetune(epochs=100, batch=128, learning_rate=5e-4, weight_decay=0.05),
    )


def _folder(given: str | None, variable: str) -> Path:
    path = Path(given or os.environ.get(variable) or "")
    if not path.is_dir() or path == Path():
        raise ValueError(f"{variable} must name a folder, not {str(given or os.environ.get(variable))!r}")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="folder of the model")
    parser.add_argument("--images", help="folder of the images")
    parser.add_argument("--last-blocks", type=int, default=3, help="how many blocks look up")
    parser.add_argument("-o", metavar="DIR", default="lut_deit", help="folder of the run")
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    given = parser.parse_args()
    problem = task(given.model, given.images)
    chosen = {"include": names(problem.model()), "keep_ends": False, "last_blocks": given.last_blocks}
    options = dataclasses.replace(OPTIONS, workers=given.workers)
    print(run(problem, LOOKUP, options, given.o, progress=print, **chosen))


if __name__ == "__main__":
    main()
