"""Reports in headless Chromium: as wide as a phone, in light and in dark, without an error or a request."""

import html
import json
import re
import subprocess

import pytest
import reports

from hwlut.report import write_report

BROWSER = "chromium-headless-shell"
DARK = "--blink-settings=preferredColorScheme=0"

FIRST = """<script>
window.faults = [];
window.addEventListener("error", event => faults.push(String(event.message || event.target.outerHTML)), true);
for (const kind of ["error", "warn"]) console[kind] = (...told) => faults.push(told.join(" "));
new PerformanceObserver(list => list.getEntries().forEach(each => faults.push("request: " + each.name)))
  .observe({type: "resource", buffered: true});
</script>"""
"""Stands before everything else."""

LAST = """<script>
addEventListener("load", () => {
  const numbers = color => (color.match(/[\\d.]+/g) || []).map(Number);
  const part = value => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = color => { const [r, g, b] = numbers(color).map(part); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor;
      if (numbers(color)[3] !== 0) return color;
    }
    return "rgb(0, 0, 0)";
  };
  const faint = [], wide = [];
  document.querySelectorAll("details").forEach(each => { each.open = true; });
  for (const element of document.body.querySelectorAll("*")) {
    if (["SCRIPT", "title"].includes(element.tagName)) continue;
    const right = element.getBoundingClientRect().right;
    if (!element.closest(".scroll") && right > innerWidth + 0.5) wide.push(element.outerHTML);
    if (![...element.childNodes].some(each => each.nodeType === 3 && each.data.trim())) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(element instanceof SVGElement ? style.fill : style.color), light(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(contrast.toFixed(2) + " " + element.outerHTML);
  }
  const every = selector => [...document.querySelectorAll(selector)];
  const leads = link => document.querySelector(link.getAttribute("href")) !== null;
  const told = {
    width: innerWidth,
    content: document.documentElement.scrollWidth,
    wide, faint, faults,
    background: getComputedStyle(document.body).backgroundColor,
    scrolling: every(".scroll").filter(each => each.scrollWidth > each.clientWidth).length,
    sections: every("section").length,
    untitled: every("svg").filter(each => each.firstElementChild?.tagName !== "title").length,
    lost: every('a[href^="#"]').filter(each => !leads(each)).length,
    small: every("svg text").filter(each => each.getBoundingClientRect().height < 8).length,
  };
  const output = document.createElement("pre");
  output.id = "measured";
  output.textContent = JSON.stringify(told);
  document.body.append(output);
});
</script>"""
"""Measures the page once it is there, and appends what it finds."""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of a folder with everything, damaged and hostile files among it."""
    folder = tmp_path_factory.mktemp("made")
    reports.fill(folder)
    (folder / "broken.json").write_text('{"schema": "hwlut.run/1"}')
    (folder / ("a_very_long_name" * 12 + "<script>alert(1)</script>.json".replace("/", ""))).write_text("{}")
    (folder / "long.json").write_text(reports.run_json(difference="word" * 100, tile="t" * 200))
    return write_report(folder, folder / "report.html", title="A long title of a report " * 4).path


def measured(page, tmp_path, width, *options):
    """What the browser finds in a copy of the page, which it alone changes."""
    text = page.read_text()
    assert text.count("<head>") == text.count("</body>") == 1
    path = tmp_path / "copy.html"
    path.write_text(text.replace("<head>", f"<head>{FIRST}").replace("</body>", f"{LAST}</body>"))
    command = [BROWSER, "--no-sandbox", "--headless", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--window-size={width},800", *options, "--dump-dom", path.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r'<pre id="measured">(.*?)</pre>', run.stdout, re.DOTALL)
    assert found, run.stderr
    return json.loads(html.unescape(found[1]))


@pytest.mark.parametrize("options", [[], [DARK]], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_page_fits(page, tmp_path, need, width, options):
    need(BROWSER)
    found = measured(page, tmp_path, width, *options)
    assert found["width"] == width and found["content"] <= width
    assert found["wide"] == [] and found["faint"] == [] and found["faults"] == []
    assert found["sections"] == 10 and found["untitled"] == found["lost"] == found["small"] == 0
    dark = max(map(int, re.findall(r"\d+", found["background"]))) < 64
    assert dark == bool(options)
    assert found["scrolling"] > 3  # what is wider than the page does not vanish, but scrolls


def test_measurements_would_tell(page, tmp_path, need):
    """The checks above see what they are for."""
    need(BROWSER)
    bad = tmp_path / "bad.html"
    extra = (
        '<p style="width:900px;color:#999">faint</p><img src="missing.png"><svg></svg><a href="#nowhere">lost</a>'
        "<script>nonsense()</script>"
    )
    bad.write_text(page.read_text().replace("<main>", f"<main>{extra}"))
    found = measured(bad, tmp_path, 360)
    assert found["content"] > 360 and found["wide"] and found["faint"] and found["untitled"] == found["lost"] == 1
    assert any("nonsense" in fault for fault in found["faults"])
    assert any("missing.png" in fault for fault in found["faults"])
