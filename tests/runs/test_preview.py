"""What `data preview` shows: every token of a row in a stretch of its kind."""

from fitting_tokenizers import fitting, template_text

from trl_r1.models.rendering import Renderer
from trl_r1.runs.preview import Preview, Stretch, as_json, fitting_stage, lines, preview_prompts, preview_rows


ASKED = [{"role": "user", "content": "2+2?"}]
ROW = {"prompt": ASKED, "completion": [{"role": "assistant", "content": "<think>\nI add.\n</think>\n\nFour."}]}


def qwen3(**options):
    return Renderer(fitting("qwen3"), chat_template=template_text("qwen3"), **options)


def test_the_stretches_of_a_row_are_its_context_marks_thought_answer_and_end():
    (shown,) = preview_rows([ROW], qwen3())
    assert [(part.kind, part.text) for part in shown.stretches] == [
        ("context", "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"),
        ("mark", "<think>\n"),
        ("thought", "I add."),
        ("mark", "\n</think>\n\n"),
        ("answer", "Four."),
        ("end", "<|im_end|>"),
    ]
    assert [part.tokens for part in shown.stretches][1:] == [2, 6, 4, 5, 1]  # one token a byte, and the added ones


def test_a_row_that_cannot_be_trained_on_says_why():
    (shown,) = preview_rows([ROW], qwen3(chat_template_kwargs={"enable_thinking": False}))
    assert shown.stretches == []
    assert "the prompt closes the thought" in shown.refused
    assert lines([shown], qwen3())[0].startswith("row 0: refused. The row has a thought")


def test_a_problem_is_shown_as_its_prompt():
    (shown,) = preview_prompts([{"prompt": "Question: 2+2? Answer:"}], qwen3())
    assert shown.stretches == [Stretch("context", "Question: 2+2? Answer:", 22)]


def test_a_person_sees_quoted_texts_in_colour_on_a_terminal_only():
    shown = [Preview(0, [Stretch("context", "a\n", 2), Stretch("answer", "4", 1)])]
    plain = lines(shown, qwen3())
    assert plain[:3] == ["row 0: 2 tokens of context, 1 of labels", "  context  'a\\n'", "  answer   '4'"]
    assert "generation stops at '<|im_end|>'" in plain
    assert lines(shown, qwen3(), colour=True)[2] == "  answer   \x1b[32m'4'\x1b[0m"


def test_the_data_hold_what_the_renderer_found():
    found = as_json(preview_rows([ROW], qwen3()), qwen3(), "sft")
    assert found["end_tokens"] == ["<|im_end|>"]
    assert found["found"]["a thought under a key"] == "taken from reasoning_content"
    assert found["rows"][0]["stretches"][-1] == {"kind": "end", "text": "<|im_end|>", "tokens": 1}


def test_a_recipe_is_of_the_first_stage_that_knows_its_keys():
    known = {"sft": {"model", "max_length"}, "zero": {"model", "num_generations"}}
    assert fitting_stage(["env", "model", "num_generations"], known) == "zero"
    assert fitting_stage(["model", "typo"], known) is None
