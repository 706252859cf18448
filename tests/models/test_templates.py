"""A question goes in unchanged, whatever is in it; a template without a place for it is refused."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_r1.models.templates import (
    TEMPLATES,
    check_template_options,
    find_template,
    render,
    template_for,
    with_system,
)


def test_every_template_has_a_place_for_the_question():
    for name, template in TEMPLATES.items():
        assert find_template(name) is template
        assert "What?" in str(render(template, "What?"))
        assert "{question}" not in str(render(template, "What?"))


def test_the_r1_zero_template_has_the_structure_of_table_1():
    prompt = render(TEMPLATES["r1_zero"], "What is 2 + 2?")
    order = ["User", "Assistant", "<think>", "</think>", "<answer>", "</answer>", "User: What is 2 + 2?"]
    places = [prompt.index(part) for part in order]
    assert places == sorted(places)
    assert prompt.endswith("Assistant:")  # an open turn, no space: a base model continues


def test_the_mini_template_is_exact():
    assert render(TEMPLATES["mini"], "Compute a2.") == "User: Compute a2. Assistant:"


def test_chat_is_a_conversation():
    assert render(TEMPLATES["chat"], "hi") == [{"role": "user", "content": "hi"}]
    assert render(TEMPLATES["chat"], "other") == [{"role": "user", "content": "other"}]  # the table stays as it is


@given(st.text())
def test_any_question_arrives_unchanged(question):
    assert render("Q: {question} A:", question) == f"Q: {question} A:"
    assert render(TEMPLATES["chat"], question)[0]["content"] == question


def test_braces_in_question_and_template_are_text():
    assert render("{x} {question} {}", "{question} {0} {y!r}") == "{x} {question} {0} {y!r} {}"


def test_a_users_own_template_is_accepted():
    assert find_template("Frage: {question}") == "Frage: {question}"
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{question}"}]
    assert render(find_template(messages), "a") == [messages[0], {"role": "user", "content": "a"}]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("r1_zer", "'r1_zer' is neither.*Did you mean 'r1_zero'"),
        ("Answer this: {problem}", r"\{question\} in it"),
        ("", "neither"),
        ([{"role": "user", "content": "hi"}], "neither"),
        ([], "neither"),
    ],
)
def test_a_template_without_a_place_is_one_sentence(template, words):
    with pytest.raises(ValueError, match=words) as caught:
        find_template(template)
    assert "\n" not in str(caught.value)
    assert "r1_zero, mini, plain, chat" in str(caught.value)


OPENED = [{"role": "user", "content": "{question}"}, {"role": "assistant", "content": "<think>"}]


def test_a_template_of_messages_may_open_the_reply_and_stand_in_json():
    assert find_template(OPENED) is OPENED
    assert find_template(json.dumps(OPENED)) == OPENED
    assert render(find_template(json.dumps(OPENED)), "2+2?")[0]["content"] == "2+2?"
    assert find_template("[INST] {question} [/INST]") == "[INST] {question} [/INST]"


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([{"role": "user", "content": "hi"}], "neither the name of a template nor"),
        ([{"role": "robot", "content": "{question}"}], "message 0 .* a message has a role"),
        ([{"role": "user", "content": "{question}"}, {"role": "assistant", "content": ""}], "message 1 "),
        (["{question}"], "message 0 "),
        (
            [{"role": "user", "content": "{question}"}, {"role": "system", "content": "x"}],
            "the last message is the system",
        ),
    ],
)
def test_messages_that_are_no_template_are_refused_in_a_sentence(messages, said):
    with pytest.raises(ValueError, match=said):
        find_template(messages)


def test_a_system_prompt_comes_first_unless_there_is_one_and_never_before_text():
    asked = [{"role": "user", "content": "2+2?"}]
    own = [{"role": "system", "content": "Mine."}, *asked]
    assert with_system(asked, "Be brief.") == [{"role": "system", "content": "Be brief."}, *asked]
    assert with_system(own, "Be brief.") == own
    assert with_system("2+2?", None) == "2+2?"
    with pytest.raises(
        ValueError, match="system_prompt='Be brief.' goes before conversations, and the prompts are text"
    ):
        with_system("2+2?", "Be brief.")


def test_without_a_name_a_chat_model_is_asked_in_its_own_template():
    chatty, bare = SimpleNamespace(chat_template="{{ messages }}"), SimpleNamespace(chat_template=None)
    assert template_for(None, chatty) == template_for(None) == TEMPLATES["chat"]
    assert template_for(None, bare) == TEMPLATES["r1_zero"]
    assert template_for("mini", chatty) == TEMPLATES["mini"]
    with pytest.raises(ValueError, match="template='chta' is neither"):
        template_for("chta", chatty)


def test_options_of_a_chat_template_want_a_conversation():
    talk = [{"role": "user", "content": "2+2?"}]
    check_template_options({"enable_thinking": False}, ["2+2?", talk])
    check_template_options({}, ["2+2?"])
    with pytest.raises(ValueError, match="all prompts are text, which it never sees: take a template of messages"):
        check_template_options({"enable_thinking": False}, ["2+2?", "3+3?"])
