"""A small exploration: a task of three classes, and stand-ins for what trains its networks and maps its tiles.

As a program, explores in the first folder, and again and again in the second: is killed in every third file that it
puts in place, of which one may have been there before, until it comes to an end.
"""

import dataclasses
import itertools
import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

import hwlut
from hwlut.accel import fit_tile
from hwlut.explore import Space, explore
from hwlut.explore.choices import HELD_OUT
from hwlut.explore.costs import cycles_of
from hwlut.program.engine import Engine
from hwlut.program.ports import decoded, encoded
from hwlut.records import read_json
from hwlut.search import Block, CostTable, quantize_uniform
from hwlut.search.dense import apart
from hwlut.train import Finetune, Task
from hwlut.units import Multiplier

TRAINING = Finetune(steps=2, batch=10, seed=3)
SPACE = {"bits": [(8, 8), (4, 4)], "rows": [1, 2], "columns": [1, 3]}
COARSE = Multiplier(family="truncate_operands", a_drop=2, b_drop=2, signed=True, name="coarse")


def task():
    """Points around three centres in eight dimensions; the linear layer that tells them apart."""
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(3, 8, generator=generator)
    labels = torch.arange(90) % 3
    points = (centres[labels] + 0.9 * torch.randn(90, 8, generator=generator)).clamp(-4, 3.9)
    data = TensorDataset(points, labels)

    def model():
        linear = nn.Linear(8, 3)
        with torch.no_grad():
            linear.weight.copy_(centres)
            linear.bias.copy_(-(centres**2).sum(1) / 2)
        return nn.Sequential(nn.Flatten(), linear)

    return Task(name="points", model=model, train=data, test=TensorDataset(points[:45], labels[:45]))


@dataclasses.dataclass
class Made:
    program: object
    accuracy: float
    metric: float
    float_accuracy: float


def make(task, network, folder, *, weights, training, device=None, progress=None):
    """As `hwlut.explore.network.make`; the calls that do anything are counted in the folder's ``calls``."""
    folder = Path(folder)
    if network.look_ups is not None:
        raise ValueError("look_ups need a layer between the first\nand the last")
    folder.mkdir(parents=True, exist_ok=True)
    model = task.model()
    bits = network.bits[1]
    points, _ = task.train.tensors
    quantize_uniform(model, [points], f"{bits}/{bits}")
    program = hwlut.export(model.eval(), points, name="points")
    if network.multiplier is not None:
        nodes = [
            dataclasses.replace(node, multiplier=network.multiplier) if hasattr(node, "multiplier") else node
            for node in program.nodes
        ]
        program = program.replace(nodes=tuple(nodes))
    program.save(folder / "program.json")
    (folder / "process").write_text(f"{os.getpid()}")
    with open(folder / "calls", "a") as calls:
        calls.write("made\n")
    if progress is not None:
        progress(1, 1, "made")
    held, _ = apart(task, HELD_OUT, training.seed)
    return Made(program, share(program, task.train, held), share(program, task.test, range(45)), 0.875)


def killed(*given, **told):
    """A network at which its process is killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def cost(folder, array, budget):
    """As `cost_design`, with an area that is made up: of rows and columns, in the place of a synthesis of minutes."""
    program = hwlut.load(folder / "program.json")
    name = f"tile_{array.label}"
    tile = fit_tile(program, name=name, rows=array.rows, columns=array.columns)
    tile.save(folder / f"{name}.json")
    with open(folder / "calls", "a") as calls:
        calls.write(f"{name}\n")
    cycles, area = cycles_of(program, tile), 1000.0 * array.rows + 100 * array.columns
    reason = budget.excess(cycles=cycles) or budget.excess(area=area)
    return {"tile": tile.digest, "cycles": cycles, "area": area, "ram_bits": 64, "delay": None, "reason": reason}


def share(program, data, places):
    points, labels = (each[list(places)] for each in data.tensors)
    (port,) = program.outputs
    logits = decoded(port, Engine(program)(encoded(program.inputs[0], points)))
    return float((logits.argmax(-1) == labels).float().mean())


def explored(folder, **choices):
    """An exploration with the stand-ins, of bare multipliers whose costs are made up."""
    known_costs(folder)
    told = {"training": TRAINING, "make": make, "cost": cost}
    space = Space(**SPACE | {name: choices.pop(name) for name in list(choices) if hasattr(Space, name)})
    return explore(task, space, folder, **told | choices)


def known_costs(folder):
    """A table of the multipliers that there are, so that none has to be mapped: exact ones of n x n GE, the coarse one
    of 40."""
    units = [Multiplier(family="exact", bits=bits, signed=True, name=f"exact{bits}") for bits in (4, 8)]
    sizes = {unit.digest: unit.a.bits**2 for unit in units} | {COARSE.digest: 40}
    shared = {"delay": None, "registers": 0, "form": "combinational=True", "liberty": "made up", "tool": "none"}
    blocks = {
        digest: Block(name=f"of_{size}", area=10.0 * size, gate_equivalents=float(size), **shared)
        for digest, size in sizes.items()
    }
    if not (Path(folder) / "costs.json").exists():
        CostTable(blocks).save(Path(folder) / "costs.json")


def main():
    torch.set_num_threads(1)  # a forked child must find none of torch's own
    whole, killed = sys.argv[1:]
    small = {"bits": [(8, 8)], "rows": [1]}
    explored(whole, **small)
    known_costs(killed)
    for _ in range(100):
        if not (child := os.fork()):
            os.replace = killing(os.replace)
            explored(killed, **small)
            os._exit(0)
        if os.waitpid(child, 0)[1] != signal.SIGKILL:
            break
        for path in Path(killed).rglob("*.json"):
            read_json(path, "file", 1 << 20)
        print("killed", flush=True)


def killing(replace):
    """What stands in for `os.replace`, until it kills this process in its third call."""
    places = itertools.count(1)

    def replaced(*paths):
        if next(places) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)

    return replaced


if __name__ == "__main__":
    main()
