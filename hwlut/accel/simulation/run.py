"""Programs on tiles: all batches run, and everything that comes out compared."""

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

import numpy as np
import torch

from hwlut.accel.compiler import compile_program
from hwlut.accel.model import check_room
from hwlut.accel.simulation.chunk import Chunk, Chunks
from hwlut.accel.simulation.engines import ENGINES, Modelled
from hwlut.accel.simulation.given import Codes, aligned, codes_of
from hwlut.accel.simulation.kept import Kept
from hwlut.accel.simulation.marks import STALLS
from hwlut.accel.simulation.plan import Plan, added
from hwlut.accel.simulation.report import LayerReport, Report
from hwlut.accel.simulation.verilated import Verilated
from hwlut.fields import shorten
from hwlut.files import digest_of
from hwlut.program.engine import Engine
from hwlut.units import Program, Tile
from hwlut.verify.stimulus import check_seed

__all__ = ["simulate"]

_CHUNK_CYCLES = 1 << 20
_COMPARED = 100  # samples at a time
_WAITING = 64  # tasks at an executor, each of which carries the whole program

_Step = Callable[[int, int, str], None]


def simulate(
    program: Program,
    tile: Tile,
    codes: torch.Tensor | Sequence[torch.Tensor],
    *,
    engine: str = "verilator",
    threads: int = 1,
    executor: Executor | None = None,
    idle: float = 0.0,
    stall: float = 0.0,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: _Step | None = None,
) -> Report:
    """Run a program on a tile, and compare every output code with the program's and every layer's cycles with the
    analytic model's.

    Parameters
    ----------
    program, tile: what runs, and on what.
    codes: of each input of the program, integers [samples, ...]; of one input alone also the tensor itself.
    engine: "verilator", the tile's Verilog, or "model", the functional model, which needs no tool.
    threads: that simulate at once, here or in every process of the executor.
    executor: takes chunks of batches, as processes of this or other machines do.
    idle, stall: of verilator: chance of an input pausing, of an output refusing, in a cycle. seed: of these.
    folder: keeps finished chunks, from which the same run goes on. progress: called with how many chunks are done.

    Raises ValueError for a program that does not fit the tile, for codes that are not of its inputs and for a folder of
    another run, RuntimeError for a tile that reports an error, hangs or breaks a stream's protocol, ToolError for
    missing tools.
    """
    _check(engine, threads, idle, stall)
    check_seed(seed)
    given = codes_of(program, codes)
    check_room(tile, threads)
    compiled = compile_program(program, tile)
    samples = len(given[0])
    batches = -(-samples // tile.rows)
    one = Plan.of(compiled, 1)
    each = min(batches, max(1, _CHUNK_CYCLES // int(one.cycles.sum())))
    sizes = [min(each, batches - first) for first in range(0, batches, each)]
    plans = {size: one if size == 1 else Plan.of(compiled, size) for size in set(sizes)}
    kept = None
    if folder is not None:
        request = {
            "program": program.digest,
            "tile": tile.digest,
            "codes": digest_of(*(part for array in given for part in (list(array.shape), array.tobytes()))),
            "engine": engine,
            "idle": idle,
            "stall": stall,
            "seed": seed,
            "batches": each,
        }
        kept = Kept(Path(folder), request)
    longest = max(int(plan.cycles.max()) for plan in plans.values())
    runs = Modelled(tile) if engine == "model" else Verilated.of(tile, idle, stall, longest)
    chunks = Chunks(compiled=compiled, engine=runs, seed=seed)
    start = time.perf_counter()
    firsts = range(0, samples, each * tile.rows)
    parts = [tuple(array[first : first + each * tile.rows] for array in given) for first in firsts]
    found, resumed = _run(chunks, parts, kept, threads, executor, progress)
    seconds = time.perf_counter() - start
    outputs = tuple(torch.from_numpy(np.concatenate(parts)) for parts in zip(*(chunk.outputs for chunk in found)))
    cycles = np.concatenate([plans[size].cycles for size in sizes])
    counters = np.concatenate([chunk.counters for chunk in found])
    names = [layer.name for layer in compiled.layers]
    return Report(
        program=program.name,
        tile=tile.name,
        engine=engine,
        tool=chunks.engine.tool,
        samples=samples,
        batches=batches,
        outputs=outputs,
        layers=tuple(_layers(tile, names, [plans[size] for size in sizes], cycles, counters)),
        difference=_wrong_code(program, given, outputs) or _wrong_cycles(names, cycles, counters),
        resumed=sum(size for size, there in zip(sizes, resumed) if there),
        seconds=seconds,
    )


def _check(engine: str, threads: int, idle: float, stall: float) -> None:
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, not {shorten(engine)}")
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    if engine == "model" and (idle or stall):
        raise ValueError("idle and stall must be left out with the engine model, which has no pauses")


def _run(
    chunks: Chunks,
    parts: list[Codes],
    kept: Kept | None,
    threads: int,
    executor: Executor | None,
    progress: _Step | None,
) -> tuple[list[Chunk], list[bool]]:
    """All chunks, and which of them were there from an earlier run."""
    found = [
        None if kept is None else kept.load(number, chunks.shapes(len(part[0]))) for number, part in enumerate(parts)
    ]
    resumed = [each is not None for each in found]
    missing = [number for number, there in enumerate(resumed) if not there]
    together = 1 if executor is None else threads
    groups = (missing[first : first + together] for first in range(0, len(missing), together))
    done = len(parts) - len(missing)
    waiting: dict[Future[list[Chunk]], list[int]] = {}
    with contextlib.ExitStack() as stack:
        pool = executor or stack.enter_context(ThreadPoolExecutor(threads))
        stack.callback(lambda: [each.cancel() for each in waiting])
        while True:
            for numbers in itertools.islice(groups, _WAITING - len(waiting)):
                waiting[pool.submit(partial(chunks.run_each, numbers, [parts[number] for number in numbers]))] = numbers
            if not waiting:
                break
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                for number, chunk in zip(waiting.pop(future), future.result()):
                    found[number] = chunk
                    if kept is not None:
                        kept.save(number, chunk)
                    done += 1
                    if progress is not None:
                        tile = chunks.compiled.tile.name
                        progress(done, len(parts), f"{len(chunk.counters)} x {tile} in {chunk.seconds:.1f} s")
    return [each for each in found if each is not None], resumed


def _layers(
    tile: Tile, names: list[str], plans: list[Plan], cycles: np.ndarray, counters: np.ndarray
) -> Iterator[LayerReport]:
    """What each layer did over all batches."""
    for index, (name, counted) in enumerate(zip(names, counters.sum(0))):
        work = added(plan.work[index] for plan in plans)
        yield LayerReport(
            name=name,
            cycles=int(counted[0]),
            model_cycles=int(cycles[:, index].sum()),
            stalls=Counter(dict(zip(STALLS, counted[1:].tolist()))),
            work=work,
            cells=tile.rows * tile.columns,
        )


def _wrong_code(program: Program, given: Codes, outputs: tuple[torch.Tensor, ...]) -> str | None:
    """The first output code that is not the program's, in words."""
    engine = Engine(program)
    for first in range(0, len(given[0]), _COMPARED):
        samples = slice(first, first + _COMPARED)
        wanted = engine(*aligned(program, tuple(each[samples] for each in given)))
        for port, got, want in zip(program.outputs, outputs, wanted if isinstance(wanted, tuple) else (wanted,)):
            if len(places := (got[samples] != want).nonzero()):
                place = tuple(places[0].tolist())
                there = ", ".join(map(str, (first + place[0], *place[1:])))
                return f"{port.name}[{there}] must be {int(want[place])}, not {int(got[samples][place])}"
    return None


def _wrong_cycles(names: list[str], cycles: np.ndarray, counters: np.ndarray) -> str | None:
    """The first layer of a batch that did not take the model's cycles, in words."""
    for batch, layer in np.argwhere(counters[..., 0] != cycles):
        wanted, got = cycles[batch, layer], counters[batch, layer, 0]
        return f"layer {names[layer]!r} must take {wanted} cycles in batch {batch}, not {got}"
    return None
