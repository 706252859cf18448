"""Cold-start texts: prompts per source, replies taken apart and laid out, and what a screening lets pass."""

import pytest
from fitting_tokenizers import fitting, template_text
from hypothesis import given
from hypothesis import strategies as st
from samples import sample

from trl_r1.data.filters import FILTERS, FilterLimits
from trl_r1.models.rendering import Renderer
from trl_r1.rewards.accuracy import SOURCES, extract
from trl_r1.rewards.format import LAYOUTS, well_formed
from trl_r1.rewards.language import consistency
from trl_r1.stages.cold_start.draw import prompt_for
from trl_r1.stages.cold_start.job import ReadySource
from trl_r1.stages.cold_start.make import problem_of
from trl_r1.stages.cold_start.screening import screen
from trl_r1.stages.cold_start.sources import (
    EXAMPLES,
    ChainSource,
    Example,
    as_reply,
    asking,
    in_layout,
    lay_out,
    read_sources,
    rewriting,
    rewritten,
    take_apart,
    worked,
)
from trl_r1.text.records import Problem


EVERYTHING = list(FILTERS)


def verdict(text, layout="summary", filters=EVERYTHING, language="en", solution="4", **more):
    one = sample(text, solution, language=language, **more)
    return screen([one], layout, filters, FilterLimits(), tuple(SOURCES))[0]


GOOD = "<think>I add two and two, and that makes four.</think> <answer>4</answer>"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_good_reply_comes_out_in_the_layout(layout):
    made = verdict(GOOD, layout).text
    assert well_formed(made, layout=layout)
    assert take_apart(made)[0] == "I add two and two, and that makes four."
    assert ("<answer>" in made) == (layout == "answer")


def test_a_reply_in_the_wanted_layout_is_not_touched():
    text = " <think> I add two and two </think>\n<answer> 4</answer>"
    assert verdict(text, "answer").text == text


@pytest.mark.parametrize(
    ("text", "more", "dropped"),
    [
        ("   ", {}, "answered"),
        ("", {"refused": "status 400"}, "answered"),
        (GOOD, {"truncated": True}, "truncated"),
        ("<think>I go on and on", {}, "truncated"),
        (GOOD.replace(">4<", ">5<"), {}, "right"),
        ("<think>it is \\boxed{4}</think> I do not know the number.", {}, "right"),
        ("It is 4.", {}, "layout"),
        ("<think>a</think><think>b</think> <answer>4</answer>", {}, "layout"),
        ("<think>I add two 再加上二等于四 and two.</think> <answer>4</answer>", {}, "mixed_language"),
        (GOOD, {"language": "zh"}, "mixed_language"),
        (f"<think>{'I count the fingers of my hand. ' * 60}</think> <answer>4</answer>", {}, "long_paragraphs"),
        ("<think>I run it:\n```python\nprint(2 + 2)\n```\nfour</think> <answer>4</answer>", {}, "code_blocks"),
        ("<think>" + "I count the fingers of my left hand.\n" * 9 + "</think> <answer>4</answer>", {}, "repetition"),
    ],
)
def test_each_filter_drops_what_it_is_for(text, more, dropped):
    found = verdict(text, **more)
    assert (found.text, found.verdict.dropped_by) == (None, dropped)
    assert found.verdict.reason


def test_the_marks_of_a_layout_count_as_no_language_and_hide_no_answer():
    chinese = "|special_token|二加二等于四。|special_token|结果是 \\boxed{4}。"
    assert verdict(chinese, "cold_start", language="zh").text == chinese
    only_thought = "|special_token|so \\boxed{4}|special_token|That was it, then."
    assert verdict(only_thought, "cold_start").verdict.dropped_by == "right"


def test_our_examples_are_what_we_ask_for():
    for language, examples in EXAMPLES.items():
        for example in examples:
            text = worked(example)
            assert well_formed(text, layout="summary")
            assert "\\boxed{" in example.summary
            assert extract(text, ("boxed",)) is not None
            assert consistency(f"{example.reasoning} {example.summary}", language) == 1.0


def test_few_shot_shows_examples_in_the_language_of_the_problem_and_ends_where_the_model_goes_on():
    text = asking(ChainSource("few_shot"), "2 + 2 是多少?", "zh", chat=False)
    assert text.endswith("题目: 2 + 2 是多少?\n<think>\n")
    assert EXAMPLES["zh"][0].question in text
    assert EXAMPLES["en"][0].question not in text
    own = asking(
        ChainSource("few_shot"), "2 + 2?", "en", True, [Example("1 + 1?", "one and one", "It is \\boxed{2}.")]
    )
    assert [message["role"] for message in own] == ["user", "assistant", "user"]
    assert own[1]["content"] == "<think>\none and one\n</think>\n\nIt is \\boxed{2}."


def test_what_a_base_model_invents_after_its_answer_is_cut():
    source = ChainSource("reflection")
    prompt = asking(source, "2 + 2?", "en", chat=False)
    drawn = "I add.\n</think>\n\nIt is \\boxed{4}.\n\nProblem: What is 3 + 3?\n<think>"
    assert as_reply(source, drawn, prompt, "en") == "<think>\nI add.\n</think>\n\nIt is \\boxed{4}."


def test_zero_is_asked_in_its_own_template_and_left_as_it_is():
    source = ChainSource("zero", template="User: {question} Assistant:")
    assert asking(source, "2 + 2?", "en", chat=True) == "User: 2 + 2? Assistant:"
    assert as_reply(source, GOOD, "User: ...", "en") == GOOD
    opened = ChainSource("zero", template="{question} <think>", prefilled_think=True)
    assert as_reply(opened, "two</think> <answer>4</answer>", "...", "en") == "<think>two</think> <answer>4</answer>"


def test_a_rewritten_reply_is_read_back():
    prompt = rewriting("2 + 2?", "uh two two four", "4", "en", chat=False)
    assert prompt.endswith("Problem: 2 + 2?\n\nuh two two four\n\n4\n\n<think>\n")
    assert rewritten("I add.\n</think>\n\nIt is \\boxed{4}.", chat=False) == lay_out(
        "I add.", "It is \\boxed{4}.", "summary"
    )
    assert rewritten("Sure! Here it is: 4", chat=True) is None


WORDS = st.text("abc 12\n.,好", min_size=1, max_size=30).filter(lambda text: any(c.isalnum() for c in text))


@given(
    reasoning=WORDS, summary=WORDS, layout=st.sampled_from(sorted(LAYOUTS)), target=st.sampled_from(sorted(LAYOUTS))
)
def test_taking_apart_undoes_laying_out_and_any_layout_becomes_any_other(reasoning, summary, layout, target):
    text = lay_out(reasoning, summary, layout)
    assert take_apart(text) == (reasoning.strip(), summary.strip())
    made = in_layout(text, target)
    assert well_formed(made, layout=target)
    assert take_apart(made)[0] == reasoning.strip()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([{"name": "zeros"}], "name='zeros' must be one of: .* Did you mean 'zero'"),
        ([{"model": "x"}], "needs a name"),
        ([{"name": "zero", "sample": 3}], "unknown key 'sample'"),
        ([{"name": "zero", "samples": 0}], "samples=0 of 'zero' must be a whole number of at least 1"),
        ([{"name": "rows"}], "rows needs a dataset_name"),
        ([{"name": "rows", "dataset_name": "x", "reasoning_column": "r"}], "go together"),
        ([{"name": "zero"}, "zero"], "two of them are called 'zero'"),
        ([], "must be a list"),
        (None, "must be a list"),
    ],
)
def test_mistakes_in_sources(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_sources(given)


def few_shot_prompt(template, turns_of):
    renderer = Renderer(fitting(template), chat_template=template_text(template))
    source = ReadySource(ChainSource("few_shot"), [], [Example("1 + 1?", "one and one", "It is \\boxed{2}.")])
    prompt = prompt_for(source, Problem("p", "2 + 2?", "4", "en"), True, renderer)
    assert [message["role"] for message in prompt] == turns_of
    return renderer.prompt_text(prompt)


def test_worked_examples_keep_their_thoughts_where_the_template_drops_those_of_earlier_turns():
    few_shot = few_shot_prompt("qwen3", ["user"])
    assert "Problem: 1 + 1?\n<think>\none and one\n</think>" in few_shot
    assert few_shot.index("one and one") < few_shot.index("Problem: 2 + 2?")
    assert "one and one" in few_shot_prompt("qwen2_5", ["user", "assistant", "user"])


def test_a_thought_that_the_prompt_opened_is_put_back_whatever_the_source():
    talk = [{"role": "user", "content": "2 + 2?"}]
    drawn = "I add.</think>It is \\boxed{4}."
    for name in ("zero", "reflection"):
        assert as_reply(ChainSource(name), drawn, talk, "en", opened=True) == "<think>" + drawn
        assert as_reply(ChainSource(name, prefilled_think=False), drawn, talk, "en", opened=True) == drawn
    assert rewritten(drawn, chat=True, opened=True) == lay_out("I add.", "It is \\boxed{4}.", "summary")


@pytest.mark.parametrize("layout", ["summary", "cold_start"])
def test_a_summary_that_is_a_sentence_is_judged_by_its_answer_and_trained_as_written(layout):
    one = verdict("<think>a way</think>\n\nThe sum is 122.", layout, filters=["right", "layout"], solution="122")
    assert one.verdict.correct
    assert one.text.endswith("The sum is 122.")
    assert "\\boxed" not in one.text
    wrong = verdict("<think>122</think>\n\nThe sum is 123.", layout, filters=["right", "layout"], solution="122")
    assert wrong.verdict.dropped_by == "right"


def test_a_bare_answer_still_gets_its_box():
    for answer in ("122", "x = 5", "8 pieces, 20 cm", "Paris"):
        assert in_layout(f"|special_token|so|special_token|{answer}", "summary").endswith(f"\\boxed{{{answer}}}")


TURNS = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "And 3 more?"},
]


@pytest.mark.parametrize("name", ["few_shot", "reflection"])
def test_a_question_of_messages_is_asked_as_a_conversation(name):
    row = {"question": TURNS, "prompt": TURNS, "solution": "7", "language": "en"}
    problem = problem_of(row, "question")
    prompt = prompt_for(ReadySource(ChainSource(name), [problem]), problem, True, None)
    assert prompt[0] == TURNS[0]
    assert prompt[-3:-1] == TURNS[1:3]
    assert prompt[-1]["content"].endswith("Problem: And 3 more?")
    assert problem.question == "User: What is 2 + 2?\nAssistant: 4\nUser: And 3 more?"
    text = prompt_for(ReadySource(ChainSource(name), [problem]), problem, False, None)
    assert text.endswith(f"Problem: {problem.question}\n<think>\n")


def test_one_message_is_asked_as_its_text():
    single = [{"role": "user", "content": "2 + 2?"}]
    problem = problem_of({"question": single, "prompt": single, "solution": "4", "language": "en"}, "question")
    by_text = Problem("p", "2 + 2?", "4", "en")
    source = ReadySource(ChainSource("few_shot"), [problem])
    assert prompt_for(source, problem, True, None) == prompt_for(source, by_text, True, None)
