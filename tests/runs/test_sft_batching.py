"""Supervised rows without padding: TRL's loss, gradient and metrics for the same batches."""

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    TrainerCallback,
)
from trl import SFTTrainer

from trl_r1.runs.sft import R1SFTTrainer
from trl_r1.runs.sft_batching import pack_rows
from trl_r1.runs.tuning_config import R1SFTConfig


@pytest.fixture(scope="module")
def tiny_tokenizer(tiny):
    return AutoTokenizer.from_pretrained(tiny)


LENGTHS = [(3, 4), (1, 9), (6, 2), (2, 1), (3, 4), (5, 12), (4, 3), (2, 7)]  # prompt, completion


def rows() -> Dataset:
    return Dataset.from_list(
        [
            {"input_ids": [40 + (7 * row + 3 * at) % 150 for at in range(before + after)],
             "completion_mask": [0] * before + [1] * after}
            for row, (before, after) in enumerate(LENGTHS)
        ]
    )  # fmt: skip


def trained(trainer_class, model, tokenizer, folder, **options):
    """A trainer after its steps, with the gradient of each and the log."""
    trainer = trainer_class(
        model,
        R1SFTConfig(**{
            "output_dir": str(folder), "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "max_steps": 2,
            "per_device_train_batch_size": 4, "report_to": "none", "logging_steps": 1, "save_strategy": "no",
            "disable_tqdm": True, "max_grad_norm": 0.0, "learning_rate": 1e-3, "completion_only_loss": True,
            "max_length": None, "model_init_kwargs": {"dtype": "float32"} if isinstance(model, str) else None, **options,
        }),
        train_dataset=rows(),
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.gradients = []

    class Keep(TrainerCallback):
        def on_pre_optimizer_step(_, *args, **kwargs):
            found = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
            trainer.gradients.append(torch.cat(found).clone())

    trainer.add_callback(Keep())
    trainer.train()
    return trainer


def largest_error(fast, slow):
    return max(((a - b).norm() / b.norm()).item() for a, b in zip(fast.gradients, slow.gradients, strict=True))


OPTIONS = {
    "nll": {},
    "dft": {"loss_type": "dft"},
    "accumulated": {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2},
    "checkpointing": {"gradient_checkpointing": True},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_loss_gradient_and_metrics_are_those_of_padded_rows(name, tiny, tiny_tokenizer, tmp_path):
    slow = trained(SFTTrainer, tiny, tiny_tokenizer, tmp_path / "slow", **OPTIONS[name])
    fast = trained(R1SFTTrainer, tiny, tiny_tokenizer, tmp_path / "fast", batching="fast", **OPTIONS[name])
    assert fast._packs is True
    assert largest_error(fast, slow) < 1e-5
    keys = ("loss", "entropy", "mean_token_accuracy", "num_tokens")
    logs = [[[line[key] for key in keys] for line in one.state.log_history if "loss" in line] for one in (fast, slow)]
    assert logs[0] == [pytest.approx(line, rel=1e-4) for line in logs[1]]


def test_at_trls_batching_nothing_is_packed_and_training_is_bit_identical(tiny, tiny_tokenizer, tmp_path):
    stock = trained(SFTTrainer, tiny, tiny_tokenizer, tmp_path / "stock")
    ours = trained(R1SFTTrainer, tiny, tiny_tokenizer, tmp_path / "ours")
    assert ours._packs is False
    assert all(torch.equal(a, b) for a, b in zip(ours.gradients, stock.gradients, strict=True))


SMALL = {"vocab_size": 260, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
         "num_key_value_heads": 1, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}  # fmt: skip
CONFIGS = {
    "head of its own": LlamaConfig(**SMALL, tie_word_embeddings=False),
    "sliding window": MistralConfig(**SMALL, sliding_window=4),
    "softcap, left to TRL's head": Gemma3TextConfig(
        **SMALL, head_dim=16, final_logit_softcapping=5.0, sliding_window=4
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_other_models_agree_too(name, tiny_tokenizer, tmp_path):
    found = []
    for trainer_class, batching in ((SFTTrainer, "trl"), (R1SFTTrainer, "fast")):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation="sdpa")
        found.append(trained(trainer_class, model, tiny_tokenizer, tmp_path / batching, batching=batching))
    slow, fast = found
    assert fast._packs is True
    assert (fast._head is None) is ("softcap" in name)
    assert largest_error(fast, slow) < 1e-5


def test_a_row_of_t_tokens_by_hand():
    ids = torch.tensor([[5, 6, 7, 0], [1, 2, 3, 4], [9, 0, 0, 0]])
    labels = torch.tensor([[-100, 6, 7, -100], [-100, -100, 3, 4], [-100] * 4])
    packed = pack_rows(ids, labels, torch.tensor([[1, 1, 1, 0], [1] * 4, [1, 0, 0, 0]]))
    assert packed.ids.tolist() == [[1, 2, 3, 5, 6]]  # the longest row first; last tokens predict nothing
    assert packed.positions.tolist() == [[0, 1, 2, 0, 1]]
    assert packed.labels.tolist() == [[-100, 3, 4, 6, 7]]
    assert packed.places.tolist() == [1, 2, 3, 4]
    assert pack_rows(ids, labels, torch.tensor([[0, 1, 1, 1]] * 3)) is None  # padded on the left


def test_packing_and_fast_batching_exclude_each_other(tmp_path):
    with pytest.raises(ValueError, match="packing: false"):
        R1SFTConfig(output_dir=str(tmp_path), batching="fast", packing=True, use_cpu=True, bf16=False)
    with pytest.raises(ValueError, match="batching='quick' is unknown"):
        R1SFTConfig(output_dir=str(tmp_path), batching="quick", use_cpu=True, bf16=False)
