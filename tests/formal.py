"""Every form of design, proven: ./dev formal prints a row for each promise; status 1 where one is open."""

import resource
import sys
import time
from itertools import product

from accel_tiles import TILES
from lut_units import random_unit

import hwlut
from hwlut import Fixed, Multiplier, Requantize
from hwlut.accel import generate_tile
from hwlut.hdl import generate
from hwlut.program import range_reduced, softmax
from hwlut.share import share
from hwlut.verify.proofs import prove_multiplier, prove_stream
from hwlut.workers import spawned

AFTER = Requantize(input=Fixed(28), multipliers=(3,), shifts=(17,), output=Fixed(8))
CHANNELS = Requantize(input=Fixed(20), multipliers=(3, 5), shifts=(9, 11), output=Fixed(8))

UNITS = {
    "gelu_8": lambda: hwlut.load("pretrained/gelu_8.json"),
    "direct": lambda: hwlut.Direct(name="direct", input=Fixed(3, 1), output=Fixed(4, 2), values=tuple(range(-4, 4))),
    "drum": lambda: hwlut.load("pretrained/mul8s_drum_4.json"),
    "requantize": lambda: CHANNELS,
    "program": lambda: range_reduced("exp", input=Fixed(8, 4), output=Fixed(16, 8)),
    "softmax": lambda: softmax(input=Fixed(8, 4), output=Fixed(8, 8, signed=False), most=16),
    **{
        encoder: lambda encoder=encoder: random_unit(
            1, encoder=encoder, k=4, v=1, features=3, outputs=3, requantize=encoder != "l1"
        )
        for encoder in ("tree", "l1", "l2", "chebyshev")
    },
}

FORMS = [
    *(("gelu_8", {"stages": stages, "scale": 5}) for stages in range(1, 6)),
    *(("gelu_8", {"reset": reset}) for reset in ("rst", "aresetn")),
    ("gelu_8", {"scale": 5, "lanes": 4, "comparison": "tree"}),
    ("gelu_8", {"scale": 5, "multiplier": "shift_add"}),
    *(("gelu_8", {"scale": 5, "reloadable": True, "stages": stages}) for stages in (1, 3, 5)),
    ("gelu_8", {"reloadable": True, "lanes": 2, "reset": "aresetn"}),
    *(("direct", {"stages": stages}) for stages in (1, 2)),
    *(("drum", {"stages": stages}) for stages in (1, 2, 3)),
    *(("drum", {"terms": 64, "stages": stages}) for stages in (1, 4)),
    *(("drum", {"terms": 64, "lanes": 4, "reset": reset}) for reset in ("rst", "aresetn")),
    *(("drum", {"terms": 64, "requantize": AFTER, "stages": stages}) for stages in (2, 4)),
    *(("requantize", {"stages": stages}) for stages in (1, 2, 3)),
    ("program", {}),
    ("program", {"reset": "aresetn"}),
    ("softmax", {}),
    *((encoder, {"banks": 2, "tile": 2, "encoders": 1}) for encoder in ("tree", "l1", "l2", "chebyshev")),
    ("tree", {"banks": 2, "tile": 2, "encoders": 1, "reloadable": True, "reset": "aresetn"}),
]

TILED = [("array", "rst"), ("tree", "aresetn"), ("operators", "rst")]

SHIPPED = sorted(path.stem for path in share("pretrained").glob("mul8*.json"))
WIDE = [
    {"family": "truncate_operands", "bits": 16, "signed": False, "a_drop": 3, "b_drop": 2},
    *(
        {"family": family, "bits": 16, "signed": signed} | more
        for signed, (family, more) in product((False, True), {"drum": {"k": 6}, "ssm": {"m": 8}}.items())
    ),
]
MIXED = [
    {"family": "truncate_columns", "columns": 5},
    {"family": "broken_array", "h": 2, "v": 5},
    {"family": "mitchell"},
    {"family": "drum", "k": 4},
    {"family": "ssm", "m": 4},
    {"family": "roba"},
    {"family": "loa", "low": 5},
    {"family": "or_columns", "columns": 6},
    {"family": "kulkarni"},
]
PAIR = {"a": Fixed(8), "b": Fixed(4, signed=False)}


def stream(name, form):
    return prove_stream(generate(UNITS[name](), **form))


def tile(name, reset):
    return prove_stream(generate_tile(TILES[name], reset))


def shipped(name):
    return prove_multiplier(hwlut.load(f"pretrained/{name}.json"))


def multiplier(fields):
    wide = fields.get("bits") == 16
    return prove_multiplier(Multiplier(**fields), gates=not wide, seconds=300 if wide else 60)


def label(name, options):
    return " ".join([name, *(f"{key}={getattr(value, 'name', value)}" for key, value in options.items())])


JOBS = {
    **{label(name, form): (stream, name, form) for name, form in FORMS},
    **{f"tile {name} {reset}": (tile, name, reset) for name, reset in TILED},
    **{name: (shipped, name) for name in SHIPPED},
    **{label("8 x 4", fields): (multiplier, fields | PAIR) for fields in MIXED},
    **{label("wide", fields): (multiplier, fields) for fields in WIDE},
}


def proven(job):
    function, *arguments = JOBS[job]
    return function(*arguments)


def main(chosen):
    started = time.perf_counter()
    jobs = [job for job in JOBS if not chosen or any(each in job for each in chosen)]
    opened = count = 0
    with spawned(2) as pool:
        for job, proof in zip(jobs, pool.map(proven, jobs)):
            print(f"{job}: {proof.seconds:.1f} s", flush=True)
            for finding in proof.findings:
                count += 1
                opened += not finding.proven
                told = f"{finding.by:<10} {finding.depth:>3} {finding.seconds:>7.2f} s  {finding.result}"
                print(f"  {told:<37} {finding.port}: {finding.text}", flush=True)
                if finding.trace is not None:
                    print(finding.trace)
    seconds, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    told = f"{seconds:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of CPU"
    print(f"{len(jobs)} designs, {count} promises, {opened} not proven, {told}")
    return 1 if opened or not count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
