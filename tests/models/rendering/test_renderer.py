"""The renderer on TRL's own templates: what it trains on is what the template writes behind a generation prompt."""

import pytest
from fitting_tokenizers import byte_level, fitting, template_text

from trl_r1.models.rendering import Renderer, UnfitTemplate


ASKED = [{"role": "user", "content": "What is 2+2?"}]
TAGGED = [{"role": "assistant", "content": "<think>\nI add.\n</think>\n\nFour."}]
KEYED = [{"role": "assistant", "content": "Four.", "reasoning_content": "I add."}]
PARTS = [
    {"role": "assistant", "content": [{"type": "thinking", "thinking": "I add."}, {"type": "text", "text": "Four."}]}
]
BARE = [{"role": "assistant", "content": "Four."}]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def renderer():
    """``renderer(template_name, **options)`` is a Renderer with a fitting tokenizer."""

    def make(name, think_is_special=False, **options):
        return Renderer(fitting(name, think_is_special), chat_template=template_text(name), **options)

    return make


def trained_text(renderer, completion, prompt=ASKED, **options) -> str:
    """The completion that a row trains on, as text with all special tokens."""
    row = renderer.training_row(prompt, completion, **options)
    assert row.prompt_ids == renderer.prompt_ids(prompt)
    return renderer.tokenizer.decode(row.completion_ids)


# By hand, from reading the templates: (template, form of the row) -> what a perfect generation emits.
THOUGHTS = [
    ("qwen3", TAGGED, "<think>\nI add.\n</think>\n\nFour.<|im_end|>"),
    ("qwen3", KEYED, "<think>\nI add.\n</think>\n\nFour.<|im_end|>"),
    ("qwen3", PARTS, "<think>\nI add.\n</think>\n\nFour.<|im_end|>"),
    ("qwen3", BARE, "<think>\n\n</think>\n\nFour.<|im_end|>"),
    ("qwen2_5", TAGGED, "<think>\nI add.\n</think>\n\nFour.<|im_end|>"),  # verbatim: the template knows no thoughts
    ("qwen2_5", KEYED, "<think>\nI add.\n</think>\n\nFour.<|im_end|>"),
    ("llama3_2", BARE, "Four.<|eot_id|>"),
    (
        "deepseek_r1_distill",
        TAGGED,
        "I add.\n</think>\n\nFour.<｜end▁of▁sentence｜>",
    ),  # the prompt opens; the template drops
    ("deepseek_r1_distill", KEYED, "I add.\n</think>\n\nFour.<｜end▁of▁sentence｜>"),
    ("deepseek_r1_distill", BARE, "</think>\n\nFour.<｜end▁of▁sentence｜>"),  # a thought that ends at once
    ("deepseekv3", PARTS, "I add.\n</think>\n\nFour.<｜end▁of▁sentence｜>"),
    ("qwen3_5_think", TAGGED, "I add.\n</think>\n\nFour.<|im_end|>"),
    ("qwen3_5_think", BARE, "\n</think>\n\nFour.<|im_end|>"),
    ("qwen3_5_nothink", BARE, "Four.<|im_end|>"),
    ("qwen3_8", TAGGED, "I add.\n</think>\n\nFour.<|im_end|>"),  # the template would put an empty thought before it
    ("nemotron_3_nano", KEYED, "I add.\n</think>\nFour.<|im_end|>"),
    ("nemotron_3_ultra", KEYED, "I add.</think>Four.<|im_end|>"),
    ("gemma4", TAGGED, "<|channel>thought\nI add.\n<channel|>Four.<turn|>"),  # left in the answer by the template
    ("gemma4_v5", KEYED, "<|channel>thought\nI add.\n<channel|>Four.<turn|>"),
    ("glm4moe", KEYED, "\n<think>I add.</think>\nFour.<|user|>"),  # the template leaves the last turn open
    (
        "gptoss",
        TAGGED,
        "<|channel|>analysis<|message|>I add.<|end|><|start|>assistant<|channel|>final<|message|>Four.<|return|>",
    ),
    ("gptoss", BARE, "<|channel|>final<|message|>Four.<|return|>"),
    ("muse_glimmer", KEYED, " to=self<|message|>I add.<|eom|><|start|>assistant to=user<|message|>Four.<|eot|>"),
    ("cohere2", BARE, "Four.<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"),
    ("phi3_5", BARE, "Four.<|end|>"),
    ("lfm2_2_5", KEYED, "<think>I add.</think>Four.<|im_end|>"),
]


@pytest.mark.parametrize(("name", "completion", "expected"), THOUGHTS)
def test_a_row_trains_on_what_a_perfect_generation_emits(renderer, name, completion, expected):
    assert trained_text(renderer(name), completion) == expected


@pytest.mark.parametrize("think_is_special", [False, True])
@pytest.mark.parametrize(
    "name", ["qwen3", "deepseek_r1_distill", "gptoss", "gemma4", "glm4moe", "qwen3_5_think", "cohere2"]
)
def test_what_is_trained_is_read_back_as_thought_and_answer(renderer, name, think_is_special):
    made = renderer(name, think_is_special)
    reply = made.split(made.training_row(ASKED, KEYED).completion_ids)
    assert (reply.reasoning, reply.answer, reply.finished) == ("I add.", "Four.", True)


def test_special_marks_survive_decoding_and_the_end_does_not(renderer):
    made = renderer("qwen3", think_is_special=True)
    assert made.facts.marks_are_special
    ids = made.tokenizer("<think>\nI add.\n</think>\n\nFour.<|im_end|><|im_end|>")["input_ids"]
    assert made.decode(ids) == "<think>\nI add.\n</think>\n\nFour."


def test_a_guess_inside_an_unfinished_thought_is_no_answer(renderer):
    made = renderer("deepseek_r1_distill")
    reply = made.split(made.tokenizer("it is 4, so \\boxed{4}")["input_ids"])
    assert (reply.reasoning, reply.answer, reply.finished, reply.opened_in_prompt) == (
        "it is 4, so \\boxed{4}",
        None,
        False,
        True,
    )


def test_what_opens_a_channel_is_no_part_of_a_reply_and_a_growing_text_never_shrinks(renderer):
    made = renderer("gptoss")
    ids = made.tokenizer("<|channel|>final<|message|>Four.<|return|>")["input_ids"]
    texts = [made.decode(ids[:size]) for size in range(len(ids) + 1)]
    assert texts[-1] == "Four."
    assert [len(text) for text in texts] == sorted(len(text) for text in texts)


def test_a_channel_without_a_final_one_is_no_answer(renderer):
    made = renderer("gptoss")
    reply = made.split(made.tokenizer("<|channel|>analysis<|message|>It is 4.<|end|>")["input_ids"])
    assert (reply.reasoning, reply.answer, reply.finished) == ("It is 4.", None, False)


def test_a_thought_behind_a_prompt_that_closed_it_is_refused_with_the_switch(renderer):
    with pytest.raises(UnfitTemplate, match=r"enable_thinking: true"):
        renderer("qwen3_5_nothink").training_row(ASKED, TAGGED)


def test_a_row_s_own_switch_comes_on_top(renderer):
    made = renderer("qwen3_5_nothink")
    row = made.training_row(ASKED, TAGGED, chat_template_kwargs={"enable_thinking": True})
    assert made.tokenizer.decode(row.completion_ids) == "I add.\n</think>\n\nFour.<|im_end|>"
    assert row.prompt_ids == made.prompt_ids(ASKED, chat_template_kwargs={"enable_thinking": True})


def test_thinking_off_is_in_the_prompt_of_every_row(renderer):
    made = renderer("qwen3", chat_template_kwargs={"enable_thinking": False})
    assert made.prompt_text(ASKED).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert trained_text(made, BARE) == "Four.<|im_end|>"
    assert made.facts.prompt_closes_reasoning


def test_an_end_that_generation_does_not_stop_at_is_refused_with_the_cure():
    tokenizer = byte_level(["<|im_start|>", "<|im_end|>"], eos="<|endoftext|>")  # as Qwen's base models
    made = Renderer(tokenizer, chat_template=template_text("qwen2_5"))
    assert not made.facts.stops_generation
    with pytest.raises(UnfitTemplate, match=r"set eos_token to '<\|im_end\|>'"):
        made.training_row(ASKED, BARE)


def test_the_generation_config_s_end_tokens_count():
    tokenizer = byte_level(["<|im_start|>", "<|im_end|>"], eos="<|endoftext|>")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    made = Renderer(tokenizer, chat_template=template_text("qwen2_5"), stop_token_ids=[end])
    assert trained_text(made, BARE) == "Four.<|im_end|>"


def test_a_template_without_any_end_ends_with_the_tokenizer_s():
    simple = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    assert trained_text(Renderer(byte_level(), chat_template=simple), BARE) == "Four.<|im_end|>"


def test_prompt_and_completion_do_not_merge():
    tokenizer = byte_level(merges=[(":", "<")])
    made = Renderer(tokenizer)
    row = made.training_row("Q: 2+2? Assistant:", "<think>I add.</think> Four.")
    assert tokenizer.convert_ids_to_tokens(row.prompt_ids)[-1] == ":"
    assert tokenizer.convert_ids_to_tokens(row.completion_ids)[0] == "<"


def test_a_text_row_ends_with_the_tokenizer_s_end_once():
    made = Renderer(byte_level())
    for completion in ("Four.", "Four.<|im_end|>"):
        assert trained_text(made, completion, prompt="2+2?") == "Four.<|im_end|>"


def test_a_text_prompt_that_opens_the_thought_is_not_opened_twice():
    made = Renderer(byte_level())
    assert (
        trained_text(made, "<think>I add.</think> Four.", prompt="Q: 2+2? A: <think>")
        == "I add.</think> Four.<|im_end|>"
    )
    assert made.split("I add.</think> Four.", prompt="Q: 2+2? A: <think>").opened_in_prompt
    assert made.split("so \\boxed{4}", prompt="Q: 2+2? A: <think>").answer is None


def test_a_thought_in_a_column_is_put_in_the_model_s_marks(renderer):
    assert (
        trained_text(renderer("qwen3"), "Four.", reasoning="I add.") == "<think>\nI add.\n</think>\n\nFour.<|im_end|>"
    )


def test_our_layout_moves_into_the_model_s_marks_or_stays_where_it_has_none(renderer):
    laid = "|special_token|I add.|special_token|Four."
    assert trained_text(renderer("qwen3"), laid) == "<think>\nI add.\n</think>\n\nFour.<|im_end|>"
    assert trained_text(renderer("llama3"), laid) == laid + "<|eot_id|>"


def test_a_thought_that_was_cut_is_refused(renderer):
    with pytest.raises(UnfitTemplate, match="never closes"):
        renderer("qwen3").training_row(ASKED, "<think>I add")


def test_a_thought_that_quotes_its_own_end_is_refused(renderer):
    with pytest.raises(UnfitTemplate, match="quotes its own closing mark"):
        renderer("qwen3").training_row(ASKED, "Four.", reasoning="the tag </think> ends it")


def test_parts_mark_thought_answer_and_end(renderer):
    made = renderer("gptoss")
    row = made.training_row(ASKED, KEYED)
    found = {part.kind: made.tokenizer.decode(row.completion_ids[part.start : part.end]) for part in row.parts}
    assert found == {"thought": "I add.", "answer": "Four.", "end": "<|return|>"}


def test_all_turns_are_labels_where_the_template_keeps_them(renderer):
    made = renderer("qwen3_training")
    prompt = [*ASKED, *TAGGED, {"role": "user", "content": "And 3+3?"}]
    row = made.training_row(prompt, "<think>\nagain\n</think>\n\nSix.", all_assistant_turns=True)
    labels = [token for token, label in zip(row.completion_ids, row.labels) if label]
    both = "<think>\nI add.\n</think>\n\nFour.<|im_end|><think>\nagain\n</think>\n\nSix.<|im_end|>"
    assert made.tokenizer.decode(labels) == both
    assert row.prompt_ids == made.prompt_ids(ASKED)


def test_all_turns_are_refused_where_the_template_drops_an_earlier_thought(renderer):
    prompt = [*ASKED, *TAGGED, {"role": "user", "content": "And 3+3?"}]
    with pytest.raises(UnfitTemplate, match="Train on the last turn"):
        renderer("qwen3").training_row(prompt, TAGGED, all_assistant_turns=True)


def test_the_system_prompt_comes_first_unless_the_row_has_one(renderer):
    made = renderer("qwen2_5", system_prompt="Be brief.")
    assert "<|im_start|>system\nBe brief.<|im_end|>" in made.prompt_text(ASKED)
    assert "Be brief." not in made.prompt_text([{"role": "system", "content": "Be long."}, *ASKED])


def test_a_prefill_is_the_end_of_the_prompt_and_no_label(renderer):
    made = renderer("qwen2_5", prefill="<think>\n")
    assert made.prompt_text(ASKED).endswith("<|im_start|>assistant\n<think>\n")
    assert trained_text(made, TAGGED) == "I add.\n</think>\n\nFour.<|im_end|>"
    assert made.split("so it is 4").answer is None


def test_an_assistant_s_opening_at_the_end_of_the_prompt_is_a_prefill(renderer):
    made = renderer("deepseek_r1_distill")
    opened = [*ASKED, {"role": "assistant", "content": "<think>\n"}]
    assert made.prompt_text(opened) == made.prompt_text(ASKED)  # the template has opened it already


def test_a_date_is_handed_in_for_the_clock_and_for_date_string(renderer):
    for name in ("llama3_1", "llama3_2"):
        assert "Today Date: 05 Mar 2026" in renderer(name, date="2026-03-05").prompt_text(ASKED)
    assert "Current date: 2026-03-05" in renderer("gptoss", date="2026-03-05").prompt_text(ASKED)


def test_without_a_date_the_prompt_is_the_template_s(renderer):
    for name in ("llama3_1", "llama3_2", "gptoss", "qwen3"):
        made = renderer(name)
        theirs = made.tokenizer.apply_chat_template(
            ASKED, chat_template=template_text(name), add_generation_prompt=True, tokenize=False
        )
        assert made.prompt_text(ASKED) == theirs


def test_facts_say_what_was_found(renderer):
    facts = renderer("gptoss").facts
    assert (facts.reasoning_open, facts.reasoning_close) == ("<|channel|>analysis<|message|>", "<|end|>")
    assert facts.answer_open == "<|channel|>final<|message|>"
    assert facts.content_reasoning == "left in the answer"
    assert facts.earlier_turns == "dropped"
    assert facts.has_todays_date
    assert "ChatGPT" in facts.default_system
    assert "today's, by the clock" in facts.words()


def test_facts_of_a_default_system_text(renderer):
    assert renderer("qwen2_5").facts.default_system.startswith("You are Qwen")
    assert "Cutting Knowledge Date" in renderer("llama3_1").facts.default_system
    assert renderer("llama3").facts.default_system == ""


def test_a_conversation_without_a_template_is_refused():
    with pytest.raises(UnfitTemplate, match="no chat template"):
        Renderer(byte_level()).prompt_ids(ASKED)


def test_what_the_template_refuses_is_one_sentence(renderer):
    with pytest.raises(UnfitTemplate, match="does not take this conversation"):
        renderer("gemma", system_prompt="Be brief.").prompt_ids(ASKED)


def test_a_tool_call_is_trained_on_as_the_template_writes_it(renderer):
    made = renderer("qwen3")
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}
    row = made.training_row(
        ASKED, [{"role": "assistant", "content": "", "reasoning_content": "I add.", "tool_calls": [call]}]
    )
    text = made.tokenizer.decode(row.completion_ids)
    assert text.startswith("<think>\nI add.\n</think>\n\n<tool_call>")
    assert text.endswith("</tool_call><|im_end|>")


def test_a_template_that_nobody_knows_is_right_or_refused():
    odd = CHATML.replace("{{ m.content }}", "{{ m.content.split('</r>')[-1] }}").replace(
        "assistant\n{% endif", "assistant\n<r>{% endif"
    )
    made = Renderer(fitting("qwen2_5"), chat_template=odd)
    assert made.facts.prompt_opens_reasoning
    assert trained_text(made, KEYED) == "I add.\n</r>\n\nFour.<|im_end|>"


def test_what_a_parser_took_out_of_a_completion_is_said_again_in_the_model_s_marks(renderer):
    parsed = [{"role": "assistant", "content": "Four.", "reasoning_content": "I add."}]
    assert renderer("qwen3").spoken(parsed) == "<think>I add.</think>Four."
    assert renderer("deepseek_r1_distill").spoken(parsed) == "I add.</think>Four."
    assert renderer("qwen3").spoken([{"role": "assistant", "content": "<think>I add"}]) == "<think>I add"
