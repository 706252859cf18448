"""What a recipe says about templates and end tokens, in the renderer of its run."""

from types import SimpleNamespace

import pytest
from fitting_tokenizers import byte_level, template_text

from trl_r1.runs.rendering import dress, ids_of, read_kwargs, renderer_of, stop_tokens


def test_kwargs_are_a_mapping_json_or_nothing():
    assert read_kwargs({"enable_thinking": False}) == {"enable_thinking": False}
    assert read_kwargs('{"enable_thinking": false}') == {"enable_thinking": False}
    assert read_kwargs(None) == read_kwargs("") == {}
    for wrong in ("enable_thinking", "[1]"):
        with pytest.raises(ValueError, match="is no mapping"):
            read_kwargs(wrong)


def test_the_end_tokens_of_a_model_are_those_of_its_generation_config(tmp_path):
    from transformers import GenerationConfig

    assert stop_tokens(str(tmp_path)) == []
    GenerationConfig(eos_token_id=[5, 7]).save_pretrained(tmp_path)
    assert stop_tokens(str(tmp_path)) == [5, 7]
    assert ids_of(SimpleNamespace(eos_token_id=3)) == [3]
    tokenizer = byte_level()
    assert renderer_of(tokenizer, None, str(tmp_path)).stops == {5, 7, tokenizer.eos_token_id}


def test_a_recipe_s_end_token_and_template_are_those_that_rows_are_rendered_with(tmp_path):
    path = tmp_path / "own.jinja"
    path.write_text(template_text("qwen2_5"))
    tokenizer = byte_level(["<|im_end|>"], eos="<|endoftext|>")
    dress(tokenizer, SimpleNamespace(eos_token="<|im_end|>", chat_template_path=str(path)))
    assert (tokenizer.eos_token, tokenizer.chat_template) == ("<|im_end|>", template_text("qwen2_5"))


def test_another_tokenizer_gives_its_template_tokens_and_end(tmp_path):
    from trl import clone_chat_template

    source = byte_level(["<|turn|>"], eos="<|over|>")
    source.chat_template = template_text("qwen3")
    source.save_pretrained(tmp_path)
    ours, theirs = byte_level(), byte_level()
    dress(ours, SimpleNamespace(chat_template_path=str(tmp_path)))

    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(eos_token_id=None))
    model = SimpleNamespace(config=config, can_generate=lambda: False)
    model.resize_token_embeddings = lambda new_num_tokens, **_: setattr(model, "vocab_size", new_num_tokens)
    clone_chat_template(model, theirs, str(tmp_path))
    assert (ours.get_vocab(), ours.eos_token, ours.chat_template) == (
        theirs.get_vocab(),
        theirs.eos_token,
        theirs.chat_template,
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"eos_token": "<nothing>"}, "is not in the tokenizer's vocabulary"),
        ({"chat_template_path": "./none.jinja"}, "there is no such file"),
        ({"chat_template_path": "./none"}, "neither a .jinja file nor a tokenizer"),
    ],
)
def test_what_is_not_there_is_told_in_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        dress(byte_level(), SimpleNamespace(**options))
