"""How a report looks: on paper, on phones, in light and in dark."""

__all__ = ["STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --card: #f4f6f8; --text: #1b1f24; --soft: #555d66; --rule: #d5dae0;
  --accent: #0b5cad; --fill: #6ea3d8; --good: #146c2e; --bad: #b3261e; --warn: #7a4f00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --card: #1e2328; --text: #e7eaee; --soft: #a9b1ba; --rule: #3a424b;
    --accent: #8ab8f0; --fill: #3f74ad; --good: #74d18f; --bad: #ff8f85; --warn: #e8b95a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 0 16px 48px; max-width: 1180px; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  overflow-wrap: anywhere;
}
a { color: var(--accent); }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 24px 0 8px; }
h2 { font-size: 1.25rem; margin: 40px 0 8px; padding-top: 8px; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 20px 0 6px; }
p { margin: 6px 0; max-width: 75ch; }
.note { color: var(--soft); font-size: 0.875rem; }
nav ul { display: flex; flex-wrap: wrap; gap: 4px 16px; list-style: none; margin: 12px 0; padding: 0; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.verdict { font-size: 1.1rem; font-weight: 600; border-left: 6px solid currentColor; padding: 4px 12px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px;
  margin: 12px 0; }
.cards div { background: var(--card); border-radius: 8px; padding: 10px 12px; }
.cards dt { color: var(--soft); font-size: 0.8125rem; }
.cards dd { margin: 0; }
.cards dd.value { font-size: 1.15rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.cards dd.told { color: var(--soft); font-size: 0.8125rem; }
.scroll { overflow-x: auto; max-width: 100%; margin: 8px 0 16px; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table {
  width: max-content; border-collapse: collapse; overflow-wrap: normal; font-size: 0.875rem;
  font-variant-numeric: tabular-nums;
}
caption { text-align: left; color: var(--soft); padding: 4px 0; }
caption span { display: block; position: sticky; left: 0; max-width: min(75ch, calc(100vw - 32px)); }
th, td { padding: 4px 14px 4px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
thead th { max-width: 14ch; font-weight: 600; color: var(--soft); vertical-align: bottom; }
tbody th { font-weight: 600; }
tbody th, td.n { white-space: nowrap; }
td { max-width: 40ch; }
.n { text-align: right; }
td:has(> .bar) { min-width: clamp(64px, 20vw, 220px); vertical-align: middle; }
.bar { display: block; height: 12px; background: var(--fill); border-radius: 2px; min-width: 1px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); gap: 16px; }
figure { margin: 12px 0; min-width: 0; }
figcaption { color: var(--soft); font-size: 0.875rem; }
svg.chart { width: 100%; max-width: 560px; height: auto; display: block; }
svg text { fill: var(--text); font: 11px system-ui, "Liberation Sans", sans-serif; }
svg .axis { fill: var(--soft); }
.grid { stroke: var(--rule); stroke-width: 1; }
.line { fill: none; stroke: var(--accent); stroke-width: 1.5; }
.optimal { fill: var(--accent); } .beaten { fill: none; stroke: var(--soft); stroke-width: 1.5; }
.ring { fill: none; stroke: var(--bad); stroke-width: 2; }
.waves { display: grid; grid-template-columns: minmax(0, max-content) minmax(0, 1fr); }
.waves ol { list-style: none; margin: 0; padding: 24px 8px 0; max-width: 44vw;
  font: 12px/22px ui-monospace, monospace; }
.waves li { height: 22px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.waves .scroll { margin: 0; border-left: 1px solid var(--rule); }
.waves svg, .strips svg { display: block; }
.waves svg text { font: 11px ui-monospace, monospace; }
.wave { fill: none; stroke: var(--accent); stroke-width: 1.5; }
.unknown { fill: var(--rule); stroke: var(--soft); }
.strips table { width: 100%; }
.strips td:last-child { width: 100%; max-width: none; min-width: 96px; vertical-align: middle; }
.strips svg { width: 100%; height: 14px; background: var(--card); }
.strips rect { fill: var(--fill); }
details { margin: 8px 0; }
summary { cursor: pointer; font-weight: 600; padding: 4px 0; }
.path { font-family: ui-monospace, monospace; font-size: 0.8125rem; }
td .path, th .path { white-space: nowrap; }
@media print {
  :root { --page: #fff; --card: #fff; --text: #000; --soft: #444; --rule: #bbb; --accent: #000; --fill: #888; }
  nav { display: none; }
  body { max-width: none; font-size: 10pt; }
  .scroll { overflow: visible; }
  figure, tr, .cards div { break-inside: avoid; }
  .bar, .strips rect { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
