"""AGSER, from a prompt to a score: contributions, split, two more answers, two agreements.

    score = lam * RougeL(answer to the attentive tokens, answer) - RougeL(answer to the others, answer)

Low means that the answer is likely made up. Three answers per prompt when the first is not given, two when it is.

Source  Attention-Guided Self-Reflection, Liu et al., arXiv:2501.09997 (EMNLP 2025), Sec. 3: mean over the layers, two
        thirds of the tokens, lam 1. What the paper leaves open, and where we depart, is in docs/agser.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from trl_r1.agser.consistency import Consistency, find_consistency
from trl_r1.agser.generation import Generate, Generated, Greedy, Reading, by_engine
from trl_r1.agser.split import UNITS, Prompt, Query, locate, split_by_share, unit_scores
from trl_r1.models.rendering import Renderer
from trl_r1.text.records import Json


LAYERS: dict[str, Callable[[Tensor], Tensor]] = {  # (L, M) -> (M,)
    "mean": lambda layers: layers.mean(0),
    "first": lambda layers: layers[0],
    "middle": lambda layers: layers[(len(layers) - 1) // 2],
    "last": lambda layers: layers[-1],
    "max": lambda layers: layers.amax(0),
}
ROWS = {
    "last": "the prompt's last token (the paper)",
    "answer": "the tokens that predict the answer (one forward pass more)",
}
MEASURES = {
    "norm": "length of the contribution sum_h A x W_V W_O",
    "attention": "attention weight, summed over the heads",
}
ANSWER_ROWS = 128  # tokens of the answer whose rows are read with rows="answer"


@dataclass
class Contributions:
    """What the tokens of a user's content contributed, in their order."""

    ids: list[int]
    tokens: list[str]
    scores: list[float]  # pooled over the layers, not negative
    completeness: float = 0.0  # largest relative error of a layer's sum: the run-time check


@dataclass
class Reflection:
    """AGSER's verdict on one answer, with everything that led to it."""

    score: float  # in [-1, lam]; low: likely made up; NaN where ``refused`` says why
    r_att: float  # agreement of the answer with that to the attentive tokens, in [0, 1]
    r_non: float  # the same for the others
    answer: str
    attentive: str  # sub-query as text
    non_attentive: str
    attentive_answer: str
    non_attentive_answer: str
    contributions: Contributions
    kept: list[bool] = field(default_factory=list)  # per content token: attentive
    refused: str = ""

    def to_dict(self) -> Json:
        """Flat, of plain Python values: a row of a table (``pandas.DataFrame([r.to_dict() for r in results])``)."""
        return {
            "score": self.score,
            "r_att": self.r_att,
            "r_non": self.r_non,
            "answer": self.answer,
            "attentive": self.attentive,
            "non_attentive": self.non_attentive,
            "attentive_answer": self.attentive_answer,
            "non_attentive_answer": self.non_attentive_answer,
            "tokens": list(self.contributions.tokens),
            "contributions": list(self.contributions.scores),
            "kept": list(self.kept),
            "refused": self.refused,
        }


class AGSERScorer:
    """Scores answers of a model by what it attends to.

    Args:
        model: the model whose answers are judged; any decoder-only one that runs on transformers' attention interface.
        tokenizer: its tokenizer, a fast one.
        k: share of the content's tokens that are attentive. lam: weight of their agreement.
        layers: how layers are pooled, a key of ``LAYERS``. rows: a key of ``ROWS``. measure: a key of ``MEASURES``.
        consistency: ``unicode`` (Rouge-L in every script), ``rouge_score``, ``tokens``, or a function of two texts.
        generate: who answers: None is the model itself; an OpenAI-compatible ``trl_r1.models.engines.SamplingServer`` with
            temperature 0; or a function of prompts. The contributions always come from ``model``.
        max_new_tokens: of every answer. batch_size: sequences at a time.
        cut: applied to every answer before it is compared, such as ``first_line``.
        end_loops: end a greedy answer whose last 12 tokens repeat with a period of at most 4.
        units: what the split never tears apart, a key of ``UNITS``; its score is the mean of its tokens'.
        renderer: of conversations and answers; None is one with the tokenizer's own template and no options.

    Raises:
        ValueError: an unknown name or a number out of range; an architecture that is not supported, when it first runs.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        k: float = 2 / 3,
        lam: float = 1.0,
        layers: str = "mean",
        rows: str = "last",
        measure: str = "norm",
        consistency: str | Consistency = "unicode",
        generate: Any = None,
        max_new_tokens: int = 64,
        batch_size: int = 16,
        cut: Callable[[str], str] | None = None,
        end_loops: bool = False,
        units: str = "token",
        renderer: Renderer | None = None,
    ) -> None:
        named = (
            ("layers", layers, LAYERS),
            ("rows", rows, ROWS),
            ("measure", measure, MEASURES),
            ("units", units, UNITS),
        )
        for name, chosen, known in named:
            if chosen not in known:
                raise ValueError(f"{name}={chosen!r} is unknown. Choose one of: {', '.join(known)}.")
        if not 0.0 < k < 1.0:
            raise ValueError(f"k={k} is no share between 0 and 1; the paper takes 2/3.")
        if not (math.isfinite(lam) and lam >= 0.0):
            raise ValueError(f"lam={lam} must be a number of 0 or more; the paper takes 1.")
        if max_new_tokens < 1 or batch_size < 1:
            raise ValueError(f"max_new_tokens={max_new_tokens}, batch_size={batch_size}: both are 1 or more.")
        self.k, self.lam, self.layers, self.rows, self.measure, self.units = k, lam, layers, rows, measure, units
        self.tokenizer = tokenizer
        self.renderer = renderer if renderer is not None or tokenizer is None else Renderer(tokenizer)
        self.greedy = Greedy(model, tokenizer, max_new_tokens, batch_size, end_loops=end_loops, renderer=self.renderer)
        self.agree = find_consistency(consistency, tokenizer)
        self.generate: Generate | None = by_engine(generate) if hasattr(generate, "draw") else generate
        self.cut = cut

    # -- the public three

    def contributions(
        self, prompts: Sequence[Prompt], answers: Sequence[str] | None = None, questions: Sequence[str] | None = None
    ) -> list[Contributions]:
        """For each prompt the ids of the user's content and their scores.

        Args:
            prompts, questions: as for ``score``.
            answers: needed with ``rows="answer"``, where they are given or else generated.
        """
        queries = self.locate(prompts, questions)
        given: Sequence[str | Generated] | None = answers
        if self.rows == "answer" and answers is None:
            given = self.own_answers(queries)
        readings = self.read(queries, given)
        return [self._contributions(query, reading) for query, reading in zip(queries, readings, strict=True)]

    def score(
        self, prompts: Sequence[Prompt], answers: Sequence[str] | None = None, questions: Sequence[str] | None = None
    ) -> list[Reflection]:
        """Scores the model's answers.

        Args:
            prompts: N texts or conversations. Of a text all is the user's content, of a conversation the last user
                message.
            answers: (N) to be judged; None generates them greedily, and the contributions are read from that prefill.
            questions: (N) the part of each prompt that is content, where instructions or examples stand around it.

        Returns:
            (N) reflections. A query with fewer than two units (tokens, or characters of several tokens) cannot be
            split: its score is NaN and ``refused`` says so.

        Raises:
            ValueError: a prompt without tokens or without its question; no chat template for a conversation.
            EngineError: the endpoint gives no text.
        """
        queries = self.locate(prompts, questions)
        if answers is not None and len(answers) != len(queries):
            raise ValueError(f"There are {len(queries)} prompts and {len(answers)} answers; give one answer for each.")
        given: list[str]
        readings: list[Reading]
        if answers is None and self.generate is None and self.rows == "last":
            unique = {(query.ids, query.units): query for query in queries}
            found = dict(zip(unique, self.greedy.answer(list(unique.values())), strict=True))
            pairs_found = [found[query.ids, query.units] for query in queries]
            given, readings = [self._cut(text) for text, _ in pairs_found], [reading for _, reading in pairs_found]
        else:
            own = self.own_answers(queries) if answers is None else [self._cut(text) for text in answers]
            given = [answer.text if isinstance(answer, Generated) else answer for answer in own]
            readings = self.read(queries, own)
        kept = [self.split(query, reading) for query, reading in zip(queries, readings, strict=True)]
        pairs = self.ask_again(queries, kept)
        return [self.reflect(*parts) for parts in zip(queries, readings, given, kept, pairs, strict=True)]

    # -- its steps, for evaluators

    def locate(self, prompts: Sequence[Prompt], questions: Sequence[str] | None = None) -> list[Query]:
        """The prompts with their content found."""
        if questions is not None and len(questions) != len(prompts):
            raise ValueError(f"There are {len(prompts)} prompts and {len(questions)} questions; give one for each.")
        queries = [
            locate(
                self.tokenizer,
                prompt,
                None if questions is None else questions[number],
                number,
                self.units,
                self.renderer,
            )
            for number, prompt in enumerate(prompts)
        ]
        most = getattr(self.greedy.model.config.get_text_config(), "max_position_embeddings", None) or math.inf
        for number, query in enumerate(queries):
            if len(query.ids) >= most:
                raise ValueError(
                    f"Prompt {number} has {len(query.ids)} tokens, and the model reads {most} with its answer; shorten it."
                )
        return queries

    def answers(self, queries: Sequence[Query]) -> list[str]:
        """Greedy answers, cut."""
        if self.generate is not None:
            return [self._cut(text) for text in self.generate([query.prompt for query in queries])]
        return [found.text for found in self.replies(queries)]

    def own_answers(self, queries: Sequence[Query]) -> Sequence[str | Generated]:
        """Greedy answers, cut: with their tokens where this model gives them, else as text."""
        return self.replies(queries) if self.generate is None else self.answers(queries)

    def replies(self, queries: Sequence[Query]) -> list[Generated]:
        """The model's own greedy answers, cut, with the tokens that were drawn for what is left."""
        drawn = self.greedy.replies([query.ids for query in queries])
        return [found.cut(self.cut, self.tokenizer) for found in drawn]

    def read(self, queries: Sequence[Query], answers: Sequence[str | Generated] | None = None) -> list[Reading]:
        """Contributions per layer; of equal prompts (with ``rows="answer"``: and answers) once.

        Args:
            answers: for ``rows="answer"``; a text is read as the tokenizer reads it, without an end token.
        """
        tails: list[tuple[int, ...]] | None = None
        if self.rows == "answer":
            if answers is None:
                raise ValueError('rows="answer" reads the rows of the answer; give the answers.')
            tails = [
                tuple(self._ids(answer)[: -1 if isinstance(answer, Generated) and answer.ended else None])[
                    :ANSWER_ROWS
                ]
                for answer in answers
            ]
        keys = [(query.ids, query.units, tails[i] if tails else ()) for i, query in enumerate(queries)]
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        chosen = list(first.values())
        found = self.greedy.read([queries[i] for i in chosen], [tails[i] for i in chosen] if tails else None)
        by_key = dict(zip(first, found, strict=True))
        return [by_key[key] for key in keys]

    def pool(self, reading: Reading) -> list[float]:
        """One score per content token, over the layers."""
        layers = reading.norms if self.measure == "norm" else reading.attention
        return LAYERS[self.layers](layers).tolist()

    def split(self, query: Query, reading: Reading) -> list[bool]:
        """Which units are attentive; [] where there are not two."""
        if len(query.units) < 2:
            return []
        return split_by_share(unit_scores(query, self.pool(reading)), self.k)

    def ask_again(self, queries: Sequence[Query], kept: Sequence[Sequence[bool]]) -> list[tuple[str, str]]:
        """The answers to both sub-queries of each query, all in one go; equal sub-queries are answered once."""
        sides = [
            (query, side)
            for query, attentive in zip(queries, kept, strict=True)
            if attentive
            for side in (list(attentive), [not yes for yes in attentive])
        ]
        if self.generate is None:
            texts = self.greedy.texts([query.keep(side) for query, side in sides])
        else:
            prompts = [query.with_question(self._text(query, side)) for query, side in sides]
            unique = {repr(prompt): prompt for prompt in prompts}
            answered = dict(zip(unique, self.generate(list(unique.values())) if unique else [], strict=True))
            texts = [answered[repr(prompt)] for prompt in prompts]
        flat = iter([self._cut(text) for text in texts])
        return [(next(flat), next(flat)) if attentive else ("", "") for attentive in kept]

    def combine(self, r_att: float, r_non: float) -> float:
        return self.lam * r_att - r_non

    def reflect(
        self, query: Query, reading: Reading, answer: str, kept: list[bool], pair: tuple[str, str]
    ) -> Reflection:
        """The verdict, from everything that leads to it."""
        contributions = self._contributions(query, reading)
        if not kept:
            count = len(query.units)
            why = f"The query has {count} {self.units}{'' if count == 1 else 's'}; AGSER splits it in two, so it needs two."
            nan = math.nan
            return Reflection(nan, nan, nan, answer, "", "", "", "", contributions, [], why)
        r_att, r_non = self.agree(answer, pair[0]), self.agree(answer, pair[1])
        per_token = [stays for unit, stays in zip(query.units, kept, strict=True) for _ in unit]
        return Reflection(
            self.combine(r_att, r_non),
            r_att,
            r_non,
            answer,
            self._text(query, kept),
            self._text(query, [not yes for yes in kept]),
            *pair,
            contributions,
            per_token,
        )

    # -- inside

    def _contributions(self, query: Query, reading: Reading) -> Contributions:
        ids = query.content()
        tokens = self.tokenizer.batch_decode([[token] for token in ids])
        return Contributions(ids, tokens, self.pool(reading), reading.completeness)

    def _ids(self, answer: str | Generated) -> Sequence[int]:
        if isinstance(answer, Generated):
            return answer.ids
        return self.tokenizer(answer, add_special_tokens=False)["input_ids"]

    def _text(self, query: Query, kept: Sequence[bool]) -> str:
        return self.tokenizer.decode(query.content(kept), skip_special_tokens=True).strip()

    def _cut(self, text: str) -> str:
        return text if self.cut is None else self.cut(text)


def first_line(text: str) -> str:
    """The first line with something on it, up to the next "Question:": how InterrogateLLM's few-shot answers are cut."""
    lines = [line.strip() for line in text.split("Question:")[0].strip().splitlines()]
    return lines[0] if lines else ""
