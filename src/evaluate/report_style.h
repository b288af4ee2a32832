// The style sheet of report.html: one set of neutral colours for light pages, one for dark, as the reader's system says.
#pragma once

namespace medfuse::evaluate {

inline constexpr const char* kReportStyle = R"css(
:root { color-scheme: light dark; --page: #fbfbfc; --card: #ffffff; --ink: #1c2127; --soft: #5c6570; --line: #dfe3e8;
  --curve: #2f80c9; --mark: #e0731d; --guide: #8b929c; --warn: #fff4e5; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171a; --card: #1b1f24; --ink: #e4e7eb; --soft: #a3abb5; --line: #30363d; --warn: #3a2c17; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
main { max-width: 1320px; margin: 0 auto; padding: 28px 24px 48px; }
h1 { font-size: 25px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 38px 0 6px; }
h3 { font-size: 15px; margin: 18px 0 8px; }
p { margin: 0 0 12px; max-width: 88ch; }
.soft, .how { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 20px 0 0; }
.tile, figure, .table { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.tile { padding: 10px 14px 11px; }
.tile b { display: block; font-size: 25px; line-height: 1.25; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span { display: block; font-size: 13px; color: var(--soft); }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 14px; text-align: right; white-space: nowrap; border-top: 1px solid var(--line); }
thead th { border-top: 0; font-size: 13px; font-weight: 600; color: var(--soft); }
th:first-child { text-align: left; }
tbody th { font-weight: 400; }
tfoot th, tfoot td { font-weight: 600; border-top: 2px solid var(--line); }
.grid { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(232px, 1fr)); }
.wide { grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); }
figure { margin: 0; padding: 9px 8px 3px; }
figcaption { padding: 0 6px 4px; font-size: 13.5px; line-height: 1.35; }
figcaption b, figcaption span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
figcaption b { font-weight: 600; }
figcaption span { color: var(--soft); font-variant-numeric: tabular-nums; }
figure svg { display: block; width: 100%; height: auto; color: var(--soft); }
.none { color: var(--soft); padding: 30px 8px 38px; text-align: center; font-size: 13.5px; }
.warning { background: var(--warn); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px;
  max-width: none; }
.key { font-weight: 600; } .curve { color: var(--curve); } .mark { color: var(--mark); } .guide { color: var(--guide); }
ul { margin: 0 0 12px; padding-left: 20px; }
dt { font-weight: 600; } dd { margin: 0 0 8px; max-width: 88ch; color: var(--soft); }
@media print { main { max-width: none; padding: 0; } figure, .tile { break-inside: avoid; } }
)css";

}  // namespace medfuse::evaluate
