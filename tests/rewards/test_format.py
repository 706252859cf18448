"""The format reward: strict, graded, and without a way to be paid for something else than the format."""

import pickle
import time

import pytest

from trl_r1.rewards.format import SPECIAL_TOKEN, Format, format_reward, well_formed


RIGHT = "<think>2 + 2 is 4</think><answer>4</answer>"

WRONG = {
    "empty": "",
    "no tags": "4",
    "empty thought": "<think></think><answer>4</answer>",
    "blank thought": "<think> \n\u200b</think><answer>4</answer>",
    "thought of a full stop": "<think>.</think><answer>4</answer>",
    "thought of punctuation": "<think>... -- !?</think><answer>4</answer>",
    "thought of symbols": "<think>= + ></think><answer>4</answer>",
    "thought of filler letters": "<think>\u3164</think><answer>4</answer>",
    "answer of punctuation": "<think>a</think><answer>...</answer>",
    "empty answer": "<think>a</think><answer> </answer>",
    "no answer": "<think>a</think>",
    "no answer tags": "<think>a</think> 4",
    "no thought": "<answer>4</answer>",
    "thought not closed": "<think>a <answer>4</answer>",
    "answer not closed": "<think>a</think><answer>4",
    "junk before": "so <think>a</think><answer>4</answer>",
    "junk between": "<think>a</think> so <answer>4</answer>",
    "junk after": "<think>a</think><answer>4</answer>\nJUNK",
    "reasoning moved out": "<think>.</think> 2 + 2 is 4 <answer>4</answer>",
    "two thoughts": "<think>a</think><think>a</think><answer>4</answer>",
    "two thought ends": "<think>a</think></think><answer>4</answer>",
    "two answers": "<think>a</think><answer>4</answer><answer>4</answer>",
    "nested answer": "<think>a</think><answer><answer>4</answer></answer>",
    "answer in the thought": "<think>a<answer>4</answer></think>",
    "wrong order": "<answer>4</answer><think>a</think>",
    "other case": "<THINK>a</THINK><answer>4</answer>",
    "many tags": "<think>a</think><answer>4</answer>" * 20,
}


@pytest.mark.parametrize("text", [RIGHT, f" {RIGHT}\n", "<think>\na\n</think>\n\n<answer>\n4\n</answer>\n"])
def test_the_strict_format_pays_one(text):
    assert format_reward([text, [{"role": "assistant", "content": text}]]) == [1.0, 1.0]


@pytest.mark.parametrize("name", WRONG)
def test_anything_else_pays_nothing(name):
    assert format_reward([WRONG[name]]) == [0.0]
    assert Format(graded=True)([WRONG[name]])[0] < 1.0


@pytest.mark.parametrize("answer", ["\u2205", "\u221e", "\\infty", "\u662f", "\u2460", "\u0663", "+"])
def test_an_answer_may_be_a_sign_and_a_thought_any_script(answer):
    assert format_reward([f"<think>\u6240\u4ee5 \u2460</think><answer>{answer}</answer>"]) == [1.0]


def test_trl_pays_what_we_refuse():
    from trl.rewards import think_format_reward

    fooled = ["empty thought", "no answer", "two thought ends", "junk after", "reasoning moved out"]
    completions = [[{"content": WRONG[name]}] for name in fooled]
    assert think_format_reward(completions) == [1.0] * len(fooled), "TRL has repaired its format reward"
    assert format_reward(completions) == [0.0] * len(fooled)
    spaced = [[{"content": f" {RIGHT}"}]]
    assert think_format_reward(spaced) == [0.0]
    assert format_reward(spaced) == [1.0]


def test_graded_pays_a_quarter_per_right_tag():
    graded = Format(graded=True)
    # right: <think>, </think>, <answer>; wrong: </answer>, because text follows it
    assert graded([f"{RIGHT} JUNK"]) == [0.75]
    assert graded(["<think>a</think>"]) == [0.5]
    assert graded(["a</think><answer>4</answer>"]) == [0.75]
    assert graded(["<answer>4</answer>" * 20]) == [0.0]  # a tag that occurs twice earns nothing


def test_none_content_is_a_reply_in_the_wrong_format():
    assert format_reward([[{"role": "assistant", "content": None}], None, []]) == [0.0, 0.0, 0.0]


def test_a_prefilled_think_tag_is_not_demanded_and_may_be_repeated():
    prefilled = Format(prefilled_think=True)
    assert prefilled(["2 + 2 is 4</think><answer>4</answer>", RIGHT]) == [1.0, 1.0]
    assert prefilled(["</think><answer>4</answer>", "a <think>b</think><answer>4</answer>"]) == [0.0, 0.0]
    assert format_reward(["2 + 2 is 4</think><answer>4</answer>"]) == [0.0]


def test_other_layouts_and_tags():
    cold = Format(layout="cold_start")
    assert cold([f"{SPECIAL_TOKEN}reasoning{SPECIAL_TOKEN}summary"]) == [1.0]
    assert (
        cold([f"{SPECIAL_TOKEN}{SPECIAL_TOKEN}s", f"{SPECIAL_TOKEN}r{SPECIAL_TOKEN}", f"x{SPECIAL_TOKEN}r"])
        == [0.0] * 3
    )
    assert Format(layout="cold_start", prefilled_think=True)([f"r{SPECIAL_TOKEN}s"]) == [1.0]
    summary = Format(layout="summary")
    assert summary(["<think>a</think> It is 4.", "<think>a</think>", "It is 4."]) == [1.0, 0.0, 0.0]
    custom = Format(think=("<r>", "</r>"), answer=("[", "]"))
    assert custom(["<r>a</r>[4]", RIGHT]) == [1.0, 0.0]


@pytest.mark.parametrize(
    "options", [{}, {"graded": True}, {"graded": True, "prefilled_think": True}, {"layout": "summary"}]
)
@pytest.mark.parametrize("text", [RIGHT, *WRONG.values()])
def test_spans_lie_in_the_reply_and_sum_to_the_score(options, text):
    reward = Format(**options)
    spans = reward.spans(text)
    assert sum(score for _, _, score in spans) == reward.score(text)
    assert all(0 <= start <= end <= len(text) for start, end, _ in spans)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "r1"}, "layout='r1' is unknown. Choose one of: answer, summary, cold_start"),
        ({"think": "<think>"}, "opening and a closing tag"),
        ({"special_token": ""}, "special_token is empty"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Format(**options)


def test_pickles_with_its_options_and_hashes():
    reward = Format(graded=True, name="layout", think=["<r>", "</r>"])
    assert pickle.loads(pickle.dumps(reward)) == reward
    assert hash(reward) == hash(pickle.loads(pickle.dumps(reward)))
    assert reward.__name__ == "layout"
    assert format_reward.__name__ == "format"


@pytest.mark.parametrize(
    "unit", ["<think>", "</think>", "<answer>", "<think></think>", "<", " ", "\u200b", SPECIAL_TOKEN]
)
def test_hostile_length_takes_linear_time(unit):
    text = unit * (700_000 // len(unit))
    start = time.process_time()
    for layout in ("answer", "summary", "cold_start"):
        well_formed(text, layout=layout)
    assert time.process_time() - start < 2.0
