"""vLLM on Ray is asked in rendered text and read from tokens: what every other engine gives, it gives too."""

import pytest
from fitting_tokenizers import fitting, template_text

from trl_r1.models.ray_vllm import IDS, as_text, read_draw
from trl_r1.models.rendering import Renderer


ASKED = [{"role": "user", "content": "What is 2+2?"}]


@pytest.fixture
def distill():
    """A template that opens the thought, with marks that are special tokens."""
    return Renderer(fitting("deepseek_r1_distill", True), chat_template=template_text("deepseek_r1_distill"))


def test_a_prompt_is_rendered_with_its_opening_and_a_text_stays_as_it_is(distill):
    assert as_text(distill, ASKED) == distill.prompt_text(ASKED)
    opened = [*ASKED, {"role": "assistant", "content": "<think>Well,"}]
    assert as_text(distill, opened).endswith("<think>\nWell,")
    assert as_text(distill, "2+2?") == "2+2?"


def test_marks_that_vllm_s_text_lacks_are_read_from_its_tokens(distill):
    ids = distill.tokenizer("I add.</think>Four.", add_special_tokens=False)["input_ids"]
    drawn = {"text": "I add.Four.", "tokens": len(ids), "clipped": False, "refused": "", IDS: ids}
    assert read_draw(distill, drawn, ASKED) == {
        "text": "I add.</think>Four.",
        "tokens": len(ids),
        "clipped": False,
        "refused": "",
        "opened": True,
    }
