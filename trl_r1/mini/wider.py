"""Two more models of the mini world: the base that has read general pages too, and a smaller student.

    base-general  ``mini:base`` with some 200 words more, after some thousand pages of general prompts among sums. What
                  R1's pipeline starts from (cold start, and the fine-tuning that starts from the base again).
    student       a third as wide, 18 % of the parameters, the same tokenizer, pre-trained from nothing on the same kinds of
                  pages; for distillation.

Source  Ours. DeepSeek-R1 has one base, DeepSeek-V3-Base, for R1-Zero and R1. Here R1-Zero keeps ``mini:base``, so that
        its numbers do not hang on general pages, and R1's base is that model after reading on.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from transformers import AutoTokenizer, LlamaForCausalLM

from trl_r1.mini import model as mini_model
from trl_r1.mini.corpus import TEXTBOOK, WEB, Document, draw_corpus
from trl_r1.mini.general import vocabulary
from trl_r1.mini.labels import draw_web
from trl_r1.mini.once import build_once


GENERAL = {  # scale -> (general pages, pages of sums between them)
    "demo": (16_000, 12_000),
    "tiny": (150, 150),
}
# More of these sums are worked in the asker's language than in the pages that mini:base has read (0.25, 0.20). Without, a
# base of seed 1 never came to look at the asker's language: 51 % of the words after 140 steps that pay for it.
LANGUAGE_SHARES: Any = {"asker_language": 0.35, "foreign_language": 0.15}
READING_ON = 1.0e-2  # peak learning rate for the pages that mini:base reads on
STUDENT = {
    "demo": replace(mini_model.SCALES["demo"], hidden=20, heads=2, intermediate=44, documents=30_000),
    "tiny": replace(mini_model.SCALES["tiny"], hidden=16, intermediate=32),
}
STUDENT_GENERAL = {"demo": 4_000, "tiny": 150}  # general pages among the student's


def build_general(path: Path, base: Path, seed: int, scale: str) -> Path:
    """Reads general pages on top of a mini base.

    Args:
        path: the folder to leave behind.
        base: the folder of ``mini:base`` of the same seed and scale.
        seed: of the pages, their order and the new words' first embeddings.
        scale: a key of ``GENERAL``.
    """

    def make(folder: Path) -> dict[str, object]:
        torch.manual_seed(seed)
        tokenizer = AutoTokenizer.from_pretrained(base)
        tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in vocabulary()])
        model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
        old = model.get_input_embeddings().weight.shape[0]
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with torch.no_grad():
            model.get_input_embeddings().weight[old:].normal_(0.0, model.config.initializer_range)
        size = replace(mini_model.SCALES[scale], learning_rate=READING_ON)
        pages, sums = GENERAL[scale]
        documents = scattered(
            draw_corpus(sums, seed + 1, replace(TEXTBOOK, **LANGUAGE_SHARES), replace(WEB, **LANGUAGE_SHARES)),
            draw_web(pages, seed),
            seed,
        )
        tokens = mini_model.train(model, tokenizer, documents, size, seed)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {"seed": seed, "scale": scale, "documents": len(documents), "tokens": tokens}

    return build_once(path, make)


def build_student(path: Path, base: Path, seed: int, scale: str, size: mini_model.Scale | None = None) -> Path:
    """Pre-trains a smaller model with the tokenizer of ``base``, a folder of ``mini:base-general``.

    Args:
        path: the folder to leave behind.
        base: where the tokenizer is from.
        seed: of the pages, their order and the weights.
        scale: a key of ``STUDENT``.
        size: of another student (benchmarks/distillation.py); None: ``STUDENT[scale]``.
    """
    size = size or STUDENT[scale]

    def make(folder: Path) -> dict[str, object]:
        torch.manual_seed(seed)
        tokenizer = AutoTokenizer.from_pretrained(base)
        model = mini_model.build_model(tokenizer, size)
        documents = scattered(draw_corpus(size.documents, seed + 1), draw_web(STUDENT_GENERAL[scale], seed + 1), seed)
        tokens = mini_model.train(model, tokenizer, documents, size, seed)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {"seed": seed, "scale": scale, "documents": len(documents), "tokens": tokens}

    return build_once(path, make)


def scattered(corpus: list[Document], pages: list[Document], seed: int) -> list[Document]:
    """``pages`` put between the documents of ``corpus``, whose own order is kept."""
    rng = random.Random(f"scattered {seed}")
    places = sorted(rng.sample(range(len(corpus) + len(pages)), len(pages)))
    waiting, rest, result = iter(pages), iter(corpus), []
    used = set(places)
    for index in range(len(corpus) + len(pages)):
        result.append(next(waiting) if index in used else next(rest))
    return result
