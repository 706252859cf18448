"""What a recipe says about templates and end tokens, in the renderer of its run."""

import copy
from types import SimpleNamespace

import pytest
import torch
from fitting_tokenizers import byte_level, fitting, template_text

from trl_r1.models.rendering import end_ids
from trl_r1.runs.rendering import check_prompt, dress, read_kwargs, renderer_of, stop_tokens


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
    assert end_ids(3) == [3]
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


def test_training_evaluation_probe_and_drift_read_the_same_ids_with_thinking_off():
    """What GRPOTrainer's own tokenization gives, and what each of ours gives, for Qwen3 with thinking off."""
    from trl import GRPOTrainer

    from trl_r1.models.sampling import tokenize
    from trl_r1.monitor import drift

    tokenizer = copy.deepcopy(fitting("qwen3"))
    tokenizer.chat_template = template_text("qwen3")
    asked, off = [{"role": "user", "content": "2+2?"}], {"enable_thinking": False}
    theirs = SimpleNamespace(processing_class=tokenizer, _is_vlm=False, environment_factories=None, tools=None)
    theirs.chat_template, theirs.chat_template_kwargs = None, off
    trained = GRPOTrainer._tokenize_prompts(theirs, [asked])[0][0]
    config = SimpleNamespace(chat_template_kwargs=off)
    assert tokenizer.decode(trained).endswith("<think>\n\n</think>\n\n")
    assert tokenize(tokenizer, [asked], renderer_of(tokenizer, config)) == [trained]

    logits = SimpleNamespace(logits=torch.zeros(1, 512, len(tokenizer)))
    model = torch.nn.Linear(1, 1)
    model.forward = lambda input_ids, attention_mask: SimpleNamespace(logits=logits.logits[:, : input_ids.shape[1]])
    anchor = drift.make_anchor(model, tokenizer, [asked], ["Four."], renderer=renderer_of(tokenizer, config))
    assert anchor.prompts == [trained]


def test_a_template_that_takes_no_system_message_is_told_before_anything_runs(tmp_path):
    tokenizer = copy.deepcopy(fitting("gemma"))
    tokenizer.chat_template = template_text("gemma")
    tokenizer.save_pretrained(tmp_path)
    asked = [{"role": "user", "content": "2+2?"}]
    config = SimpleNamespace(chat_template_kwargs=None)
    check_prompt({"prompt": asked}, str(tmp_path), config, SimpleNamespace(system_prompt=None))
    check_prompt({"prompt": "2+2?"}, "nowhere", config, SimpleNamespace(system_prompt="Be brief."))
    with pytest.raises(ValueError, match="does not take this conversation .*[Ss]ystem"):
        check_prompt({"prompt": asked}, str(tmp_path), config, SimpleNamespace(system_prompt="Be brief."))
