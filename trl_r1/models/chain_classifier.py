"""`trl-r1 rewards train semantic`: fine-tune a classifier on chains against damaged chains, and say how well it tells them.

    trl-r1 rewards train semantic --data chains.jsonl --model answerdotai/ModernBERT-base --output runs/semantic
    trl-r1 rewards train semantic --data mini:train --model mini:untrained --output runs/mini-semantic

Reads   rows with a question and a chain (the thought, where the text has think tags): JSON lines, or `mini:train`.
Leaves  in --output a checkpoint with the labels `damaged` and `coherent`, its tokenizer, and `semantic.json`: AUROC on
        held-out questions, per kind of damage (0.5 is chance, 1.0 tells every pair).
Use it  TRL_R1_SEMANTIC_MODEL=runs/semantic, or the option `model` of the reward `semantic`.

Trained by a plain loop instead of transformers' Trainer: `mini:semantic` is built on first use, which may be inside a
training run, whose accelerator, process group and random state a second Trainer would disturb.

Source: ours. DeepSeek-R1 trains no such model.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from tokenizers import processors
from tqdm.auto import tqdm
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    ModernBertConfig,
    ModernBertForSequenceClassification,
)

from trl_r1.mini import model as mini_model
from trl_r1.mini import store, world
from trl_r1.mini.corpus import draw_corpus
from trl_r1.mini.once import build_once
from trl_r1.models import classifier as classifier_module
from trl_r1.models import damage as damage_module
from trl_r1.models.classifier import Classifier
from trl_r1.models.damage import DAMAGES, Example, damaged
from trl_r1.storage.files import replace_file
from trl_r1.text.completions import reasoning_or_all
from trl_r1.text.records import Json, Row


LABELS = ("damaged", "coherent")
UNTRAINED = "mini:untrained"
CHAIN_COLUMNS = ("chain", "reasoning", "thinking", "completion", "solution", "answer")  # the first there is
QUESTION_COLUMNS = ("question", "problem", "prompt")


@dataclass(frozen=True)
class Settings:
    """How a classifier is trained. The defaults suit a pre-trained encoder."""

    epochs: float = 2.0  # passes over the chains; each pass damages them anew
    learning_rate: float = 3.0e-5  # peak, after a tenth of the steps, then linearly to 0
    batch_size: int = 32  # chains per step, half of them damaged
    weight_decay: float = 0.01
    max_length: int = 2048  # tokens of question and chain
    seed: int = 0


MINI = {
    "demo": (5000, 200, Settings(learning_rate=1.5e-3, max_length=128)),
    "tiny": (120, 20, Settings(epochs=1.0, learning_rate=1.5e-3, max_length=128)),
}  # scale -> (chains to train on, held-out chains, settings)


def auroc(coherent: Sequence[float], others: Sequence[float]) -> float:
    """Chance that a coherent chain scores higher than a damaged one, a tie counting one half; NaN without a pair.

    >>> auroc([0.9, 0.5], [0.5, 0.1])
    0.875
    """
    if not coherent or not others:
        return float("nan")
    high, low = torch.tensor(coherent, dtype=torch.float64), torch.tensor(others, dtype=torch.float64).sort().values
    below = torch.searchsorted(low, high, right=False)
    not_above = torch.searchsorted(low, high, right=True)
    return float((below + not_above).sum() / 2.0 / (len(high) * len(low)))


def pairs_of(examples: list[Example], rng: random.Random) -> list[tuple[Example, Example]]:
    """Every example beside itself damaged, the kind uniform over those it offers; without those that offer none."""
    pairs = []
    for example in examples:
        for kind in rng.sample(list(DAMAGES), len(DAMAGES)):
            broken = damaged(kind, rng, example, examples)
            if broken is not None:
                pairs.append((example, broken))
                break
    return pairs


def train(classifier: Classifier, examples: list[Example], settings: Settings) -> int:
    """Trains the classifier in place; returns how many steps it took. Touches no global random state.

    Raises:
        ValueError: no chain has a step to damage.
    """
    batches = list(_batches(examples, settings))
    if not batches:
        raise ValueError(
            "No chain could be damaged: each has a single step. Give chains of several lines or sentences."
        )
    model, tokenizer = classifier.model, classifier.tokenizer
    device, steps = model.device, len(batches)
    warmup = max(1, steps // 10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
    )
    model.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        _seed(settings.seed, device)
        for rows in tqdm(batches, desc="Training the semantic classifier", unit="step", mininterval=1.0):
            encoded = [classifier.encode(example.question, example.chain) for example, _ in rows]
            batch = tokenizer.pad(encoded, return_tensors="pt").to(device)
            targets = torch.tensor([label for _, label in rows], device=device)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = model(**batch).logits  # (B, 2)
            torch.nn.functional.cross_entropy(logits.float(), targets).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.eval()
    return steps


def _batches(examples: list[Example], settings: Settings) -> Iterator[list[tuple[Example, int]]]:
    """The batches of all passes, in random order, coherent chains labelled 1.

    Chains of about one length stand together, each beside its damaged self: sorted one by one, the longer ones of a
    batch would be the repeated and the shorter the cut ones, and length would pass for the label (AUROC 0.53 instead
    of 0.95 on the mini world).
    """
    rng, passes = random.Random(f"semantic {settings.seed}"), settings.epochs
    size = max(1, settings.batch_size // 2)  # pairs
    while passes > 0:
        chosen = examples if passes >= 1 else rng.sample(examples, max(2, int(passes * len(examples))))
        pairs = pairs_of(chosen, rng)
        rng.shuffle(pairs)
        for start in range(0, len(pairs), 32 * size):
            window = sorted(pairs[start : start + 32 * size], key=lambda pair: len(pair[0].chain))
            batches = [window[at : at + size] for at in range(0, len(window), size)]
            rng.shuffle(batches)
            yield from ([row for good, bad in batch for row in ((good, 1), (bad, 0))] for batch in batches)
        passes -= 1


def _seed(seed: int, device: torch.device) -> None:
    """Seeds the device that trains and no other: ``torch.manual_seed`` would also move a GPU that another run draws from."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def evaluate(classifier: Classifier, examples: list[Example], seed: int) -> dict[str, float]:
    """AUROC per kind of damage, and ``all`` of them together; each kind damages every example that offers it."""
    rng = random.Random(f"held out {seed}")

    def scores(chosen: list[Example]) -> list[float]:
        logits = classifier.logits([(example.question, example.chain) for example in chosen], batch_size=64)
        return (logits[:, 1] - logits[:, 0]).tolist()

    coherent = scores(examples)
    broken = {}
    for kind in DAMAGES:
        damaged_chains = [damaged(kind, rng, example, examples) for example in examples]
        broken[kind] = scores([example for example in damaged_chains if example is not None])
    result = {kind: auroc(coherent, values) for kind, values in broken.items()}
    return {**result, "all": auroc(coherent, [value for values in broken.values() for value in values])}


# ---------------------------------------------------------------- data and models


def mini_examples(split: str, count: int, seed: int) -> list[Example]:
    """Gold chains of the mini world."""
    return [Example(p.question, world.gold_chain(p)) for p in world.draw_problems(split, count, seed)]


def read_examples(path: str, question_column: str | None = None, chain_column: str | None = None) -> list[Example]:
    """The examples of a JSON lines file, one per row with a question and a chain.

    Raises:
        ValueError: a row is no object, or a column is missing; the message names the line.
    """
    examples = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number} is no JSON: {error}.") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number} is no object. Write one row a line: {{...}}.")
            question = _cell(row, question_column, QUESTION_COLUMNS, "question", path, number)
            chain = reasoning_or_all(_cell(row, chain_column, CHAIN_COLUMNS, "chain", path, number))
            if chain.strip():
                examples.append(Example(question, chain))
    return examples


def _cell(row: Row, named: str | None, usual: tuple[str, ...], what: str, path: str, number: int) -> str:
    column = named or next((name for name in usual if isinstance(row.get(name), str)), None)
    if column is None or not isinstance(row.get(column), str):
        expected = f"the column {named!r}" if named else f"any of {', '.join(usual)}"
        raise ValueError(
            f"{path}, line {number} has no text in {expected}. "
            f"It has: {', '.join(row)}. Name yours with --{what}_column."
        )
    return str(row[column])


def untrained(seed: int, hidden: int = 64, layers: int = 2) -> Classifier:
    """A small ModernBERT for the mini world with its tokenizer, weights drawn from ``seed``; reads 128 tokens."""
    tokenizer = mini_model.build_tokenizer(draw_corpus(8000, seed), vocabulary=510)
    tokenizer.add_special_tokens({"cls_token": "[CLS]", "sep_token": "[SEP]"})
    marks = [(mark, tokenizer.convert_tokens_to_ids(mark)) for mark in ("[CLS]", "[SEP]")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks
    )
    tokenizer.padding_side, tokenizer.chat_template = "right", None
    config = ModernBertConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=4,
        intermediate_size=96, max_position_embeddings=128, local_attention=128, classifier_pooling="mean",
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.cls_token_id, eos_token_id=tokenizer.sep_token_id,
        cls_token_id=tokenizer.cls_token_id, sep_token_id=tokenizer.sep_token_id,
        id2label=dict(enumerate(LABELS)), label2id={name: index for index, name in enumerate(LABELS)},
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        _seed(seed, torch.device("cpu"))
        model = ModernBertForSequenceClassification(config)
    return Classifier(model, tokenizer, "cpu", config.max_position_embeddings)


def with_new_head(name: str, max_length: int, seed: int) -> Classifier:
    """A pre-trained encoder or decoder with a head of two labels, whose weights come from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        _seed(seed, torch.device("cpu"))
        model = AutoModelForSequenceClassification.from_pretrained(
            name,
            num_labels=len(LABELS),
            id2label=dict(enumerate(LABELS)),
            label2id={label: index for index, label in enumerate(LABELS)},
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
    device = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
    return Classifier(model, AutoTokenizer.from_pretrained(name), device, max_length)


def resolve_mini(name: str, seed: int = 0) -> str:
    """The folder of ``mini:semantic`` or ``mini:semantic-tiny``, built now if it is not there yet.

    Built like ``mini:base`` (``build_once``), below the same cache, in a folder named after everything it depends on.

    Raises:
        ValueError: the mini world has no such classifier.
    """
    _, scale = store.parse(name, ("semantic",))
    digest = hashlib.sha256(store.recipe_version().encode())
    for module in (__file__, classifier_module.__file__, damage_module.__file__):
        digest.update(Path(module).read_bytes())
    path = store.cache() / f"semantic-{scale}-seed{seed}-{digest.hexdigest()[:8]}"

    def make(folder: Path) -> dict[str, object]:
        build_mini(folder, seed, scale)
        return {"seed": seed, "scale": scale}

    return str(build_once(path, make))


def build_mini(folder: Path, seed: int, scale: str) -> Json:
    """Trains the mini classifier on gold chains of the train split and measures it on the dev split."""
    count, held_out_count, settings = MINI[scale]
    examples, held_out = mini_examples("train", count, seed), mini_examples("dev", held_out_count, seed)
    with torch.inference_mode(False), torch.enable_grad():  # whoever asks for a score may be in neither
        return fit(untrained(seed), examples, held_out, replace(settings, seed=seed), folder)


def fit(
    classifier: Classifier, examples: list[Example], held_out: list[Example], settings: Settings, folder: Path
) -> Json:
    """Trains, measures, and saves the classifier with ``semantic.json``; returns what that file holds."""
    started = time.perf_counter()
    steps = train(classifier, examples, settings)
    report = {
        "auroc": {kind: round(value, 4) for kind, value in evaluate(classifier, held_out, settings.seed).items()},
        "chains": len(examples),
        "held_out": len(held_out),
        "steps": steps,
        "settings": asdict(settings),
        "seconds": round(time.perf_counter() - started, 1),
    }
    folder.mkdir(parents=True, exist_ok=True)
    classifier.model.save_pretrained(folder)
    classifier.tokenizer.save_pretrained(folder)
    replace_file(folder / "semantic.json", json.dumps(report, indent=1).replace("NaN", "null"))
    return report


def split_by_question(examples: list[Example], share: float) -> tuple[list[Example], list[Example]]:
    """Examples to train on and to hold out; equal questions are on one side, and no seed moves them."""
    sides: tuple[list[Example], list[Example]] = ([], [])
    for example in examples:
        digest = hashlib.sha256(example.question.encode("utf-8", "replace")).digest()
        sides[int.from_bytes(digest[:8], "big") % 10_000 < share * 10_000].append(example)
    return sides


# ---------------------------------------------------------------- the command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, help="JSON lines, or mini:train")
    parser.add_argument("--model", required=True, help=f"an encoder or decoder by id or folder, or {UNTRAINED}")
    parser.add_argument("--output", required=True, type=Path, help="folder for the checkpoint")
    parser.add_argument("--question_column", help=f"else the first of: {', '.join(QUESTION_COLUMNS)}")
    parser.add_argument("--chain_column", help=f"else the first of: {', '.join(CHAIN_COLUMNS)}")
    parser.add_argument("--held_out", type=float, default=0.1, help="share of the questions the AUROC is measured on")
    for option in fields(Settings):
        parser.add_argument(f"--{option.name}", type=type(option.default), default=None)


def run(args: argparse.Namespace) -> int:
    """Trains, and prints how well held-out chains are told apart.

    Raises:
        ValueError: an option cannot be, or the data leave nothing to train on or to measure.
    """
    settings = {option.name: value for option in fields(Settings) if (value := getattr(args, option.name)) is not None}
    report = _run(args, settings)
    for kind, value in report["auroc"].items():
        print(f"{kind:<16} {value:.3f}")
    print(f"\nAUROC on {report['held_out']} held-out chains; {report['steps']} steps, {report['seconds']:.0f} s.")
    print(f"Use it: TRL_R1_SEMANTIC_MODEL={args.output}")
    return 0


def _run(args: argparse.Namespace, settings_given: Json) -> Json:
    if (args.output / "config.json").exists():
        raise ValueError(f"{args.output} holds a checkpoint already. Name another --output.")
    if not 0.0 < args.held_out < 1.0:
        raise ValueError(f"--held_out {args.held_out} is no share between 0 and 1.")
    mini = args.model == UNTRAINED
    settings = replace(MINI["demo"][2] if mini else Settings(), **settings_given)
    if settings.epochs <= 0 or settings.batch_size < 1 or settings.learning_rate <= 0:
        raise ValueError("--epochs and --learning_rate are above 0, --batch_size is 1 or more.")
    if args.data == "mini:train":
        examples = mini_examples("train", MINI["demo"][0], settings.seed)
        held_out = mini_examples("dev", MINI["demo"][1], settings.seed)
    else:
        read = read_examples(args.data, args.question_column, args.chain_column)
        examples, held_out = split_by_question(read, args.held_out)
        if len(examples) < 2 or not held_out:
            raise ValueError(f"{args.data} leaves {len(examples)} chains to train on and {len(held_out)} to measure.")
    classifier = untrained(settings.seed) if mini else with_new_head(args.model, settings.max_length, settings.seed)
    return fit(classifier, examples, held_out, settings, args.output)
