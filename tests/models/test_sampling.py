"""Sampling leaves no trace, repeats itself, and draws from the distribution it says."""

import copy
import random

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from trl_r1.models.sampling import FIRST_PASS, first_pass_for, sample


PROMPTS = ["abc", "a much longer prompt than the first", "hello"]
QUICK = {"samples": 4, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 12, "progress": False}


def prefer_end(model, tokenizer, chance: float) -> None:
    """Make the end token come with about this chance at every step."""
    forward = model.lm_head.forward

    def biased(hidden):
        logits = forward(hidden).log_softmax(-1)
        logits[..., tokenizer.eos_token_id] = torch.tensor(chance / (1 - chance)).log()
        return logits

    model.lm_head.forward = biased


def lengths_of(drawn):
    """(P, K) generated tokens."""
    return np.array([[completion.token_count for completion in row] for row in drawn.completions])


def truncated_of(drawn):
    """(P, K) whether the limit ended a text."""
    return np.array([[completion.truncated for completion in row] for row in drawn.completions])


def test_shapes_and_order(model, tokenizer):
    drawn = sample(model, tokenizer, PROMPTS, **QUICK)
    assert [len(texts) for texts in drawn.texts] == [4, 4, 4]
    lengths = lengths_of(drawn)
    assert drawn.tokens == lengths.sum()
    assert ((lengths >= 1) & (lengths <= 12)).all()
    assert (lengths[truncated_of(drawn)] == 12).all()
    assert sample(model, tokenizer, [], **QUICK).texts == []


@pytest.mark.parametrize("batch_size", [1, 5, 64])
@pytest.mark.parametrize("first_pass", [None, 1, 3, 100])
def test_greedy_texts_do_not_depend_on_batches_passes_or_order(model, tokenizer, batch_size, first_pass):
    """Padding, the sort and the pooling of unfinished rows change nothing: each prompt gets what it gets alone."""
    options = {**QUICK, "temperature": 0.0, "samples": 2, "max_new_tokens": 10}
    together = sample(model, tokenizer, PROMPTS, **options, batch_size=batch_size, first_pass=first_pass)
    for prompt, texts, lengths in zip(PROMPTS, together.texts, lengths_of(together).tolist(), strict=True):
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        alone = model.generate(input_ids=ids, max_new_tokens=10, do_sample=False)[0, ids.shape[1] :]
        assert texts == [tokenizer.decode(alone, skip_special_tokens=True)] * 2
        assert lengths == [len(alone)] * 2


def test_texts_end_at_the_end_token_and_lengths_count_it(model, tokenizer):
    prefer_end(model, tokenizer, 0.5)
    drawn = sample(
        model, tokenizer, ["abc"] * 3, samples=200, temperature=1.0, top_p=1.0, max_new_tokens=12, progress=False
    )
    lengths = lengths_of(drawn).ravel()
    # geometric with chance 1/2: mean 2, P(1) = 1/2, P(clipped at 12 without an end) = 2^-12
    assert lengths.mean() == pytest.approx(2.0, abs=0.25)
    assert (lengths == 1).mean() == pytest.approx(0.5, abs=0.08)
    assert truncated_of(drawn).mean() < 0.01
    for completions in drawn.completions:
        for completion in completions:
            assert "<end>" not in completion.text
            assert (completion.text == "") == (completion.token_count == 1)


def test_pooling_unfinished_rows_draws_from_the_same_distribution(model, tokenizer):
    prefer_end(model, tokenizer, 0.2)
    options = {"samples": 600, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 16, "progress": False}
    in_passes = lengths_of(sample(model, tokenizer, ["abc"], **options, first_pass=2))
    at_once = lengths_of(sample(model, tokenizer, ["abc"], **options, first_pass=None))
    # truncated geometric: mean (1 - 0.8^16) / 0.2 = 4.86, standard error about 0.17 each
    assert in_passes.mean() == pytest.approx(4.86, abs=0.6)
    assert at_once.mean() == pytest.approx(4.86, abs=0.6)


def test_the_same_seed_gives_the_same_texts_and_another_seed_others(model, tokenizer):
    first = sample(model, tokenizer, PROMPTS, **QUICK, seed=1)
    torch.rand(7)  # the random state outside does not matter
    assert sample(model, tokenizer, PROMPTS, **QUICK, seed=1).texts == first.texts
    assert sample(model, tokenizer, PROMPTS, **QUICK, seed=2).texts != first.texts


def test_no_random_state_moves(model, tokenizer):
    before = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
    sample(model, tokenizer, PROMPTS, **QUICK)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]


def test_random_state_and_modes_return_after_a_failure(model, tokenizer):
    def broken(hidden):
        raise RuntimeError("broken on purpose")

    model.train()
    model.lm_head.forward = broken
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="on purpose"):
        sample(model, tokenizer, PROMPTS, **QUICK)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in model.modules())


def test_modes_and_flags_come_back(model, tokenizer):
    model.train()
    model.model.layers[0].eval()  # a frozen part
    model.config.use_cache = False
    model.generation_config.temperature = 0.123
    modes = [module.training for module in model.modules()]
    config = copy.deepcopy(model.generation_config.to_dict())
    sample(model, tokenizer, PROMPTS, **QUICK)
    assert [module.training for module in model.modules()] == modes
    assert model.config.use_cache is False
    assert model.generation_config.to_dict() == config
    assert tokenizer.padding_side == "right"


def test_gradient_checkpointing_changes_nothing(model, tokenizer):
    plain = sample(model, tokenizer, PROMPTS, **QUICK).texts
    model.gradient_checkpointing_enable()
    model.config.use_cache = False
    model.train()
    assert sample(model, tokenizer, PROMPTS, **QUICK).texts == plain
    assert model.training
    assert model.is_gradient_checkpointing


def test_a_peft_model_samples_from_its_adapter(model, tokenizer):
    base = sample(model, tokenizer, PROMPTS, **QUICK).texts
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=True))
    assert sample(wrapped, tokenizer, PROMPTS, **QUICK).texts == base  # a fresh adapter is the base
    for name, weight in wrapped.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=2.0)
    assert sample(wrapped, tokenizer, PROMPTS, **QUICK).texts != base


def test_the_models_own_generation_settings_do_not_leak_into_the_measurement(model, tokenizer):
    plain = sample(model, tokenizer, PROMPTS, **QUICK).texts
    model.generation_config.top_k = 1
    model.generation_config.repetition_penalty = 5.0
    model.generation_config.min_new_tokens = 11
    model.generation_config.no_repeat_ngram_size = 1
    assert sample(model, tokenizer, PROMPTS, **QUICK).texts == plain


def test_conversations_go_through_the_chat_template(model, tokenizer):
    options = {**QUICK, "temperature": 0.0}
    as_chat = sample(model, tokenizer, [[{"role": "user", "content": "abc"}], "xyz"], **options).texts
    assert as_chat == sample(model, tokenizer, ["<user>abc<assistant>", "xyz"], **options).texts
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        sample(model, bare, [[{"role": "user", "content": "abc"}]], **options)


@pytest.mark.parametrize(
    ("name", "value"),
    [("samples", 0), ("temperature", -0.1), ("top_p", 0.0), ("top_p", 1.1), ("max_new_tokens", 0), ("batch_size", 0)],
)
def test_numbers_no_text_can_be_drawn_with(model, tokenizer, name, value):
    with pytest.raises(ValueError, match=name):
        sample(model, tokenizer, PROMPTS, **{**QUICK, name: value})


def test_an_empty_prompt_is_refused(model, tokenizer):
    with pytest.raises(ValueError, match="Prompt 1 .* no tokens"):
        sample(model, tokenizer, ["a", ""], **QUICK)


def test_a_large_model_reads_no_prompt_again_for_a_few_tokens():
    assert first_pass_for(135_000_000, [200, 240, 280]) == 120
    assert first_pass_for(135_000_000, [20, 20]) == FIRST_PASS
    assert first_pass_for(100_000, [200, 240, 280]) == FIRST_PASS  # held up by steps, not by tokens


def test_a_frozen_head_is_handed_contiguous_states(model, tokenizer):
    """`generate` slices; PyTorch multiplies a slice with frozen weights row by row, with a copy of the weights for each."""
    policy = get_peft_model(model, LoraConfig(target_modules=["q_proj"]))
    head = policy.get_output_embeddings()
    forward, seen = head.forward, []

    def seeing(hidden):
        seen.append(hidden.is_contiguous())
        return forward(hidden)

    head.forward = seeing
    sample(policy, tokenizer, PROMPTS, **QUICK)
    assert len(seen) > 1
    assert all(seen)
    assert not head._forward_pre_hooks
