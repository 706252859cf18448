"""The page of a run: ``monitor.html``, one file that a browser opens from the disk and that reloads itself while it trains.

Reads   ``metrics.jsonl`` and the alarms in a run folder, nothing else.
Leaves  ``monitor.html``: charts as inline SVG, the log itself as inline JSON (``<script id="metrics">``), no reference to
        any other file or address; a content security policy in the page forbids them.

No model's text is shown, and every name from the log is escaped.
"""

from __future__ import annotations

import html
import json
from datetime import datetime
from pathlib import Path

from trl_r1.evaluation.curves import read_metrics
from trl_r1.monitor.charts import CHARTS, svg
from trl_r1.monitor.record import Alarm, every_alarm
from trl_r1.monitor.signals import History, trend
from trl_r1.storage.files import replace_file
from trl_r1.text.records import Row


FILE_NAME = "monitor.html"
RELOAD_SECONDS = 10
TREND_WINDOW = 40  # logged lines
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

STYLE = """
:root{--page:#f6f6f4;--card:#fff;--ink:#222;--quiet:#6b6b6b;--grid:#e4e4e4;--bad:#a33a00;--badback:#fdeee6;
--good:#00634a;--noteback:#e8f1f8;--c1:#0072b2;--c2:#d55e00;--c3:#009e73;--c4:#a8588a;--c5:#b07a00;--c6:#333;--c7:#56b4e9}
@media(prefers-color-scheme:dark){:root{--page:#161616;--card:#212121;--ink:#e8e8e8;--quiet:#a0a0a0;--grid:#3a3a3a;
--bad:#ff9b66;--badback:#3a2419;--good:#5fd3ae;--noteback:#1c2b38;--c1:#56b4e9;--c2:#ff8a4c;--c3:#2fcf9f;--c4:#e39bc6;
--c5:#e6b33d;--c6:#ddd;--c7:#0072b2}}
*{box-sizing:border-box}body{margin:0;padding:20px;background:var(--page);color:var(--ink);
font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1240px;margin:auto}h1{font-size:21px;margin:0;overflow-wrap:anywhere}
p{margin:4px 0 16px;color:var(--quiet)}
.dots{display:flex;flex-wrap:wrap;gap:10px;margin:0 0 16px;padding:0;list-style:none}
.dots li{background:var(--card);border-radius:8px;padding:8px 14px;min-width:130px;flex:1}
.dots small{display:block;color:var(--quiet)}.dots b{font-size:20px;font-weight:600}
.dots span{color:var(--quiet);font-size:13px}
.alarm,.notice,.well{border-radius:8px;padding:10px 14px;margin:0 0 10px;border-left:5px solid var(--bad);
background:var(--badback)}
.notice,.well{border-color:var(--c1);background:var(--noteback)}.well{border-color:var(--good);margin-bottom:16px}
.alarm b{color:var(--bad)}.advice{display:block}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(370px,100%),1fr));gap:14px;margin-top:16px}
section{background:var(--card);border-radius:8px;padding:12px 14px}h2{font-size:15px;margin:0 0 6px}
h2 small,section small{font-weight:400;color:var(--quiet)}svg{display:block;width:100%;height:auto}
section ul{list-style:none;display:flex;flex-wrap:wrap;gap:2px 14px;margin:6px 0 0;padding:0;font-size:13px}
.grid{stroke:var(--grid)}.tick{fill:var(--quiet);font-size:12px}.mark{stroke:var(--bad);stroke-dasharray:4 4}
.line,.faint{fill:none;stroke-width:2;stroke-linejoin:round}.faint{opacity:.25;stroke-width:1}
.band{fill:var(--c7);opacity:.25}.key{display:inline-block;width:14px;height:3px;margin-right:6px;vertical-align:middle;
background:currentColor}.wide{height:10px;background:var(--c7);opacity:.4}
"""
COLOURS = "".join(
    f".line.c{n},.faint.c{n}{{stroke:var(--c{n})}}.dot.c{n}{{fill:var(--c{n})}}.key.c{n}{{color:var(--c{n})}}"
    for n in range(1, 8)
)
RELOAD = f"setTimeout(function(){{location.reload()}},{RELOAD_SECONDS * 1000})"

TILES = (  # metric, label
    ("reward", "reward"),
    ("heldout/pass@1", "held-out pass@1"),
    ("rewards/accuracy/mean", "accuracy in training"),
    ("entropy", "entropy"),
    ("kl", "KL"),
    ("completions/mean_length", "mean length"),
    ("mean_token_accuracy", "tokens guessed"),
    ("loss", "loss"),
)


def write_page(folder: Path, title: str | None = None, last_step: int | None = None, finished: bool = False) -> Path:
    """Writes the page of a run from what lies in its folder.

    Args:
        title: None takes the stage and model from ``run.json``, or the folder's name.
        last_step: how long the run will be, where it is known.
        finished: the page no longer reloads itself.

    Returns:
        The path of ``monitor.html``.
    """
    rows = read_metrics(folder / "metrics.jsonl")
    alarms = every_alarm(folder)
    return replace_file(folder / FILE_NAME, page(rows, alarms, title or name_of(folder), last_step, finished))


def name_of(folder: Path) -> str:
    """What a run is called: its stage and model, or its folder."""
    path = folder / "run.json"
    if path.is_file():
        about = json.loads(path.read_text(encoding="utf-8"))
        return f"{about.get('stage', folder.name)}: {about.get('settings', {}).get('model_name_or_path', '')}"
    return folder.resolve().name


def page(
    rows: list[Row],
    alarms: list[Alarm],
    title: str,
    last_step: int | None = None,
    finished: bool = False,
) -> str:
    """The page as text. ``rows`` are log lines, by step, and stand in the page as they are."""
    history = History.of(rows)
    step = int(max((row["step"] for row in rows), default=0))
    marks = [row["step"] for row in alarms if row["level"] == "alarm"]
    cards = "".join(svg(chart, history, marks) for chart in CHARTS)
    name = html.escape(title)
    reload = "" if finished else f"<script>{RELOAD}</script>"
    without = "" if finished else f'<noscript><meta http-equiv="refresh" content="{RELOAD_SECONDS}"></noscript>'
    data = json.dumps(rows, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">{without}
<link rel="icon" href="data:,"><title>{name}, step {step}</title><style>{STYLE}{COLOURS}</style></head>
<body><main><h1>{name}</h1>
<p>{state(step, last_step, finished)}</p>
{tiles(history)}
{alarm_list(alarms)}
<div class="charts">{cards}</div>
</main>
<script type="application/json" id="metrics">{data}</script>{reload}
</body></html>
"""


def state(step: int, last_step: int | None, finished: bool) -> str:
    """Where the run is, in a line."""
    of = f" of {last_step}" if last_step and last_step > 0 else ""
    when = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    reloads = "finished" if finished else f"this page reloads itself every {RELOAD_SECONDS} seconds"
    return f"Step {step}{of}, written {when}; {reloads}."


def tiles(history: History) -> str:
    """The numbers of now, each with where it is going."""
    cells = []
    for key, label in TILES:
        values = history.values(key)
        if not values or (key == "loss" and "reward" in history.points):  # the loss of RL measures nothing
            continue
        cells.append(f"<li><small>{label}</small><b>{values[-1]:.3g}</b> <span>{direction(values)}</span></li>")
    return f'<ul class="dots">{"".join(cells)}</ul>' if cells else ""


def direction(values: list[float]) -> str:
    """rising, falling, flat or unclear, over the last 40 values; flat is within 2 % of what they have ranged over."""
    window = values[-TREND_WINDOW:]
    moved = trend(window)
    return "" if moved is None else moved.direction(0.02 * (max(values) - min(values)))


def alarm_list(alarms: list[Alarm]) -> str:
    """The alarms, newest first."""
    if not alarms:
        return '<div class="well">No alarm.</div>'
    return "".join(
        f'<div class="{"alarm" if row["level"] == "alarm" else "notice"}">'
        f"<b>{html.escape(str(row['name']).replace('_', ' '))}</b>, step {row['step']}. {html.escape(str(row['seen']))}"
        f'<span class="advice">{html.escape(str(row["advice"]))}</span></div>'
        for row in reversed(alarms)
    )
