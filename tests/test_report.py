"""hwlut report: what the page says of files, that it is whole by itself, and that nothing in a folder can harm it."""

import dataclasses
import json
import os
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
import reports

from hwlut.cli import main
from hwlut.prune import Compression
from hwlut.prune.size import Size
from hwlut.report import folder as folder_module
from hwlut.report import vcd, write_report
from hwlut.report.folder import Folder
from hwlut.report.vcd import read_waves


class Page(HTMLParser):
    """The elements of a page, and its tables by caption: rows of cells as text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.tables, self.text, self._cell, self._caption = [], {}, "", None, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "caption":
            self._caption = ""
        elif tag == "tr" and self._caption is not None:
            self.tables.setdefault(self._caption, []).append([])
        elif tag in ("td", "th"):
            self._cell = ""

    def handle_endtag(self, tag):
        if tag == "caption":
            self.tables.setdefault(self._caption, [])
        elif tag in ("td", "th"):
            self.tables[self._caption][-1].append(self._cell)
            self._cell = None

    def handle_data(self, data):
        self.text += data
        if self._cell is not None:
            self._cell += data
        elif self._caption == "":
            self._caption = data

    def table(self, caption):
        """Rows of the one table whose caption begins so, as objects by header."""
        (found,) = (rows for key, rows in self.tables.items() if key.startswith(caption))
        return [dict(zip(found[0], row)) for row in found[1:]]

    def links(self):
        return [attributes["href"] for tag, attributes in self.elements if tag == "a"]


@pytest.fixture
def filled(tmp_path):
    """A folder with a file of every kind."""
    folder = tmp_path / "made"
    folder.mkdir()
    reports.fill(folder)
    return folder


def page_of(folder, **choices):
    written = write_report(folder, folder / "report.html", **choices)
    return Page(written.path.read_text())


def test_layers_have_their_widths_and_cycles(filled):
    program, _, report = reports.network()
    first, second = page_of(filled).table("Shapes and MACs of a sample; cycles of a batch, of the run")
    assert (first["layer"], second["layer"]) == reports.LAYERS == tuple(layer.name for layer in report.layers)
    convolve, linear = (node for node in program.nodes if node.op in ("convolve", "linear"))
    for row, node, outputs, terms in ((first, convolve, 12, 9), (second, linear, 5, 12)):
        assert row["MACs"] == str(outputs * terms) and row["weights"] == str(len(node.weights) * terms)
        assert row["multiplier or look-up"] == "exact s8 × s8" and row["operands"].endswith("× s8")
        # The widest sum of products with codes of 8 bits, in plain integers, is held and no bit is spare for all.
        sums = [128 * sum(abs(int(weight)) for weight in part.flatten()) for part in node.weights]
        assert max(sums).bit_length() - 1 <= int(row["accumulator"].removesuffix(" bits")) <= max(sums).bit_length() + 2
    assert (first["in"], first["out"]) == ("1×4×4", "12") and (second["in"], second["out"]) == ("12", "5")
    assert first["requantization"].startswith("to s8, 3 scales") and second["requantization"].startswith("to s16")
    for row, layer in zip((first, second), report.layers):
        assert row["cycles"] == str(round(layer.cycles / report.batches))
        assert row["utilisation"] == f"{layer.utilisation:.1%}"
        assert row["of all cycles"] == f"{layer.cycles / report.cycles:.1%}"


def test_without_a_tile_nodes_are_told(tmp_path):
    program, _, _ = reports.network()
    program.save(tmp_path / "digits.json")
    rows = page_of(tmp_path).table("Shapes and MACs of a sample")
    assert [row["layer"] for row in rows][:2] == ["layer_0", "layer_1_relu"] and rows[0]["cycles"] == "–"


def test_figures_of_areas_fronts_and_accuracies(filled):
    page = page_of(filled)
    blocks = page.table("Pre-layout, without RAM")
    assert [(row["block"], row["kGE"], row["share"]) for row in blocks] == [
        ("multipliers", "4.50", "75.0%"), ("lanes", "1.50", "25.0%"), ("all", "6.00", "100.0%"),
    ]  # fmt: skip
    assert [row["on the front"] for row in page.table("Searches")] == ["yes", "no", "yes"]
    designs = page.table("2 designs")
    assert [(row["design"], row["kGE"], row["cycles"], row[""]) for row in designs] == [
        ("8:8 exact, 2 x 2", "20", "400", "chosen"), ("8:8 exact, 1 x 2", "10", "800", "front"),
    ]  # fmt: skip
    shown = {row["of"]: row["accuracy"] for row in page.table("Accuracy")}
    assert shown["digits on tile_2"] == "87.50%" and shown["float model"] == "91.00%"
    _, _, report = reports.network()
    assert f"{6.0 * report.cycles_per_sample / 1000:,.1f}" in page.text and "2.00 kbit" in page.text


def test_the_chosen_design_is_shown_on_its_tile(filled):
    program, tile, _ = reports.network()
    (filled / "run.json").unlink()
    (filled / "digits.json").rename(filled / "digits.txt")
    (filled / "n").mkdir()
    program.save(filled / "n" / "program.json")
    tile.replace(name="other", columns=1).save(filled / "n" / "tile_2x1.json")
    page = page_of(filled)
    assert (
        "digits on tile_2" in page.text and len(page.table("Shapes and MACs of a sample; cycles of a batch, of")) == 2
    )


def test_cards_are_of_the_chosen_design(filled):
    (filled / "run.json").unlink()
    size = Size(parameters=1, macs=1, bit_operations=100, memory=1)
    for name, left in (("another", 50), ("n", 25)):
        path = filled / name / "compressed" / "compression.json"
        path.parent.mkdir(parents=True)
        Compression(
            request={"task": "t", "method": "joint", "compression": {"keep": []}},
            **{key: {} for key in ("couplings", "removed", "left", "operations", "owners", "unquantized")},
            **{key: 0.5 for key in ("cost", "difference", "mismatches", "metric", "loss")},
            source=None,
            quantizers={"weights": {}, "activations": {}},
            before=size,
            after=dataclasses.replace(size, bit_operations=left),
        ).save(path)
    page = page_of(filled)
    rows = page.table("Accuracy")
    assert (rows[0]["of"], rows[-1]["of"]) == ("float model of the chosen design", "chosen design")
    assert "89.00%chosen design" in page.text and "25.00%of the dense model's in 32 bits" in page.text


def test_checks_are_told_first(filled):
    page = page_of(filled)
    assert "PASS: 2 checks, none failed." in page.text and "FAIL" not in page.text
    (filled / "run.json").write_text(reports.run_json(ok=False, difference="layer 'x' must take 3 cycles"))
    page = page_of(filled)
    assert "FAIL: 1 of 2 checks failed." in page.text and "PASS:" not in page.text
    failed = page.table("Checks")[0]
    assert failed["result"] == "FAIL" and failed["of"] == "layer 'x' must take 3 cycles"


def test_same_files_same_bytes(filled, tmp_path):
    first = write_report(filled, filled / "report.html").path.read_bytes()
    for path in filled.rglob("*"):
        os.utime(path, (1, 1))
    assert write_report(filled, filled / "report.html").path.read_bytes() == first
    assert [path for path in filled.iterdir() if path.name.startswith(".")] == []


def test_page_needs_nothing_from_elsewhere(filled):
    text = write_report(filled, filled / "report.html").path.read_text()
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & {tag for tag, _ in page.elements}
    assert "url(" not in text and "@import" not in text and "http" not in text
    pictures = [place for place, (tag, _) in enumerate(page.elements) if tag == "svg"]
    assert len(pictures) > 5 and all(page.elements[place + 1][0] == "title" for place in pictures)
    places = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {link[1:] for link in page.links() if link.startswith("#")} <= places


HOSTILE = "<script>alert(1)</script>\"'&><img src=x onerror=alert(2)>"


def test_names_and_texts_cannot_harm(filled):
    program, _, report = reports.network()
    program.replace(function=HOSTILE, meta={"model": HOSTILE}).save(filled / "digits.json")
    plain = {tag for tag, _ in page_of(filled).elements}
    name = HOSTILE.replace("/", "")
    (filled / f"{name}.json").write_text('{"schema": "hwlut.run/1"}')
    (filled / f"{name}.txt").touch()
    (filled / os.fsdecode(b"\xff.txt")).touch()
    layers = [layer.to_dict() | {"name": HOSTILE} for layer in report.layers]
    (filled / "hostile.json").write_text(
        reports.run_json(layers=layers, tile=HOSTILE, task=HOSTILE, difference=HOSTILE + "\ud800")
    )
    (filled / "sim.json").write_text(json.dumps({"schema": "hwlut.sim/1", "ok": HOSTILE}))
    (filled / "log.jsonl").write_text(json.dumps({"step": 1, HOSTILE: 2.0}) + "\n")
    text = reports.dump([1, 2, 4]).replace("s_axis_tdata", "<b>bold</b>")
    (filled / "hostile.vcd").write_text(text)
    page = page_of(filled, title=HOSTILE)
    assert {tag for tag, _ in page.elements} == plain
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    assert page.text.count(HOSTILE) > 5 and "<b>bold</b>" in page.text
    assert not any(link.lower().startswith(("javascript:", "data:")) for link in page.links())


@pytest.mark.parametrize("where", ["report.html", "pages/deep/report.html"])
def test_every_file_is_linked_from_where_the_page_lies(filled, where):
    for name in ("a b#c?d%20e.txt", "ü.v", ".hidden"):
        (filled / name).touch()
    path = filled.parent / where
    write_report(filled, path)
    linked = {(path.parent / unquote(link)).resolve() for link in Page(path.read_text()).links() if link[0] != "#"}
    assert linked == {each for each in filled.rglob("*") if each.is_file() and each.name != ".hidden"}


def test_its_own_page_is_no_file_of_the_folder(filled):
    first, second = (write_report(filled, filled / "report.html") for _ in range(2))
    assert first.files == second.files and "report.html" not in {file.path.name for file in second.files}


DAMAGED = {
    "a.json": ('{"schema": "hwlut.tile/1", "rows": 0}', "key 'function' is missing"),
    "b.json": ('{"schema": "hwlut.run/1", "name": 3}', "name must be a string, not 3"),
    "c.json": ("", "it must hold JSON"),
    "d.json": (
        '{"schema": "hwlut.front/1"}',
        "front must be an object of schema, which is hwlut.front/1, kind, trials",
    ),
    "e.vcd": ("hello\n", "waves must be a value change dump"),
    "f.vcd": (reports.VCD + "#1\n#x\n", "it has the time b'x"),
    "log.jsonl": ('{"step": 1}\n{}\n', "line 2 must be an object with a step"),
    "g.csv": (
        ",".join(("cycle", *reports.ACTIVITY)) + "\n1,2\n",
        "line 2 must be a cycle and 7 bits",
    ),
    "h.json": ('{"schema": "hwlut.synth/1", "blocks": [{"name": "x"}]}', "tile must be there"),
    "k.json": (reports.run_json(cycles=float("inf")), "it must hold JSON: Infinity is no JSON number"),
    "l.json": (reports.run_json(metric=float("nan")), "it must hold JSON: NaN is no JSON number"),
    "m.json": (
        '{"schema": "hwlut.front/1", "kind": "target", "trials": [{"target": 4, "cost": "1", "metric": 0.5, "loss": 1,'
        ' "folder": "f", "optimal": true}]}',
        "trials[0] cost must be a number, not '1'",
    ),
    "i.json": ('{"schema": "hwlut.compression/1"}', "compression must be an object"),
    "j.json": ('{"schema": "hwlut.run/1", "name": "n", "samples": true}', "samples must be an integer, not True"),
}


def test_damaged_files_are_named_with_their_errors(tmp_path, capsys):
    for name, (text, _) in DAMAGED.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "sound.json").write_text('{"any": 1}')
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "r.html"), "--json"]) == 1
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["ok"] is False and told["report"] == str(tmp_path / "r.html")
    errors = {file["path"]: file["error"] for file in told["files"]}
    assert errors.pop("sound.json") is None and set(errors) == set(DAMAGED)
    rows = {row["file"]: row["error"] for row in Page((tmp_path / "r.html").read_text()).table("Damaged")}
    for name, (_, wanted) in DAMAGED.items():
        assert wanted in errors[name], errors[name]
        assert str(tmp_path) not in errors[name] and rows[name] == errors[name]
    assert len(err.splitlines()) == len(DAMAGED)


def test_what_cannot_be_read_is_damaged(filled, monkeypatch):
    def unreadable(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(folder_module, "read_waves", unreadable)
    (damaged,) = write_report(filled, filled / "report.html").damaged
    assert (damaged.path.name, damaged.error) == ("conv.vcd", "Permission denied")


def test_waves_are_sampled_in_front_of_each_edge(tmp_path):
    path = tmp_path / "w.vcd"
    path.write_text(
        reports.VCD
        + "#0\n0c\nbx d\n1v\n#5\n0v\n1c\n#10\n0c\nb101 d\n#15\n1c\nb111 d\n#20\n0c\n#25\n1c\nxv\n#30\n0c\n#35\n1c\n"
    )
    found = read_waves(path)
    assert found.clocked and found.whole and found.times == [5, 15, 25, 35]
    assert found.signals["s_axis_tdata"].values == [None, 5, 7, 7] and found.signals["s_axis_tdata"].bits == 16
    assert found.signals["s_axis_tvalid"].values == [1, 0, 0, None]
    assert set(found.signals) == {"activity", "s_axis_tvalid", "s_axis_tdata", "quiet"}
    path.write_text("$var wire 1 ! a $end $enddefinitions $end\n".replace("$end ", "$end\n") + "#0\n0!\n#7\n1!\n#9\n")
    changed = read_waves(path)
    assert (changed.clocked, changed.times, changed.signals["a"].values) == (False, [0, 7, 9], [0, 1, 1])


def test_long_waves_are_read_in_part(filled, monkeypatch):
    monkeypatch.setattr(vcd, "LIMIT", 300)
    found = read_waves(filled / "conv.vcd")
    assert not found.whole and 0 < len(found.times) < 12
    assert "of the file were read" in page_of(filled).text


def test_waveform_of_a_layer(filled):
    page = page_of(filled, layer=reports.LAYERS[0])
    assert f"Layer {reports.LAYERS[0]}: conv.vcd" in page.text
    shares = {row["the tile is"]: row["of the cycles"] for row in page.table("Cycles 0 to 7, from left")}
    assert (shares["feeding"], shares["draining"], shares["storing"]) == ("37.5%", "25.0%", "25.0%")
    assert "Cycles 0 to 7 of 8; 9 of 9 signals" in page.text and "f00d" in page.text and "quiet" not in page.text
    assert "feeding" in page.text and "Cycles 7 to 9" in page.text
    with pytest.raises(ValueError, match=f"^layer must be of {reports.LAYERS[0]}, not 'nonsense'$"):
        page_of(filled, layer="nonsense")
    with pytest.raises(ValueError, match="^waves must be a whole dump in .*, not 'nonsense.vcd'$"):
        page_of(filled, waves="nonsense.vcd")
    (filled / "second.vcd").write_text(reports.dump([1]))
    assert "second.vcd" not in page_of(filled, waves=filled / "conv.vcd").text.split("Units")[0].split("Waveforms")[-1]


def test_folders_of_too_many_files_are_refused(filled, monkeypatch):
    monkeypatch.setattr(folder_module, "MOST_FILES", 3)
    with pytest.raises(ValueError, match="must have at most 3 files, not 14$"):
        Folder.read(filled)


def test_an_empty_folder(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "empty"), "-o", str(tmp_path / "r.html"), "--title", "Nothing"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'r.html'}\n"
    assert "No checks are in this folder." in Page((tmp_path / "r.html").read_text()).text


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "folder must be one that is there, not 'nowhere'"),
        ([".", "-o", "page.pdf"], "-o must be an .html file, not 'page.pdf'"),
        ([".", "--layer", "x"], "layer must be one whose waves are in the folder, not 'x'"),
    ],
)
def test_refusals(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *arguments]) == 2
    assert capsys.readouterr().err == f"hwlut: {message}\n" and list(tmp_path.iterdir()) == []


def test_what_commands_print_is_recognised(tmp_path, monkeypatch, capsys):
    import numpy as np

    monkeypatch.chdir(tmp_path)
    program, tile, _ = reports.network()
    program.save("digits.json")
    tile.save("tile.json")
    np.save("x.npy", np.zeros((2, *program.inputs[0].shape)))
    on_tile = ["run", "digits.json", "--tile", "tile.json", "--engine", "model", "--inputs", "x.npy", "-o", "y.npy"]
    fitted = ["tile", "digits.json", "-o", "fitted_too.json"]
    for name, command in (("run", on_tile), ("sim", ["sim", "gelu_8", "--engine", "cpu"]), ("fitted", fitted)):
        assert main([*command, "--json"]) == 0
        (tmp_path / f"{name}.json").write_text(capsys.readouterr().out)
    written = write_report(".", "report.html")
    kinds = {file.path.name: file.kind for file in written.files}
    assert (kinds["run.json"], kinds["sim.json"]) == ("run of a program", "verification")
    assert kinds["fitted.json"] == "tile that was fitted" and not written.damaged
    page = Page((tmp_path / "report.html").read_text())
    assert [row["check"] for row in page.table("Checks")] == ["digits on tile_2", "gelu_8"]
