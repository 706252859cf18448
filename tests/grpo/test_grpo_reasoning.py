"""The trainer tells its rewards of thoughts: marks survive decoding, and a guess in an unfinished thought is not paid."""

from types import SimpleNamespace

import pytest
from fitting_tokenizers import byte_level, fitting, template_text

from trl_r1.grpo.reasoning import TrainerReasoning
from trl_r1.models.rendering import Renderer, TemplateReasoningFormat
from trl_r1.rewards.accuracy import Accuracy
from trl_r1.rewards.catalogue import load_reward
from trl_r1.rewards.format import Format
from trl_r1.rewards.layered import Layered
from trl_r1.rewards.shaping import Overlong


ASKED = [{"role": "user", "content": "What is 2+2?"}]


def trainer(name, special=False, rewards=()):
    return SimpleNamespace(
        processing_class=fitting(name, special),
        chat_template=template_text(name),
        tools=[],
        reward_funcs=list(rewards),
    )


def paid(name, reward, text, prompt=ASKED):
    host = trainer(name, rewards=[reward])
    TrainerReasoning(host).tell_rewards()
    (score,) = host.reward_funcs[0](
        completions=[[{"role": "assistant", "content": text}]], prompts=[prompt], solution=["4"]
    )
    return score


@pytest.mark.parametrize("name", ["deepseek_r1_distill", "qwen3_5_think"])
def test_a_right_guess_in_an_unfinished_thought_is_not_paid(name):
    assert paid(name, Accuracy(math_verify=False), r"it is \boxed{4}") == 0.0
    assert paid(name, Accuracy(math_verify=False), r"I add.</think>\boxed{4}") == 1.0


def test_the_opening_mark_is_not_asked_for_where_the_prompt_has_it():
    assert paid("deepseek_r1_distill", Format(layout="summary"), "I add.</think>Four.") == 1.0
    assert paid("qwen3", Format(layout="summary"), "I add.</think>Four.") == 0.0


def test_a_stated_value_wins():
    assert paid("deepseek_r1_distill", Accuracy(math_verify=False, prefilled_think=False), r"\boxed{4}") == 1.0
    assert paid("qwen2_5", Accuracy(math_verify=False, prefilled_think=True), r"\boxed{4}") == 0.0
    stated = Format(layout="summary", think=("<plan>", "</plan>"))
    assert paid("qwen3", stated, "<plan>I add.</plan>Four.") == 1.0


def test_rewards_around_others_pass_it_on():
    for reward in (
        Overlong(inner=Accuracy(math_verify=False)),
        Layered(layers=[{"name": "accuracy", "options": {"math_verify": False}}]),
        load_reward("accuracy", math_verify=False, name="renamed"),
    ):
        assert paid("deepseek_r1_distill", reward, r"it is \boxed{4}") == 0.0
        assert paid("deepseek_r1_distill", reward, r"I add.</think>\boxed{4}") == 1.0


def test_a_text_prompt_says_itself_whether_it_opens_a_thought():
    right = Accuracy(math_verify=False)
    assert paid("qwen3", right, r"it is \boxed{4}", prompt="What is 2+2? <think>\n") == 0.0
    assert paid("qwen3", right, r"it is \boxed{4}", prompt="What is 2+2?") == 1.0


def test_the_model_s_own_marks_are_found():
    reward = Format(layout="summary").with_format(
        TemplateReasoningFormat(Renderer(fitting("gemma4"), chat_template=template_text("gemma4")))
    )
    text = "<|channel>thought\nI add.\n<channel|>Four."
    assert reward([text], prompts=[ASKED]) == [1.0]
    assert Format(layout="summary")([text], prompts=[ASKED]) == [0.0]


def test_special_marks_are_put_back_in_place():
    host = trainer("qwen3", special=True)
    ids = host.processing_class("<think>I add.</think>Four.<|im_end|>")["input_ids"]
    completions = [[{"role": "assistant", "content": host.processing_class.decode(ids, skip_special_tokens=True)}]]
    assert "<think>" not in completions[0][0]["content"]
    reasoning = TrainerReasoning(host)
    reasoning.keep_marks(completions, [ids])
    assert completions == [[{"role": "assistant", "content": "<think>I add.</think>Four."}]]
    texts = ["?"]
    reasoning.keep_marks(texts, [ids])
    assert texts == ["<think>I add.</think>Four."]
    assert reasoning.decode(ids) == texts[0]


def test_plain_marks_leave_what_trl_decoded_alone():
    host = trainer("qwen3")
    completions = ["as TRL said"]
    TrainerReasoning(host).keep_marks(completions, [host.processing_class("else")["input_ids"]])
    assert completions == ["as TRL said"]


def test_what_a_parser_took_out_is_read_in_think_tags():
    reward = Format(layout="summary").with_format(
        TemplateReasoningFormat(
            Renderer(fitting("deepseek_r1_distill"), chat_template=template_text("deepseek_r1_distill"))
        )
    )
    parsed = [{"role": "assistant", "content": "Four.", "reasoning_content": "I add."}]
    assert reward([parsed], prompts=[ASKED]) == [1.0]


def test_a_tokenizer_without_a_template_trains_as_before():
    host = SimpleNamespace(processing_class=byte_level(), tools=[], reward_funcs=[Format(layout="summary")])
    TrainerReasoning(host).tell_rewards()
    assert host.reward_funcs[0](["<think>I add.</think>Four."], prompts=["What?"]) == [1.0]


GPTOSS = "<|channel|>analysis<|message|>I add.<|end|><|start|>assistant<|channel|>"


@pytest.mark.parametrize(
    ("text", "accuracy"),
    [
        (GPTOSS + r"final<|message|>\boxed{4}", 1.0),
        (GPTOSS + r"commentary<|message|>\boxed{4}", 0.0),
        (GPTOSS + r"analysis<|message|>it is \boxed{4}", 0.0),
        (GPTOSS + r"analysis<|message|>again<|end|><|start|>assistant<|channel|>final<|message|>\boxed{4}", 1.0),
        (r"<|channel|>final<|message|>\boxed{4}", 1.0),
    ],
)
def test_only_the_channel_of_the_answer_is_paid(text, accuracy):
    host = trainer("gptoss", rewards=[Accuracy(math_verify=False)])
    reasoning = TrainerReasoning(host)
    reasoning.tell_rewards()
    completions = [[{"role": "assistant", "content": "?"}]]
    reasoning.keep_marks(completions, [host.processing_class(text + "<|return|>")["input_ids"]])
    assert host.reward_funcs[0](completions=completions, prompts=[ASKED], solution=["4"]) == [accuracy]
