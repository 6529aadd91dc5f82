"""The soak: few random units of each kind through the engines, and what it makes of engines that are broken."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from crashing_batches import crashing
from soak import batch, reproducer
from soak.batch import run_batch
from soak.campaign import Campaign
from soak.case import drawn
from soak.emission import emitted
from soak.found import Finding
from soak.kinds import KINDS, kind_of
from soak.reproducer import replayed, shrunk, written

from hwlut.hdl import generate

CHEAP = ("direct", "requantize", "multiplier", "pwl")


@pytest.fixture
def tools(need):
    need("g++", "verilator")


def test_a_number_gives_a_case():
    assert drawn(5, 3, "pwl").key == drawn(5, 3, "pwl").key
    keys = {drawn(seed, number, kind).key for seed in (5, 6) for number in range(8) for kind in CHEAP}
    assert len(keys) == 2 * 8 * len(CHEAP)
    assert Counter(map(kind_of, range(700, 800))) == KINDS and sum(KINDS.values()) == 100


def same_but_for_order(text):
    """Lines of Verilog without the seal; yosys numbers dummies, and orders the assignments of a module, by the names
    of all that it has read."""
    lines = re.sub(r"dump_module\$\d+", "dump_module", text).splitlines()
    kept = [line for line in lines if not line.startswith("// sha256")]
    return [line for line in kept if not line.startswith("  assign ")], sorted(kept)


def test_designs_together_are_the_designs_alone():
    cases = [drawn(1, number, kind) for number, kind in enumerate(KINDS) if kind != "network"]
    together = emitted(cases)
    for case, rtl in zip(cases, together):
        alone = generate(case.unit, **case.form)
        assert rtl.description == alone.description
        assert same_but_for_order(rtl.verilog) == same_but_for_order(alone.verilog)


def test_units_of_every_kind_agree(tools, tmp_path):
    of_kind = {kind: [number for number in range(100) if kind_of(number) == kind] for kind in KINDS}
    numbers = [number for found in of_kind.values() for number in found[:3]]
    found = run_batch(3, numbers, str(tmp_path / "journal"))
    assert not found.findings, found.findings
    ran = {(found.keys[number][0], engine) for number, engine in found.compared}
    for kind in KINDS:
        software = {"integers", "cpu"} if kind not in ("codes", "rows", "network") else {"engine"}
        for engine in {"files", "model" if kind == "network" else "verilator"} | software:
            assert (kind, engine) in ran
    assert all(found.compared.values()) and "pysim" in {engine for _, engine in found.compared}


def flipped(cases):
    """Designs of which the first constant of a table is wrong."""
    return [
        dataclasses.replace(rtl, verilog=re.sub(r"(= \d+'h)([0-9a-f]+);", _plus_one, rtl.verilog))
        for rtl in emitted(cases)
    ]


def _plus_one(match):
    return f"{match[1]}{int(match[2], 16) ^ 1:x};"


def test_wrong_verilog_is_found_written_made_smaller_and_run_again(tools, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "emitted", flipped)
    found = run_batch(3, range(2), str(tmp_path / "journal"), "direct")
    assert {finding.engine for finding in found.findings} == {"verilator"}
    place = written(3, found.findings[0], tmp_path)
    assert replayed(place) is None  # by hwlut's own Verilog
    monkeypatch.setattr(reproducer, "emitted", flipped)
    shrunk(place)
    content = json.loads((place / "case.json").read_text())
    assert content["idle"] == content["stall"] == 0 and not content["interrupt"]
    assert content["message"] and replayed(place) == content["message"]


BROKEN = """
import sys
from soak import engines
from soak.__main__ import main
from soak.difference import Difference

def wrong(case, about):
    raise Difference(f"1 is not {case.unit.digest[:4]}")

engines.SOFTWARE["integers"] = (*engines.SOFTWARE["integers"][:2], wrong)
sys.exit(main(sys.argv[1:]))
"""


def test_a_finding_is_replayed_by_a_fresh_process(tmp_path):
    place = written(4, Finding(0, "sum", "integers", "1 is not 2", 32), tmp_path)
    digest = drawn(4, 0, "sum").unit.digest

    def replay(*command):
        paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        run = subprocess.run(
            [sys.executable, *command, "--replay", str(place)], capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": paths},
        )  # fmt: skip
        return run.returncode, run.stdout

    assert replay("-m", "soak") == (0, f"{place}: agrees\n")
    assert replay("-c", BROKEN) == (1, f"{place}: 1 is not {digest[:4]}\n")


def test_a_process_that_ends_is_a_finding_and_not_the_end(monkeypatch):
    monkeypatch.setattr(batch, "run_batch", crashing)
    found, told = Campaign(0, "direct"), []
    found.run(0, lambda units: units >= 12, processes=2, size=8, told=told.append)
    assert [(each.number, each.engine) for each in found.findings] == [(3, "cpu")]
    assert set(found.keys) >= {str(number) for number in range(16)} - {"3"}
    assert found.results["direct", "cpu"] == 7 * len(found.keys)
    assert [each for each in told if each] == found.findings
    assert re.search(r"direct +cpu +\d+ +\d+ +0 +1$", found.table(), re.MULTILINE)
