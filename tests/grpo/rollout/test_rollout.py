"""The fast rollout: generate's tokens when greedy, generate's distribution when sampling, and TRL's own path otherwise."""

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GenerationConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)
from trl import GRPOConfig, GRPOTrainer

from trl_r1 import R1GRPOConfig, R1GRPOTrainer
from trl_r1.grpo.fast_trainer import scores_labels
from trl_r1.grpo.identity import has_a_digit, share_of_low_bytes, tiny_prompts
from trl_r1.grpo.rollout import FastRollout, SamplingOptions, generate
from trl_r1.grpo.rollout.cache import BlockCache
from trl_r1.grpo.rollout.sampling import draw, next_tokens
from trl_r1.grpo.rollout.support import disagreement, sampling_options, why_not_model
from trl_r1.grpo.rollout.threads import fewer_threads


VOCABULARY, ENDS = 97, list(range(1, 97, 12))  # many end tokens: random models seldom take a given one


def build(config_class, **options):
    base = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.4,
        "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0, **options,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config_class(**base)).float().eval()


MIXED = {
    "head_dim": 8,
    "num_hidden_layers": 3,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
MODELS = {
    "llama": (LlamaConfig, {}),
    "llama, eager attention": (LlamaConfig, {"attn_implementation": "eager"}),
    "qwen2": (Qwen2Config, {}),
    "qwen3": (Qwen3Config, {"head_dim": 8}),
    "gemma3, window 8 in two of three layers": (
        Gemma3TextConfig, {"sliding_window": 8, "tie_word_embeddings": False, **MIXED}
    ),
    "mistral, window 8": (MistralConfig, {"sliding_window": 8}),
    "mistral, window out of reach": (MistralConfig, {"sliding_window": 64}),
}  # fmt: skip


@pytest.fixture(scope="module")
def llama():
    return build(LlamaConfig)


def prompts_of(*lengths, seed=0):
    chosen = random.Random(seed)
    return [[chosen.randrange(10, VOCABULARY) for _ in range(length)] for length in lengths]


def generated(model, rows, **options):
    """transformers' own completions, cut behind the first end token."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    config = GenerationConfig(eos_token_id=ENDS, pad_token_id=0, **options)
    completions = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)[:, width:].tolist()
    for completion in completions:
        ended = [place for place, token in enumerate(completion) if token in ENDS]
        del completion[ended[0] + 1 if ended else len(completion) :]
    return completions


@pytest.mark.parametrize("name", MODELS)
def test_greedy_tokens_are_those_of_generate(name):
    config_class, options = MODELS[name]
    model = build(config_class, **options)
    rows = [prompt for prompt in prompts_of(3, 7, 12, 5) for _ in range(2)]
    ours = generate(model, rows, SamplingOptions(greedy=True), 24, ENDS, block=5)
    assert ours.completions == generated(model, rows, max_new_tokens=24, do_sample=False)
    assert ours.prompts == 4
    assert len({len(completion) for completion in ours.completions}) > 1  # some rows left early
    assert ours.row_steps < 8 * ours.steps


def test_greedy_with_a_repetition_penalty_is_that_of_generate(llama):
    rows = prompts_of(6, 6, 6, seed=3)  # equal lengths: generate penalises padding too
    options = SamplingOptions(greedy=True, repetition_penalty=1.7)
    ours = generate(llama, rows, options, 20, ENDS)
    assert ours.completions == generated(llama, rows, max_new_tokens=20, do_sample=False, repetition_penalty=1.7)
    assert ours.completions != generate(llama, rows, SamplingOptions(greedy=True), 20, ENDS).completions


def test_logps_are_of_the_scaled_policy_before_truncation(llama):
    rows = prompts_of(5, 3, seed=1)
    torch.manual_seed(0)
    options = SamplingOptions(temperature=1.6, top_k=3, repetition_penalty=1.2)
    rollout = generate(llama, rows, options, 12, ENDS)
    for row, completion, logps in zip(rows, rollout.completions, rollout.logps):
        with torch.no_grad():
            logits = llama(torch.tensor([row + completion])).logits[0, len(row) - 1 : -1] / 1.6
        expected = logits.log_softmax(dim=-1).gather(1, torch.tensor(completion)[:, None]).squeeze(1)
        torch.testing.assert_close(torch.tensor(logps), expected, atol=2e-5, rtol=0)


# -- the distribution -------------------------------------------------------------------------------------------------


def chi_square(counts, probabilities):
    """Pearson's statistic and its degrees of freedom; cells with fewer than five expected draws are pooled."""
    expected = probabilities.double() * counts.sum()
    large = expected >= 5.0
    cells = [(counts[large], expected[large])]
    if expected[~large].sum() > 0:
        cells.append((counts[~large].sum()[None], expected[~large].sum()[None]))
    observed, expected = (torch.cat(parts).double() for parts in zip(*cells))
    return ((observed - expected) ** 2 / expected.clamp(min=1e-9)).sum().item(), len(observed) - 1


def limit(freedom):
    """The chi-square value exceeded once in about 100,000 (Wilson and Hilferty 1931)."""
    return freedom * (1 - 2 / (9 * freedom) + 4.265 * math.sqrt(2 / (9 * freedom))) ** 3


SAMPLING = {
    "plain": {},
    "temperature": {"temperature": 0.7},
    "top-k": {"top_k": 7},
    "top-p": {"top_p": 0.8},
    "min-p": {"min_p": 0.05},
    "all": {"temperature": 1.3, "top_k": 30, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.3},
}


@pytest.mark.parametrize("name", SAMPLING)
def test_sampled_tokens_follow_the_distribution_of_generate(name, llama):
    """20,000 draws of two tokens: the first against generate's exact scores, the second given the likeliest first."""
    draws, prompt, options = 20_000, prompts_of(6, seed=2)[0], SAMPLING[name]
    torch.manual_seed(5)
    rollout = generate(llama, [prompt] * draws, SamplingOptions(**options), 2, [])
    first = torch.tensor([completion[0] for completion in rollout.completions])
    second = torch.tensor([completion[1] for completion in rollout.completions])
    likeliest = int(first.bincount().argmax())
    for tokens, row in ((first, prompt), (second[first == likeliest], [*prompt, likeliest])):
        config = GenerationConfig(
            max_new_tokens=1, do_sample=True, pad_token_id=0, return_dict_in_generate=True, output_scores=True,
            **{"top_k": 0, "top_p": 1.0, **options},
        )  # fmt: skip
        ids = torch.tensor([row])
        scores = llama.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config).scores[0]
        probabilities = scores[0].softmax(dim=-1)
        counts = tokens.bincount(minlength=VOCABULARY)
        assert counts[probabilities == 0].sum() == 0
        statistic, freedom = chi_square(counts, probabilities)
        assert statistic < limit(freedom)
        moved = probabilities.roll(1)  # the test has power: a wrong distribution is told from the right one
        assert chi_square(counts, moved)[0] > limit(freedom)


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 700), positive=st.lists(st.integers(0, 699), min_size=1, max_size=5), seed=st.integers(0, 99)
)
def test_draw_never_takes_a_token_of_weight_zero(width, positive, seed):
    torch.manual_seed(seed)
    weights = torch.zeros(40, width)
    weights[:, [place % width for place in positive]] = torch.rand(len(positive)) + 1e-30
    index, mass, total = draw(weights.clone())
    assert (weights.gather(1, index[:, None]) > 0).all()
    torch.testing.assert_close(mass, weights.gather(1, index[:, None]).squeeze(1))
    torch.testing.assert_close(total, weights.double().sum(dim=1))


def test_draw_over_many_blocks_is_proportional_to_weight():
    torch.manual_seed(0)
    weights = torch.rand(1000) ** 4
    index, _, _ = draw(weights.expand(20_000, -1))
    statistic, freedom = chi_square(index.bincount(minlength=1000), weights / weights.sum())
    assert statistic < limit(freedom)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"top_p": 0.0}, {"top_k": -1}, {"min_p": 2.0}])
def test_an_option_out_of_range_is_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SamplingOptions(**wrong)


def test_a_penalty_without_the_tokens_seen_is_refused():
    with pytest.raises(ValueError, match="seen"):
        next_tokens(torch.zeros(1, 4), SamplingOptions(repetition_penalty=2.0))


# -- the loop ---------------------------------------------------------------------------------------------------------


def test_rows_end_where_they_are_made_to_and_cost_what_they_last(llama):
    rows = [prompt for prompt in prompts_of(4, 9) for _ in range(16)]
    lengths = torch.tensor([1 + (7 * row) % 31 for row in range(32)])

    def force(logits, at, step):
        logits = logits.clone()
        logits[:, ENDS] = -torch.inf
        logits[lengths[at] == step + 1] = torch.where(torch.arange(VOCABULARY) == 1, 0.0, -torch.inf)
        return logits

    seen = {}
    rollout = generate(
        llama, rows, SamplingOptions(), 64, ENDS, change_logits=force,
        finished=lambda ended, completions: seen.update(zip(ended, completions)),
    )  # fmt: skip
    assert [len(completion) for completion in rollout.completions] == lengths.tolist()
    assert all(completion[-1] == 1 for completion in rollout.completions)
    assert seen == dict(enumerate(rollout.completions))
    assert rollout.steps == 30
    assert rollout.tokens - 32 <= rollout.row_steps <= rollout.tokens * 17 / 16  # one row in 16 may linger


def test_removing_rows_moves_the_cache_with_them():
    torch.manual_seed(0)
    cache = BlockCache(2, block=3)
    states = [torch.randn(2, 1, 4, 2) for _ in range(2)]
    for layer, state in enumerate(states):
        cache.update(state, -state, layer)
    cache.spread(torch.tensor([0, 0, 1, 1, 0]))
    new = torch.randn(5, 1, 1, 2)
    for layer in range(2):
        cache.update(new, -new, layer)
    order = cache.remove(torch.tensor([False, True, False, True, True]))
    assert sorted(order.tolist()) == [1, 3, 4]
    later = torch.randn(3, 1, 1, 2)
    for layer, state in enumerate(states):
        keys, values = cache.update(later, -later, layer)
        expected = torch.cat([state[[0, 0, 1, 1, 0]], new], dim=2)[order]
        torch.testing.assert_close(keys, torch.cat([expected, later], dim=2))
        torch.testing.assert_close(values, -keys)
    assert cache.get_seq_length() == 6


def test_an_empty_prompt_is_refused(llama):
    with pytest.raises(ValueError, match="at least one token"):
        generate(llama, [[4], []], SamplingOptions(), 4, ENDS)


# -- what it does not serve -------------------------------------------------------------------------------------------


def test_models_and_options_it_does_not_serve_are_named(llama):
    state_space = AutoModelForCausalLM.from_config(
        MambaConfig(vocab_size=16, hidden_size=8, num_hidden_layers=1, state_size=2, pad_token_id=0, eos_token_id=1)
    )
    assert "cache" in why_not_model(state_space)
    assert why_not_model(llama) is None
    assert disagreement(llama, prompts_of(8, 5)) is None
    assert "num_beams=2" in sampling_options(GenerationConfig(num_beams=2))
    assert "no_repeat_ngram_size" in sampling_options(GenerationConfig(), GenerationConfig(no_repeat_ngram_size=3))
    filled = sampling_options(GenerationConfig(do_sample=True, top_k=0, temperature=0.5), GenerationConfig(min_p=0.1))
    assert filled == SamplingOptions(temperature=0.5, min_p=0.1)


def test_a_model_whose_cache_lies_is_found_out(llama, monkeypatch):
    honest = BlockCache.spread
    monkeypatch.setattr(BlockCache, "spread", lambda self, source: honest(self, source.flip(0)))
    assert "differ from a plain forward pass" in disagreement(llama, prompts_of(8, 5))


# -- in the trainers ----------------------------------------------------------------------------------------------------


def trainer_of(kind, config, tiny, folder, more=None, **options):
    return kind(
        tiny,
        [share_of_low_bytes, has_a_digit],
        config(
            **{
                "output_dir": str(folder), "use_cpu": True, "bf16": False, "report_to": "none",
                "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 8, "max_steps": 2,
                "logging_steps": 1, "save_strategy": "no", "disable_tqdm": True, **options,
            }
        ),
        train_dataset=tiny_prompts(),
        **(more or {}),
    )  # fmt: skip


@pytest.mark.parametrize("checkpointing", [False, True])
def test_both_trainers_train_with_it(checkpointing, tiny, tmp_path):
    rollout = FastRollout()
    stock = trainer_of(
        GRPOTrainer, GRPOConfig, tiny, tmp_path / "a", {"rollout_func": rollout}, gradient_checkpointing=checkpointing
    )
    stock.train()
    ours = trainer_of(
        R1GRPOTrainer, R1GRPOConfig, tiny, tmp_path / "b", rollout="fast", gradient_checkpointing=checkpointing
    )
    ours.train()
    assert rollout.last is not None
    assert rollout.last.prompts == 2
    assert rollout.last.completions == ours._fast_rollout.last.completions  # same seed, same random numbers
    assert ours.accelerator.unwrap_model(ours.model).is_gradient_checkpointing is checkpointing
    torch.testing.assert_close(
        [p.detach() for p in ours.model.parameters()],
        [p.detach() for p in stock.model.parameters()],
        rtol=0,
        atol=1e-6,
    )


@pytest.mark.skipif(not scores_labels(), reason="this TRL scores no given labels, so nothing is packed")
def test_the_mask_is_made_once_also_where_batches_are_packed(tiny, tmp_path, monkeypatch):
    import trl_r1.grpo.rollout.engine

    made = []

    class Seen(trl_r1.grpo.rollout.engine._Mask):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self.ready)

    monkeypatch.setattr(trl_r1.grpo.rollout.engine, "_Mask", Seen)
    trainer_of(R1GRPOTrainer, R1GRPOConfig, tiny, tmp_path, rollout="fast", batching="fast").train()
    assert made
    assert all(made)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_of_either_type_are_served_under_mixed_precision(dtype, tiny, tmp_path, monkeypatch):
    """float32 weights that compute in bfloat16 are judged by bfloat16's rounding, how much of it a processor may show."""
    from trl_r1.grpo.rollout import connect

    asked = []

    def noted(model, prompts, of):
        asked.append(of)
        return disagreement(model, prompts, of)

    spans = []

    def watched(*given, **options):
        spans.append(torch.is_autocast_enabled("cpu"))  # so weights are cast once, not in each forward pass
        return generate(*given, **options)

    monkeypatch.setattr(connect, "disagreement", noted)
    monkeypatch.setattr(connect, "generate", watched)
    options = {"bf16": True, "model_init_kwargs": {"dtype": dtype}, "max_steps": 1, "batching": "fast"}
    ours = trainer_of(R1GRPOTrainer, R1GRPOConfig, tiny, tmp_path, rollout="fast", **options)
    ours.train()
    assert str(ours.model.dtype) == f"torch.{dtype}"
    assert ours._fast_rollout.last is not None
    assert ours._packs is scores_labels()
    assert asked == [torch.bfloat16]
    assert spans == [True]


def test_trl_generates_where_it_cannot_and_the_log_says_why(tiny, tmp_path, caplog):
    options = {"generation_kwargs": {"no_repeat_ngram_size": 2}}
    ours = trainer_of(R1GRPOTrainer, R1GRPOConfig, tiny, tmp_path / "a", rollout="fast", **options)
    ours.train()
    stock = trainer_of(GRPOTrainer, GRPOConfig, tiny, tmp_path / "b", {"rollout_func": FastRollout()}, **options)
    stock.train()
    assert ours._fast_rollout.last is None
    assert caplog.text.count("no_repeat_ngram_size=2") == 2  # once per trainer
    for a, b in zip(ours.model.parameters(), stock.model.parameters()):
        assert torch.equal(a, b)


def test_lora_and_nf4_are_served(wide, tmp_path):
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig

    quantised = {"quantization_config": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")}
    for name, more in (("lora", {}), ("nf4", quantised)):
        more = {"peft_config": LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"), **more}
        trainer = trainer_of(R1GRPOTrainer, R1GRPOConfig, wide, tmp_path / name, more, rollout="fast", batching="fast")
        trainer.train()
        assert trainer._fast_rollout.last is not None, name
        assert trainer._packs is scores_labels(), name


# -- threads --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "rows", "expected"),
    [("PASSIVE", 8, 1), ("passive", 8, 1), ("PASSIVE", 10**9, 2), ("ACTIVE", 8, 2), (None, 8, 2)],
)
def test_few_rows_get_one_thread_where_threads_sleep_and_the_number_comes_back(policy, rows, expected, monkeypatch):
    model = build(LlamaConfig)
    if policy is None:
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    else:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with fewer_threads(model) as tell_rows:
            tell_rows(rows)
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 2
        seen = []

        def look(logits, rows, step):
            seen.append(torch.get_num_threads())
            return logits

        monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        generate(model, [[3, 4]] * 4, SamplingOptions(), 3, ENDS, change_logits=look)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
