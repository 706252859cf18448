"""From texts to numbers, by hand; and an evaluation that survives its trip to disk and a better grader."""

import json
import math
import re

import numpy as np
import pytest
from datasets import Dataset
from samples import graded

from trl_r1.evaluation import benchmark
from trl_r1.evaluation.benchmark import Evaluation, Graders, compare, default_graders, evaluate, pair
from trl_r1.evaluation.graded import GradedSample
from trl_r1.text.records import Completion


def extract(text):
    found = re.findall(r"<answer>(.*?)</answer>", text)
    return found[-1] if found else None


GRADERS = Graders(
    extract=extract,
    verify=lambda answer, gold: None if gold == "?" else float(answer) == float(gold),
    same_answer=lambda a, b: float(a) == float(b),
    well_formed=lambda texts: [float(text.startswith("<think>")) for text in texts],
    consistency=lambda text, language: None if "42" in text else float(language in text),
)


def problem(solution, texts, language="en", prompt="Q", lengths=None):
    lengths = lengths or [len(text) for text in texts]
    return graded(solution, texts, language, prompt, lengths, [length > 30 for length in lengths], graders=GRADERS)


def answers(*values):
    return ["" if value is None else f"<answer>{value}</answer>" for value in values]


@pytest.fixture
def hand_made():
    return Evaluation(
        [
            problem("1", answers(1, "1.0", 2, None), prompt="A", lengths=[10, 20, 30, 40]),  # 2 of 4; majority right
            problem("5", answers(5, 6, 6, 6), prompt="B", lengths=[1, 1, 1, 1]),  # 1 of 4; majority wrong
            problem("7", answers(7, 8, None, None), prompt="C", lengths=[2, 2, 2, 2]),  # 1 of 4; a tie: half
            problem("?", answers(1, 2, 3, 4), prompt="D", lengths=[3, 3, 3, 3]),  # the gold cannot be read
        ],
        {"temperature": 0.6},
    )


def test_the_numbers_by_hand(hand_made):
    numbers = hand_made.to_dict()
    assert numbers["pass@1"] == pytest.approx((2 / 4 + 1 / 4 + 1 / 4) / 3, abs=1e-9)
    assert numbers["cons@4"] == pytest.approx((1 + 0 + 1 / 2) / 3, abs=1e-9)
    assert numbers["pass@4"] == 1.0  # each of the three judged problems has a right sample
    # pass@2 = 1 - C(wrong, 2) / C(4, 2): 1 - 1/6, 1 - 3/6, 1 - 3/6
    assert hand_made.pass_at(2) == pytest.approx((5 / 6 + 1 / 2 + 1 / 2) / 3, abs=1e-9)
    assert numbers["length"] == pytest.approx((25 + 1 + 2 + 3) / 4, abs=1e-9)
    assert numbers["clipped"] == pytest.approx((1 / 4) / 4, abs=1e-9)
    assert numbers["format"] == 0.0
    assert (numbers["problems"], numbers["unjudged"], numbers["samples"]) == (4, 1, 4)
    low, high = numbers["interval"]["pass@1"]
    assert 0.25 <= low <= numbers["pass@1"] <= high <= 0.5
    assert set(numbers["interval"]) == {"pass@1", "cons@4", "pass@4", "format", "language", "length", "clipped"}
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    assert hand_made["cons@4"] == hand_made["cons@K"] == numbers["cons@4"]
    assert all(hand_made[name] == interval.mean for name, interval in hand_made.intervals.items())
    with pytest.raises(ValueError, match=r"No metric is called 'pass@3'.*cons@4"):
        hand_made.per_problem("pass@3")


def unequal():
    return Evaluation(
        [
            problem("1", answers(1, 2, 2, 1, 1), prompt="A"),  # 3 of 5; of the first two: a tie
            problem("5", answers(6, 5), prompt="B"),  # 1 of 2; a tie
            problem("7", [], prompt="C"),  # nobody was asked
            problem("?", answers(1, 2), prompt="D"),  # the gold cannot be read
        ]
    )


def test_with_unequal_samples_all_numbers_speak_of_the_same_problems(monkeypatch):
    monkeypatch.setattr("trl_r1.rewards.accuracy.same_answer", GRADERS.same_answer)
    numbers = unequal().to_dict()
    assert numbers["pass@1"] == pytest.approx((3 / 5 + 1 / 2) / 2, abs=1e-9)
    # K is 2, the smallest: 1 - C(2, 2) / C(5, 2) and 1; the majority is that of the first two samples
    assert numbers["pass@2"] == pytest.approx((9 / 10 + 1) / 2, abs=1e-9)
    assert numbers["cons@2"] == pytest.approx((1 / 2 + 1 / 2) / 2, abs=1e-9)
    assert unequal().pass_at(2) == numbers["pass@2"]
    assert [int((~np.isnan(unequal().per_problem(name))).sum()) for name in ("pass@1", "pass@2", "cons@2")] == [2] * 3
    assert (numbers["samples"], numbers["most_samples"], numbers["unsampled"]) == (2, 5, 1)


def test_regrading_counts_votes_of_unequal_samples_alike():
    fresh = unequal().regrade(GRADERS)
    assert [len(one.samples) for one in fresh.problems] == [5, 2, 0, 2]
    assert math.isnan(fresh.problems[2].consensus)
    assert fresh["pass@2"] == unequal()["pass@2"]


def test_language_is_judged_only_where_there_is_a_language_and_a_verdict():
    run = Evaluation([problem("1", ["en", "42", "x"]), problem("1", ["en"], language=None)])
    assert run["language"] == 0.5  # en: 1, 42: not judged, x: 0; the second problem names no language
    assert math.isnan(Evaluation([problem("1", ["en"], language=None)])["language"])
    assert Evaluation([problem("1", ["en"], language=None)]).to_dict()["language"] is None


def test_saving_and_loading_keeps_everything(hand_made, tmp_path):
    text = "中文 \ud800 \x00 </script>"  # a lone surrogate, which UTF-8 cannot hold
    hand_made.problems[0].samples[0] = GradedSample(Completion(text, 9), "1", True, 0.5)
    path = hand_made.save(tmp_path / "deep" / "before.json")
    json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)  # JSON knows no NaN
    again = Evaluation.load(path)
    assert again.to_dict() == hand_made.to_dict()
    assert again.problems[:3] == hand_made.problems[:3]
    assert math.isnan(again.problems[3].consensus)
    assert again.problems[3].samples == hand_made.problems[3].samples
    assert [entry.name for entry in path.parent.iterdir()] == ["before.json"]  # no temporary file stays


def test_a_failed_save_leaves_the_old_file(hand_made, tmp_path, monkeypatch):
    path = hand_made.save(tmp_path / "run.json")
    old = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        Evaluation(hand_made.problems[:1]).save(path)
    assert path.read_bytes() == old
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("content", [None, "{half", "[]", '{"kind": "other"}', b"\xff\xfe"])
def test_loading_something_else_is_one_sentence(tmp_path, content):
    path = tmp_path / "run.json"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match="run.json"):
        Evaluation.load(path)


def test_regrading_uses_the_stored_texts_and_leaves_the_original_alone(hand_made):
    stricter = Graders(
        extract, lambda answer, gold: answer == gold, lambda a, b: a == b, GRADERS.well_formed, GRADERS.consistency
    )
    again = hand_made.regrade(stricter)
    assert again.problems[0].right == [True, False, False, False]  # "1.0" is another string
    assert again.problems[3].judged
    assert hand_made.problems[0].right == [True, True, False, False]
    assert again.settings == hand_made.settings


def test_comparison_pairs_the_same_problems_whatever_their_order():
    before = Evaluation([problem("1", answers(1, 2), prompt=p) for p in "ABC"])
    after = Evaluation([problem("1", answers(1, 1), prompt=p) for p in "XCB"])
    assert pair(before, after) == [(1, 2), (2, 1)]
    assert compare(before, after, "pass@1").mean == 0.5
    assert math.isnan(compare(before, Evaluation([]), "pass@1").mean)
    twice = Evaluation([problem("1", answers(1, 2), prompt="A")] * 2)
    assert pair(twice, twice) == [(0, 0), (1, 1)]


def test_evaluate_end_to_end(model, tokenizer):
    rows = Dataset.from_dict({"prompt": ["ab", "cd"], "solution": ["1", "2"], "language": ["en", "zh"]})
    options = {"samples": 3, "max_new_tokens": 8, "progress": False, "graders": GRADERS}
    run = evaluate(model, tokenizer, rows, **options)
    assert [(p.problem.prompt, p.gold, p.problem.language, len(p.samples)) for p in run.problems] == [
        ("ab", "1", "en", 3),
        ("cd", "2", "zh", 3),
    ]
    assert run["pass@1"] == 0.0  # a random model closes no tag
    assert 1 <= run["length"] <= 8
    assert run.settings["temperature"] == 0.6
    again = evaluate(model, tokenizer, rows, **options)
    assert [p.samples for p in again.problems] == [p.samples for p in run.problems]
    renamed = rows.rename_columns({"prompt": "p", "solution": "s"})
    same = evaluate(model, tokenizer, renamed, prompt_column="p", solution_column="s", language_column=None, **options)
    texts = [[[one.completion for one in p.samples] for p in of.problems] for of in (same, run)]
    assert texts[0] == texts[1]
    assert same.problems[0].problem.language is None


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no problems"),
        ([{"prompt": "a"}], "Problem 0 has no column 'solution'.*prompt"),
        ([{"prompt": "a", "solution": "1"}, {"prompt": "a", "solution": None}], "Problem 1 has nothing"),
    ],
)
def test_bad_problems_are_one_sentence(model, tokenizer, rows, words):
    with pytest.raises(ValueError, match=words):
        evaluate(model, tokenizer, rows, graders=GRADERS, progress=False)


def test_the_packages_own_rewards_are_the_default_graders():
    reply = "<think> three and four make seven </think> <answer>7</answer>"
    right = graded("7", [reply, "many", "<answer>8</answer>"], "en", "3 + 4?")
    assert right.right == [True, False, False]
    assert right.judged
    assert [one.well_formed for one in right.samples] == [1.0, 0.0, 0.0]
    assert right.samples[0].consistency == 1.0
    assert right.consensus == pytest.approx(1 / 3)  # 7, "many" and 8 tie
    assert benchmark.METRICS["pass@1"](right, 3) == pytest.approx(1 / 3)


def test_an_evaluation_asks_for_the_answer_where_the_reward_does():
    from trl_r1.rewards.accuracy import Accuracy
    from trl_r1.rewards.catalogue import CalledAs

    said = "so it is 7."
    assert default_graders().extract(said) == "7"
    strict = default_graders([CalledAs(Accuracy(sources=("boxed", "answer")), "right")])
    assert strict.extract(said) is None
    assert strict.extract("<answer>7</answer>") == "7"
    assert strict.answer_from == ("boxed", "answer")


def test_regrading_keeps_to_where_the_answer_was_asked_for():
    stored = Evaluation([graded("7", ["so it is 7."])], {"answer_from": ["answer"]})
    assert stored.regrade()["pass@1"] == 0.0
    assert Evaluation(stored.problems, {}).regrade()["pass@1"] == 1.0


def test_a_file_says_where_a_thought_was_opened_and_is_judged_again_by_that(tmp_path):
    unfinished, finished = r"it is \boxed{4}", r"I add.</think>It is \boxed{4}."
    stored = Evaluation([graded("4", [unfinished, finished])], {"answer_from": ["boxed"]})
    assert stored.regrade().problems[0].right == [True, True]  # a single closed thought proves nothing
    stored.problems[0].opened = ("<think>", "</think>")
    back = Evaluation.load(stored.save(tmp_path / "one.json")).regrade()
    assert back.problems[0].right == [False, True]
    assert Evaluation.load(back.save(tmp_path / "two.json")).problems[0].opened == ("<think>", "</think>")


def test_marks_of_a_model_s_own_are_in_the_file(tmp_path):
    own = [r"[THINK]it is \boxed{4}", r"[THINK]I add.[/THINK]It is \boxed{4}."]
    stored = Evaluation([graded("4", own)], {"answer_from": ["boxed"], "reasoning_marks": ["[THINK]", "[/THINK]"]})
    back = Evaluation.load(stored.save(tmp_path / "one.json")).regrade()
    assert back.problems[0].right == [False, True]


def test_of_an_older_file_it_is_found_out_where_thoughts_were_opened():
    closed = r"I add.</think>It is \boxed{4}."
    older = Evaluation([graded("4", [r"it is \boxed{4}", closed]), graded("4", [closed])], {"answer_from": ["boxed"]})
    assert [problem.right for problem in older.regrade().problems] == [[False, True], [True]]
    mixed = Evaluation([graded("4", [r"it is \boxed{4}", closed, "<think>" + closed])], {"answer_from": ["boxed"]})
    assert mixed.regrade().problems[0].right == [True, True, True]


def test_a_row_s_own_switch_is_honoured_and_what_its_prompt_opened_is_kept(tiny):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}A:{% if think is not defined or think %}<think>\n{% endif %}{% endif %}"
    )
    asked = [{"role": "user", "content": "2+2?"}]
    rows = [
        {"prompt": asked, "solution": "4"},
        {"prompt": asked, "solution": "4", "chat_template_kwargs": '{"think": false}'},
    ]
    model = AutoModelForCausalLM.from_pretrained(tiny)
    made = evaluate(model, tokenizer, rows, samples=1, max_new_tokens=2, progress=False)
    assert [problem.opened for problem in made.problems] == [("<think>", "</think>"), None]
    assert made.settings.get("reasoning_marks") is None
