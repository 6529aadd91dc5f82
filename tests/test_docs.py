"""The documentation does what it says: blocks run, shown output matches, links lead somewhere.

Fences in README.md and docs/*.md, by their language:

- ``python`` runs here, page by page, in order, in one namespace; a page states results by assert.
- ``console`` runs lines that start with ``$ `` in a shell. What follows a command must be what it
  prints (both streams), where ``...`` stands for any text in a line, and alone on a line for any lines.
- ``json`` must parse. ``sh``, ``text`` and ``verilog`` are only shown.

Python and console blocks of a page share one empty folder, in which pretrained/ is there.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from hwlut import functions, units

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"python", "console", "json", "sh", "text", "verilog"}
FOLDERS = ("benchmarks", "docs", "examples", "hwlut", "kernels", "pretrained", "rtl", "sim", "tests")

KINDS = [kind for kind in vars(units).values() if isinstance(kind, type) and units.Unit in kind.__bases__]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


class Block(NamedTuple):
    language: str
    line: int
    text: str


def blocks(page):
    """The fenced blocks of a page, with the line where their text starts."""
    text = page.read_text()
    for found in re.finditer(r"^```(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE):
        yield Block(found[1], text.count("\n", 0, found.start()) + 2, found[2])


def prose(page):
    """The text of a page without its fenced blocks."""
    return re.sub(r"^```.*\n(?:.*\n)*?```$", "", page.read_text(), flags=re.MULTILINE)


def pattern(shown):
    """What output matches the lines `shown`."""
    parts = []
    for line in shown:
        anything = "[^\n]*".join(map(re.escape, line.rstrip().split("...")))
        parts.append("(?:.*\n)*" if line.strip() == "..." else anything + " *\n")
    return "".join(parts)


def run_console(block, where, environment):
    """Run each command of a console block and compare what is shown after it."""
    lines = block.text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    assert starts[:1] == [0], f"{where}: a console block must start with a command"
    for start, end in zip(starts, [*starts[1:], len(lines)]):
        command = lines[start].removeprefix("$ ")
        run = subprocess.run(
            ["bash", "-c", command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        told = f"{where}: {command}\n{run.stdout}"
        assert run.returncode == 0, f"{told}\nstatus {run.returncode}"
        if shown := lines[start + 1 : end]:
            assert re.fullmatch(pattern(shown), run.stdout), f"{told}\nis not what is shown:\n" + "\n".join(shown)


@pytest.fixture
def environment(tmp_path):
    """Environment in which `hwlut` is this checkout's."""
    commands = tmp_path / "bin"
    commands.mkdir()
    hwlut = commands / "hwlut"
    program = 'import sys\nfrom hwlut.cli import main\nif __name__ == "__main__":\n    sys.exit(main())\n'
    hwlut.write_text(f"#!{sys.executable}\n{program}")
    hwlut.chmod(0o755)
    path = os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


@each_page
def test_blocks_run(page, tmp_path, monkeypatch, environment, need):
    found = list(blocks(page))
    if any(re.search(r"hwlut sim|hwlut run .*--tile|hwlut\.check|hwlut\.ops", block.text) for block in found):
        need("g++", "make", "verilator")
    if any(re.search("hwlut synth|synthesized|hwlut prove|prove_stream", block.text) for block in found):
        need("g++", "sta", "verilator", "yosys")
    if any(re.search(r"export_onnx", block.text) for block in found):
        need("gcc", "onnx", "onnxscript")
    for name in ("cocotbext", "iverilog", "onnxruntime"):
        if any(re.search(rf"(?:^|\W){name}\W", block.text) for block in found):
            need(name)
    if any(re.search(r"export_c\b", block.text) for block in found):
        need("cc")
    if any(re.search(r"named_task|hwlut\.train\.models", block.text) for block in found):
        need("sklearn", "transformers")
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "pretrained").symlink_to(ROOT / "pretrained")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(functions, "_registered", {})
    namespace = {"__name__": "page"}
    for block in found:
        where = f"{page.name}:{block.line}"
        assert block.language in LANGUAGES, f"{where}: language must be one of {sorted(LANGUAGES)}"
        if block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)
        elif block.language == "console":
            run_console(block, where, environment)
        elif block.language == "json":
            json.loads(block.text)


def test_shown_output_may_leave_out():
    assert re.fullmatch(pattern(["a ... c", "...", "z"]), "a b c\nd\ne\nz\n")
    assert re.fullmatch(pattern(["a", "...", "z"]), "a\nz\n")
    assert not re.fullmatch(pattern(["a ... c"]), "a\nc\n")
    assert not re.fullmatch(pattern(["a"]), "a\nb\n")


def anchors(page):
    """Anchors of a page's headings, as both GitHub and mkdocs make them of plain words."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@each_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_relative_to(ROOT) and linked.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(linked), f"{page.name} links to {target}"


@each_page
def test_named_files_exist(page):
    for name in re.findall(r"`([\w./-]+/[\w./-]*)`", prose(page)):
        if name.partition("/")[0] in FOLDERS:
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def options():
    """The options of every command: all names of each, by its first."""
    import typer

    from hwlut.cli import app

    commands = {}
    for name, command in typer.main.get_command(app).commands.items():
        below = getattr(command, "commands", {})
        commands |= {f"{name} {each}": below[each] for each in below}
        if not below or command.invoke_without_command:
            commands[name] = command
    return {
        name: {each.opts[0]: {*each.opts, *each.secondary_opts} for each in command.params if each.opts[0][0] == "-"}
        for name, command in commands.items()
    }


def test_every_command_and_option_is_told():
    text = (ROOT / "docs" / "cli.md").read_text()
    sections = dict(re.findall(r"^## hwlut (\S.*)\n((?:(?!^## ).*\n)*)", text, re.MULTILINE))
    assert set(sections) == set(options())
    for name, there in options().items():
        told = set(re.findall(r"^\| `(-[-\w]+)", sections[name], re.MULTILINE))
        assert told == there.keys() - {"--json", "--help"}, f"options of hwlut {name} in docs/cli.md"


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_a_parameter_table_is_told(kind):
    text = (ROOT / "docs" / "files.md").read_text()
    section = re.search(rf"^## {re.escape(kind.schema)}\n((?:(?!^## ).*\n)*)", text, re.MULTILINE)
    assert section, f"docs/files.md has no section {kind.schema}"
    told = set(re.findall(r"^\| `(\w+)`", section[1], re.MULTILINE))
    assert told == set(kind.keys()) - {"name", "function", "meta"}


def test_timing_diagram_is_what_the_hardware_does():
    pytest.importorskip("amaranth")
    from amaranth.sim import Simulator

    import hwlut
    from hwlut.hdl import generate

    text = next(block.text for block in blocks(ROOT / "docs" / "rtl.md") if "s_axis_tdata " in block.text)
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    unit = hwlut.load(ROOT / "pretrained" / "gelu_8.json")
    top = generate(unit, scale=5).design()
    results = {f"y{number}": int(unit(torch_codes([number]), scale=5)) for number in range(1, 6)}

    async def replay(ctx):
        ctx.set(top.rst, 1)
        for _ in range(4):
            await ctx.tick()
        ctx.set(top.rst, 0)
        for cycle in range(len(rows["cycle"])):
            offered = rows["s_axis_tdata"][cycle]
            ctx.set(top.s_axis_tvalid, int(rows["s_axis_tvalid"][cycle]))
            ctx.set(top.s_axis_tdata, 0 if offered == "-" else int(offered.removeprefix("q")))
            ctx.set(top.m_axis_tready, int(rows["m_axis_tready"][cycle]))
            assert ctx.get(top.s_axis_tready) == int(rows["s_axis_tready"][cycle]), f"s_axis_tready in cycle {cycle}"
            assert ctx.get(top.m_axis_tvalid) == int(rows["m_axis_tvalid"][cycle]), f"m_axis_tvalid in cycle {cycle}"
            shown = rows["m_axis_tdata"][cycle]
            assert shown == "-" or ctx.get(top.m_axis_tdata) == results[shown] & 0xFFFFFF
            await ctx.tick()

    simulator = Simulator(top)
    simulator.add_clock(1e-8)
    simulator.add_testbench(replay)
    simulator.run()


def torch_codes(values):
    import torch

    return torch.tensor(values)


FLIQS = """
    task model num_train_epochs learning_rate train_batch_size eval_batch_size gradient_accumulation_steps optimizer
    fp16 max_steps delay_steps rl_learning_rate cost_beta max_entropy_beta entropy_schedule_type cost_target search bits
    search_space single_decision block_search weight_only_search cost_function cost_type weight_bits activation_bits
    per_channel per_token act_range_percentile weight_range_percentile quantize_self_attention quantize_self_output
    quantize_output quantize_intermediate quantize_pooler quantize_classifier cuda_visible_devices eval_steps log_steps
    exp_name save_strategy seed gradient_checkpointing output_root_dir
"""
GQA_LUT = "act_func x_range sp_range num_splits decimal_bit_range total_iters mutate"


def test_migration_names_options_that_there_are():
    text = (ROOT / "docs" / "migration.md").read_text()
    known = options()
    checked = 0
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[2:]:
        [default] = re.findall(r"`hwlut ([a-z ]+)`[^.]*(?:whose options these are|unless another|\.\n)", section)[:1]
        for theirs, ours in re.findall(r"^\| (.+) \| (.+) \|$", section, re.MULTILINE):
            named = [command for command in known if f"`hwlut {command} " in ours or f"`hwlut {command}`" in ours]
            there = {name for command in [default, *named] for names in known[command].values() for name in names}
            found = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", ours))
            if ours.startswith("the same"):
                found |= {option.replace("_", "-") for option in re.findall(r"`(--[a-z]\w*)`", theirs)}
            assert found <= there, f"options of hwlut {default} beside {theirs}"
            checked += len(found)
    assert checked > 70
    for section, names in (("FLIQS", FLIQS), ("GQA-LUT", GQA_LUT)):
        told = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        assert set(re.findall(r"`--(\w+)", told)) >= set(names.split()), f"options of {section}"
