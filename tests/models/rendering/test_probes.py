"""Templates of shapes that TRL does not ship, in words of our own: what the probes read off them."""

import pytest
from fitting_tokenizers import byte_level

from trl_r1.models.rendering import Renderer, UnfitTemplate
from trl_r1.models.rendering.probes import closing_of, opening_of


ASKED = [{"role": "user", "content": "What is 2+2?"}]
KEYED = [{"role": "assistant", "content": "Four.", "reasoning_content": "I add."}]
BARE = [{"role": "assistant", "content": "Four."}]

PARTS = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% elif m.content is string %}"
    "{{ m.content }}</s>{% else %}{% for p in m.content %}{% if p.type == 'thinking' %}[THINK]{{ p.thinking }}[/THINK]"
    "{% else %}{{ p.text }}{% endif %}{% endfor %}</s>{% endif %}{% endfor %}"
)
EMPTY_FIRST = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}<think></think>{% endif %}{{ m.content }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CLOSED = (
    "{% for m in messages %}{% if m.role == 'user' %}<|user|>{{ m.content }}{% else %}<|assistant|></think>"
    "{{ m.content.split('</think>')[-1] }}<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>"
    "{% if thinking %}<think>{% else %}</think>{% endif %}{% endif %}"
)
SWITCHED = (  # the marks are seen with thinking off only
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}<|START_RESPONSE|>{{ m.content }}<|END_RESPONSE|>"
    "{% else %}{{ m.content }}{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>"
    "{% if not enable_thinking %}<|START_THINKING|><|END_THINKING|>{% endif %}{% endif %}"
)
END_INSIDE = (
    "{% for m in messages %}<|begin|>{{ m.role }}{% if m.reasoning_content %}<|think|>"
    "{{ m.reasoning_content }}<|end|><|begin|>assistant{% endif %}<|content|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|begin|>assistant{% endif %}"
)
OPEN_ENDED = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
OTHER_BEGINNING = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>My steps:{% endif %}"
)
DEAF = (
    "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def renderer_with(template, **options):
    names = [
        "<bos>",
        "<|user|>",
        "<|assistant|>",
        "<|begin|>",
        "<|content|>",
        "<|think|>",
        "[THINK]",
        "[/THINK]",
        "</s>",
    ]
    names += [f"<|{edge}_{what}|>" for edge in ("START", "END") for what in ("THINKING", "RESPONSE")]
    eos = "</s>" if template is PARTS else "<|end|>"
    return Renderer(
        byte_level([*names, "<|end|>"], ["<think>", "</think>"], eos=eos), chat_template=template, **options
    )


def trained_text(renderer, completion, **options):
    return renderer.tokenizer.decode(renderer.training_row(ASKED, completion, **options).completion_ids)


def test_a_template_that_takes_parts_only_gets_every_thought_in_parts():
    renderer = renderer_with(PARTS)
    assert renderer.facts.reasoning_key == "parts"
    for completion in (KEYED, [{"role": "assistant", "content": "<think>\nI add.\n</think>\n\nFour."}]):
        assert trained_text(renderer, completion) == "[THINK]I add.[/THINK]Four.</s>"


def test_an_empty_thought_shows_how_a_thought_is_written():
    renderer = renderer_with(EMPTY_FIRST)
    assert renderer.facts.content_reasoning == "doubled"
    assert trained_text(renderer, KEYED) == "<think>I add.</think>Four.<|end|>"
    assert trained_text(renderer, BARE) == "<think></think>Four.<|end|>"


def test_a_prompt_that_closes_the_thought_names_the_switch():
    renderer = renderer_with(CLOSED)
    assert renderer.facts.prompt_closes_reasoning
    assert renderer.facts.thinking_switch == {"thinking": True}
    assert trained_text(renderer, BARE) == "Four.<|end|>"
    thinking = renderer_with(CLOSED, chat_template_kwargs={"thinking": True})
    assert trained_text(thinking, KEYED) == "I add.\n</think>\n\nFour.<|end|>"


def test_marks_are_looked_for_with_the_other_switches_too():
    renderer = renderer_with(SWITCHED, chat_template_kwargs={"enable_thinking": True})
    assert trained_text(renderer, KEYED) == (
        "<|START_THINKING|>I add.<|END_THINKING|><|START_RESPONSE|>Four.<|END_RESPONSE|><|end|>"
    )


def test_an_end_token_between_thought_and_answer_is_refused():
    with pytest.raises(UnfitTemplate, match="stands inside of this reply"):
        renderer_with(END_INSIDE).training_row(ASKED, KEYED)


def test_a_template_that_leaves_the_last_turn_open_ends_where_an_earlier_one_does_if_generation_stops_there():
    # the tokenizer's end, as generation does not stop at <|user|>
    assert trained_text(renderer_with(OPEN_ENDED), BARE) == "Four.<|end|>"
    user = renderer_with(OPEN_ENDED).tokenizer.convert_tokens_to_ids("<|user|>")
    assert trained_text(renderer_with(OPEN_ENDED, stop_token_ids=[user]), BARE) == "Four.<|user|>"


def test_a_template_whose_finished_turn_begins_otherwise_is_refused():
    with pytest.raises(UnfitTemplate, match="begins a finished reply otherwise"):
        renderer_with(OTHER_BEGINNING).training_row(ASKED, BARE)


def test_a_template_that_leaves_out_the_reply_is_refused():
    renderer = renderer_with(DEAF)
    assert "leaves out what the assistant says" in renderer.facts.unfit
    with pytest.raises(UnfitTemplate, match="leaves out what the assistant says"):
        renderer.training_row(ASKED, BARE)


def test_marks_that_the_user_states_win():
    renderer = renderer_with(OPEN_ENDED, reasoning_marks=("[THINK]", "[/THINK]"))
    assert renderer.facts.marks_from == "option"
    assert renderer.split("[THINK]I add.[/THINK]Four.").reasoning == "I add."


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("<think>", "</think>"),
        ("[THINK]", "[/THINK]"),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
        ("◁think▷", "◁/think▷"),
    ],
)
def test_marks_mirror_each_other(opening, closing):
    assert closing_of(opening) == closing
    assert opening_of(closing) == opening
