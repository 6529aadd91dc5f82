"""The command line: what it prints, its exit status, and one clear line for all that goes wrong."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tables import SCHEMAS

from hwlut import verify
from hwlut.cli import main
from hwlut.fit import catalogue
from hwlut.share import share
from hwlut.units import Pwl, Requantize, load

TABLE = {
    "schema": "hwlut.pwl/1",
    "name": "ramp",
    "function": "hswish",
    "input": {"bits": 8, "signed": True},
    "scales": [4, 5],
    "breakpoint_frac": 5,
    "breakpoints": [-96, 0, 96],
    "slope": {"bits": 8, "frac": 6},
    "slopes": [0, 0, 64, 64],
    "intercept": {"bits": 16, "frac": 6},
    "intercepts": [0, 0, 0, 0],
    "meta": {"method": "by hand"},
}


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs a command line in a fresh folder; returns status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def command(*arguments):
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return command


@pytest.fixture
def refused(run, tmp_path):
    """Runs a command line that must end in status 2, one line and no new file; returns the line."""

    def command(*arguments):
        before = sorted(tmp_path.rglob("*"))
        status, out, err = run(*arguments)
        assert (status, out, err.count("\n")) == (2, "", 1), (status, out, err)
        assert err.startswith("hwlut: ") and err.endswith("\n") and err[:-1].isprintable()
        assert sorted(tmp_path.rglob("*")) == before
        return err[len("hwlut: ") : -1]

    return command


@pytest.fixture
def table(tmp_path):
    """Path of a small table; keywords replace its keys."""

    def write(**changes):
        path = tmp_path / "ramp.json"
        path.write_text(json.dumps(TABLE | changes))
        return path

    return write


def object_of(out):
    """The one JSON object on one line that `out` must be."""
    assert out.count("\n") == 1 and out.endswith("\n")
    content = json.loads(out)
    assert isinstance(content, dict)
    return content


# What the commands do


def test_help(run):
    status, out, err = run("--help")
    assert (status, err) == (0, "")
    for command in ("fit", "gen-rtl", "sim", "eval", "plot", "info"):
        assert f"\n  {command} " in out
    assert run() == (status, out, err)


@pytest.mark.parametrize("command", ["fit", "gen-rtl", "sim", "eval", "plot", "info"])
def test_help_of_each_command(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0 and f"Usage: hwlut {command} " in out and "--json" in out


def test_info(run, table):
    path = table()
    status, out, err = run("info", path)
    assert (status, err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    unit = load(path)
    assert lines["kind"] == "Pwl" and lines["digest"] == unit.digest and lines["segments"] == "4"
    assert lines["slope"] == "s8.6" and lines["breakpoints"] == "-96 0 96" and lines["output"] == "-"
    assert lines["accumulator_bits"] == str(unit.accumulator_bits)
    assert lines["meta"] == "method  by hand"


def test_info_of_another_kind(run, tmp_path):
    unit = Requantize.from_ratios([0.5, 0.25], input={"bits": 20, "signed": True}, output={"bits": 8, "signed": True})
    status, out, _ = run("info", unit.save(tmp_path / "r.json"), "--json")
    content = object_of(out)
    assert status == 0 and content["kind"] == "Requantize" and content["channels"] == 2


def test_info_shortens_long_sequences(run, table):
    breakpoints = list(range(40))
    path = table(breakpoints=breakpoints, slopes=[0] * 41, intercepts=[0] * 41)
    _, out, _ = run("info", path)
    assert "40 numbers, 0 to 39" in out


def test_info_escapes_control_characters(run, table):
    _, out, _ = run("info", table(function="\x1b[31m\ud800"))
    assert "\\x1b[31m\\ud800" in out


def test_info_json(run, table):
    path = table()
    content = object_of(run("info", path, "--json")[1])
    assert content["table"] == str(path) and content["shipped"] is False
    assert content["cost"] == dataclasses.asdict(load(path).cost())
    assert content["parameters"]["breakpoints"] == TABLE["breakpoints"]


@pytest.mark.parametrize("given", ["gelu_8", "gelu_8.json", "pretrained/gelu_8.json"])
def test_shipped_tables_by_name(run, given):
    shipped = share("pretrained", "gelu_8.json")
    status, out, err = run("info", given, "--json")
    assert (status, err) == (0, f"hwlut: no file {given}: taking the shipped table {shipped}\n")
    content = object_of(out)
    assert content["table"] == str(shipped) and content["shipped"] is True


def test_a_folder_hides_no_shipped_table(run, tmp_path):
    (tmp_path / "gelu_8").mkdir()
    assert run("info", "gelu_8")[0] == 0


def test_a_file_goes_before_a_shipped_table(run, table):
    table().rename("gelu_8")
    status, out, err = run("info", "gelu_8", "--json")
    assert (status, err, object_of(out)["name"]) == (0, "", "ramp")


def test_fit(run, tmp_path):
    options = "--scales 0:6 --domain -4 4 --slope-bits 8 --slope-frac 6 --intercept-bits 8 --intercept-frac 6"
    status, out, err = run("fit", "hswish", "--segments", 4, *options.split(), "--seed", 3, "-o", "new/h.json")
    assert (status, err) == (0, "")
    unit = load(tmp_path / "new" / "h.json")
    assert (unit.name, unit.segments, unit.scales) == ("hswish_4", 4, tuple(range(7)))
    assert (str(unit.slope), str(unit.intercept), unit.meta["seed"]) == ("s8.6", "s8.6", 3)
    assert out.splitlines()[0].split() == ["table", "new/h.json"] and unit.digest in out


def test_fit_options(run, tmp_path):
    options = "--segments 4 --scales 3,5 --input-bits 6 --symmetry auto --breakpoint-frac 7 --name mine --json"
    status, out, _ = run("fit", "tanh", *options.split(), "--output-format", "s8.6", "--rounding", "half_even")
    unit = load(tmp_path / "mine.json")
    assert status == 0 and object_of(out)["digest"] == unit.digest
    assert isinstance(unit, Pwl)
    assert (str(unit.input), unit.scales, unit.symmetry.value, unit.breakpoint_frac) == ("s6", (3, 5), "odd", 7)
    assert (str(unit.output), unit.rounding.value) == ("s8.6", "half_even")


def test_fit_unsigned_at_one_scale(run, tmp_path):
    assert run("fit", "sigmoid", "--segments", 2, "--scales", 5, "--unsigned")[0] == 0
    unit = load(tmp_path / "sigmoid_2.json")
    assert (str(unit.input), unit.scales) == ("u8", (5,))


def test_fit_published(run, tmp_path):
    options = (
        "--segments 16 --published --seed 3 --generations 10 --population 20 --polish --checkpoint state.json --json"
    )
    status, out, err = run("fit", "reci", *options.split(), "-o", "r.json")
    unit, meta = load(tmp_path / "r.json"), object_of(out)["meta"]
    assert status == 0 and err.splitlines()[-1].startswith("hwlut: fit 10/10: error ")
    assert (unit.name, unit.scales, unit.meta["seed"]) == ("reciprocal_16", (5,), 3)
    settings = {"generations": 10, "population": 20, "polish": True, "mutation_mode": "gaussian", "x_range": [0.5, 4.0]}
    assert settings.items() <= meta["settings"].items()
    assert json.loads((tmp_path / "state.json").read_text())["generation"] == 10


def test_fit_genetic(run, tmp_path):
    options = (
        "--method genetic --generations 5 --crossover 0.5 --mutation 0.4 --mutation-mode gaussian --decimal-bits 1 3"
    )
    status, out, _ = run(
        "fit", "gelu", *options.split(), "--tournament", 2, "--anchors", -5, 5, "--search", -4, 4, "--json"
    )
    expected = {
        "crossover": 0.5,
        "mutation": 0.4,
        "mutation_mode": "gaussian",
        "decimal_bits": [1, 3],
        "tournament": 2,
        "anchors": [-5.0, 5.0],
        "search": [-4.0, 4.0],
        "x_range": None,
        "elite": 1,
    }
    assert status == 0 and expected.items() <= object_of(out)["meta"]["settings"].items()


def test_fit_objectives(run, tmp_path):
    Path("h.json").write_text('{"edges": [-1, 0, 1], "counts": [1, 2]}')
    given = "--segments 3 --input-bits 6 --scales 3 --slope-digits 2 --json".split()
    code = "--objective code --output-format s6.3 --weights h.json --weight-floor 0.5 --slope-frac 4 --intercept-bits 6"
    meta = object_of(run("fit", "gelu", *given, *code.split())[1])["meta"]
    assert meta["objective"] == "code" and {"slope_digits": 2, "weight_floor": 0.5}.items() <= meta.items()
    meta = object_of(run("fit", "gelu", *given, "--objective", "max")[1])["meta"]
    assert meta["certified"] and meta["max_error"] > 0 and "weight_floor" not in meta


def test_fit_of_fewest_segments(run):
    content = object_of(run("fit", "hswish", "--max-mse", "1e-4", "--scales", 5, "--json")[1])
    segments = int(content["name"].removeprefix("hswish_"))
    assert content["meta"]["mse"] <= 1e-4 and content["meta"]["bound"] == {"max_mse": 1e-4}
    fewer = object_of(run("fit", "hswish", "--segments", segments - 1, "--scales", 5, "--json")[1])
    assert fewer["meta"]["mse"] > 1e-4


def test_fit_of_fewest_bits(run):
    given = "--max-mse 1e-3 --fewest bits --segments 3 --input-bits 6 --scales 3 --json"
    content = object_of(run("fit", "tanh", *given.split())[1])
    assert content["name"] == "tanh_3" and content["meta"]["mse"] <= 1e-3 and content["meta"]["fewest"] == "bits"


def test_fit_of_a_continuous_table(run):
    meta = object_of(run("fit", "tanh", "--continuous", "--segments", 3, "--scales", 4, "--json")[1])["meta"]
    assert meta["continuous"] and meta["above_optimum"] > 0


def test_fit_all(run, monkeypatch, tmp_path):
    monkeypatch.setattr(catalogue, "CATALOGUE", (("hswish", 8),))
    status, out, err = run("fit", "--all", "tables")
    assert (status, out, err) == (0, "tables/hswish_8.json\n", "hwlut: fit 1/1: hswish_8\n")
    assert (tmp_path / "tables" / "hswish_8.json").read_bytes() == share("pretrained", "hswish_8.json").read_bytes()
    assert object_of(run("fit", "--all", "tables", "--json")[1]) == {"tables": ["tables/hswish_8.json"]}


def test_gen_rtl(run, table, tmp_path):
    path = table()
    status, out, err = run("gen-rtl", path, "-o", "out")
    assert (status, err) == (0, "")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"ramp.v", "ramp.rtl.json"}
    assert "latency          3" in out.splitlines()
    content = object_of(run("gen-rtl", path, "-o", "out", "--json")[1])
    assert content["verilog"] == "out/ramp.v" and content["rtl"]["module"] == "ramp"


def test_gen_rtl_overwrites_another_scale_only_by_force(run, refused, table):
    path = table()
    run("gen-rtl", path, "-o", "out")
    message = "out/ramp.rtl.json has scale none, not 5; --force overwrites it"
    assert refused("gen-rtl", path, "-o", "out", "--scale", 5) == message
    status, out, _ = run("gen-rtl", path, "-o", "out", "--scale", 5, "--reset", "aresetn", "--force", "--json")
    content = object_of(out)["rtl"]
    assert (status, content["scale"], content["reset"]) == (0, 5, "aresetn")


def test_sim_status(run, table, monkeypatch):
    path = table()
    status, out, _ = run("sim", path, "--engine", "reference")
    assert status == 0 and "result      PASS" in out
    good = verify.check(load(path), engine="reference")
    bad = dataclasses.replace(good, mismatches=1, first={"q": 3, "scale": 4, "expected": 1, "got": 2})
    monkeypatch.setattr(verify, "check", lambda *_, **__: bad)
    status, out, err = run("sim", path)
    assert (status, err) == (1, "") and "q 3, scale 4, expected 1, got 2" in out and "result      FAIL" in out
    status, out, _ = run("sim", path, "--json")
    content = object_of(out)
    assert status == 1 and content["ok"] is False and content["mismatches"] == 1 and content["name"] == "ramp"


def test_sim_passes_its_options_on(run, table, monkeypatch):
    report = verify.check(load(table()), engine="reference")
    seen = {}
    monkeypatch.setattr(verify, "check", lambda unit, **options: seen.update(options) or report)
    options = "--engine pysim --against cpu --scale 5 --verilog ramp.v --waves ramp.vcd --seed 7"
    assert run("sim", table(), *options.split())[0] == 0
    expected = {"engine": "pysim", "against": "cpu", "scale": 5, "seed": 7, "values": ()}
    assert seen == expected | {"verilog": Path("ramp.v"), "waves": Path("ramp.vcd")}


def test_eval(run, table):
    """On [-1, 0] the unit gives 0, so its error is x * (x + 3) / 6, largest at -1."""
    status, out, err = run("eval", table(), "--domain", -1, 0)
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    errors = [[(x / n) * (x / n + 3) / 6 for x in range(-n, 1)] for n in (16, 32)]
    assert lines[0] == "ramp against hswish on [-1, 0]".split()
    for line, scale, values in zip(lines[2:], (4, 5), errors):
        mse = sum(value**2 for value in values) / len(values)
        assert line == [str(scale), str(len(values)), f"{mse:.4g}", "0.3333", str(-(2**scale)), "-1"]


def test_eval_json(run, table):
    content = object_of(run("eval", table(), "--json")[1])
    assert content["domain"] == [None, None] and [row["codes"] for row in content["scales"]] == [256, 256]
    assert content["mse"] == pytest.approx(sum(row["mse"] for row in content["scales"]) / 2)


def test_eval_agrees_with_the_fit(run):
    """Another computation of the same error: the one that the fit recorded."""
    content = object_of(run("eval", "gelu_8", "--json")[1])
    assert content["mse"] == pytest.approx(load(share("pretrained", "gelu_8.json")).meta["mse"], rel=1e-4)


@pytest.mark.parametrize("suffix, start", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_plot(run, table, tmp_path, suffix, start):
    status, out, _ = run("plot", table(), "-o", f"p.{suffix}")
    assert (status, out) == (0, f"p.{suffix}\n")
    assert (tmp_path / f"p.{suffix}").read_bytes().startswith(start)


def test_plot_marks_every_breakpoint(table):
    from hwlut.plot import figure

    above, below = figure(load(table(symmetry="identity", breakpoints=[32, 64, 96]))).axes
    for axes in (above, below):
        dotted = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
        assert dotted == [-3, -2, -1, 1, 2, 3]
    assert [text.get_text().partition(":")[0] for text in below.get_legend().get_texts()] == ["4", "5"]


def test_plot_json_with_a_domain(run, table):
    content = object_of(run("plot", table(), "--domain", -2, 2, "--json")[1])
    assert content["plot"] == "ramp.png" and Path("ramp.png").is_file()


def test_terminal_output(run, table, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    status, out, _ = run("eval", table())
    assert status == 0 and "max |error|" in out and "mean mse over scales" in out


# What goes wrong


def without(key):
    return json.dumps({name: value for name, value in TABLE.items() if name != key})


HOSTILE = {
    "empty": ("", "not a parameter table: Expecting value: line 1 column 1 (char 0)"),
    "truncated": (json.dumps(TABLE)[:100], "not a parameter table: "),
    "list": ("[1]", "not a parameter table: expected an object, not [1]"),
    "deep": ("[" * 100_000, "not a parameter table: nested too deeply"),
    "nan": (json.dumps(TABLE | {"meta": {"a": float("nan")}}), "not a parameter table: NaN is no JSON number"),
    "twice": ('{"schema": 1, "schema": 2}', "not a parameter table: key 'schema' stands twice"),
    "huge number": (json.dumps(TABLE | {"slopes": [10**1000] * 4}), "Pwl slopes[0] must be from -92233"),
    "endless number": ('{"schema": ' + "9" * 5000 + "}", "not a parameter table: Exceeds the limit"),
    "not utf-8": (b"\xff\xfe{", "not a parameter table: 'utf-8' codec can't decode"),
    "no schema": (
        "{}",
        f"schema must be one of {SCHEMAS}, not None",
    ),
    "missing key": (without("slopes"), "key 'slopes' is missing"),
    "unknown key": (json.dumps(TABLE | {"colour": 1}), "unknown key 'colour'; hwlut.pwl/1 has name, function"),
    "float": (json.dumps(TABLE | {"slopes": [0.5] * 4}), "Pwl slopes[0] must be an integer, not 0.5"),
    "string": (json.dumps(TABLE | {"slopes": "abc"}), "Pwl slopes must be a sequence of integers, not 'abc'"),
    "order": (json.dumps(TABLE | {"breakpoints": [3, 2, 7]}), "Pwl breakpoints must be non-decreasing, not (3, 2, 7)"),
    "path as name": (
        json.dumps(TABLE | {"name": "../x"}),
        "Pwl name must match [A-Za-z_][A-Za-z0-9_]{0,63}, not '../x'",
    ),
    "keyword": (json.dumps(TABLE | {"name": "module"}), "Pwl name must not be a Verilog keyword, not 'module'"),
    "control characters": (json.dumps(TABLE | {"name": "a\n\x1b[31m"}), "Pwl name must match"),
}


@pytest.mark.parametrize("command", ["info", "eval", "plot", "gen-rtl", "sim"])
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_tables(refused, tmp_path, command, case):
    content, message = HOSTILE[case]
    path = tmp_path / "bad.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refused(command, path).startswith(f"{path}: {message}")


def test_oversized_table(refused, tmp_path):
    path = tmp_path / "big.json"
    with open(path, "wb") as file:
        file.truncate((16 << 20) + 1)
    assert refused("info", path) == f"{path}: more than the 16777216 bytes allowed"


def test_missing_tables(refused):
    where = f"table must be a file or the name of one in {share('pretrained')}, such as"
    for given, near in (
        ("nothing", "gelu_8, exp_16, mul8s_exact"),
        ("elsewhere/gelu_8.json", "gelu_8, elu_8, gelu_16, gelu_tanh_8"),
        ("../mul8u_dram_4", "mul8u_drum_4, mul8u_drum_6, mul8u_drum_5, mul8s_drum_4"),
        (".", "gelu_8, exp_16, mul8s_exact"),
    ):
        assert refused("info", given) == f"{where} {near}, not {given!r}"
    assert refused("info", "x" * 5000).endswith("x...")
    assert refused("info", "/dev/null") == "/dev/null: not a regular file"


FIT = {
    "--scales 6:0": "scales must be such as 0:6, 5 or 0,2,4, not '6:0'",
    "--scales 1,": "scales must be such as 0:6, 5 or 0,2,4, not '1,'",
    "--scales -1": "scales must be such as 0:6, 5 or 0,2,4, not '-1'",
    "--slope-frac x": "slope frac must be a number of bits or auto, not 'x'",
    "--intercept-frac -1": "intercept frac must be a number of bits or auto, not '-1'",
    "--output-format 8": "output format must be such as s8.5, u8.8 or s8, not '8'",
    "--output-format s99": "Fixed bits must be from 1 to 64, not 99",
    "--segments 0": "fit segments must be from 1 to 256, not 0",
    "--method magic": "fit method must be one of optimal, genetic, not 'magic'",
    "--objective area": "fit objective must be one of mse, max, code, not 'area'",
    "--objective code": "fit objective 'code' needs an output format",
    "--weights no.npy": "no.npy: no such file",
    "--slope-digits 0": "fit slope_digits must be from 1 to 16, not 0",
    "--max-mse 1e-3 --segments 4": "--max-mse must be given without --segments",
    "--max-mse 1e-3 --max-error 1": "fewest segments need one bound: max_mse or max_error",
    "--max-error 1 --objective mse": "fit max_error must go with objective 'max', not 'mse'",
    "--published --max-mse 1": "--published must be given without --max-mse",
    "--fewest bits": "--fewest must be given with --max-mse or --max-error",
    "--max-mse 1 --fewest lines": "fewest must be of segments or bits, not 'lines'",
    "--max-mse 1 --fewest bits --slope-bits 8": "--fewest bits must be given without --slope-bits",
    "--max-mse 1 --fewest bits --continuous": "fewest bits must be found without continuous",
    "--continuous --objective max": "fit continuous must go with objective 'mse', not 'max'",
    "--population 9": "--population must be given with --method genetic",
    "--polish": "--polish must be given with --method genetic",
    "--published --scales 3": "--published must be given without --scales",
    "--published --segments 4": "published segments must be one of 8, 16, not 4",
    "--method genetic --elite 50": "genetic elite must be from 0 to 49, not 50",
    "--method genetic --search 1 0": "genetic search must be from a lower to a higher number, not (1.0, 0.0)",
    "--name ../x": "Pwl name must match [A-Za-z_][A-Za-z0-9_]{0,63}, not '../x'",
    "--name wire": "Pwl name must not be a Verilog keyword, not 'wire'",
    "--dask here": "--dask must be given with --all",
    "--all tables": "--all must be given without FUNCTION",
    "--segments many": "Invalid value for '--segments': ",
    "--domain 1": "Option '--domain' requires 2 arguments.",
    "--colour": "No such option: --colour",
}


@pytest.mark.parametrize("options", FIT)
def test_fit_refuses(refused, options):
    assert refused("fit", "hswish", *options.split()).startswith(FIT[options])


def test_fit_refuses_unknown_functions(refused):
    message = refused("fit", "cosh")
    assert message.startswith("function must be one of cos, elu, erf, ") and message.endswith(", tanh, not 'cosh'")
    assert refused("fit") == "FUNCTION or --all must be given"
    assert refused("fit", "--all", "tables", "--segments", 8) == "--all must be given without --segments"


def test_dask_must_be_installed(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    message = "dask: not found; install it with: pip install 'hwlut[dask]'"
    assert refused("fit", "--all", "tables", "--dask", "tcp://127.0.0.1:1") == message


def test_wrong_use(refused):
    assert refused("info") == "Missing argument 'TABLE'."
    assert refused("inf").startswith("No such command 'inf'.")
    assert refused("--version") == "No such option: --version"


def test_wrong_arguments_for_a_good_table(refused, table):
    path = table()
    assert refused("gen-rtl", path, "--scale", 9) == "Pwl scale must be one of (4, 5), not 9"
    assert refused("gen-rtl", path, "--reset", "on") == "reset must be one of rst, aresetn, not 'on'"
    assert refused("sim", path, "--engine", "magic").startswith("engine must be one of verilator, cocotb, pysim")
    assert refused("sim", path, "--verilog", "no.v") == "no.v: no such file"
    assert refused("eval", path, "--domain", 3, 1) == "domain must be from a lower to a higher number, not 3 to 1"
    message = "domain must hold an input code at every scale; at scale 4 it holds none"
    assert refused("eval", path, "--domain", 0.01, 0.02) == message
    message = "picture must be a file of .png, .svg, .pdf, not 'ramp.exe'"
    assert refused("plot", path, "-o", "ramp.exe") == message


def test_accuracy_needs_a_function(refused, table, tmp_path):
    for command in ("eval", "plot"):
        message = "accuracy needs a table that names its function; 'ramp' has none"
        assert refused(command, table(function=None)) == message
        assert refused(command, table(function="cosh")).startswith("function must be one of cos, elu, ")
    unit = Requantize.from_ratios(0.5, input={"bits": 20, "signed": True}, output={"bits": 8, "signed": True})
    path = unit.save(tmp_path / "r.json")
    assert refused("eval", path) == "accuracy needs a Pwl or Direct table, not Requantize 'requantize'"


def test_accuracy_goes_through_every_code_or_not_at_all(refused, table):
    message = "every code is evaluated: input bits must be at most 24, not 25"
    assert refused("eval", table(input={"bits": 25, "signed": True})) == message


def test_unwritable_outputs(refused, table, tmp_path):
    path = table()
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for command in (["fit", "hswish", "--segments", 2], ["plot", path]):
        output = "file/x.png"
        assert refused(*command, "-o", output).startswith(f"{output} cannot be written: ")
        assert refused(*command, "-o", "folder.png") == "folder.png cannot be written: Is a directory"
    assert refused("gen-rtl", path, "-o", "file").startswith("file cannot be written: ")
    assert refused("fit", "--all", "file/tables").startswith("file/tables cannot be written: ")


def test_missing_tool(refused, table, monkeypatch, tmp_path):
    from hwlut.verify import tools

    tools.compiler.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "g++: not found; install it, on Debian and Ubuntu with: apt install g++" == refused("sim", table())


def test_interrupt(run, table, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("hwlut.units.load", interrupt)
    status, out, err = run("info", table())
    assert (status, out) == (130, "") and "Traceback" not in err


def test_reader_that_goes_away(table):
    program = "import sys; from hwlut.cli import main; sys.exit(main(sys.argv[1:]))"
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", program, "info", str(table())]
    run = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (run.returncode, run.stderr) == (1, "")
