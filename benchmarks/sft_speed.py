"""Supervised fine-tuning: tokens per CPU second of our stages' trainer (`batching: fast`) beside stock `SFTTrainer`.

    python benchmarks/sft_speed.py                          (the miniature; a minute or two on one core)
    python benchmarks/sft_speed.py --model smollm2:135m     (and a real model; or a folder; minutes)

Rows       sums and general requests of the mini world with their replies, 4 to 60 tokens: what the miniature's stages
           imitate. Drawn once; both arms see the same rows in the same batches, and only replies are trained on.
Models     teacher  the mini base's size (64 wide), 32 rows a step, as mini/sft
           student  the mini student's size (20 wide), 64 rows a step, as mini/distill
           real     all weights in float32 under bfloat16 autocast, 8 rows a step, as smollm2/sft (`--float32`: without)
Time       CPU seconds of this process from the end of the first step to the end of the last, data loading and logging
           included. One thread. Arms alternate, stock first; the ratio is the median over PAIRS pairs.
Check      the losses of both arms, step by step: `largest_loss_change`, relative.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any


os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROWS = 2048
SIZES = {
    "teacher": {"hidden": 64, "heads": 4, "intermediate": 128},
    "student": {"hidden": 20, "heads": 2, "intermediate": 44},
}
BATCH = {"teacher": 32, "student": 64, "real": 8}
STEPS = {"teacher": 31, "student": 31, "real": 3}
PAIRS = {"teacher": 5, "student": 5, "real": 3}


def draw_rows(count: int) -> list[tuple[str, str]]:
    """Prompts and replies of the mini world, sums and general requests."""
    from trl_r1.mini.corpus import draw_corpus
    from trl_r1.mini.labels import draw_web

    documents = [*draw_corpus(count - count // 3, 0), *draw_web(count // 3, 0)]
    return [(document.prompt, document.reply) for document in documents]


def tokenized(rows: list[tuple[str, str]], tokenizer: Any) -> Any:
    """Rows as both trainers take them."""
    from datasets import Dataset

    made = []
    for prompt, reply in rows:
        before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        after = [*tokenizer(reply, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        made.append({"input_ids": before + after, "completion_mask": [0] * len(before) + [1] * len(after)})
    return Dataset.from_list(made)


def build(name: str, folder: Path) -> str:
    """A random model of the miniature and its tokenizer, in a folder."""
    import torch
    from tokenizers import AddedToken

    from trl_r1.mini import model
    from trl_r1.mini.corpus import draw_corpus
    from trl_r1.mini.general import vocabulary

    tokenizer = model.build_tokenizer(draw_corpus(2000, 0), 512)
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in vocabulary()])
    torch.manual_seed(0)
    size = model.Scale(documents=0, layers=2, **SIZES[name])
    model.build_model(tokenizer, size).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def run(arm: str, name: str, path: str, rows: Any, half: bool) -> tuple[float, int, list[float]]:
    """CPU seconds and tokens of all steps but the first, and the losses of all."""
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTTrainer

    from trl_r1.runs.sft import R1SFTTrainer
    from trl_r1.runs.tuning_config import R1SFTConfig

    class Stopwatch(TrainerCallback):
        ends: list[float] = []

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            self.ends.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        config = R1SFTConfig(
            output_dir=folder, use_cpu=True, bf16=half, gradient_checkpointing=False, report_to="none", seed=0,
            max_steps=STEPS[name], per_device_train_batch_size=BATCH[name], learning_rate=1e-4, logging_steps=1,
            save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False, max_length=None,
            completion_only_loss=True, model_init_kwargs={"dtype": "float32"},
            batching="fast" if arm == "ours" else "trl",
        )  # fmt: skip
        trainer = (R1SFTTrainer if arm == "ours" else SFTTrainer)(path, config, train_dataset=rows)
        trainer.remove_callback(PrinterCallback)
        watch = Stopwatch()
        watch.ends = []
        trainer.add_callback(watch)
        trainer.train()
    logs = [line for line in trainer.state.log_history if "loss" in line]
    tokens = logs[-1]["num_tokens"] - logs[0]["num_tokens"]
    return watch.ends[-1] - watch.ends[0], int(tokens), [line["loss"] for line in logs]


def compare(name: str, path: str, half: bool) -> dict[str, Any]:
    """Both arms, in pairs."""
    from transformers import AutoTokenizer

    rows = tokenized(draw_rows(ROWS), AutoTokenizer.from_pretrained(path))
    ratios: list[float] = []
    rates: dict[str, list[float]] = {"stock": [], "ours": []}
    worst = 0.0
    for _ in range(PAIRS[name]):
        found = {arm: run(arm, name, path, rows, half) for arm in ("stock", "ours")}
        assert found["stock"][1] == found["ours"][1]
        for arm, (seconds, tokens, _) in found.items():
            rates[arm].append(tokens / seconds)
        ratios.append(found["stock"][0] / found["ours"][0])
        pairs = zip(found["stock"][2], found["ours"][2], strict=True)
        worst = max(worst, *(abs(a - b) / abs(a) for a, b in pairs))
    result = {
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "tokens_per_cpu_second": {arm: round(statistics.median(values)) for arm, values in rates.items()},
        "largest_loss_change": float(f"{worst:.1e}"),
    }
    print(name, result, flush=True)
    return result


def main() -> None:
    import datasets
    import torch
    import transformers

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a real model beside the miniature: smollm2:135m or a folder")
    parser.add_argument("--float32", action="store_true", help="the real one without bfloat16 autocast")
    parser.add_argument("--only", choices=("teacher", "student", "real"), help="one of them alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in SIZES:
            if options.only in (None, name):
                results[name] = compare(name, build(name, Path(folder) / name), False)
        if options.model:
            from trl_r1.models.gguf import resolve_gguf

            path = resolve_gguf(options.model) if options.model.startswith("smollm2:") else options.model
            results["real"] = compare("real", str(path), not options.float32)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
