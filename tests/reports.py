"""A folder with what reports are made of, in which a small network has run on the model of a tile."""

import json
from functools import lru_cache

import torch
from torch import nn

import hwlut
from hwlut.accel import TileArea, fit_tile, simulate
from hwlut.accel.area import Block
from hwlut.accel.port import ACTIVITY
from hwlut.program.ports import encoded
from hwlut.search import Front, Trial, quantize_uniform
from hwlut.share import share

LAYERS = ("layer_2_flatten", "layer_3_as_s16")

VCD = """$timescale 1s $end
$scope module TOP $end
 $var wire 7 a activity [6:0] $end
 $var wire 1 c clk $end
 $var wire 1 v s_axis_tvalid $end
 $var wire 16 d s_axis_tdata [15:0] $end
 $var wire 1 q quiet $end
 $scope module inner $end
  $var wire 4 i $1 [3:0] $end
 $upscope $end
$upscope $end
$enddefinitions $end
"""


@lru_cache
def network():
    """A program of two layers, the tile that it fits, and the report of its run on six samples."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5))
    images = torch.randn(6, 1, 4, 4)
    quantize_uniform(model, [images], "8/8")
    program = hwlut.export(model.eval(), images, name="digits")
    tile = fit_tile(program, name="tile_2", rows=2, columns=2)
    return program, tile, simulate(program, tile, encoded(program.inputs[0], images), engine="model")


def dump(words, data="f00d"):
    """A waveform as Verilator writes those of tiles, of a reset and of cycles with these words of activity."""
    text = VCD + "#0\n0c\nb0000000 a\n1v\nb0 d\n0q\nb0000 i\n"
    for cycle, word in enumerate([0] * 4 + words):
        text += f"#{5 + 10 * cycle}\n1c\nb{word:07b} i\n#{10 + 10 * cycle}\n0c\n"
        if cycle >= 3 and cycle - 3 < len(words):
            text += f"b{words[cycle - 3]:07b} a\n" + (f"b{int(data, 16):b} d\n0v\n" if cycle == 5 else "")
    return text


def run_json(**changes):
    """What `hwlut run --tile --json` prints."""
    program, _, report = network()
    known = {"schema": "hwlut.run/1", "name": program.name, "digest": program.digest, "task": "digits", "metric": 0.875}
    traced = {"layer": LAYERS[0], "first": 0, "end": 8, "waves": "conv.vcd", "activity": None}
    return json.dumps(known | report.to_dict() | {"traced": traced} | changes)


def fill(folder):
    """Write a file of every kind."""
    program, tile, _ = network()
    program.save(folder / "digits.json")
    tile.save(folder / "tile.json")
    hwlut.load(share("pretrained", "gelu_8.json")).save(folder / "gelu_8.json")
    area = TileArea(
        tile="tile_2",
        digest=tile.digest,
        liberty="cells.lib",
        gate="NAND2",
        tool="Yosys 0",
        modules=2,
        blocks=tuple(
            Block(name=name, count=4, area=8.0 * size, gate_equivalents=size, registers=7, delay=2.5)
            for name, size in (("lanes", 1500.0), ("multipliers", 4500.0))
        ),
        memories={"values": 1500, "weights": 500},
        delay_by=None,
    )
    trials = (Trial(4, 100.0, 0.75, 0.5, "t-4"), Trial(6, 150.0, 0.70, 0.6, "t-6"), Trial(8, 200.0, 0.875, 0.4, "t-8"))
    Front.of("target_bits", trials).save(folder / "front.json")
    tested = {"schema": "hwlut.sim/1", "ok": True, "tile": "tile_2", "engine": "verilator", "tests": {"run_0": None}}
    network_of = {"label": "8:8 exact", "folder": "n", "accuracy": 0.9, "metric": 0.89, "float_accuracy": 0.91}
    designs = [
        {
            "network": 0,
            "rows": rows,
            "columns": 2,
            "tile": tile.digest,
            "cycles": 800.0 / rows,
            "area": 1e4 * rows,
            "optimal": True,
        }
        for rows in (1, 2)
    ]
    for name, content in {
        "run.json": run_json(),
        "synth.json": json.dumps({"schema": "hwlut.synth/1"} | area.to_dict()),
        "sim.json": json.dumps(tested),
        "explore.json": json.dumps(
            {"schema": "hwlut.explore/1", "networks": [network_of], "designs": designs, "best": 1}
        ),
        "made.json": json.dumps({"schema": "hwlut.made/1", "accuracy": 0.9, "metric": 0.89, "float_accuracy": 0.91}),
        "conv.vcd": dump([1, 1, 3, 2, 4, 4, 0, 8]),
        "other.csv": ",".join(("cycle", *ACTIVITY)) + "\n7,1,0,0,0,0,0,0\n8,1,1,0,0,0,0,0\n9,0,0,0,0,0,0,0\n",
        "training/log.jsonl": "".join(
            json.dumps({"step": step, "steps": 30, "loss": 1 / step, "policy": {"a": 1}}) + "\n"
            for step in (10, 20, 30)
        ),
        "rtl/tile_2.v": "module tile_2;\nendmodule\n",
        "notes.json": '{"any": "thing"}',
    }.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
