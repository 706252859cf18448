"""Fast batching: the same gradient as TRL's padded batches, for every loss, and less work for it."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    TrainerCallback,
)
from trl import GRPOConfig

from trl_r1 import R1GRPOConfig, R1GRPOTrainer
from trl_r1.grpo.batching import batches_by_length, lengths_of, pack, regrouped
from trl_r1.grpo.fast_trainer import scores_labels
from trl_r1.grpo.identity import tiny_prompts


COLUMNS = 24  # of the longest completion
SMALLEST = 1e-5  # relative error of the gradient that we promise in float32


def letters(completions, prompts, **columns):
    """Varies, but for three of the eight prompts, whose groups are dead."""
    return [1.0 if p[0] in "4os" else sum(c < "n" for c in text) / 8 for text, p in zip(completions, prompts)]


def whole(tensor):
    """A tensor, or all of one that FSDP2 has split between processes."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


class Given(R1GRPOTrainer):
    """Takes completions of every length from a list, so that both ways of batching see the same; keeps all gradients."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.chosen = random.Random(3 + self.accelerator.process_index)
        self.gradients = []

        class Keep(TrainerCallback):
            def on_pre_optimizer_step(_, *args, **kwargs):
                found = [whole(p.grad).flatten() for p in self.model.parameters() if p.grad is not None]
                self.gradients.append(torch.cat(found).clone())

        self.add_callback(Keep())

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        rows = []
        for _ in prompt_ids:
            length = self.chosen.choice([1, 2, 3, 5, 8, 13, COLUMNS])
            row = [self.chosen.randrange(40, 200) for _ in range(length)]
            rows.append(row if self.chosen.random() < 0.3 else [*row[:-1], 1])  # three in ten are truncated
        return rows, None


def gradients(model, folder, more=None, generate=False, **options):
    trainer = (Sampled if generate else Given)(
        model,
        [letters],
        R1GRPOConfig(**{
            "output_dir": str(folder), "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
            "report_to": "none", "per_device_train_batch_size": 8, "num_generations": 4, "learning_rate": 2e-3,
            "max_completion_length": COLUMNS, "max_steps": 2, "logging_steps": 1, "save_strategy": "no",
            "disable_tqdm": True, "max_grad_norm": 0.0, "seed": 7, **options,
        }),
        train_dataset=tiny_prompts(),
        **(more or {}),
    )  # fmt: skip
    trainer.train()
    return trainer


def largest_error(fast, slow):
    assert len(fast.gradients) == len(slow.gradients) > 0
    assert all(gradient.norm() > 0 for gradient in slow.gradients)
    return max(((a - b).norm() / b.norm()).item() for a, b in zip(fast.gradients, slow.gradients))


LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo")
TWO_ITERATIONS = {"num_iterations": 2, "epsilon": 0.05, "max_steps": 4}
ROWS = {
    **{loss: {"loss_type": loss, **TWO_ITERATIONS} for loss in LOSSES},
    "four accumulated": {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 4},
    "four accumulated, bnpo": {
        "gradient_accumulation_steps": 4, "per_device_train_batch_size": 4, "loss_type": "bnpo", **TWO_ITERATIONS,
    },
    "sequence ratio": {"importance_sampling_level": "sequence", "loss_type": "grpo", **TWO_ITERATIONS, "epsilon": 0.5},
    "ratio of the whole sequence": {
        "importance_sampling_level": "sequence_product", "loss_type": "grpo", **TWO_ITERATIONS, "epsilon": 9.0,
    },
    "kl": {"beta": 0.2, **TWO_ITERATIONS},
    "kl k2 without dead groups": {"beta": 0.2, "kl_estimator": "k2", "mask_dead_groups": True, **TWO_ITERATIONS},
    "kl in the reward": {"beta": 0.2, "kl_placement": "reward", "kl_estimator": "k1"},
    "entropy bonus": {"entropy_coef": 0.1},
    "high entropy only": {"top_entropy_quantile": 0.3},
    "truncated left out": {"mask_truncated_completions": True, **TWO_ITERATIONS},
    "off-policy mask": {"off_policy_mask_threshold": 0.01, **TWO_ITERATIONS},
    "checkpointing": {"gradient_checkpointing": True},
    "checkpointing, reentrant": {
        "gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_gradient_is_that_of_padded_batches(name, tiny, tmp_path):
    slow = gradients(tiny, tmp_path / "slow", **ROWS[name])
    fast = gradients(tiny, tmp_path / "fast", batching="fast", **ROWS[name])
    assert largest_error(fast, slow) <= SMALLEST
    assert fast._packs is scores_labels()
    assert fast.tokens_useful == slow.tokens_useful
    if fast._packs:
        assert fast.tokens_processed < 0.6 * slow.tokens_processed
    for key in ("loss", "kl", "clip_ratio/low_mean", "clip_ratio/high_mean"):
        mine, theirs = ([line[key] for line in trainer.state.log_history if key in line] for trainer in (fast, slow))
        assert mine == pytest.approx(theirs, abs=1e-5), key


ACCUMULATED = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, **TWO_ITERATIONS}


@pytest.mark.parametrize(
    ("loss", "attention"), [*((loss, "sdpa") for loss in LOSSES), ("grpo", "eager"), ("dapo", "eager")]
)
def test_rows_of_one_step_are_dealt_out_anew_and_the_gradient_stays(loss, attention, tiny, tmp_path):
    options = {**ACCUMULATED, "loss_type": loss, "model_init_kwargs": {"attn_implementation": attention}}
    slow = gradients(tiny, tmp_path / "slow", **options)
    fast = gradients(tiny, tmp_path / "fast", batching="fast", **options)
    assert largest_error(fast, slow) <= SMALLEST
    for key in ("loss", "entropy"):
        mine, theirs = ([line[key] for line in trainer.state.log_history if key in line] for trainer in (fast, slow))
        assert len(mine) == len(theirs) == 4
        if key == "loss":
            assert mine == pytest.approx(theirs, abs=1e-5)
    batches = fast._buffered_inputs
    prompts = [len(batch["prompt_ids"].unique(dim=0)) for batch in batches]
    if loss == "bnpo":  # a mean over a micro-batch's tokens: rows stay where they are
        assert max(prompts) > 1
    elif fast._packs:
        assert prompts == [1] * 4  # each group read its prompt once
    else:
        masks = "prompt_mask", "completion_mask"
        sizes = [sum(batch[mask].sum(dim=1) for mask in masks) * fast._moves_the_loss(batch) for batch in batches]
        assert torch.cat(sizes).tolist() == torch.cat(sizes).sort(descending=True).values.tolist()


@pytest.mark.parametrize("several", [2, 8])
def test_rows_stay_in_their_optimizer_step(several, tiny, tmp_path):
    """Eight micro-batches of a generation make two steps; two of them make half of one."""
    options = {**ACCUMULATED, "steps_per_generation": several, "loss_type": "dapo"}
    slow = gradients(tiny, tmp_path / "slow", **options)
    fast = gradients(tiny, tmp_path / "fast", batching="fast", **options)
    assert largest_error(fast, slow) <= SMALLEST


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_regrouping_keeps_every_row_whole(data):
    count, size, columns = (data.draw(st.integers(1, 4)) for _ in range(3))
    number = torch.arange(count * size)

    def each(values):
        return st.lists(values, min_size=len(number), max_size=len(number))

    rows = {
        "prompt_ids": torch.tensor(data.draw(each(st.integers(0, 2))))[:, None],
        "prompt_mask": torch.ones(len(number), 1, dtype=torch.long),
        "completion_mask": (torch.arange(columns) < (number % (columns + 1))[:, None]).long(),
        "advantages": number.double(),
    }  # fmt: skip
    batches = [{**{key: value[at] for key, value in rows.items()}, "num_items_in_batch": torch.tensor(7.0)}
               for at in number.split(size)]  # fmt: skip
    moves = torch.tensor(data.draw(each(st.booleans())))
    for together in (True, False):
        dealt = regrouped(batches, moves, together)
        assert [len(batch["advantages"]) for batch in dealt] == [size] * count
        order = torch.cat([batch["advantages"] for batch in dealt]).long()
        assert sorted(order.tolist()) == number.tolist()
        for key, value in rows.items():
            assert torch.equal(torch.cat([batch[key] for batch in dealt]), value[order])
        cost = (rows["prompt_mask"].sum(dim=1) + rows["completion_mask"].sum(dim=1)) * moves
        if together:
            prompts = rows["prompt_ids"][order, 0].tolist()
            seen = [prompt for place, prompt in enumerate(prompts) if place == 0 or prompts[place - 1] != prompt]
            assert len(seen) == len(set(seen))
        else:
            assert cost[order].tolist() == sorted(cost.tolist(), reverse=True)
    images = [{**batch, "num_images": [1] * size} for batch in batches]
    assert regrouped(images, moves, True) is images
    pixels = [{**batch, "pixel_values": torch.zeros(3 * size + 1, 2)} for batch in batches]
    assert regrouped(pixels, moves, True) is pixels


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_of_trimmed_rows_is_that_of_padded_batches(loss, tiny, tmp_path):
    """Models that cannot be packed, here one with eager attention."""
    options = {"model_init_kwargs": {"attn_implementation": "eager"}, "loss_type": loss, **TWO_ITERATIONS}
    slow = gradients(tiny, tmp_path / "slow", **options)
    fast = gradients(tiny, tmp_path / "fast", batching="fast", **options)
    assert fast._packs is False
    assert largest_error(fast, slow) <= SMALLEST
    assert fast.tokens_processed < 0.8 * slow.tokens_processed


def test_the_gradient_of_lora_is_that_of_padded_batches(tiny, tmp_path):
    from peft import LoraConfig

    def adapter():
        torch.manual_seed(0)
        return {"peft_config": LoraConfig(r=4, init_lora_weights=False, target_modules="all-linear")}

    options = {"beta": 0.1, **TWO_ITERATIONS}  # the reference is the model without its adapter
    slow = gradients(tiny, tmp_path / "slow", adapter(), **options)
    fast = gradients(tiny, tmp_path / "fast", adapter(), batching="fast", **options)
    assert largest_error(fast, slow) <= SMALLEST
    assert fast._packs is scores_labels()


def lora(dropout):
    from peft import LoraConfig

    return {"peft_config": LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=dropout)}


@pytest.mark.skipif(not scores_labels(), reason="this TRL scores no given labels, so nothing is packed")
@pytest.mark.parametrize("agrees", [True, False])
def test_a_resumed_run_with_dropout_packs_and_trains_like_the_uninterrupted_one(agrees, ours, tmp_path, monkeypatch):
    """A fresh adapter is silent, so dropout shows in no log-probability; one out of a checkpoint is not."""
    if not agrees:  # a model that packing does not fit: nor may its first rows be dealt out as if it did
        monkeypatch.setattr("trl_r1.grpo.fast_trainer.TOLERANCE", {torch.float32: -1.0})
    options = {
        "batching": "fast", "learning_rate": 2e-2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 4,
        "max_steps": 3, "loss_type": "dapo", "save_strategy": "steps",
    }  # fmt: skip
    whole = ours(lora(0.05), folder="whole", save_steps=1, **options)
    again = ours(lora(0.05), folder="again", resume=str(tmp_path / "whole" / "checkpoint-1"), **options)
    for name in ("losses", "grad_norms"):
        assert again[name] == whole[name][1:], name
    assert again["weights"].keys() == whole["weights"].keys()
    for name, weights in whole["weights"].items():
        assert torch.equal(again["weights"][name], weights), name
    assert whole["trainer"]._packs is again["trainer"]._packs is agrees


@pytest.mark.skipif(not scores_labels(), reason="this TRL scores no given labels, so nothing is packed")
def test_trying_out_packing_draws_no_random_number_and_leaves_every_module_as_it_was(ours, tiny):
    trainer = ours(lora(0.5), batching="fast", max_steps=1)["trainer"]
    model = trainer.model.train()
    model.base_model.model.lm_head.eval()
    modes = [module.training for module in model.modules()]
    ids = torch.randint(40, 200, (2, 12), generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    assert trainer._packing_agrees(model, ids, torch.ones_like(ids), 6)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes


MIXED = {
    "head_dim": 8,
    "num_hidden_layers": 3,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
MODELS = {
    "llama": (LlamaConfig, {}),
    "qwen2": (Qwen2Config, {}),
    "qwen3": (Qwen3Config, {"head_dim": 8}),
    "gemma3, window 6": (Gemma3TextConfig, {"sliding_window": 6, **MIXED}),
    "mistral, window 6": (MistralConfig, {"sliding_window": 6}),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_of_other_models_is_that_of_padded_batches(name, tiny, tmp_path):
    from transformers import AutoTokenizer

    config_class, options = MODELS[name]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        config_class(
            vocab_size=258, hidden_size=32, intermediate_size=48, num_hidden_layers=options.pop("num_hidden_layers", 2),
            num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2, bos_token_id=None, eos_token_id=1,
            pad_token_id=0, **options,
        )
    ).float()  # fmt: skip
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tiny).save_pretrained(tmp_path / "model")
    slow = gradients(str(tmp_path / "model"), tmp_path / "slow")
    fast = gradients(str(tmp_path / "model"), tmp_path / "fast", batching="fast")
    assert fast._packs is scores_labels()
    assert largest_error(fast, slow) <= SMALLEST


def test_when_every_group_is_dead_the_weights_still_get_a_zero_gradient(tiny, tmp_path):
    def constant(completions, **columns):
        return [1.0] * len(completions)

    trainer = gradients(tiny, tmp_path, batching="fast")
    trainer.reward_funcs[:] = [constant]
    trainer.gradients.clear()
    trainer.train()
    assert all(gradient.norm() == 0 and len(gradient) > 0 for gradient in trainer.gradients)


@pytest.mark.skipif(not scores_labels(), reason="this TRL scores no given labels, so nothing is packed")
def test_a_sliding_window_that_attention_never_hears_of_is_found_out(tiny, tmp_path, monkeypatch, caplog):
    import trl_r1.grpo.batching

    class Sliding:
        sliding_window = 4

    class OtherCache:
        def __init__(self, config):
            self.layers = [Sliding() for _ in range(config.num_hidden_layers)]

    monkeypatch.setattr(trl_r1.grpo.batching, "DynamicCache", OtherCache)
    trainer = gradients(tiny, tmp_path, batching="fast")
    assert trainer._packs is False
    assert "sliding windows" in caplog.text
    assert trainer.model.config._attn_implementation == "sdpa"


def test_the_saved_model_does_not_name_our_attention(tiny, tmp_path):
    trainer = gradients(tiny, tmp_path, batching="fast")
    trainer.save_model(str(tmp_path / "saved"))
    assert "trl_r1" not in (tmp_path / "saved" / "config.json").read_text()
    AutoModelForCausalLM.from_pretrained(tmp_path / "saved")


def test_sampled_log_probabilities_stand_in_for_the_old_policy(tiny, tmp_path):
    """In float32 the gradient moves by rounding only; the old policy's forward pass is saved."""
    options = {"rollout": "fast", "batching": "fast", "temperature": 0.8, **TWO_ITERATIONS}
    traces = {}
    for source in ("policy", "sampled"):
        trainer = Sampled(
            tiny, [letters],
            R1GRPOConfig(
                output_dir=str(tmp_path / source), use_cpu=True, bf16=False, report_to="none", num_generations=4,
                per_device_train_batch_size=8, max_completion_length=COLUMNS, learning_rate=2e-3, seed=7,
                disable_tqdm=True, max_grad_norm=0.0, save_strategy="no", old_logps=source, **options,
            ),
            train_dataset=tiny_prompts(),
        )  # fmt: skip
        trainer.train()
        traces[source] = trainer
    assert largest_error(traces["sampled"], traces["policy"]) <= 1e-4
    if scores_labels():  # it is the packed passes that are counted
        assert traces["policy"].passes - traces["sampled"].passes == 2  # one per generation


class Sampled(Given):
    passes = 0

    def _generate_single_turn(self, *args, **kwargs):
        return R1GRPOTrainer._generate_single_turn(self, *args, **kwargs)

    def _packed(self, *args):
        self.passes += 1
        return super()._packed(*args)


def test_sampled_without_the_fast_rollout_is_refused(tmp_path):
    with pytest.raises(ValueError, match="rollout='fast'"):
        R1GRPOConfig(output_dir=str(tmp_path), old_logps="sampled", bf16=False)


@pytest.mark.parametrize("name", ["rollout", "batching", "old_logps"])
def test_an_unknown_name_is_told(name, tmp_path):
    with pytest.raises(ValueError, match=name):
        R1GRPOConfig(output_dir=str(tmp_path), bf16=False, **{name: "quick"})
    assert not hasattr(GRPOConfig(output_dir=str(tmp_path), bf16=False), name)


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_padded_batches(two_ranks, tiny, tmp_path):
    printed = two_ranks("two_processes_batching.py", tiny, tmp_path)
    assert printed.count("equal gradients") == 2


# -- packing itself -----------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_packing_holds_every_prediction_once_and_every_row_in_order(data):
    rows = data.draw(st.integers(1, 6))
    prompts = [data.draw(st.lists(st.integers(2, 4), min_size=1, max_size=4)) for _ in range(2)]
    chosen = [prompts[data.draw(st.integers(0, 1))] for _ in range(rows)]
    replies = [data.draw(st.lists(st.integers(5, 99), min_size=1, max_size=9)) for _ in range(rows)]
    width, columns = max(map(len, chosen)), max(map(len, replies))
    ids = torch.tensor([
        [0] * (width - len(p)) + p + r + [0] * (columns - len(r)) for p, r in zip(chosen, replies)
    ])  # fmt: skip
    mask = (ids != 0).long()
    before, after = lengths_of(mask, width)
    assert before.tolist() == [len(p) for p in chosen]
    assert after.tolist() == [len(r) for r in replies]
    packed = pack(ids, before, after, width, torch.arange(rows))
    assert packed.ids.size(1) == sum(map(len, replies)) + sum(len(p) - 1 for p in {tuple(p) for p in chosen})
    found = {}
    for row, column, place in zip(packed.rows.tolist(), packed.columns.tolist(), packed.places.tolist()):
        assert (row, column) not in found
        found[row, column] = packed.labels[0, place].item()
    assert found == {(row, column): reply[column] for row, reply in enumerate(replies) for column in range(len(reply))}
    read = []  # the tokens that attention sees, row by row, behind each other
    for bucket in packed.packing.buckets:
        for index in bucket:
            read.append(packed.ids[0, index].tolist())
    expected = sorted(p + r[:-1] for p, r in zip(chosen, replies))
    assert sorted(row[: len(want)] for row, want in zip(read, sorted(expected, key=len, reverse=True))) is not None
    for row, want in zip(read, sorted(expected, key=len, reverse=True)):
        assert len(row) >= len(want)
    flat = torch.cat([bucket.flatten() for bucket in packed.packing.buckets])
    assert torch.equal(flat[packed.packing.inverse], torch.arange(packed.ids.size(1)))
    for row, column, place in zip(packed.rows.tolist(), packed.columns.tolist(), packed.places.tolist()):
        bucket = next(b for b in packed.packing.buckets for index in b if place in index.tolist())
        line = next(index for index in bucket.tolist() if place in index)
        seen = packed.ids[0, line[: line.index(place) + 1]].tolist()
        assert seen == chosen[row] + replies[row][:column]


def test_a_mask_with_holes_has_no_lengths():
    assert lengths_of(torch.tensor([[0, 1, 1, 1, 0, 1]]), 3) is None
    assert lengths_of(torch.tensor([[1, 0, 1, 1, 0, 0]]), 3) is None
    assert [part.tolist() for part in lengths_of(torch.tensor([[0, 1, 1, 1, 0, 0]]), 3)] == [[2], [1]]


def test_rows_of_similar_length_go_together():
    lengths = torch.tensor([100, 400, 90, 380, 30, 395])
    batches = batches_by_length(lengths, torch.arange(6))
    assert [batch.tolist() for batch in batches] == [[1, 5, 3], [0, 2, 4]]
    assert [batch.tolist() for batch in batches_by_length(lengths, torch.arange(6), several=False)] == [
        [1, 5, 3, 0, 2, 4]
    ]
