"""Commands on multipliers: errors, picture, info, and the comparison with the shipped ones."""

import itertools
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from hwlut import Fixed, ToolError
from hwlut.cli import main
from hwlut.plot import figure
from hwlut.units import Multiplier
from hwlut.verify.synthesis import Liberty, Netlist, Synthesis, compare, picture

SHIPPED = sys.modules["hwlut.verify.synthesis.shipped"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Multiplier(family="drum", k=4, name="drum4").save("drum4.json")
    low = np.outer(np.arange(4), np.arange(-2, 2)) & ~1
    Multiplier(family="table", a=Fixed(2, signed=False), b=Fixed(2), products=low, name="even").save("even.json")
    Multiplier(family="mitchell", bits=14, name="wide").save("wide.json")
    return tmp_path


def told(capsys, *arguments, status=0):
    assert main([*map(str, arguments)]) == status
    return capsys.readouterr().out


def test_eval(folder, capsys):
    # Of the products of 0..3 and -2..1, all but -3, -1, 1 and 3 are even; these lose 1.
    content = json.loads(told(capsys, "eval", "even.json", "--json"))
    assert {key: content[key] for key in ("med", "wce", "ep", "mse", "bias", "pairs", "exhaustive")} == {
        "med": 4 / 16,
        "wce": 1,
        "ep": 4 / 16,
        "mse": 4 / 16,
        "bias": -4 / 16,
        "pairs": 16,
        "exhaustive": True,
    }
    assert content["nmed"] == 4 / 16 / 6 and content["mred"] == pytest.approx((1 + 1 / 3 + 1 + 1 / 3) / 9)
    text = told(capsys, "eval", "drum4.json").splitlines()
    assert text[0] == "drum4 against the exact product of u8 and u8"
    assert [line.split() for line in text[1:5]] == [
        ["pairs", "65536,", "all", "of", "them"],
        ["med", "925.9"],
        ["nmed", "0.01424"],
        ["wce", "7425"],
    ]
    assert re.search(r"^pairs +1048576, a sample$", told(capsys, "eval", "wide.json"), re.MULTILINE)


def test_info(folder, capsys):
    shown = dict(line.split(maxsplit=1) for line in told(capsys, "info", "drum4.json").splitlines())
    assert (shown["family"], shown["k"], shown["product"], shown["terms"]) == ("drum", "4", "u16", "1")
    assert "low" not in shown and "entries" not in shown
    shown = dict(line.split(maxsplit=1) for line in told(capsys, "info", "even.json").splitlines())
    assert shown["entries"] == "4 x 4 numbers, -6 to 2" and shown["product"] == "s4"
    content = json.loads(told(capsys, "info", "wide.json", "--json"))
    assert content["product"] == {"bits": 28, "frac": None, "signed": False}
    assert content["terms"] is None and content["pairs"] == 1 << 28
    assert content["parameters"]["family"] == "mitchell"


def test_plot(folder, capsys):
    unit = Multiplier(family="table", a=Fixed(2, signed=False), b=Fixed(2), products=np.arange(16).reshape(4, 4))
    surface, above, right, _ = figure(unit).axes
    error = np.arange(16).reshape(4, 4) - np.outer(range(4), range(-2, 2))
    mesh = surface.collections[0]
    assert np.array_equal(mesh.get_array().reshape(4, 4), error) and mesh.get_clim() == (-18, 18)
    assert above.lines[0].get_xydata().tolist() == [[b, m] for b, m in zip(range(-2, 2), error.mean(0))]
    assert right.lines[0].get_xydata().tolist() == [[m, a] for a, m in zip(range(4), error.mean(1))]
    assert (surface.get_xlabel(), surface.get_ylabel()) == ("b (s2)", "a (u2)")
    assert told(capsys, "plot", "drum4.json") == "drum4.png\n"
    assert (folder / "drum4.png").read_bytes().startswith(b"\x89PNG")


def test_plot_of_more_pairs_than_a_picture_has():
    surface = figure(Multiplier(family="truncate_operands", a_drop=3, b_drop=0, bits=12, signed=True)).axes[0]
    mesh = surface.collections[0]
    assert mesh.get_array().size == 512**2 and mesh.colorbar.ax.get_xlabel().endswith("262144 of 2^24 pairs")
    assert surface.get_xlim()[0] < -2048 and surface.get_xlim()[1] > 2047
    assert ", NMED " in surface.figure.get_suptitle() and "sample" not in surface.figure.get_suptitle()


def test_plot_of_unlike_operands_has_every_pair():
    surface = figure(Multiplier(family="exact", a=Fixed(4), b=Fixed(11, signed=False))).axes[0]
    assert surface.collections[0].get_array().size == 1 << 15
    assert "exact, NMED 0," in surface.figure.get_suptitle()


def test_plot_of_large_numbers_has_no_offset():
    picture = figure(Multiplier(family="mitchell", bits=16))
    picture.draw_without_rendering()
    assert "−50M" in [label.get_text() for label in picture.axes[1].get_yticklabels()]
    for axes in picture.axes:
        assert not axes.xaxis.get_offset_text().get_text() and not axes.yaxis.get_offset_text().get_text()
    assert picture.get_suptitle().startswith("multiplier: mitchell (a sample), NMED 0.00")


@pytest.mark.parametrize("command", ["eval", "plot"])
def test_no_domain(folder, capsys, command):
    assert main([command, "even.json", "--domain", "0", "1"]) == 2
    assert capsys.readouterr().err == "hwlut: Multiplier domain must not be given, not 0 to 1\n"


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """Puts other multipliers into the catalogue, and areas in the place of syntheses: 100 per family's letters."""
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    for name, unit in {
        "mul8u_drum6": Multiplier(family="drum", k=6),
        "mul8u_drum4": Multiplier(family="drum", k=4),
        "mul8u_loa": Multiplier(family="loa", low=8),
        "mul8s_drum4": Multiplier(family="drum", k=4, signed=True),
        "mul8x4": Multiplier(family="exact", a=Fixed(8, signed=False), b=Fixed(4, signed=False)),
    }.items():
        unit.replace(name=name).save(shipped / f"{name}.json")
    areas = {"exact": 900, "mul8u_drum6": 700, "drum4": 500, "mul8u_loa": 600}

    def synthesize_each(units, *, target, liberty, form):
        assert form == {"combinational": True}
        for place, unit in reversed(list(enumerate(units))):
            area = areas[unit.name]
            netlist = Netlist(target, "Yosys", {}, 47, 0, area, area / 4, 2.0, "sta", "", "")
            names = {"unit": unit.name, "digest": unit.digest, "scale": None, "liberty": "cells.lib", "gate": "NAND2"}
            yield place, Synthesis(**names, netlist=netlist, recheck=None, unchecked="stand-in")

    monkeypatch.setattr(SHIPPED, "synthesize_each", synthesize_each)
    monkeypatch.setattr(SHIPPED, "share", lambda *parts: shipped)


def test_compare(folder, capsys, stand_in):
    text = told(capsys, "synth", "drum4.json", "--compare").splitlines()
    assert text[0] == "drum4: Yosys; cells.lib; pre-layout"
    assert text[1].split() == "nmed wce ep mred bias um^2 GE ns registers front re-check".split()
    rows = {line.split()[0]: line.split() for line in text[2:-1]}
    assert list(rows) == ["drum4", "exact", "mul8u_drum6", "mul8u_loa"]  # neither its twin nor other operands
    assert float(rows["mul8u_loa"][1]) == pytest.approx(84.46 / 65025, rel=1e-3)
    assert [name for name, row in rows.items() if "*" in row] == ["drum4", "exact", "mul8u_loa"]
    assert text[-1] == "smallest with nmed at most 0.01424: drum4"
    content = json.loads(told(capsys, "synth", "drum4.json", "--compare", "--json", "--plot", "front.svg"))
    assert content["front"] == ["drum4", "mul8u_loa", "exact"] and content["plot"] == "front.svg"
    assert content["candidates"][1]["label"] == "exact" and content["candidates"][1]["nmed"] == 0
    assert content["candidates"][0]["synthesis"]["area"] == 500 and (folder / "front.svg").exists()


def test_picture_of_a_front(stand_in):
    axes = picture(compare(Multiplier(family="drum", k=4, name="drum4"))).axes[0]
    line, *points = axes.lines
    assert line.get_xdata().tolist() == [500, 600, 900] and axes.get_yscale() == "symlog"
    assert axes.get_ylabel() == "normalized mean error distance" and axes.get_title() == "drum4"
    hollow = [point.get_xdata()[0] for point in points[:-1] if point.get_markerfacecolor() == "white"]
    assert hollow == [700]


def test_labels_of_a_picture_do_not_meet(stand_in, monkeypatch):
    compared = compare(Multiplier(family="drum", k=4, name="drum4"))
    unit, exact, near, far = compared.candidates
    crowd = [
        replace(each, label=f"mul8u_kind_{n}", synthesis=replace(near.synthesis, netlist=each.synthesis.netlist))
        for n, each in enumerate([exact, near, far] * 4)
    ]
    axes = picture(replace(compared, candidates=(replace(unit, label="mul8u_drum_4"), *crowd))).axes[0]
    assert sorted(note.get_text() for note in axes.texts) == sorted(["drum_4", *(f"kind_{n}" for n in range(12))])
    boxes = [note.get_window_extent() for note in axes.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and axes.bbox.y0 <= box.y0 for box in boxes)
    assert axes.get_ylim()[0] < 0


def test_compare_refuses(folder, capsys):
    assert main(["synth", "drum4.json", "--compare", "--scale", "1"]) == 2
    assert capsys.readouterr().err == "hwlut: Multiplier scale must not be given, not 1\n"


def test_synth(folder, capsys, need):
    need("yosys", "sta", "g++", "verilator")
    try:
        Liberty.read()
    except ToolError:
        pytest.skip("needs qflow-tech-osu018")
    content = json.loads(told(capsys, "synth", "even.json", "--json"))
    assert content["recheck"]["ok"] and content["recheck"]["vectors"] == 16 and content["area"] > 0
    alone = json.loads(told(capsys, "eval", "even.json", "--json"))
    assert content["errors"]["wce"] == 1 and content["errors"].items() <= alone.items()
    text = told(capsys, "synth", "even.json").splitlines()
    assert text[-8:] == [
        "pairs     16, all of them",
        "med       0.25",
        "nmed      0.04167",
        "wce       1",
        "ep        0.25",
        f"mred      {(2 + 2 / 3) / 9:.4g}",
        "mse       0.25",
        "bias      -0.25",
    ]
