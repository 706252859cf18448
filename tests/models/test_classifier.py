"""What a reward model reads: the whole reply, also where its template would leave the thought out."""

from types import SimpleNamespace

import pytest
import torch
from fitting_tokenizers import fitting, template_text

from trl_r1.models.classifier import Classifier


ASKED = [{"role": "user", "content": "What is 2+2?"}]
SAID = "<think>I add.</think>Four."


class Head(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(pad_token_id=0, id2label={0: "good"})

    def forward(self, input_ids, attention_mask):
        raise AssertionError("nothing is computed here")


def reads(template, monkeypatch, prompt=ASKED, text=SAID):
    tokenizer = fitting(template)
    monkeypatch.setattr(tokenizer, "chat_template", template_text(template))
    return tokenizer.decode(Classifier(Head(), tokenizer).encode(prompt, text, chat=True)["input_ids"])


@pytest.mark.parametrize("template", ["deepseek_r1_distill", "deepseekv3", "qwen3", "qwen2_5"])
def test_a_thought_is_read_whatever_the_template_does_with_it(template, monkeypatch):
    read = reads(template, monkeypatch)
    assert read.count("I add.") == read.count("Four.") == 1
    assert read.index("What is 2+2?") < read.index("I add.") < read.index("Four.")
    assert read.count("</think>") == 1


def test_an_opening_in_the_prompt_and_its_reply_are_one_turn(monkeypatch):
    opened = [*ASKED, {"role": "assistant", "content": "<think>"}]
    assert reads("qwen2_5", monkeypatch, opened, "I add.</think>Four.") == reads("qwen2_5", monkeypatch)
