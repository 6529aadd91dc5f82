"""The API reference holds every public name, and a docstring says what each is called with."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import zlib
from pathlib import Path

import hwlut

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTED = sorted(
    {
        name
        for page in (ROOT / "docs" / "api").glob("*.md")
        for name in re.findall(r"^::: ([\w.]+)$", page.read_text(), re.MULTILINE)
    }
)
# What no one who uses hwlut imports.
INSIDE = {"arrays", "cli", "fields", "files", "names", "pareto", "records", "share", "unit", "workers"}
# Parameters that need no word, since their names are all that there is to say.
EVIDENT = {"device", "dtype", "folder", "meta", "model", "name", "path", "program", "task", "tile", "unit"}
ELSEWHERE = r"[Tt]he (?:others|arguments|(?:other )?options) are (?:as for|those of)|``nn\."


def public():
    """Each public class and function once, with its name."""
    seen = set()
    for module in ["hwlut", *DOCUMENTED]:
        for name in importlib.import_module(module).__all__:
            value = getattr(importlib.import_module(module), name)
            if (inspect.isclass(value) or inspect.isfunction(value)) and id(value) not in seen:
                seen.add(id(value))
                yield f"{module}.{name}", value


def inventory(site):
    """The names that a built site has anchors for."""
    content = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    return {line.split(" ")[0] for line in zlib.decompress(content).decode().splitlines()}


def test_site_builds_with_every_public_name(need, tmp_path):
    need("mkdocs", "mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path), "-f", "mkdocs.yml"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    there = inventory(tmp_path)
    for module in DOCUMENTED:
        for name in importlib.import_module(module).__all__:
            assert f"{module}.{name}" in there, f"{module}.{name} is not on the page of {module}"
    imported = [
        f"{module}.{name}"
        for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
        for module, names in re.findall(r"^from (hwlut\.[\w.]+) import (.+)$", page.read_text(), re.MULTILINE)
        for name in names.split(", ")
    ]
    assert imported
    assert set(imported) <= there | set(DOCUMENTED), "what pages import is to be in the reference"


def test_every_package_is_in_the_reference():
    packages = {name for _, name, _ in pkgutil.iter_modules(hwlut.__path__)}
    assert packages - INSIDE == {name.split(".")[1] for name in DOCUMENTED}


def test_names_of_the_package_itself_are_told():
    told = re.findall(r"\[`hwlut\.(\w+)`\]", (ROOT / "docs" / "api" / "index.md").read_text())
    assert set(told) == set(hwlut.__all__) - {"__version__"}


def lacking(value):
    """What the docstring of a class or a function leaves out."""
    text = value.__doc__ if inspect.isfunction(value) else vars(value).get("__doc__")
    if not text:
        return ["all"]
    if inspect.isclass(value):
        methods = [
            name for name, member in vars(value).items() if inspect.isfunction(getattr(member, "__func__", member))
        ]
        return [name for name in methods if not name.startswith("_") and not inspect.getdoc(getattr(value, name))]
    if re.search(ELSEWHERE, text):
        return []
    names = inspect.signature(value).parameters.keys() - EVIDENT
    return [name for name in names if not re.search(rf"\b{name}\b", text)]


def test_docstrings_say_what_is_called_with_what():
    found = {name: lacking(value) for name, value in public()}
    assert len(found) > 300
    assert {name: left for name, left in found.items() if left} == {}


def test_docstrings_become_markdown(monkeypatch, need):
    need("griffe")
    monkeypatch.syspath_prepend(ROOT / "docs")
    markdown = importlib.import_module("docstrings").markdown
    lines = "Parameters\n----------\nlow, high: ends,\n    both. name: of it.\n*rest: more.\n"
    assert markdown(lines) == "**Parameters**\n\n- `low`, `high`: ends, both.\n- `name`: of it.\n- `*rest`: more.\n\n"
    link = '<autoref optional identifier="hwlut.fit.Genetic"><code>hwlut.fit.Genetic</code></autoref>'
    assert markdown("As `hwlut.fit.Genetic`, not ``hwlut.fit``.") == f"As {link}, not ``hwlut.fit``."
