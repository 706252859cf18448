"""One GRPO step of stock TRL beside ours (`rollout: fast`, `batching: fast`), generation included.

    python benchmarks/grpo_step.py            (two cores, no options; `mini` alone: four minutes; `llama-30m half`: one mix)
    python benchmarks/grpo_step.py smollm2    (a real model, and rollouts from a light copy: grpo_smollm2.py)

Models     random weights, float32, no gradient checkpointing in either arm: the mini model (Llama, 0.1 M parameters, 128
           rows in one micro-batch, as its recipe has it) and a Llama of 30 M parameters (16 rows x 8 accumulated).
Batch      8 prompts of 16 to 48 tokens, 16 completions each, at most 256 tokens. Lengths are drawn once, from an
           exponential distribution cut at 256 and scaled to a mean of 64, and forced by the end token: in both arms a
           function changes the logits. Its time is taken off stock's clock and left on ours.
Mixes      half      half of the groups dead by reward, beta 0                              -> ratio
           half_kl   the same at beta 0.001: dead rows keep their KL and are computed       -> ratio_kl
           uniform   every completion has 64 tokens, no group is dead                       -> uniform
           worst     every completion has 256 tokens, prompts have 2, no group is dead      -> worst
Time       seconds from the beginning to the end of an optimizer step, as Trainer's callbacks see it. One process, stock
           and ours alternating, PAIRS pairs after one step each to warm up; the median of the pairs' ratios.
Memory     highest resident set of a fresh process per arm that takes two steps of `half`.

The last line is JSON; every number in it is the worse one of the two models.
"""

from __future__ import annotations

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from trl_r1.grpo.times import NestedClock

THREADS = 2
os.environ["OMP_NUM_THREADS"] = str(THREADS)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

PAIRS = 5
PROMPTS, GROUP, LONGEST, MEAN = 8, 16, 256, 64
END = 1
MODELS: dict[str, dict[str, Any]] = {
    "mini": {
        "config": {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                   "num_attention_heads": 4, "num_key_value_heads": 4},
        "batch": {"per_device_train_batch_size": 128, "gradient_accumulation_steps": 1},
    },
    "llama-30m": {
        "config": {"vocab_size": 8192, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8,
                   "num_attention_heads": 8, "num_key_value_heads": 8},
        "batch": {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 8},
    },
}  # fmt: skip
MIXES: dict[str, dict[str, Any]] = {
    "half": {"dead": PROMPTS // 2},
    "half_kl": {"dead": PROMPTS // 2, "options": {"beta": 0.001}},
    "uniform": {"dead": 0, "lengths": [MEAN] * (PROMPTS * GROUP)},
    "worst": {"dead": 0, "lengths": [LONGEST] * (PROMPTS * GROUP), "prompt_tokens": (2, 2)},
}


def draw_lengths() -> list[int]:
    """PROMPTS * GROUP lengths in tokens with a mean of MEAN, rounded, the longest LONGEST."""
    chosen = random.Random(0)
    draws = [chosen.expovariate(1.0) for _ in range(PROMPTS * GROUP)]
    scale = float(MEAN)
    for _ in range(50):  # the cut at LONGEST takes off some of the mean
        lengths = [min(LONGEST, max(1, round(scale * draw))) for draw in draws]
        scale *= MEAN / statistics.mean(lengths)
    return lengths


def build(folder: Path, shape: dict[str, Any]) -> str:
    """A random model and a tokenizer whose every id decodes, in `folder`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<pad>", "<eos>", *alphabet, *(f"<{number}>" for number in range(2 + len(alphabet), shape["vocab_size"]))]
    tokenizer = Tokenizer(models.BPE(vocab={name: index for index, name in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        **shape,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=END,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).float()
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)


class ForcedLengths:
    """Changes logits so that row i ends with its token number lengths[i]; for `generate` and for our rollout."""

    def __init__(self, lengths: list[int], clock: NestedClock):
        import torch

        self.lengths, self.clock = torch.tensor(lengths), clock
        self.start = 0
        self.cpu = 0.0  # CPU seconds that forcing took in `generate`, since the beginning

    def for_generate(self, input_ids, scores):
        began = time.process_time()
        with self.clock.part("forcing lengths"):
            scores = self._force(scores, self.lengths, input_ids.size(1) - self.start)
        self.cpu += time.process_time() - began
        return scores

    def for_rollout(self, logits, rows, step):
        return self._force(logits, self.lengths[rows], step)

    @staticmethod
    def _force(scores, lengths, step):
        scores[:, END] = -float("inf")
        ending = (lengths == step + 1).nonzero().squeeze(1)
        if len(ending):
            scores[ending] = -float("inf")
            scores[ending, END] = 0.0
        return scores


def make_trainer(arm: str, model: str, name: str, mix: dict[str, Any], folder: str) -> Any:
    """A trainer of one arm ("stock" or "ours") with a clock on its phases."""
    import torch
    from datasets import Dataset
    from transformers import LogitsProcessorList, PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from trl_r1 import R1GRPOConfig, R1GRPOTrainer
    from trl_r1.grpo.times import NestedClock

    chosen = random.Random(1)
    prompts = ["".join(chosen.choice("abcdefgh") for _ in range(chosen.randint(*mix.get("prompt_tokens", (16, 48)))))
               for _ in range(mix.get("prompts", PROMPTS))]  # fmt: skip
    rows = Dataset.from_list([{"prompt": text, "dead": index < mix["dead"]} for index, text in enumerate(prompts)])

    def reward(completions, dead, **columns):
        return [1.0 if no else float(sum(map(ord, text)) % 2) for text, no in zip(completions, dead)]

    base: Any = R1GRPOTrainer if arm == "ours" else GRPOTrainer

    class Timed(base):
        clock = NestedClock()
        tokens_processed = tokens_useful = 0

        def _generate_single_turn(self, prompt_ids, *args, **kwargs):
            with self.clock.part("generate"):
                if arm == "ours":
                    return super()._generate_single_turn(prompt_ids, *args, **kwargs)
                bare = self.accelerator.unwrap_model(self.model)
                forced.start = max(map(len, prompt_ids))
                plain = bare.generate
                bare.generate = lambda **given: plain(
                    logits_processor=LogitsProcessorList([forced.for_generate]), **given
                )
                try:
                    return super()._generate_single_turn(prompt_ids, *args, **kwargs)
                finally:
                    del bare.generate

        def _calculate_rewards(self, *args, **kwargs):
            with self.clock.part("rewards"):
                return super()._calculate_rewards(*args, **kwargs)

        def _generate_and_score_completions(self, inputs):
            with self.clock.part("prepare"):
                return super()._generate_and_score_completions(inputs)

        def _get_per_token_logps_and_entropies(self, *args, **kwargs):
            with self.clock.part("forward" if torch.is_grad_enabled() else "forward of the reference"):
                return super()._get_per_token_logps_and_entropies(*args, **kwargs)

        def _compute_loss(self, model, inputs):
            if arm == "stock":
                self.tokens_processed += inputs["prompt_ids"].numel() + inputs["completion_ids"].numel()
                weight = inputs["advantages"].ne(0.0)[:, None]
                self.tokens_useful += int((inputs["completion_mask"] * weight).sum())
            with self.clock.part("loss"):
                return super()._compute_loss(model, inputs)

        def training_step(self, *args, **kwargs):
            with self.clock.part("backward"):
                return super().training_step(*args, **kwargs)

    class Stopwatch(TrainerCallback):
        seconds: float = 0.0
        cpu: float = 0.0

        def on_step_begin(self, *args, **kwargs):
            self.begun, self.cpu_begun = time.perf_counter(), time.process_time()

        def on_step_end(self, *args, **kwargs):
            self.seconds, self.cpu = time.perf_counter() - self.begun, time.process_time() - self.cpu_begun

    options = {
        "output_dir": folder, "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none",
        "num_generations": mix.get("group", GROUP),
        "max_completion_length": mix.get("longest", LONGEST), "max_steps": 1, "learning_rate": 1e-6,
        "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1, "dataloader_pin_memory": False, "seed": 0,
        "model_init_kwargs": {"dtype": "float32"}, **MODELS[name]["batch"],
        **mix.get("options", {}),
    }  # fmt: skip
    if arm == "ours":
        config: Any = R1GRPOConfig(rollout="fast", batching="fast", **options)
    else:
        config = GRPOConfig(**options)
    trainer = Timed(model, [reward], config, train_dataset=rows)
    trainer.remove_callback(PrinterCallback)
    trainer.stopwatch = Stopwatch()
    trainer.add_callback(trainer.stopwatch)
    forced = ForcedLengths(mix.get("lengths") or draw_lengths(), trainer.clock)
    trainer.forced = forced
    if arm == "ours":
        trainer._fast_rollout.change_logits = forced.for_rollout
    return trainer


def step(trainer: Any) -> dict[str, float]:
    """One optimizer step; seconds, CPU seconds and seconds per phase. Forcing lengths costs stock nothing."""
    trainer.clock.seconds.clear()
    before = trainer.forced.cpu
    trainer.tokens_processed = trainer.tokens_useful = 0
    trainer.train()
    phases = dict(trainer.clock.seconds)
    forcing = phases.pop("forcing lengths", 0.0)
    seconds, cpu = trainer.stopwatch.seconds - forcing, trainer.stopwatch.cpu - (trainer.forced.cpu - before)
    rest = max(0.0, seconds - sum(phases.values()))
    return {
        **phases, "optimizer, loop": rest, "seconds": seconds, "cpu": cpu,
        "useful": float(trainer.tokens_useful) / trainer.tokens_processed,
    }  # fmt: skip


def compare(name: str, mix_name: str, folder: Path) -> dict[str, Any]:
    """Alternating pairs; returns the median ratio and prints where the time went."""
    mix = MIXES[mix_name]
    model = build(folder / name, MODELS[name]["config"])
    arms = {arm: make_trainer(arm, model, name, mix, str(folder / arm)) for arm in ("stock", "ours")}
    seen: dict[str, list[dict[str, float]]] = {"stock": [], "ours": []}
    for pair in range(PAIRS + 1):
        for arm, trainer in arms.items():
            found = step(trainer)
            told = f"{name}, {mix_name}, pair {pair or 'to warm up'}, {arm}: {found['seconds']:.2f} s"
            print(told, file=sys.stderr, flush=True)
            if pair:
                seen[arm].append(found)
    tokens = sum(mix.get("lengths") or draw_lengths())
    print(f"\n{name}, {mix_name}: {tokens} completion tokens")
    for arm, rows in seen.items():
        medians = {key: statistics.median(row.get(key, 0.0) for row in rows) for key in rows[0]}
        seconds, cpu, useful = (medians.pop(key) for key in ("seconds", "cpu", "useful"))
        phases = ", ".join(f"{key} {value:.2f}" for key, value in sorted(medians.items(), key=lambda item: -item[1]))
        print(
            f"  {arm:6} {seconds:7.2f} s  {cpu:7.2f} CPU s  {tokens / seconds:7.0f} tokens/s  useful {useful:5.1%}  {phases}"
        )
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(seen["stock"], seen["ours"])]
    cpu = statistics.median(a["cpu"] / b["cpu"] for a, b in zip(seen["stock"], seen["ours"]))
    ratio = statistics.median(ratios)
    print(
        f"  ratio {ratio:.2f} (pairs {', '.join(f'{r:.2f}' for r in sorted(ratios))}); by CPU seconds {cpu:.2f}",
        flush=True,
    )
    return {"ratio": ratio, "cpu": cpu}


def peak(arm: str, name: str) -> None:
    """In a process of its own: two steps, then the highest resident set in MiB on the last line."""
    with tempfile.TemporaryDirectory() as folder:
        model = build(Path(folder) / name, MODELS[name]["config"])
        trainer = make_trainer(arm, model, name, MIXES["half"], folder)
        for _ in range(2):
            step(trainer)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory(name: str) -> float:
    """Highest resident set of ours over stock's."""
    peaks = {}
    for arm in ("stock", "ours"):
        done = subprocess.run(
            [sys.executable, __file__, "--peak", arm, name], capture_output=True, text=True, check=True
        )
        peaks[arm] = float(done.stdout.strip().splitlines()[-1])
    print(f"\n{name}: highest resident set {peaks['stock']:.0f} MiB stock, {peaks['ours']:.0f} MiB ours", flush=True)
    return peaks["ours"] / peaks["stock"]


def main() -> None:
    if sys.argv[1:2] == ["smollm2"]:
        import grpo_smollm2

        grpo_smollm2.main(sys.argv[2:])
        return
    warnings.filterwarnings("ignore")
    sys.path.insert(0, str(Path(__file__).parent.parent))
    import torch
    import transformers

    torch.set_num_threads(THREADS)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if sys.argv[1:2] == ["--peak"]:
        peak(*sys.argv[2:4])
        return
    names = [name for name in MODELS if name in sys.argv[1:]] or list(MODELS)
    mixes = [mix for mix in MIXES if mix in sys.argv[1:]] or list(MIXES)
    ratios: dict[str, list[float]] = {mix: [] for mix in mixes}
    memories = []
    for name in names:
        for mix in mixes:
            with tempfile.TemporaryDirectory() as folder:
                ratios[mix].append(compare(name, mix, Path(folder))["ratio"])
        memories.append(memory(name))
    keys = {"half": "ratio", "half_kl": "ratio_kl", "uniform": "uniform", "worst": "worst"}
    least = {keys[mix]: round(min(found), 2) for mix, found in ratios.items()}
    print(json.dumps({"name": "grpo_step", "models": names, **least, "memory": round(max(memories), 2)}))


if __name__ == "__main__":
    main()
