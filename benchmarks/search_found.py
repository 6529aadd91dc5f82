"""What a one-shot search finds beside the best of random configurations, on the weights that it shared.

The search has 6 epochs, as it has of a training of 16 by default: 40 % of them. Test data lie in an order of chance, as
those of training do: batch normalizations take the statistics of a batch, which must be of all classes.
"""

import dataclasses
import multiprocessing

import torch
from torch.utils.data import DataLoader, Subset

from benchmarks.report import Row, report
from examples import search_resnet_mnist
from hwlut import Fixed
from hwlut.nn.quantized import quantize
from hwlut.quant import calibrate
from hwlut.quant.precision import Precision
from hwlut.search import Search, bit_operations, space_of
from hwlut.search.control import Searching
from hwlut.search.cost import Bits
from hwlut.search.judge import Judge
from hwlut.search.methods import METHODS, Problem
from hwlut.train import Finetune, finetune, sample
from hwlut.train.processes import Processes

_SEEDS = 10
_DENSE, _EPOCHS = 3, 6
_BITS = 3
_FORMATS = tuple(map(Fixed, (2, 3, 4, 6, 8)))


def _better(seed: int) -> bool:
    """Whether the loss on the test data is less for what was found than for the best of as many random configurations
    as there were held-out evaluations, each judged by all held-out data.
    """
    torch.set_num_threads(1)
    task = search_resnet_mnist.task()
    torch.manual_seed(seed)
    model = task.model()
    order = torch.randperm(len(task.train), generator=torch.Generator().manual_seed(seed)).tolist()
    held_out, trained = order[:400], order[400:]
    narrowed = dataclasses.replace(task, train=Subset(task.train, trained))
    finetune(model, narrowed, Finetune(epochs=_DENSE, seed=seed, evaluate_every=1 << 20))
    space = space_of(model, sample(task), _FORMATS)
    cost = bit_operations(dict(space.shapes))
    target = sum(cost(name, Bits(_BITS, _BITS)) for name in space.shapes)
    choices = {name: each.choices for each in space.decisions for name in each.operations}
    quantize(model, choices, None, space.owners)
    calibrate(model, [next(iter(DataLoader(narrowed.train, 100)))[0]])
    judge = Judge(model, task, list(DataLoader(Subset(task.train, held_out), 100)))
    options = Search(formats=_FORMATS, target=target, share=0.99)
    group = Processes(0, 1, torch.device("cpu"))
    problem = Problem(model, space, space.costs(cost), target, options, judge, seed, group)
    method = METHODS["oneshot"](problem)
    training = Finetune(epochs=_EPOCHS, seed=seed, ema=0.0, learning_rate=1e-3, evaluate_every=1 << 20)
    finetune(model, narrowed, training, control=Searching(method, problem, 0.0, lambda: None))
    drawn = [problem.draw_within(problem.generator(place + 10**6), {}) for place in range(judge.evaluations)]
    random = min(drawn, key=problem.loss)
    mixed = torch.randperm(len(task.test), generator=torch.Generator().manual_seed(seed)).tolist()
    tests = Judge(model, task, list(DataLoader(Subset(task.test, mixed), 200)))

    def loss(chosen: dict[str, Precision]) -> float:
        problem.select(chosen)
        return tests.mean(group)

    return loss(method.find()) < loss(random)


def main() -> None:
    with multiprocessing.get_context("spawn").Pool() as pool:
        wins = sum(pool.map(_better, range(_SEEDS), chunksize=1))
    name = "argmax better than the best random configuration of as many as held-out evaluations, residual network"
    row = Row(name=name, unit=f"of {_SEEDS} seeds", ours=wins, sense=">=", target=0.8 * _SEEDS)
    report("search_found", [row], {})


if __name__ == "__main__":
    main()
