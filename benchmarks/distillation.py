"""A student's accuracy against its size and its training time, with reinforcement on the same students beside it.

    python benchmarks/distillation.py runs/demo                          (a finished `make demo`; tens of minutes)
    python benchmarks/distillation.py runs/demo-seed1 --seed 1 --arms sizes
    python benchmarks/distillation.py --picture docs/assets/distillation.png

Teacher   reasoning RL's model of the demo, and what the demo's rejection sampling kept of its samples
Students  two layers, 12, 20, 28 and 40 wide, pre-trained as mini:student is, which is the one of 20
Arms      sizes    mini/distill and, beside it, mini/zero on the student (260 steps, learning rate 3e-4: the better of the
                   demo's two), for each student
          seconds  mini/distill on the student of 20 with fewer epochs
          plain    the same student, all kept rows in TRL's batches, with epochs for the seconds that mini/distill takes;
                   and all kept rows with `batching: fast`, as many steps as mini/distill
          hard     rows drawn by difficulty: a question that the teacher solves every time counts a quarter
          labels   a loop of its own, equal rows, batches, steps and rates: the tokens of the samples as labels (`labels`),
                   and the teacher's eight likeliest tokens with their probabilities (`soft`), stored once before
Time      training_seconds: by the clock, inside the stage, without loading and evaluation. cpu: of the whole process.

Each run is a line of --results, and runs that have one are not repeated. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any


os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from trl_r1.storage.files import append_json_lines, read_json_lines  # noqa: E402


WIDTHS = {12: (2, 26), 20: (2, 44), 28: (2, 60), 40: (4, 84)}  # heads, intermediate
DEMO = 20  # the demo's student
EPOCHS = (2, 5, 10, 20)  # of `seconds`; mini/distill has 40
STOCK_EPOCHS, ALL_EPOCHS = 11, 29  # of `plain`: measured for the seconds, and 1,160 steps of 2,546 rows
ARMS = "sizes,seconds,plain,hard,labels"
LIKELIEST = 8
Row = dict[str, Any]


def student(demo: Path, width: int, seed: int) -> Path:
    """The folder of a pre-trained student of that width, made on first use."""
    from trl_r1.mini import wider

    models = demo / "models" / "mini"
    base = next(path for path in models.glob(f"base-general-demo-seed{seed}-*") if path.is_dir())
    heads, intermediate = WIDTHS[width]
    size = replace(wider.STUDENT["demo"], hidden=width, heads=heads, intermediate=intermediate)
    return wider.build_student(models / f"student-{width}-seed{seed}", base, seed, "demo", size)


def run_stage(stage: str, arguments: list[str], demo: Path) -> Row:
    """A stage as its command, in a folder that is thrown away; what its summary says."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", f"trl_r1.stages.{stage}", *arguments, "--disable_tqdm", "true"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRL_R1_CACHE": str((demo / "models").resolve())}
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run(
            [*command, "--output_dir", folder], check=True, env=environment, stdout=subprocess.DEVNULL, cwd=ROOT
        )
        cpu = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        summary = json.loads((Path(folder) / "summary.json").read_text())
    after = summary["after"]
    told = {"before": summary["before"]["pass@1"], "after": after["pass@1"], "interval": after["interval"]["pass@1"]}
    told |= {"language": after["language"], "steps": summary["steps"], "training_seconds": summary["training_seconds"]}
    if "distillation" in summary:
        told |= {"kept": summary["distillation"]["kept"], "ratio": summary["distillation"]["parameters"]["ratio"]}
    return {**told, "cpu": round(cpu, 1)}


def distill(demo: Path, model: Path, seed: int, *more: str) -> Row:
    teacher = str((demo / "reasoning_rl").resolve())
    kept = demo / "rejection_sampling" / "kept.jsonl"
    arguments = ["--config", "mini/distill", "--model_name_or_path", str(model.resolve()), "--seed", str(seed)]
    arguments += ["--teacher_model", teacher, "--teacher_run", teacher, "--dataset_name", str(kept.resolve()), *more]
    return run_stage("distill", arguments, demo)


def reinforce(demo: Path, model: Path, seed: int) -> Row:
    arguments = ["--config", "mini/zero", "--model_name_or_path", str(model.resolve()), "--seed", str(seed)]
    arguments += ["--max_steps", "260", "--learning_rate", "3.0e-4", "--probe_every", "0"]
    return run_stage("zero", arguments, demo)


def by_difficulty(demo: Path, folder: Path, seed: int) -> Path:
    """As many epochs' worth of rows as mini/distill takes, those of questions that are always solved at a quarter."""
    kept = read_json_lines(demo / "rejection_sampling" / "kept.jsonl")
    solved: dict[tuple[int, int], list[bool]] = {}
    for path in sorted((demo / "rejection_sampling" / "judged").glob("*.jsonl")):
        head, *samples = read_json_lines(path)
        for sample in samples:
            solved.setdefault((head["unit"], sample["place"]), []).append(bool(sample["right"]))
    rng = random.Random(seed)
    chosen = []
    for row in kept:
        easy = row["domain"] != "reasoning" or all(solved[row["provenance"]["unit"], row["provenance"]["place"]])
        if not easy or rng.random() < 0.25:
            chosen.append(row)
    path = folder / "hard.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen), encoding="utf-8")
    return path


def measure(demo: Path, seed: int, arms: list[str], widths: list[int], results: Path) -> None:
    done = {(row["arm"], row["seed"]) for row in (read_json_lines(results) if results.is_file() else [])}

    def once(arm: str, width: int, work: Callable[..., Row], *given: Any) -> None:
        if (arm, seed) in done:
            return
        row = {"arm": arm, "width": width, "seed": seed, **work(*given)}
        results.parent.mkdir(parents=True, exist_ok=True)
        append_json_lines(results, [row])
        print(json.dumps(row), flush=True)

    if "sizes" in arms:
        for width in widths:
            model = student(demo, width, seed)
            once(f"distilled {width}", width, distill, demo, model, seed)
            once(f"reinforced {width}", width, reinforce, demo, model, seed)
    model = student(demo, DEMO, seed)
    if "seconds" in arms:
        for epochs in EPOCHS:
            once(f"epochs {epochs}", DEMO, distill, demo, model, seed, "--num_train_epochs", str(epochs))
    if "plain" in arms:
        for name, epochs, batching in (("plain", STOCK_EPOCHS, "trl"), ("all rows", ALL_EPOCHS, "fast")):
            more = ("--domain_shares", "{}", "--num_train_epochs", str(epochs), "--batching", batching)
            once(name, DEMO, distill, demo, model, seed, *more)
    if "hard" in arms:
        with tempfile.TemporaryDirectory() as folder:
            rows = by_difficulty(demo, Path(folder), seed)
            epochs = str(round(1160 * 64 / len(read_json_lines(rows))))
            more = ("--domain_shares", "{}", "--num_train_epochs", epochs, "--dataset_name", str(rows))
            once("hard", DEMO, distill, demo, model, seed, *more)
    if "labels" in arms:
        for name in ("labels", "soft"):
            once(name, DEMO, by_labels, demo, model, seed, name == "soft")


def by_labels(demo: Path, model: Path, seed: int, soft: bool) -> Row:
    """The loop of `labels`: mini/distill's rows, rates and steps in plain PyTorch."""
    import time

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    tokenizer = AutoTokenizer.from_pretrained(model)
    trained = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    teacher = AutoModelForCausalLM.from_pretrained(demo / "reasoning_rl", dtype=torch.float32).eval()
    rows = []
    for row in read_json_lines(demo / "rejection_sampling" / "kept.jsonl"):
        if row["domain"] != "reasoning" and rng.random() >= 0.25:
            continue
        prompt = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
        reply = tokenizer(row["completion"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        ids = torch.tensor(prompt + reply)
        with torch.no_grad():
            odds = teacher(ids[None]).logits[0, len(prompt) - 1 : -1].softmax(-1)
        likely = odds.topk(LIKELIEST, dim=-1)
        rows.append((ids, len(prompt), likely.values / likely.values.sum(-1, keepdim=True), likely.indices))
    steps, warm, peak = 1160, 20, 1.5e-2
    optimizer = torch.optim.AdamW(trained.parameters(), lr=peak, betas=(0.9, 0.99), weight_decay=0.0)
    order: list[int] = []
    began = time.perf_counter()
    for step in range(steps):
        if len(order) < 64:
            order = rng.sample(range(len(rows)), len(rows))
        batch, order = [rows[i] for i in order[:64]], order[64:]
        wide = max(len(ids) for ids, *_ in batch)
        ids = torch.stack([torch.nn.functional.pad(ids, (0, wide - len(ids))) for ids, *_ in batch])
        mask = torch.stack([torch.arange(wide) < len(ids) for ids, *_ in batch]).long()
        at = [(i, place) for i, (ids_, start, *_) in enumerate(batch) for place in range(start - 1, len(ids_) - 1)]
        lines, places = torch.tensor(at).T
        log_odds = trained(ids, attention_mask=mask).logits[lines, places].log_softmax(-1)
        if soft:
            values = torch.cat([values for *_, values, _ in batch])
            indices = torch.cat([indices for *_, indices in batch])
            loss = -(values * log_odds.gather(-1, indices)).sum(-1).mean()
        else:
            loss = -log_odds.gather(-1, ids[lines, places + 1][:, None]).mean()
        share = min(1.0, (step + 1) / warm)
        turn = torch.pi * max(0, step - warm) / (steps - warm)
        for group in optimizer.param_groups:
            group["lr"] = peak * share * (0.1 + 0.9 * 0.5 * (1 + float(torch.cos(torch.tensor(turn)))))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
    seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        trained.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        kept = distill(demo, Path(folder), seed, "--max_steps", "1", "--learning_rate", "0.0")
    return {**kept, "steps": steps, "training_seconds": round(seconds, 1)}


def table(rows: list[Row]) -> list[str]:
    lines = [
        "| run | seeds | of the teacher's parameters | pass@1 | kept | training seconds |",
        "|---|---|---:|---|---:|---:|",
    ]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = sorted((row for row in rows if row["arm"] == arm), key=lambda row: row["seed"])
        each = ", ".join(f"{row['after']:.1%} [{row['interval'][0]:.1%}, {row['interval'][1]:.1%}]" for row in mine)
        kept = ", ".join(f"{row['kept']:.2f}" for row in mine if row.get("kept") is not None)
        ratio = f"{mine[0]['ratio']:.1%}" if "ratio" in mine[0] else ""
        seconds = statistics.median(row["training_seconds"] for row in mine)
        seeds = ", ".join(str(row["seed"]) for row in mine)
        lines.append(f"| {arm} | {seeds} | {ratio} | {each} | {kept} | {seconds:.0f} |")
    return lines


def draw(rows: list[Row], path: Path) -> None:
    """Left: pass@1 against the student's share of the parameters. Right: against seconds of training."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ratios = {row["width"]: row["ratio"] for row in rows if "ratio" in row}
    marks = dict(zip(sorted({row["seed"] for row in rows}), "os^Dv"))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), sharey=True)
    for kind, colour in (("distilled", "#1f6fb4"), ("reinforced", "#d1711f")):
        for seed, mark in marks.items():
            mine = sorted(
                (row for row in rows if row["arm"].startswith(kind) and row["seed"] == seed), key=lambda r: r["width"]
            )
            if not mine:
                continue
            places = [100 * ratios[row["width"]] for row in mine]
            for place, row in zip(places, mine):
                left.plot([place, place], [100 * bound for bound in row["interval"]], color=colour, alpha=0.35, lw=1)
            values = [100 * row["after"] for row in mine]
            left.plot(places, values, mark + "-", color=colour, ms=4, lw=1, label=f"{kind}, seed {seed}")
    kinds = {
        "distilled, 2 to 40 epochs": ("#1f6fb4", lambda arm: arm == f"distilled {DEMO}" or arm.startswith("epochs ")),
        "reinforced": ("#d1711f", lambda arm: arm == f"reinforced {DEMO}"),
        "plain SFT": ("#8a8a8a", lambda arm: arm == "plain"),
    }
    for name, (colour, chosen) in kinds.items():
        for seed, mark in marks.items():
            mine = sorted(
                (row["training_seconds"], 100 * row["after"])
                for row in rows
                if chosen(row["arm"]) and row["seed"] == seed
            )
            if mine:
                right.plot(*zip(*mine), mark + "-", color=colour, ms=4, lw=1, label=f"{name}, seed {seed}")
    left.set(xlabel="% of the teacher's parameters", ylabel="pass@1, %", title="Size")
    right.set(xlabel="seconds of training", title="Time, the student of 18 %")
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", nargs="?", type=Path, help="the folder of a finished demo")
    parser.add_argument("--seed", type=int, default=0, help="the demo's")
    parser.add_argument("--arms", default=ARMS)
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)))
    parser.add_argument("--results", type=Path, default=Path("runs/distillation.jsonl"))
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    if given.demo is not None:
        if not (given.demo / "rejection_sampling" / "kept.jsonl").is_file():
            parser.error(
                f"{given.demo} is not the folder of a finished demo: it holds no rejection_sampling/kept.jsonl."
            )
        measure(
            given.demo, given.seed, given.arms.split(","), [int(w) for w in given.widths.split(",")], given.results
        )
    rows = read_json_lines(given.results) if given.results.is_file() else []
    if given.picture:
        draw(rows, given.picture)
    print("\n".join(table(rows)))
    print(
        json.dumps({"name": "distillation", "runs": [{k: row[k] for k in ("arm", "seed", "after")} for row in rows]})
    )


if __name__ == "__main__":
    main()
