"""Replies in marks of any kind become texts that filters, rewards and other models read."""

import pytest
from fitting_tokenizers import fitting, template_text

from trl_r1.models.rendering import Renderer, TemplateReasoningFormat
from trl_r1.models.rendering.replies import portable


ASKED = [{"role": "user", "content": "What is 2+2?"}]
CHANNELS = "<|channel|>analysis<|message|>I add.<|end|><|start|>assistant<|channel|>final<|message|>Four."


@pytest.mark.parametrize(
    ("name", "text", "becomes"),
    [
        ("qwen3", "<think>\nI add.\n</think>\n\nFour.", ("<think>\nI add.\n</think>\n\nFour.", False)),
        ("qwen2_5", "Four.", ("Four.", False)),
        ("deepseek_r1_distill", "I add.\n</think>\n\nFour.", ("I add.\n</think>\n\nFour.", True)),
        ("gptoss", CHANNELS, ("<think>I add.</think>Four.", False)),
        ("gptoss", "<|channel|>analysis<|message|>I add", ("<think>I add", False)),
    ],
)
def test_a_thought_in_a_model_s_own_marks(name, text, becomes):
    made = TemplateReasoningFormat(Renderer(fitting(name), chat_template=template_text(name)))
    assert made.portable(text, ASKED) == becomes


def test_a_text_that_ends_with_the_mark_has_opened_the_thought():
    made = TemplateReasoningFormat(Renderer(fitting("qwen2_5"), chat_template=template_text("qwen2_5")))
    assert made.portable("I add.</think>Four.", "Q: 2+2? A: <think>\n") == ("I add.</think>Four.", True)
    opening = [*ASKED, {"role": "assistant", "content": "<think>"}]
    assert made.portable("I add.</think>Four.", opening) == ("I add.</think>Four.", True)


def test_an_opened_thought_in_own_marks_keeps_its_opening_out():
    marks = [("[THINK]", "[/THINK]"), ("<think>", "</think>")]
    assert portable("I add.[/THINK]Four.", marks, opened=True) == "I add.</think>Four."
    assert portable("I add", marks, opened=True) == "I add"
