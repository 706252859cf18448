"""The page: it parses, names no address, holds the log, escapes what it shows, and opens in a browser without complaint."""

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_r1 import cli
from trl_r1.monitor.charts import CHARTS, Chart, Line, fixed, svg, thin, ticks
from trl_r1.monitor.page import page, write_page
from trl_r1.monitor.signals import History
from trl_r1.monitor.terminal import screen, sparkline


VOID = {"meta", "link", "br", "img"}


class Balanced(HTMLParser):
    """Fails on a tag that is not closed, and keeps every attribute."""

    def __init__(self):
        super().__init__()
        self.open, self.attributes, self.seen = [], [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def run(count=60):
    rows = []
    for step in range(1, count + 1):
        rows.append({
            "step": step, "loss": -0.1, "reward": step / count, "rewards/accuracy/mean": step / count / 2,
            "rewards/format/mean": 0.5, "entropy": 1 / step, "completions/length_p10": 5.0, "grad_norm": 0.2,
            "completions/length_p90": 30.0 + step, "completions/mean_length": 17.0, "frac_reward_zero_std": 0.1,
            "monitor/steps/p10": 1.0, "monitor/steps/p50": 2.0, "monitor/steps/p90": 4.0, "monitor/language": 0.9,
        })  # fmt: skip
        if step % 30 == 0:
            rows[-1]["heldout/pass@1"] = 0.5
    return rows


ALARM = {"step": 30, "name": "kl_runaway", "seen": "It <b>moved</b>.", "advice": "Do & say.", "level": "alarm"}


def parsed(text):
    found = Balanced()
    found.feed(text)
    assert found.open == []
    return found


def test_it_parses_and_names_no_address():
    text = page(run(), [ALARM], "a run", 100)
    found = parsed(text)
    assert found.seen.count("svg") == 9
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert [value for name, value in found.attributes if name in ("src", "href", "action")] == ["data:,"]
    assert "default-src 'none'" in text


def test_its_data_are_the_log():
    rows = [*run(5), {"step": 6, "note": "</script><script>alert(1)</script><!--", "text": "中\u2028"}]
    text = page(rows, [], "a run")
    data = text.split('id="metrics">')[1].split("</script>")[0]
    assert json.loads(data) == rows
    parsed(text)


def test_what_it_shows_is_escaped():
    rows = [{"step": s, "rewards/<img src=x>/mean": 0.5, "rewards/b/mean": 1.0} for s in (1, 2, 3)]
    text = page(rows, [ALARM], "<script>alert(1)</script>")
    assert "<img" not in text
    assert "<script>alert" not in text
    assert "It &lt;b&gt;moved&lt;/b&gt;." in text


def test_a_finished_page_does_not_reload():
    assert "location.reload" in page(run(), [], "a")
    assert 'http-equiv="refresh"' in page(run(), [], "a")
    done = page(run(), [], "a", finished=True)
    assert "location.reload" not in done
    assert 'http-equiv="refresh"' not in done


def test_an_empty_and_a_one_line_run_have_a_page(tmp_path):
    parsed(page([], [], "nothing yet"))
    text = page(run(1), [], "one step")
    parsed(text)
    assert "nan" not in text
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "reward": 0.5}\n{"step": 2, "rew')  # cut while writing
    assert '"reward": 0.5}]' in write_page(tmp_path).read_text()


def points(picture, name):
    root = ElementTree.fromstring(picture[picture.index("<svg") : picture.index("</svg>") + 6])
    [line] = [part for part in root if name in part.get("class", "").split()]
    return [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]


def test_a_line_stands_where_its_numbers_are():
    history = History.of([{"step": 1, "a": 0.0}, {"step": 3, "a": 1.0}, {"step": 5, "a": 0.5}])
    chart = Chart("A", "share", fixed(Line("a", "a")), share=True)
    # the view box is 480 by 232 with margins 50, 10, 10, 26: x from 50 to 470, y from 206 (0) up to 10 (1)
    assert points(svg(chart, history), "line") == [(50.0, 206.0), (260.0, 10.0), (470.0, 108.0)]
    assert 'class="mark" x1="260.0"' in svg(chart, history, [3])
    assert svg(Chart("B", "", fixed(Line("b", "b"))), history) == ""


def test_a_long_line_is_thinned_and_keeps_its_end():
    import numpy as np

    steps, values = thin(np.arange(10_000.0), np.arange(10_000.0), 100)
    assert len(steps) == 100
    assert (steps[-1], values[-1]) == (9999.0, 9999.0)
    assert (np.diff(steps) > 0).all()


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside(low, width):
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 7
    assert all(low - width * 1e-6 <= tick <= low + width * (1 + 1e-6) for tick in found)


def test_every_chart_has_a_title_of_its_own():
    assert len({chart.title for chart in CHARTS}) == len(CHARTS)


CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_draws_it_without_a_complaint(width, tmp_path):
    path = write_page_of(tmp_path)
    picture = tmp_path / "page.png"
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    done = subprocess.run(
        [CHROMIUM, *options, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1200",
         f"--screenshot={picture}", path.as_uri()],
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    if not picture.is_file():
        pytest.skip(f"Chromium does not start here: {done.stderr[-200:]}")
    assert ":CONSOLE" not in done.stderr
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(picture.read_bytes()) > 20_000  # not a blank page


def write_page_of(folder):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in run()))
    return write_page(folder, "a run", 100)


# --- the terminal


def test_watch_shows_numbers_and_alarms(tmp_path, capsys):
    write_page_of(tmp_path)
    assert cli.main(["watch", str(tmp_path), "--once"]) == 0
    shown = capsys.readouterr().out
    assert "step 60" in shown
    assert re.search(r"reward +1 +▁", shown)
    assert "No alarm." in shown
    (tmp_path / "monitor_alarms.jsonl").write_text(json.dumps(ALARM) + "\n")
    assert cli.main(["watch", str(tmp_path), "--once"]) == 1
    assert "ALARM step 30 kl_runaway: It <b>moved</b>. Do & say." in capsys.readouterr().out


def test_watch_finds_the_run_of_a_pipeline_and_ends_with_it(tmp_path, capsys):
    (tmp_path / "zero").mkdir()
    write_page_of(tmp_path / "zero")
    assert cli.main(["watch", str(tmp_path), "--once"]) == 0
    (tmp_path / "zero" / "summary.json").write_text("{}")
    assert cli.main(["watch", str(tmp_path / "zero")]) == 0
    assert "Finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "There is no folder 'nowhere'"),
        (["."], "holds no metrics.jsonl"),
        ([".", "--every", "0"], "--every 0"),
    ],
)
def test_watch_tells_mistakes(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["watch", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_screen_is_as_wide_as_asked(tmp_path):
    write_page_of(tmp_path)
    (tmp_path / "monitor_alarms.jsonl").write_text(json.dumps({**ALARM, "seen": "word " * 60}) + "\n")
    assert max(map(len, screen(tmp_path, 60).splitlines())) <= 70  # a number, a sparkline and its trend


def test_a_sparkline_by_hand():
    assert sparkline([5.0, 5.0, 5.0]) == "▁▁▁"
    assert sparkline([0.0] * 10 + [1.0] * 10, width=2) == "▁█"
