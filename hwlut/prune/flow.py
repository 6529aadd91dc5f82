"""A whole compression: a model is pruned and quantized in training, made smaller, measured and written."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from hwlut.graph import trace
from hwlut.nn.quantized import quantize, quantized_operations, split_attention
from hwlut.prune.groups import groups
from hwlut.prune.jointly import jointly
from hwlut.prune.options import Joint
from hwlut.prune.result import Compression
from hwlut.prune.sequential import Sequential, sequentially
from hwlut.prune.shrink import shrink
from hwlut.prune.size import precision_of, shapes_of, size_of
from hwlut.prune.unquantized import unquantized
from hwlut.prune.work import Work
from hwlut.search.cost import Cost, LayerShape, bit_operations
from hwlut.search.result import QuantizedOperation, numbers_of
from hwlut.search.source import task_of_run
from hwlut.train import Finetune, Task, load_state, sample, save_state
from hwlut.train.evaluation import mean_loss, scored
from hwlut.train.processes import Processes, processes
from hwlut.train.randomness import keeping_generators
from hwlut.train.request import check_request

__all__ = ["Compressed", "compress", "open_compressed"]

_BATCH = 100
_FIRST = ("request.json", "pruned.safetensors", "search/request.json")
"""What a run writes before it has trained, but for the dense model, which any run may start from."""


@dataclass(frozen=True)
class Compressed:
    """Result of `compress`. compression: as in its file. model: as it now is, smaller, in evaluation mode."""

    folder: Path
    compression: Compression
    model: nn.Module = field(repr=False)


def compress(
    task: Task,
    options: Joint | Sequential,
    training: Finetune,
    folder: str | Path,
    *,
    cost: Callable[[Mapping[Any, LayerShape]], Cost] = bit_operations,
    weights: str | Path | None = None,
    source: Any = None,
    device: str | Any | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Compressed:
    """Prune and quantize the model of `task`, training it meanwhile, and measure what comes out on the test data.

    Parameters
    ----------
    task: a `dense` of its own is trained first; test data decide nothing.
    options, training: of the compression and of all its steps together. `Joint` prunes and quantizes in one training;
        `Sequential` prunes at once and then searches formats.
    folder: gets ``compression.json`` (a `Compression`), ``model.safetensors``, ``checkpoint.safetensors`` and
        ``log.jsonl``. A compression that was stopped goes on; one of other arguments is refused.
    cost: makes the `Cost` of operations from their shapes, by path; that of a `Sequential`'s budget too.
    weights: a state of the dense model to start from.
    source: where `open_compressed` finds the task again, as plain JSON: see `hwlut.search.source.task_of`.
    device: by default a GPU where there is one. progress: called with steps done, their number and a text.

    Started by torchrun, the processes train together. Raises ValueError where nothing can be pruned or quantized, for
    more groups than can go, and for data or losses that are not finite.
    """
    if not isinstance(task, Task):
        raise TypeError(f"compress task must be a Task, not {type(task).__name__}")
    if not isinstance(options, (Joint, Sequential)):
        raise TypeError(f"compress options must be Joint or Sequential, not {type(options).__name__}")
    request = {
        "task": task.name,
        "method": type(options).__name__.lower(),
        "compression": options.settings,
        "training": training.settings,
        "cost": getattr(cost, "__name__", type(cost).__name__),
        "weights": None if weights is None else str(weights),
    }
    steps = training.count(len(task.train))
    if isinstance(options, Joint):
        options.lengths(steps)
    place = Path(folder)
    with processes(device) as group, keeping_generators(group.device), _new(place, group):
        check_request(place / "request.json", request, group)
        work = Work(task, training, place, weights, group, progress)
        done = jointly(work, options, cost) if isinstance(options, Joint) else sequentially(work, options, cost)
        model = done.model.eval()
        with unquantized(model):
            shapes = shapes_of(trace(model, work.sample))
        modules = quantized_operations(model)
        counted = cost({name: shapes[name] for name in modules})
        operations = {
            name: QuantizedOperation(
                precision=precision_of(module),
                shape=shapes[name],
                cost=counted(name, precision_of(module)),
                decision=name,
                **numbers_of(module),
            )
            for name, module in modules.items()
        }
        compression = Compression(
            request=request,
            source=source,
            couplings={each.name: each.size for each in done.groups or ()},
            removed={name: list(places) for name, places in done.removed.items()},
            left=dict(done.groups.left) if done.groups else {},
            operations=operations,
            quantizers={"weights": done.operands.weights, "activations": done.operands.activations},
            owners=dict(done.owners),
            unquantized=dict(done.unquantized),
            before=done.before,
            after=size_of(model, work.sample),
            cost=sum(each.cost for each in operations.values()),
            difference=done.difference,
            mismatches=done.mismatches,
            metric=scored(model, task, group, _BATCH, training.workers),
            loss=mean_loss(model, task, device=group.device),
        )
        if group.first:
            save_state(place / "model.safetensors", model)
            compression.save(place / "compression.json")
        group.wait()
        return Compressed(place, compression, model)


@contextmanager
def _new(place: Path, group: Processes) -> Iterator[None]:
    """Within, what is refused before there is anything to go on from leaves no request that binds the next one."""
    begun = (place / "request.json").exists()
    group.wait()
    try:
        yield
    except ValueError:
        made = {
            str(each.relative_to(place)) for pattern in ("checkpoint.*", "search/*") for each in place.glob(pattern)
        }
        if group.first and not begun and made <= set(_FIRST):
            for name in _FIRST:
                (place / name).unlink(missing_ok=True)
        raise


def open_compressed(folder: str | Path, task: Task | None = None) -> tuple[Compression, Task, nn.Module]:
    """What a finished compression came to, its task (unless given), and its model, in evaluation mode."""
    folder = Path(folder)
    compression = Compression.load(folder / "compression.json")
    if task is None:
        task = task_of_run(folder, "compression", compression.source)
    model = task.model()
    split_attention(model)
    if compression.removed:
        patterns = compression.request["compression"]
        found = groups(model, sample(task), exclude=patterns["keep"])
        model = shrink(model, found, compression.removed, sample(task))
    if compression.operations:
        precisions = {name: (each.precision,) for name, each in compression.operations.items()}
        quantize(model, precisions, compression.operands, compression.owners)
    load_state(folder / "model.safetensors", model)
    return compression, task, model.eval()
