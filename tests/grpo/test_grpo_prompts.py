"""Prompts that end with an opening, that bring options of their own, or that show a date, are generated from as meant."""

import datetime
from types import SimpleNamespace

import pytest
from fitting_tokenizers import byte_level, fitting, template_text
from trl import GRPOTrainer

from trl_r1.grpo.prompts import RenderedPrompts, with_own_options
from trl_r1.grpo.reasoning import TrainerReasoning
from trl_r1.models.rendering import run_date


ASKED = [{"role": "user", "content": "2+2?"}]
OFF = {"chat_template_kwargs": {"enable_thinking": False}}
CLOCK = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}on {{ strftime_now('%d %B %Y') }}:"
STRING = (
    "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}on {{ date_string }}:"
)


class Trainer(RenderedPrompts):
    """What TRL's own `_tokenize_prompts` reads of a trainer, with ours before it."""

    _is_vlm, environment_factories, tools, chat_template_kwargs, reward_funcs = False, None, None, {}, ()
    accelerator = SimpleNamespace(is_main_process=True)

    def __init__(self, tokenizer, template, folder=None):
        self.processing_class, self.chat_template = tokenizer, template
        self.args = SimpleNamespace(output_dir=folder)
        self._reasoning = TrainerReasoning(self)
        self._reasoning.keep_day()

    def ids(self, *prompts):
        return self._tokenize_prompts(list(prompts))[0]

    def text(self, prompt):
        return self.processing_class.decode(self.ids(prompt)[0])


class Theirs:
    _tokenize_prompts = GRPOTrainer._tokenize_prompts


Trainer.__bases__ = (RenderedPrompts, Theirs)


@pytest.fixture
def qwen3():
    return Trainer(fitting("qwen3"), template_text("qwen3"))


def test_an_opening_at_the_end_is_a_continued_turn(qwen3):
    opened = [*ASKED, {"role": "assistant", "content": "<think>\nWell,"}]
    assert qwen3.text(opened).endswith("2+2?<|im_end|>\n<|im_start|>assistant\n<think>\nWell,")


def test_a_row_s_own_switch_is_honoured_beside_rows_without(qwen3):
    rows = with_own_options([{"prompt": ASKED, **OFF}, {"prompt": ASKED, "chat_template_kwargs": None}])
    off, on = (qwen3.processing_class.decode(ids) for ids in qwen3.ids(*(row["prompt"] for row in rows)))
    assert off == on + "<think>\n\n</think>\n\n"


def test_all_else_is_left_to_trl(qwen3):
    assert qwen3._reasoning.prompt_ids([ASKED]) is None
    assert qwen3._reasoning.prompt_ids(["2+2?"]) is None
    assert qwen3._reasoning.prompt_ids([[*ASKED, {"role": "assistant", "content": [{"type": "image"}]}]]) is None
    rows = [{"prompt": ASKED, "solution": "4"}]
    assert with_own_options(rows) is rows


@pytest.mark.parametrize("template", [CLOCK, STRING])
def test_a_resume_after_midnight_shows_the_day_the_run_began(template, tmp_path, monkeypatch, capsys):
    tokenizer = byte_level()
    first = Trainer(tokenizer, template, tmp_path)
    begun = first.ids(ASKED)
    assert (tmp_path / run_date.FILE_NAME).read_text() == f"{datetime.date.today().isoformat()}\n"
    assert capsys.readouterr().out.count("The chat template shows the date in every prompt") == 1

    class Later(datetime.date):
        @classmethod
        def today(cls):
            return cls(2031, 5, 6)

    monkeypatch.setattr(datetime, "date", Later)
    assert Trainer(tokenizer, template, tmp_path).ids(ASKED) == begun
    assert "as on the day this run began" in capsys.readouterr().out
    assert "2031" in Trainer(tokenizer, template, tmp_path / "another").text(ASKED)


def test_a_template_that_asks_no_clock_keeps_no_date(tmp_path, capsys):
    template = "{{ date_string | default('26 Jul 2024') }}{% for m in messages %}{{ m.content }}{% endfor %}A:"
    assert Trainer(byte_level(), template, tmp_path).text(ASKED) == "26 Jul 20242+2?A:"
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""
