"""What `answer` and `serve` make of their options: a vote counts what stands behind the thought, whoever opened it."""

import argparse
from types import SimpleNamespace

import pytest
from fitting_tokenizers import fitting, template_text
from parrot import parrot

from trl_r1.models.rendering import Renderer
from trl_r1.models.rendering.prompts import RowPrompt
from trl_r1.models.templates import TEMPLATES, render
from trl_r1.routing.cache import cache_key
from trl_r1.routing.paths import Ask, Candidate, ModelPaths, Settings
from trl_r1.routing.setup import add_options, asker, reads_conversations, router_of, sampler_of


ASKED = [{"role": "user", "content": "What is 2+2?"}]


def options(*more):
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(["--model", "tiny", *more])


@pytest.mark.parametrize(
    ("template", "text", "answer"),
    [
        ("deepseek_r1_distill", r"it is \boxed{4}", None),
        ("deepseek_r1_distill", r"I add.</think>\boxed{4}", "4"),
        ("qwen3", r"it is \boxed{4}", "4"),
    ],
)
def test_a_guess_in_a_thought_that_the_prompt_opened_has_no_vote(template, text, answer):
    tokenizer = fitting(template)
    renderer = Renderer(tokenizer, chat_template=template_text(template))
    sampler = ModelPaths(parrot(tokenizer, [tokenizer.eos_token_id]), tokenizer, renderer=renderer)
    router = router_of(options(), sampler, sampler)
    assert router.read(Candidate(text), prompt=ASKED) == answer
    assert router.read(Candidate(text), prompt="What is 2+2?") == "4"


def test_the_template_s_options_come_from_the_command_line(monkeypatch):
    tokenizer = fitting("qwen3")
    monkeypatch.setattr(tokenizer, "chat_template", template_text("qwen3"))
    model = parrot(tokenizer, [tokenizer.eos_token_id])
    monkeypatch.setattr("trl_r1.models.load.find_policy", lambda name: name)
    monkeypatch.setattr("trl_r1.models.load.load_policy", lambda *given: (model, tokenizer))
    sampler = sampler_of(
        options("--chat-template-kwargs", '{"enable_thinking": false}', "--system-prompt", "Be brief.")
    )
    text = sampler.rendering.prompt_text(ASKED)
    assert "Be brief." in text
    assert text.endswith("</think>\n\n")
    with pytest.raises(ValueError, match="must be a mapping|no JSON|mapping"):
        sampler_of(options("--chat-template-kwargs", "yes"))


def test_without_a_template_a_model_is_asked_in_its_own_and_in_r1_zero_where_it_has_none(monkeypatch):
    tokenizer = fitting("qwen3")
    sampler = ModelPaths(parrot(tokenizer, [tokenizer.eos_token_id]), tokenizer)
    monkeypatch.setattr(tokenizer, "chat_template", template_text("qwen3"))
    assert asker(options(), sampler)("2+2?") == [{"role": "user", "content": "2+2?"}]
    assert reads_conversations(options(), sampler)
    assert not reads_conversations(options("--template", "mini"), sampler)
    monkeypatch.setattr(tokenizer, "chat_template", None)
    assert asker(options(), sampler)("2+2?") == render(TEMPLATES["r1_zero"], "2+2?")
    assert not reads_conversations(options(), sampler)
    assert asker(options(), None)("2+2?") == [{"role": "user", "content": "2+2?"}]  # a server has a template
    assert reads_conversations(options(), None)


def test_a_question_has_the_system_prompt_before_it_and_a_text_has_no_place_for_one():
    server = SimpleNamespace()
    ask = asker(options("--system-prompt", "Be brief."), server)
    assert ask("2+2?")[0] == {"role": "system", "content": "Be brief."}
    opened = '[{"role": "user", "content": "{question}"}, {"role": "assistant", "content": "<think>"}]'
    assert asker(options("--template", opened), server)("2+2?")[-1]["content"] == "<think>"
    with pytest.raises(ValueError, match="system_prompt='Be brief.' goes before conversations"):
        asker(options("--system-prompt", "Be brief.", "--template", "r1_zero"), server)


def test_what_a_row_says_of_its_rendering_is_a_question_of_its_own_to_the_cache():
    own = RowPrompt(ASKED, {"chat_template_kwargs": {"enable_thinking": False}})
    keys = {cache_key("m", prompt, Settings(), None) for prompt in (ASKED, own)}
    assert len(keys) == 2


def test_a_copy_writes_the_paths_and_the_model_scores_them(mini, monkeypatch, capsys):
    model, tokenizer = mini
    monkeypatch.setattr("trl_r1.models.load.find_policy", lambda name: name)
    monkeypatch.setattr("trl_r1.models.load.load_policy", lambda *given: (model, tokenizer))
    with pytest.raises(ValueError, match="drop it, or --endpoint"):
        sampler_of(options("--rollout-copy", "merged", "--endpoint", "http://h/v1"))
    plain, copied = sampler_of(options()), sampler_of(options("--rollout-copy", "merged"))
    assert "`rollout_copy: merged`" in capsys.readouterr().err
    assert copied.writer is not model
    assert copied.model is model
    ask, short = [Ask("Compute ①2 ②9 ③4.", 2)], Settings(0.0, 1.0, 8)
    assert copied.draw(ask, short, 0) == plain.draw(ask, short, 0)
    monkeypatch.setattr(copied, "writer", parrot(tokenizer, [tokenizer.eos_token_id]))
    assert copied.draw(ask, short, 0) != plain.draw(ask, short, 0)
