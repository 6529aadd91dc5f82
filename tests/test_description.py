"""Descriptions that do not describe: each is refused in one line, before anything is built from it."""

import copy
import json

import pytest
from tables import random_pwl

import hwlut
from hwlut import Fixed, Requantize
from hwlut.hdl import Rtl, generate, read_description

UNIT = random_pwl(30)


def port(content, name):
    return next(port for port in content["ports"] if port["name"] == name)


def change(path, value):
    """A change of one entry: keys, with the name of a port after "ports"."""

    def apply(content):
        for key in path[:-1]:
            content = (
                port({"ports": content}, key) if isinstance(content, list) and isinstance(key, str) else content[key]
            )
        content[path[-1]] = value

    return apply


def drop_port(name):
    return lambda content: content["ports"].remove(port(content, name))


REFUSED = {
    "schema": (change(["schema"], "x"), "schema must be hwlut.rtl/1, not 'x'"),
    "module": (change(["module"], "--help"), r"module must match \[A-Za-z_\]"),
    "digest": (change(["digest"], "12"), "digest must be 64 hexadecimal digits, not '12'"),
    "scale": (change(["scale"], "5"), "scale must be an integer from 0 to 62, not '5'"),
    "reset": (change(["reset"], "rst = on; system()"), "reset must be one of rst, aresetn, not 'rst = on; system"),
    "latency": (change(["latency"], -1), "latency must be an integer from 1 to 1048576, not -1"),
    "huge latency": (change(["latency"], 10**30), "latency must be an integer from 1 to 1048576, not 1000"),
    "ports": (change(["ports"], None), "ports must be a list, not None"),
    "no ports": (change(["ports"], []), "ports must hold clk, an input of width 1"),
    "a port": (change(["ports", 0], 5), "port must be an object of name, dir, width, fields, not 5"),
    "port name": (change(["ports", "clk", "name"], "a b"), r"port name must match"),
    "stray port": (change(["ports", "clk", "name"], "clock"), "ports must hold clk|port clock must be clk, the reset"),
    "width": (change(["ports", "s_axis_tdata", "width"], "8"), "s_axis_tdata width must be an integer from 1 to 65536"),
    "negative width": (change(["ports", "s_axis_tdata", "width"], -8), "s_axis_tdata width must be an integer"),
    "huge width": (change(["ports", "s_axis_tdata", "width"], 10**12), "s_axis_tdata width must be an integer"),
    "direction": (change(["ports", "s_axis_tdata", "dir"], "in"), "s_axis_tdata dir must be input or output, not 'in'"),
    "bits": (
        change(["ports", "s_axis_tdata", "fields", 0, "bits"], 999),
        "s_axis_tdata field q bits must be an integer from 1 to 64, not 999",
    ),
    "lsb": (
        change(["ports", "s_axis_tdata", "fields", 0, "lsb"], 1),
        "s_axis_tdata field q lsb must be a multiple of 8, not 1",
    ),
    "handshake": (drop_port("m_axis_tready"), "stream m_axis must have m_axis_tready, an input"),
    "one-way": (change(["ports", "m_axis_tdata", "dir"], "input"), "stream m_axis must have m_axis_tvalid, an input"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(tmp_path, case):
    _, path = generate(UNIT).save(tmp_path)
    content = json.loads(path.read_text())
    edit, message = REFUSED[case]
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"^{path}: ({message})"):
        read_description(path)
    with pytest.raises(ValueError, match=message):
        hwlut.check(UNIT, verilog=path.with_name("random_30.v"))


def test_fields_must_be_the_units():
    rtl = generate(UNIT)
    renamed = copy.deepcopy(rtl.description)
    port(renamed, "s_axis_tdata")["fields"][0]["name"] = "z"
    with pytest.raises(ValueError, match="s_axis must have the fields q, scale, not z, scale"):
        hwlut.check(UNIT, verilog=Rtl(rtl.verilog, renamed))


def test_the_verilog_must_have_the_ports():
    rtl = generate(UNIT, scale=1)
    with pytest.raises(
        ValueError, match="Verilog of random_30 does not have the ports of its description: .*s_axis_tuser"
    ):
        hwlut.check(UNIT, verilog=Rtl(rtl.verilog, generate(UNIT).description))
    wide = copy.deepcopy(rtl.description)
    port(wide, "m_axis_tdata")["width"] = 64
    with pytest.raises(ValueError, match="no output m_axis_tdata of 64 bits, but output of 16"):
        hwlut.check(UNIT, verilog=Rtl(rtl.verilog, wide))


def test_the_module_decides_what_is_built():
    rtl = generate(UNIT)
    assert hwlut.check(UNIT, verilog=rtl).ok
    with pytest.raises(ValueError, match="'other' was not found|other"):
        hwlut.check(UNIT, verilog=Rtl(rtl.verilog, {**rtl.description, "module": "other"}))


def test_an_unknown_point_is_null():
    unit = Requantize(input=Fixed(12), multipliers=(3,), shifts=(2,), output=Fixed(8))
    for name in ("s_axis_tdata", "m_axis_tdata"):
        assert port(generate(unit).description, name)["fields"][0]["frac"] is None


@pytest.mark.parametrize("name", ["clk", "rst", "aresetn", "m_axis_tdata"])
def test_a_unit_must_not_have_the_name_of_a_port(name):
    with pytest.raises(ValueError, match=f"Pwl name must not be that of a port, not '{name}'"):
        generate(UNIT.replace(name=name))
