"""The reference Verilog in rtl/ is what the shipped tables generate today."""

import pytest

import hwlut
from hwlut.hdl import generate, read_description
from hwlut.share import share

DESCRIPTIONS = sorted(share("rtl").rglob("*.rtl.json"))


def test_there_are_references_of_each_form():
    forms = {(d["scale"] is None, d["reset"]) for d in map(read_description, DESCRIPTIONS)}
    assert forms == {(True, "rst"), (False, "rst"), (False, "aresetn")}


@pytest.mark.parametrize("path", DESCRIPTIONS, ids=[str(p.relative_to(share("rtl"))) for p in DESCRIPTIONS])
def test_reference_verilog_is_what_is_generated(path):
    there = read_description(path)
    unit = hwlut.load(share("pretrained", f"{there['module']}.json"))
    rtl = generate(unit, scale=there["scale"], stages=there["latency"], reset=there["reset"])
    assert rtl.description == there
    assert rtl.verilog == (path.parent / f"{there['module']}.v").read_text()
