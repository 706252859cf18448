"""A report from any run: long, one step, nothing at all; and text that tries to break out of it."""

import json
import math
import re

import numpy as np
import pytest
from samples import graded

from trl_r1.evaluation.benchmark import Evaluation, Graders
from trl_r1.evaluation.curves import read_metrics, series, smoothed
from trl_r1.evaluation.markdown import fenced, inline, visible
from trl_r1.evaluation.report import write_report


ALL_PICTURES = {"pass_at_1.png", "reward.png", "length.png", "entropy.png", "kl.png", "dead_groups.png"}

GRADERS = Graders(
    extract=lambda text: text.split()[-1] if text.split() else None,
    verify=lambda answer, gold: answer == gold,
    same_answer=lambda a, b: a == b,
    well_formed=lambda texts: [1.0 for _ in texts],
    consistency=lambda text, language: 1.0,
)

HOSTILE = (
    "```\n````text\n</details><script>alert(1)</script>\n# Heading\n| a | b |\n~~~\n"
    "\x1b[31mred\u202egnp.exe\r## no\n`````"
)


def run_of(steps, **missing):
    rows = [
        {
            "step": step,
            "reward": 1.0 + step / 100,
            "rewards/accuracy/mean": step / 100,
            "rewards/$weird_{name/mean": 0.5,
            "completions/mean_length": 20.0,
            "completions/length_p10": 10.0,
            "completions/length_p50": 19.0,
            "completions/length_p90": 30.0,
            "entropy": 0.5,
            "kl": 0.01 * step,
            "beta": 0.001 * step,
            "frac_reward_zero_std": 0.1,
            "heldout/pass@1": 0.3,
            "step_time": 2.0,
        }
        for step in steps
    ]
    return [{key: value for key, value in row.items() if key not in missing.get("without", ())} for row in rows]


def write_log(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def evaluation(texts, prompts="ABCDEFG"):
    return Evaluation([graded("7", texts, "en", p, graders=GRADERS) for p in prompts])


def pictures(folder):
    return {path.name for path in folder.glob("*.png")}


def test_a_full_run_gets_every_section_and_picture(tmp_path):
    write_log(tmp_path, run_of(range(1, 60)))
    path = write_report(
        tmp_path, "R1-Zero", {"learning_rate": 1e-3, "rewards": [{"name": "accuracy"}]},
        evaluation(["is 7", "is 8"]), evaluation(["is 7", "is 7"]), ["A note."],
    )  # fmt: skip
    text = path.read_text(encoding="utf-8")
    assert path == tmp_path / "report.md"
    assert pictures(tmp_path) == ALL_PICTURES
    for picture in ALL_PICTURES:
        assert f"({picture})" in text
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert re.findall(r"^## (.*)$", text, re.M) == [
        "Evaluation",
        "Curves",
        "Training",
        "Sample answers",
        "Settings",
        "Environment",
    ]
    # 1 of 2 samples right before, 2 of 2 after, on each of 7 problems
    assert "pass@1 went from 50.0 % to 100.0 %" in text
    assert (
        "| **pass@1** | a sample is right | 50.0 [50.0, 50.0] | 100.0 [100.0, 100.0] | +50.0 [+50.0, +50.0] |" in text
    )
    assert "| **cons@2** |" in text
    assert text.count("### Problem") == 5
    assert text.count("**Before**: right, 3 tokens (1 of 2 samples right)") == 5
    assert "59 steps, 2 s each." in text
    assert "| torch |" in text
    assert {entry.suffix for entry in tmp_path.iterdir()} == {".md", ".png", ".jsonl"}  # no temporary files


@pytest.mark.parametrize("rows", [[], run_of([1]), run_of([3, 3]), [{"step": 1}], [{"step": 1, "reward": None}]])
def test_short_and_empty_runs_still_get_a_report(tmp_path, rows):
    write_log(tmp_path, rows)
    text = write_report(tmp_path, "short").read_text(encoding="utf-8")
    assert "## Environment" in text
    shown = set(re.findall(r"\((\w+\.png)\)", text))
    assert shown == pictures(tmp_path)
    assert shown == (ALL_PICTURES if rows and "kl" in rows[0] else set())


def test_a_folder_without_a_log(tmp_path):
    text = write_report(tmp_path / "new", "none").read_text(encoding="utf-8")
    assert "No training step was logged" in text


def test_missing_keys_cost_only_their_own_picture(tmp_path):
    write_log(tmp_path, run_of(range(1, 9)))
    write_report(tmp_path, "first")
    write_log(tmp_path, run_of(range(1, 9), without={"kl", "entropy", "completions/length_p50", "step_time"}))
    write_report(tmp_path, "again")
    assert pictures(tmp_path) == ALL_PICTURES - {"kl.png", "entropy.png"}  # the old pictures are gone too


def test_extremes_stand_in_for_missing_percentiles(tmp_path):
    write_log(tmp_path, [{"step": s, "completions/min_length": 1, "completions/max_length": 9} for s in range(1, 5)])
    write_report(tmp_path, "extremes")
    assert pictures(tmp_path) == {"length.png"}


def test_the_parts_of_a_step_stand_with_their_shares(tmp_path):
    rows = [{"step": 1, "seconds/loss": 1.0, "seconds/generation": 4.0}, {"step": 2, "seconds/generation": 2.0}]
    write_log(tmp_path, rows)
    text = write_report(tmp_path, "T").read_text()
    assert "| generation | 3 | 75.0 % |\n| loss | 1 | 25.0 % |" in text
    write_log(tmp_path, [{"step": 1, "loss": 1.0}])
    assert "seconds of a step" not in write_report(tmp_path, "T").read_text()


def test_a_prompt_is_shown_as_the_model_reads_it_in_a_fence(tmp_path):
    text = write_report(tmp_path, "T", prompt="<|im_start|>system\nYou are helpful.<|im_end|>\n```").read_text()
    section = text.partition("## A prompt as the model reads it")[2]
    assert "````text\n<|im_start|>system\nYou are helpful.<|im_end|>\n```\n````" in section
    assert "A prompt as the model reads it" not in write_report(tmp_path, "T").read_text()


def test_only_one_evaluation(tmp_path):
    text = write_report(tmp_path, "x", after=evaluation(["is 7"])).read_text(encoding="utf-8")
    assert "| after |" in text
    assert "difference |" not in text
    assert "**After**" in text
    assert "**Before**" not in text


def test_one_sample_has_one_row(tmp_path):
    report = write_report(tmp_path, "x", before=evaluation(["7"]), after=evaluation(["8"])).read_text()
    assert "| **pass@1** | a sample is right | 100.0 [100.0, 100.0] | 0.0 [0.0, 0.0] |" in report
    assert "the majority is right" not in report
    assert "at least one sample is right" not in report


def test_evaluations_on_different_problems_are_not_subtracted(tmp_path):
    before, after = evaluation(["is 7"], "AB"), evaluation(["is 8", "is 7"], "XY")
    text = write_report(tmp_path, "x", before=before, after=after).read_text(encoding="utf-8")
    assert "share no problem" in text
    assert "pass@1 went" not in text
    assert "| **cons@1 / cons@2** |" in text


def outside_fences(markdown):
    """The lines a Markdown reader takes as Markdown (CommonMark: a fence ends with at least as many backticks)."""
    outside, fence = [], None
    for row in re.split(r"\r\n|\r|\n", markdown):
        opened = re.match(r" {0,3}(`{3,})", row)
        if fence is None and opened:
            fence = opened[1]
        elif fence is not None:
            if re.fullmatch(rf" {{0,3}}`{{{len(fence)},}}[ \t]*", row):
                fence = None
        else:
            outside.append(row)
    assert fence is None, "a fence stays open"
    return "\n".join(outside)


def test_hostile_text_stays_in_its_fence(tmp_path):
    problems = [graded(HOSTILE, [HOSTILE], "en", HOSTILE, truncated=[True], graders=GRADERS)]
    write_log(tmp_path, run_of([1]))
    text = write_report(
        tmp_path, HOSTILE, {HOSTILE: HOSTILE, "template": "a|b\n<b>", "hub_token": "hfgeheim", "x": {"api_key": "k3y"}},
        Evaluation(problems), Evaluation(problems),
    ).read_bytes().decode()  # bytes: reading as text would turn \r into \n  # fmt: skip
    outside = outside_fences(text)
    assert "<script>" not in outside
    assert "<b>" not in outside
    assert re.findall(r"^# (.*)$", outside, re.M) == [inline(HOSTILE)]
    assert "## no" not in [row for row in outside.splitlines() if row.startswith("#")]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", text)
    assert "hfgeheim" not in text
    assert "k3y" not in text


@pytest.mark.parametrize("text", ["", "`", "```", "````text\n````", "~~~", "a\r```\rb", "\n\n", "x" * 5000, "\ud800"])
def test_a_fence_holds_any_text(text):
    block = fenced(text)
    assert outside_fences(block) == ""
    assert len(block) < 2200


def test_visible_shows_what_hides():
    assert visible("a\tb\nc") == "a\tb\nc"
    assert visible("\x1b[0m\u202e\u2028\x00\ud800") == "\\u001b[0m\\u202e\\u2028\\u0000\\ud800"
    assert visible("中文 👩\u200d🔬") == "中文 👩\u200d🔬"


def test_inline_is_one_line_without_markup():
    assert inline("a|b\n<i>*c*") == r"a\|b &lt;i&gt;\*c\*"


def test_the_log_is_read_by_step_and_the_last_line_of_a_step_counts(tmp_path):
    write_log(
        tmp_path, [{"step": 2, "a": 5}, {"step": 1, "a": 1}, {"step": 2, "a": 7}, {"a": 9}, {"step": 3, "a": "x"}]
    )
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "a": 1')
    steps, values = series(read_metrics(tmp_path / "metrics.jsonl"), "a")
    assert (steps.tolist(), values.tolist()) == ([1, 2], [1, 7])


def test_smoothing_by_hand():
    # window 3: ends average two values, the middle three
    assert smoothed(np.array([0.0, 3.0, 6.0, 0.0]), 3).tolist() == [1.5, 3.0, 3.0, 3.0]
    constant = np.full(100, 0.25)
    assert np.allclose(smoothed(constant), constant, atol=1e-12)
    assert not math.isnan(smoothed(np.array([1.0]))[0])
