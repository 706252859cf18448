"""The audit: ours pass, cheatable rewards are caught with the exploit named, sick ones too, and nothing can hang it."""

import os
import time

import psutil
import pytest

from trl_r1.audit.audit import EXAMPLES, audit, rows_of
from trl_r1.audit.exploits import FAMILIES, KINDS, LAYOUTS, Family
from trl_r1.audit.isolated import IsolatedReward
from trl_r1.commands import call


REWARDS = '''
import asyncio, os, time
from functools import partial

def substring(completions, solution, **kwargs):
    return [1.0 if gold in text else 0.0 for text, gold in zip(completions, solution)]

def negative(completions, solution, **kwargs):
    """-1 for a wrong answer, but None without a box: abstaining from the penalty pays."""
    texts = [c[0]["content"] or "" for c in completions]
    return [None if "boxed{" not in t else 1.0 if t.endswith("boxed{%s}</answer>" % g) else -1.0
            for t, g in zip(texts, solution)]

def whole_text_language(completions, prompts, **kwargs):
    chinese = lambda text: sum("\\u4e00" <= c <= "\\u9fff" for c in text) > len(text) / 4
    text_of = lambda message: (message[-1]["content"] or "") if message else ""
    return [float(chinese(text_of(c)) == chinese(text_of(p))) for c, p in zip(completions, prompts)]

def sleepy(completions, **kwargs):
    for completion in completions:
        if "99999999!" in str(completion):
            time.sleep(600)
    return [0.5] * len(completions)

def crashing(completions, **kwargs):
    if completions == [[{"role": "assistant", "content": ""}]]:
        os._exit(7)
    return [0.5] * len(completions)

def raising(completions, **kwargs):
    return [1 / len(completion[0]["content"]) for completion in completions]

def infinite(completions, **kwargs):
    return [float("inf") if len(str(completion)) > 400_000 else 0.5 for completion in completions]

def short(completions, **kwargs):
    return [0.5 for completion in completions if "boxed" in str(completion)]

def nothing(completions, **kwargs):
    raise RuntimeError("no model is loaded")

async def awaited(completions, **kwargs):
    await asyncio.sleep(0)
    print("this must not disturb the protocol")
    return [0.5] * len(completions)

def counts_true_claims(completions, **kwargs):
    """1 - wrong / all over what looks like a sum, with repeats: any heap of true claims drowns a wrong one."""
    import re
    scores = []
    for completion in completions:
        found = re.findall(r"(\\d+) [+] (\\d+) = (\\d+)", str(completion))
        found += [(a, "0", b) for a, b in re.findall(r"45 / 5 = (\\d)()", str(completion)) for a, b in [(a, "9")]]
        right = sum(int(a) + int(b) == int(c) for a, b, c in found)
        scores.append(right / len(found) if found else None)
    return scores

def any_box(completions, **kwargs):
    """Form, judged by the presence of a box whose brackets close, whatever else there is."""
    import re
    return [float(re.search(r"boxed{[^()]*}", str(c)) is not None) for c in completions]

def right_plus_short(completions, solution, **kwargs):
    """A bonus for brevity that a wrong answer gets too."""
    right = ["boxed{%s}" % gold in str(c)[-200:] for c, gold in zip(completions, solution)]
    return [float(r) + 0.5 / (1 + len(str(c)) / 200) for r, c in zip(right, completions)]

class Unpicklable:
    def __init__(self):
        self.score = lambda text: 0.5
    def __call__(self, completions, **kwargs):
        return [self.score(c) for c in completions]
'''


@pytest.fixture(autouse=True)
def rewards_here(tmp_path, monkeypatch):
    (tmp_path / "cheatable.py").write_text(REWARDS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def few(*names: str) -> dict[str, Family]:
    return {name: FAMILIES[name] for name in names}


def problems(report) -> dict[str, set[str]]:
    """family -> what was found in it"""
    found: dict[str, set[str]] = {}
    for finding in report.findings:
        found.setdefault(finding.family, set()).add(finding.problem)
    return found


# ---------------------------------------------------------------- ours pass


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("accuracy", "accuracy", {}),
        ("accuracy", "accuracy", {"sources": ["boxed"]}),
        ("format", "format", {}),
        ("format", "format", {"graded": True}),
        ("format", "format", {"layout": "summary"}),
        ("format", "format", {"layout": "cold_start"}),
        ("format", "format", {"prefilled_think": True}),
        ("language_consistency", "language", {}),
        ("logic", "logic", {}),
        ("geometry", "logic", {}),
        ("symbolic", "symbolic", {}),
    ],
)
def test_ours_pass(name, kind, options):
    report = audit(name, options=options)
    assert [str(finding) for finding in report.findings] == []
    assert report.kind == kind
    assert report.unpaid == 0
    assert sum(report.tried.values()) > 300


@pytest.mark.parametrize("name", ["overlong", "cosine_length", "repetition"])
def test_a_wrong_answer_never_profits_from_our_shaping(name):
    families = few("length_games", "empty", "repeated_tags", "several_boxes")
    report = audit(name, options={"inner": "accuracy", "weight": 0.5}, families=families)
    assert [str(finding) for finding in report.findings] == []
    assert (report.kind, report.unpaid) == ("shaping", 0)


def test_every_family_attacks_some_row_and_every_kind_has_families():
    tried = audit("format").tried
    assert set(tried) == set(FAMILIES)
    for kind in KINDS:
        assert sum(kind in family.kinds for family in FAMILIES.values()) >= 3


# ---------------------------------------------------------------- cheatable rewards are caught


def test_trl_think_format_reward_is_caught_with_the_exploits_named():
    report = audit("trl.rewards:think_format_reward")
    assert report.kind == "format"
    paid = {(f.family, f.exploit) for f in report.findings if f.problem == "paid"}
    assert {
        ("format_only", "an empty thought"),
        ("format_only", "reasoning outside the thought"),
        ("thought_only", "no answer after the thought"),
        ("repeated_tags", "a closing tag more"),
        ("hidden_text", "a thought of zero-width characters"),
    } <= paid
    assert problems(report)["empty"] == {"exception"}  # content None, as in a tool call


def test_a_substring_reward_is_caught_with_the_exploits_named():
    report = audit("cheatable:substring")
    assert (report.kind, report.shape) == ("accuracy", "text")
    caught = {finding.family for finding in report.findings if finding.problem == "paid"}
    assert {
        "every_answer",
        "hidden_text",
        "repeated_tags",
        "thought_only",
        "equality_chains",
        "several_boxes",
    } <= caught
    lines = "\n".join(report.lines())
    assert (
        "PAID  thought_only: boxed in the thought, nothing after scores 1 (honest 1, undeserved 0) in row 0" in lines
    )
    assert lines.splitlines()[-1].startswith("cheatable:substring is caught: echo, every_answer, hidden_text")


def test_trl_accuracy_reward_is_caught():
    report = audit("trl.rewards:accuracy_reward", families=few("thought_only", "restated_task", "equality_chains"))
    paid = {(f.family, f.exploit) for f in report.findings if f.problem == "paid"}
    assert ("thought_only", "boxed in the thought, nothing after") in paid
    assert ("restated_task", "a sum left to do") in paid
    assert ("equality_chains", "a chain that ends right") in paid


def test_abstaining_from_a_penalty_is_a_payment():
    report = audit("cheatable:negative", families=few("empty"))
    # top 1, bottom -1: more than -1 + 0.1 * 2 = -0.8 is paid, and None counts as the 0 of TRL's sum
    assert {f.exploit for f in report.findings} >= {"nothing", "whitespace"}
    assert {(f.score, f.top, f.bottom) for f in report.findings} == {(None, 1.0, -1.0)}


def test_a_language_reward_on_the_whole_text_is_caught():
    report = audit("cheatable:whole_text_language", families=few("language_padding", "hidden_text"))
    assert report.kind == "language"
    assert ("language_padding", "after the reply") in {(f.family, f.exploit) for f in report.findings}


def test_a_claims_reward_that_a_heap_of_true_claims_pleases_is_caught():
    report = audit("cheatable:counts_true_claims", families=few("claim_padding"))
    assert report.kind == "logic"
    paid = {f.exploit for f in report.findings if f.problem == "paid"}
    assert {"a true claim sixty times, after", "hundreds of easy claims, before"} <= paid
    assert {"easy claims in an HTML comment, after", "easy claims in a code block, after"} <= paid


def test_a_form_reward_that_any_box_pleases_is_caught_and_told_what_it_pays():
    report = audit("cheatable:any_box", families=few("malformed"))
    assert report.kind == "symbolic"
    paid = {f.exploit for f in report.findings if f.problem == "paid"}
    assert {"two different answers", "an operator without its operand", "in the thought only"} <= paid
    assert "a well-formed wrong answer earns full marks. Pay accuracy too." in report.lines()[-1]


def test_a_bonus_for_brevity_that_wrong_answers_get_is_caught():
    report = audit("cheatable:right_plus_short", families=few("length_games"))
    assert report.kind == "shaping"
    paid = {f.exploit for f in report.findings if f.problem == "paid"}
    assert "a wrong answer without a thought" in paid
    assert "a wrong answer after 27,000 words" not in paid


def test_shaping_alone_is_healthy_and_told_that_it_pays_nothing_most():
    report = audit("overlong", families=few("empty"))
    assert (report.kind, report.caught) == ("other", False)
    assert report.lines()[-1].startswith("It falls with length or repetition alone, so it pays an empty reply most")


def test_a_logic_reward_without_a_bound_on_easy_claims_is_caught():
    report = audit("logic", options={"most_claims": 64}, families=few("claim_padding"))
    assert {f.exploit for f in report.findings} == {
        "hundreds of easy claims, after",
        "hundreds of easy claims, before",
    }
    # 4 claims, one wrong: 3/4. Of 64 that count: 63/64, which is at least 1 - 0.1 * (1 - 3/4) = 0.975
    assert {(f.score, f.top, f.bottom) for f in report.findings} == {(63 / 64, 1.0, 0.75)}


# ---------------------------------------------------------------- health


@pytest.mark.parametrize(
    ("name", "family", "problem"),
    [
        ("sleepy", "towers", "hang"),
        ("crashing", "empty", "died"),
        ("raising", "empty", "exception"),
        ("infinite", "giant", "not finite"),
        ("Unpicklable", "pickle", "not picklable"),
    ],
)
def test_sick_rewards_are_caught(name, family, problem):
    report = audit(f"cheatable:{name}", families=few("empty", "towers", "giant"), seconds=2.0)
    assert report.kind == "other"
    assert problems(report)[family] == {problem}


def test_a_wrong_number_of_scores_is_caught():
    report = audit("cheatable:short", families=few("empty", "truncation"), kind="other")
    assert "wrong length" in problems(report)["empty"]
    assert "0 scores for 1 completions" in {finding.detail for finding in report.findings}


def test_an_asynchronous_reward_that_prints_is_audited():
    assert not audit("cheatable:awaited", families=few("empty"), worker_thread=True).caught


def test_a_hung_reward_is_killed_and_the_next_call_answered():
    with IsolatedReward("cheatable:sleepy") as isolated:
        started = time.monotonic()
        assert isolated.score(["99999999!"], {}, seconds=0.5).problem == "hang"
        assert time.monotonic() - started < 10
        assert isolated.score(["x"], {}, seconds=10).scores == [0.5]
        process = isolated.process.pid
    assert not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE


# ---------------------------------------------------------------- rows and errors


def test_rows_are_spread_over_the_data_and_wrong_answers_are_wrong():
    data = [{"question": f"{i} + 1?", "answer": f"so\n#### {i + 1}"} for i in range(100)]
    rows = rows_of(data, most=4)
    assert [(row.number, row.right, row.wrong) for row in rows] == [
        (0, "1", "2"), (25, "26", "27"), (50, "51", "52"), (75, "76", "77"),
    ]  # fmt: skip
    assert rows[0].columns == {"question": "0 + 1?", "answer": "so\n#### 1", "solution": "so\n#### 1"}


def test_an_echo_of_a_prompt_that_ends_in_its_answer_is_no_exploit():
    rows = rows_of([{"prompt": "Say 7", "solution": "7"}, {"prompt": "Say seven", "solution": "7"}])
    report = audit("accuracy", rows, families=few("echo"))
    assert not report.caught
    assert report.tried["echo"] == 3  # of the second row


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nosuch:reward",), "There is no module 'nosuch'"),
        (("cheatable:nosuch",), "has no 'nosuch'"),
        (("formt",), "Did you mean 'format'?"),
        (("format", None, {"grade": 1}), "Did you mean 'graded'?"),
        (("format", [], {}), "no row"),
        (
            ("format", None, {}, "tidiness"),
            "Choose one of: auto, accuracy, shaping, language, logic, symbolic, format, other",
        ),
        (("cheatable:nothing",), "scores no honest reply: it raised an exception .RuntimeError: no model is loaded"),
        (("format", None, {}, "accuracy"), "pays honest replies no more than undeserved ones"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        audit(*arguments, families=few("empty"))


def test_the_examples_cover_types_and_both_languages():
    rows = rows_of(EXAMPLES)
    assert {row.language for row in rows} == {"en", "zh"}
    assert len(rows) == len(EXAMPLES) == 10


def test_layouts_put_thought_and_answer_where_they_say():
    assert LAYOUTS["think, answer tags, box"].write("T", "4") == "<think>\nT\n</think>\n<answer>\\boxed{4}</answer>"
    assert LAYOUTS["hashes"].write("T", "4") == "T\n#### 4"


# ---------------------------------------------------------------- the command


def test_the_command_names_the_exploit_and_exits_with_1(tmp_path, capsys):
    data = tmp_path / "rows.jsonl"
    data.write_text('{"question": "3 + 4?", "solution": "7"}\n{"question": "2 * 6?", "solution": "12"}\n')
    assert call("rewards", ["audit", "cheatable:substring", "--data", str(data), "--families", "hidden_text"]) == 1
    printed = capsys.readouterr().out
    assert (
        "PAID  hidden_text: after the answer, in an HTML comment scores 1 (honest 1, undeserved 0) in row 0" in printed
    )


def test_the_command_passes_ours_with_0_and_refuses_with_2(tmp_path, capsys):
    data = tmp_path / "rows.jsonl"
    data.write_text('{"question": "3 + 4?", "answer": "#### 7"}\n{"question": "2 * 6?", "answer": "#### 12"}\n')
    assert call("rewards", ["audit", "accuracy", "--data", str(data), "--families", "empty", "hidden_text"]) == 0
    assert "accuracy passes: 48 exploits, none paid." in capsys.readouterr().out
    assert call("rewards", ["audit", "accuracy", "--families", "hiden_text"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("trl-r1 rewards: No family is called 'hiden_text'. Choose from: empty, echo")
    assert call("rewards", ["audit", "accuracy", "--data", str(tmp_path / "none.jsonl")]) == 2
    assert "There is no file" in capsys.readouterr().err
    assert os.getcwd() == str(tmp_path)
