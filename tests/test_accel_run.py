"""Networks on a tile, simulated whole: results and cycles to the last one, pauses, failures, resuming, records."""

import pickle
from concurrent.futures import Executor, Future
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hwlut import Fixed, Multiplier, Program, Requantize, ToolError
from hwlut.accel import simulate
from hwlut.accel.commands import Opcode
from hwlut.accel.compiler import Compiled, compile_program
from hwlut.accel.simulation import run
from hwlut.accel.simulation.engines import Modelled
from hwlut.accel.simulation.verilated import Verilated
from hwlut.units import Tile
from hwlut.units.applied import Rescale
from hwlut.units.movement import Reshape
from hwlut.units.patches import MaximumPool
from hwlut.units.ports import Port
from hwlut.units.products import Convolve, Linear

EXACT = Multiplier(family="exact", bits=8, signed=True)
TILE = Tile(
    name="tiny", rows=2, columns=3, multipliers=(EXACT,), accumulator_bits=24, value_bits=24, operations=(), loops=5,
    values=512, weights=256, inputs=128, constants=64,
)  # fmt: skip
BATCH_MACS = 2 * (4 * 36 * 9 + 3 * 16)
"""Of the two rows: a kernel of 9 at each of the 36 places of 4 channels, and 3 sums of 16."""


def network(seed=0, last=0):
    """Two outputs: codes of channels, of 144 numbers, and scores; the seeds are of the weights."""
    random, random_last = np.random.default_rng(seed), np.random.default_rng(last)
    return Program(
        name="net",
        inputs=(Port("image", Fixed(8, 7), shape=(1, 6, 6)),),
        nodes=(
            Convolve(
                "sums", "image", multiplier=EXACT, weights=random.integers(-128, 128, (4, 1, 3, 3)), stride=(1, 1),
                padding=(1, 1), dilation=(1, 1), groups=1, fill=0,
            ),
            Rescale(
                "codes", "sums", Requantize(input=Fixed(32), multipliers=(3,), shifts=(10,), output=Fixed(8)), axis=1
            ),
            MaximumPool("pooled", "codes", kernel=(3, 3), stride=(3, 3), padding=(0, 0), dilation=(1, 1)),
            Reshape("flat", "pooled", (-1, 16)),
            Linear("scores", "flat", multiplier=EXACT, weights=random_last.integers(-128, 128, (3, 16))),
        ),
        outputs=(Port("codes", Fixed(8)), Port("scores", Fixed(19))),
    )  # fmt: skip


NET = network()
IMAGES = torch.randint(-128, 128, (7, 1, 6, 6), generator=torch.Generator().manual_seed(0))  # 4 batches, the last of 1


@pytest.fixture(params=["verilator", "model"])
def engine(request, need):
    if request.param == "verilator":
        need("g++", "verilator")
    return request.param


def one_batch_a_chunk(monkeypatch):
    monkeypatch.setattr(run, "_CHUNK_CYCLES", 1)
    monkeypatch.setattr(run, "_WAITING", 2)


@pytest.fixture
def chunked(monkeypatch):
    one_batch_a_chunk(monkeypatch)


def test_a_network_on_a_tile(engine):
    report = simulate(NET, TILE, IMAGES, engine=engine)
    assert report.ok and (report.samples, report.batches, report.resumed) == (7, 4, 0)
    assert all(torch.equal(got, wanted) for got, wanted in zip(report.outputs, NET(IMAGES)))
    layers = {layer.name: layer for layer in report.layers}
    assert all(layer.cycles == layer.model_cycles and not layer.stalls.total() for layer in report.layers)
    assert sum(layer.work.products for layer in report.layers) == report.macs == 4 * BATCH_MACS
    assert sum(layer.work.result_beats for layer in report.layers) == 4 * (144 + 3)
    assert sum(layer.work.writes["inputs"] for layer in report.layers) == 4 * 36
    scores = layers["scores"]
    assert scores.utilisation == 4 * 2 * 3 * 16 / (2 * 3 * scores.cycles)
    assert report.cycles == sum(layer.cycles for layer in report.layers) == report.cycles_per_sample * 7


def test_pauses_change_nothing_but_stalls(need):
    need("g++", "verilator")
    cycles = [layer.cycles for layer in simulate(NET, TILE, IMAGES, engine="model").layers]
    for idle, stall, waits in ((0.3, 0.0, ("commands", "data")), (0.0, 0.7, ("results",)), (0.5, 0.5, ("commands",))):
        report = simulate(NET, TILE, IMAGES, idle=idle, stall=stall, seed=5)
        assert report.ok and [layer.cycles for layer in report.layers] == cycles
        assert all(report.stalls[each] for each in waits)
        assert sum((layer.stalls for layer in report.layers), report.stalls) == report.stalls + report.stalls
        assert report.cycles_per_sample == (sum(cycles) + report.stalls.total()) / 7
        again = simulate(NET, TILE, IMAGES, idle=idle, stall=stall, seed=5)
        assert again.stalls == report.stalls != simulate(NET, TILE, IMAGES, idle=idle, stall=stall, seed=6).stalls


def test_counters_are_the_time_that_passes(need):
    need("g++", "verilator")
    compiled = compile_program(NET, TILE)
    given = compiled.words(4), compiled.data(IMAGES.numpy()), compiled.results(4), 4 * len(compiled.layers)
    for idle in (0.0, 0.4):
        ran = Verilated.of(TILE, idle, 0.0, longest=4000).run(*given, seed=1)
        ran.check("tiny", [layer.name for layer in compiled.layers])
        counters = ran.marks.counters()
        assert counters[:, 1:].any() == bool(idle)
        assert np.array_equal(np.diff(ran.times), counters[1:].sum(1))  # seen from outside, cycle by cycle


def other_weights(monkeypatch, **seeds):
    """Lets another program be compiled; gives the difference that it makes, by the definition."""
    other = network(**seeds)
    monkeypatch.setattr(run, "compile_program", lambda program, tile: compile_program(other, tile))
    for port, wanted, got in zip(NET.outputs, NET(IMAGES), other(IMAGES)):
        if (places := (wanted != got).nonzero()).any():
            place = tuple(places[0].tolist())
            return f"{port.name}[{', '.join(map(str, place))}] must be {wanted[place]}, not {got[place]}"


def test_the_first_difference_is_named(engine, monkeypatch):
    for seeds, name in (({"seed": 1}, "codes["), ({"last": 1}, "scores[")):
        with monkeypatch.context() as patch:
            difference = other_weights(patch, **seeds)
            report = simulate(NET, TILE, IMAGES, engine=engine)
        assert not report.ok and report.difference == difference and difference.startswith(name)

    plan = run.Plan.of(compile_program(NET, TILE), 4)
    right = plan.cycles[1, 2]
    plan.cycles[1:, 2] += 1
    monkeypatch.setattr(run, "Plan", SimpleNamespace(of=lambda compiled, batches: plan))
    assert simulate(NET, TILE, IMAGES, engine=engine).difference == (
        f"layer 'scores' must take {right + 1} cycles in batch 1, not {right}"
    )


def with_word(monkeypatch, opcode, place):
    """Lets every run have a word of that opcode before a layer's mark; gives its index."""
    right = Compiled.words
    marks = np.flatnonzero(right(compile_program(NET, TILE), 1) >> np.uint64(56) == Opcode.MARK)
    monkeypatch.setattr(
        Compiled, "words", lambda self, count: np.insert(right(self, count), marks[place], np.uint64(opcode << 56))
    )
    return marks[place]


def failing(engine, **options):
    """A run whose plan is that of the right words."""
    with pytest.raises(RuntimeError) as failed:
        simulate(NET, TILE, IMAGES, engine=engine, **options)
    return str(failed.value)


def test_failures_name_error_command_and_layer(engine, monkeypatch):
    plan = run.Plan.of(compile_program(NET, TILE), 4)
    monkeypatch.setattr(run, "Plan", SimpleNamespace(of=lambda compiled, batches: plan))
    with monkeypatch.context() as patch:
        index = with_word(patch, 77, 1)
        message = f"tile tiny failed in layer 'flat': error 1, unknown opcode, at command {index}"
        assert failing(engine) == message
    with monkeypatch.context() as patch:
        index = with_word(patch, Opcode.START, 2)
        reason = "error 3, command before START, or START within a run"
        assert failing(engine) == f"tile tiny failed in layer 'scores': {reason}, at command {index}"


def test_marks_come_in_order(engine, monkeypatch):
    plan = run.Plan.of(compile_program(NET, TILE), 4)
    marks = np.flatnonzero(plan.words >> np.uint64(56) == Opcode.MARK)
    plan.words[marks[[5, 6]]] = plan.words[marks[[6, 5]]]
    monkeypatch.setattr(Compiled, "words", lambda self, batches: plan.words)
    monkeypatch.setattr(run, "Plan", SimpleNamespace(of=lambda compiled, batches: plan))
    assert failing(engine) == "tile tiny failed in layer 'flat': mark 5 has the number 6"


def test_a_tile_that_waits_for_ever(need, monkeypatch):
    need("g++", "verilator")
    right = Compiled.data
    monkeypatch.setattr(Compiled, "data", lambda self, *codes: right(self, *codes)[:-1])
    message = failing("verilator")
    assert message.startswith("tile tiny failed in layer ") and " stopped after " in message
    monkeypatch.setattr(Compiled, "data", lambda self, *codes: np.pad(right(self, *codes), ((0, 20), (0, 0))))
    assert " took " in failing("verilator")


def interrupted(monkeypatch, after):
    """Lets the runs of a process fail after so many; gives the list of those made."""
    right, made = Modelled.run, []

    def limited(self, *given):
        if len(made) == after:
            raise KeyboardInterrupt
        made.append(given)
        return right(self, *given)

    monkeypatch.setattr(Modelled, "run", limited)
    return made


def test_a_run_goes_on_from_its_folder(tmp_path, chunked, monkeypatch):
    folder = tmp_path / "there" / "kept"
    whole = simulate(NET, TILE, IMAGES, engine="model")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupted(patch, 2)
        simulate(NET, TILE, IMAGES, engine="model", folder=folder)
    assert sorted(path.name for path in folder.iterdir()) == ["chunk-0.npz", "chunk-1.npz", "request.json"]
    steps = []
    made = interrupted(monkeypatch, 9)
    report = simulate(NET, TILE, IMAGES, engine="model", folder=folder, progress=lambda *step: steps.append(step[:2]))
    assert len(made) == 2 and report.resumed == 2 and steps == [(3, 4), (4, 4)]
    assert report.ok and report.layers == whole.layers
    assert all(torch.equal(*pair) for pair in zip(report.outputs, whole.outputs))
    assert simulate(NET, TILE, IMAGES, engine="model", folder=folder).resumed == 4 and len(made) == 2


def test_a_folder_of_something_else(tmp_path, chunked):
    def refusal(program=NET, tile=TILE, codes=IMAGES, folder=tmp_path, **options):
        with pytest.raises(ValueError) as refused:
            simulate(program, tile, codes, folder=folder, **{"engine": "model"} | options)
        return str(refused.value)

    simulate(NET, TILE, IMAGES, engine="model", folder=tmp_path)
    name = tmp_path / "request.json"
    other = network(1)
    assert refusal(other) == f"{name}: run must be of program {other.digest!r}, not {NET.digest!r}"
    wide = Tile(name="tiny", rows=2, columns=5, multipliers=(EXACT,), values=512, weights=256)
    assert refusal(tile=wide) == f"{name}: run must be of tile {wide.digest!r}, not {TILE.digest!r}"
    assert refusal(codes=IMAGES.flip(0)).startswith(f"{name}: run must be of codes ")
    assert refusal(seed=3) == f"{name}: run must be of seed 3, not 0"
    assert refusal(engine="verilator").startswith(f"{name}: run must be of engine 'verilator', not 'model'")
    chunk = tmp_path / "chunk-1.npz"
    whole = chunk.read_bytes()
    with np.load(chunk) as held:
        arrays = dict(held)
    others = b"", b"PK", whole[:-9], whole[:100] + b"?!" + whole[102:], (tmp_path / "chunk-3.npz").read_bytes()
    for changed in ({"output-0": arrays["output-0"] + 0.5}, {"counters": arrays["counters"][:, 1:]}):
        np.savez(chunk, **arrays | changed)
        others += (chunk.read_bytes(),)
    for content in others:
        chunk.write_bytes(content)
        assert refusal() == f"{chunk}: no finished chunk of this run; without it, it is run again"
    chunk.unlink()
    assert simulate(NET, TILE, IMAGES, engine="model", folder=tmp_path).resumed == 3
    assert refusal(folder=chunk) == f"{chunk}: run must be kept in a folder, not in a file"
    name.write_text("{")
    assert refusal().startswith(f"{name}: request must be a JSON object: Expecting property name")


class Here(Executor):
    """Runs what it is sent at once, as another process would: from its pickle."""

    sent = 0

    def submit(self, function):
        self.sent += 1
        future = Future()
        future.set_result(pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(function))())))
        return future


def test_chunks_go_to_executors(engine, chunked):
    alone, executor = simulate(NET, TILE, IMAGES, engine=engine), Here()
    shared = simulate(NET, TILE, IMAGES, engine=engine, threads=3, executor=executor)
    assert shared.ok and shared.layers == alone.layers and executor.sent == 2  # of three chunks, and of one
    assert all(torch.equal(*pair) for pair in zip(shared.outputs, alone.outputs))
    assert simulate(NET, TILE, IMAGES, engine=engine, threads=3).layers == alone.layers


def test_a_tool_that_another_process_lacks(chunked, monkeypatch):
    def lacking(self, *given):
        raise ToolError("verilator", "not found", "install it")

    class There(Executor):
        def submit(self, function):
            future = Future()
            with pytest.raises(ToolError) as missing:
                function()
            future.set_exception(pickle.loads(pickle.dumps(missing.value)))
            return future

    monkeypatch.setattr(Modelled, "run", lacking)
    with pytest.raises(ToolError, match="^verilator: not found; install it$"):
        simulate(NET, TILE, IMAGES, engine="model", executor=There())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "cocotb"}, "engine must be one of verilator, model, not 'cocotb'"),
        ({"threads": 0}, "threads must be at least 1, not 0"),
        ({"seed": -1}, "seed must be an integer from 0 to 2147483647, not -1"),
        ({"idle": 1.0}, "idle must be a chance from 0 to 0.95, not 1.0"),
        (
            {"stall": 0.5, "engine": "model"},
            "idle and stall must be left out with the engine model, which has no pauses",
        ),
        (
            {"codes": IMAGES[:0]},
            "codes must be of one number of samples, at least one, not of the shapes [0, 1, 6, 6]",
        ),
        ({"codes": IMAGES[0]}, "codes must be of one number of samples, at least one, not of the shapes [1, 6, 6]"),
        ({"codes": IMAGES + 256}, f"Program codes must be from -128 to 127, not {IMAGES[0, 0, 0, 0] + 256}"),
    ],
)
def test_what_is_not_simulated(options, message):
    with pytest.raises(ValueError) as refused:
        simulate(NET, TILE, **{"codes": IMAGES} | options)
    assert str(refused.value) == message
