"""What a row says about its own rendering goes with its prompt."""

import copy
import pickle

import pytest
from fitting_tokenizers import fitting, template_text

from trl_r1.models.rendering import Renderer
from trl_r1.models.rendering.prompts import RowPrompt, as_json, own_option, own_options, prompt_of, with_own


ASKED = [{"role": "user", "content": "What is 2+2?"}]
OFF = {"chat_template_kwargs": {"enable_thinking": False}}


def test_options_that_a_dataset_filled_in_are_left_out():
    assert own_option({"enable_thinking": None, "budget": 3}) == {"budget": 3}
    assert own_option('{"enable_thinking": false}') == {"enable_thinking": False}
    assert own_option([{"name": "add", "strict": None}]) == [{"name": "add"}]
    assert own_option(None) is None
    assert own_options({"prompt": ASKED, "tools": [], **OFF}) == OFF


def test_text_and_rows_that_say_nothing_stay_as_they_are():
    assert prompt_of({"prompt": "2+2?", **OFF}) == "2+2?"
    assert type(prompt_of({"prompt": ASKED, "chat_template_kwargs": None})) is list
    assert type(with_own(ASKED, OFF)) is RowPrompt


@pytest.mark.parametrize("through", [copy.deepcopy, lambda prompt: pickle.loads(pickle.dumps(prompt))])
def test_trainers_copy_prompts_and_processes_send_them_with_their_options(through):
    back = through(RowPrompt(ASKED, OFF))
    assert back == ASKED
    assert back.own == OFF


def test_the_renderer_honours_them_and_what_is_stated_wins():
    made = Renderer(fitting("qwen3"), chat_template=template_text("qwen3"))
    own = RowPrompt(ASKED, OFF)
    assert made.prompt_text(own).endswith("<think>\n\n</think>\n\n")
    assert made.prompt_ids(own) == made.prompt_ids(ASKED, **OFF)
    assert made.prompt_text(own, chat_template_kwargs={"enable_thinking": True}) == made.prompt_text(ASKED)


def test_whether_a_thought_is_opened_is_told_by_the_row_s_switch():
    made = Renderer(fitting("qwen3_5_think"), chat_template=template_text("qwen3_5_think"))
    assert made.opens_reasoning(ASKED)
    assert not made.opens_reasoning(RowPrompt(ASKED, OFF))


def test_rows_that_say_different_things_are_one_data_set():
    from trl_r1.data.mixture import as_dataset
    from trl_r1.stages.cold_start.make import rows_to_imitate

    row = {
        "prompt": ASKED,
        "question": "q",
        "solution": "4",
        "language": "en",
        "domain": "reasoning",
        "reward_for": "rule",
    }
    made = as_dataset([row, {**row, **as_json(own_options(OFF))}])
    assert [getattr(prompt_of(one), "own", None) for one in made] == [None, OFF]
    taught = rows_to_imitate([{"prompt": ASKED, "completion": "4"}, {"prompt": ASKED, "completion": "4", **OFF}])
    assert [own_options(one) for one in taught] == [{}, OFF]
