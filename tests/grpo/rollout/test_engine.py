"""The fast rollout's own loop, looked at from inside the model."""

from transformers import LlamaConfig, LlamaForCausalLM

from trl_r1.grpo.rollout import SamplingOptions, generate


def test_a_frozen_head_sees_contiguous_hidden_states():
    """PyTorch multiplies a slice with frozen weights row by row, each with its own copy of them: 5 x the time."""
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    ).requires_grad_(False)
    seen: list[bool] = []
    model.lm_head.register_forward_pre_hook(lambda _, given: seen.append(given[0].is_contiguous()))
    generate(model, [[3, 4, 5], [6, 7]], SamplingOptions(), max_new_tokens=3, end_tokens=())
    assert len(seen) == 3
    assert all(seen)
