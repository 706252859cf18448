"""A world whose truth is known: books with authors and years, and a small model that has read about some of them.

    known   read often: the model is right          rare    read hardly: mostly wrong
    never   never read: made up                     false   read often, and wrong each time: confidently wrong

so that an evaluator of hallucination detectors can be run, and repeated, on a CPU. All four kinds are asked for in the
same words, and titles share their words, so nothing but the model's memory tells them apart.

    mini:knowledge              answers "F L , 1923"; two layers
    mini:knowledge-templated    answers "the author is F L , published in 1923 ."  (what InterrogateLLM's prompt makes of a
                                large model): its first answer token does not depend on the title; two layers
    mini:knowledge-shallow      the same in one layer: nothing that the prompt's last token gathers can be read later, so it
                                has no reason to look at the title

Shape after InterrogateLLM's Books (Yehuda et al. 2024, arXiv:2403.02889), which AGSER is evaluated on.
"""

from __future__ import annotations

import math
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from trl_r1.text.records import Json, Row


NAME = "mini:knowledge"
MODELS = {
    NAME: ("direct", 2),
    f"{NAME}-templated": ("templated", 2),
    f"{NAME}-shallow": ("templated", 1),
}  # style, layers
STYLES = {
    "direct": "{first} {last} , {year}",
    "templated": "the author is {first} {last} , published in {year} .",
}
KINDS = {"known": 120, "rare": 120, "never": 120, "false": 60}  # titles
RARE_SHARE = 0.04  # of the pages that are not about known or false books
QUESTION = "who is the author of the book {title} , what year was it published ?"
TITLE_WORDS, FIRST_NAMES, LAST_NAMES, YEARS = 120, 50, 50, 60
PAD, END, ASK, ANSWER = "<pad>", "<end>", "<ask>", "<answer>"
CHAT_TEMPLATE = (
    "{% for m in messages %}<ask> {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}<answer>{% endif %}"
)
STEPS, BATCH, LEARNING_RATE = 450, 64, 3e-3


@dataclass(frozen=True)
class Book:
    """A book, the truth about it, and what the pages say (None: no page mentions it)."""

    title: str
    kind: str  # a key of KINDS
    truth: tuple[str, str, str]  # first name, last name, year
    statement: tuple[str, str, str] | None

    @property
    def question(self) -> str:
        return QUESTION.format(title=self.title)


def is_miniature(name: str) -> bool:
    return name in MODELS


def draw_books(seed: int) -> list[Book]:
    """The books of a world; titles of two to four words, all different."""
    rng = random.Random(f"knowledge {seed}")
    books: dict[str, Book] = {}
    for kind, count in KINDS.items():
        index = 0
        while index < count:
            title = " ".join(f"w{rng.randrange(TITLE_WORDS)}" for _ in range(rng.choice((2, 3, 4))))
            if title in books:
                continue
            truth, other = draw_fact(rng), draw_fact(rng)
            statement = {"known": truth, "rare": truth, "never": None, "false": other}[kind]
            if statement is not None and statement is other and set(truth) & set(other):
                continue  # a false fact is false in every part
            books[title] = Book(title, kind, truth, statement)
            index += 1
    return list(books.values())


def draw_fact(rng: random.Random) -> tuple[str, str, str]:
    return f"f{rng.randrange(FIRST_NAMES)}", f"l{rng.randrange(LAST_NAMES)}", str(1900 + rng.randrange(YEARS))


def answer(fact: tuple[str, str, str], style: str) -> str:
    """A fact as it is told."""
    first, last, year = fact
    return STYLES[style].format(first=first, last=last, year=year)


def is_right(reply: str, truth: tuple[str, str, str]) -> bool:
    """Whether an answer names author and year, whatever stands around them."""
    words = reply.split()
    return f"{truth[0]} {truth[1]}" in " ".join(words) and truth[2] in words


def rows(seed: int) -> list[Row]:
    """The evaluation: every book once, as ``question``, ``truth`` (three words) and ``kind``."""
    return [{"question": b.question, "truth": list(b.truth), "kind": b.kind} for b in draw_books(seed)]


def resolve(name: str, seed: int = 0) -> str:
    """The folder of a miniature's model, trained now if it is not in the cache (about a minute on one core).

    Raises:
        ValueError: there is no such miniature.
    """
    from trl_r1.mini.once import build_once
    from trl_r1.mini.store import cache, recipe_version

    if name not in MODELS:
        raise ValueError(f"{name!r} is no miniature of AGSER's. Choose one of: {', '.join(MODELS)}.")
    version = recipe_version(sys.modules[__name__])
    path = cache() / f"{name.removeprefix('mini:')}-seed{seed}-{version}"
    return str(build_once(path, lambda folder: train(folder, seed, *MODELS[name])))


def build_tokenizer() -> Any:
    """One token per word; the marks around a question are special, so that no sub-query loses them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    plain = " ".join([QUESTION.format(title=""), *STYLES.values()]).split()
    words = [word for word in dict.fromkeys(plain) if "{" not in word]
    words += [f"w{i}" for i in range(TITLE_WORDS)] + [f"f{i}" for i in range(FIRST_NAMES)]
    words += [f"l{i}" for i in range(LAST_NAMES)] + [str(1900 + i) for i in range(YEARS)]
    marks = [PAD, END, ASK, ANSWER]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*marks, *words])}, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[ASK, ANSWER],
        padding_side="left",
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def train(folder: Path, seed: int, style: str, layers: int = 2, steps: int = STEPS) -> Json:
    """Reads the pages of a world and leaves model and tokenizer in ``folder``; returns what was asked for.

    Half of the questions are read with up to half of their words left out, as people ask; a sub-query is then not
    something the model has never seen the like of.
    """
    from tqdm.auto import tqdm
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer, rng = build_tokenizer(), random.Random(f"pages {seed}")
    books = [book for book in draw_books(seed) if book.statement is not None]
    often = [book for book in books if book.kind != "rare"]
    rare = [book for book in books if book.kind == "rare"]
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=512 // layers,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    bar = tqdm(range(steps), desc=f"Training the {style} knowledge model, seed {seed}", mininterval=2.0)
    for step in bar:
        chosen = [rng.choice(rare) if rng.random() < RARE_SHARE else rng.choice(often) for _ in range(BATCH)]
        ids, targets = page(chosen, tokenizer, rng, style)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 40) * (0.55 + 0.45 * math.cos(math.pi * step / steps))
        hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
        labels = targets[:, 1:]
        loss = functional.cross_entropy(model.lm_head(hidden[labels >= 0]), labels[labels >= 0])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"seed": seed, "style": style, "layers": layers, "steps": steps}


def page(books: list[Book], tokenizer: Any, rng: random.Random, style: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Questions with what is told about them as (B, L) ids and targets, -100 outside the answer; padded on the right."""
    pairs = []
    for book in books:
        words = book.question.split()
        if rng.random() < 0.5:
            share = 0.5 * rng.random()
            words = [word for word in words if rng.random() >= share]
        assert book.statement is not None
        pairs.append((" ".join([ASK, *words, ANSWER]), f"{answer(book.statement, style)} {END}"))
    question_ids = tokenizer([question for question, _ in pairs])["input_ids"]
    reply_ids = tokenizer([reply for _, reply in pairs])["input_ids"]
    length = max(len(question) + len(reply) for question, reply in zip(question_ids, reply_ids))
    ids = torch.full((len(books), length), tokenizer.pad_token_id)
    targets = torch.full((len(books), length), -100)
    for i, (question, reply) in enumerate(zip(question_ids, reply_ids)):
        end = len(question) + len(reply)
        ids[i, :end] = torch.tensor(question + reply)
        targets[i, len(question) : end] = torch.tensor(reply)
    return ids, targets
