"""Pools: the kinds of prompts a data set is made of, each with its own source, its own filters and its own number.

A recipe's `general` is a list of pools beside the reasoning problems:

    general:
      - {name: writing, domain: writing, dataset_name: data/writing.jsonl, answer_column: answer, chain: drop}
      - {name: facts, domain: factual, dataset_name: data/facts.jsonl, solution_column: answer, samples: 4}

With `answer_column` the answers that are there are reused; without it the checkpoint writes `samples` of them. With
`solution_column` they are verified like the reasoning ones.

Source  DeepSeek-R1, arXiv:2501.12948v1, Sec. 2.3.3: writing, factual QA, self-cognition and translation reuse parts of
        the SFT data of DeepSeek-V3; for some of them a chain is generated, for "hello" none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trl_r1.data.columns import is_empty
from trl_r1.data.filters import FILTERS, GENERAL_FILTERS, check_names
from trl_r1.data.near_duplicates import Contamination
from trl_r1.data.spec import spec_of
from trl_r1.models.rendering.prompts import with_own
from trl_r1.models.templates import Template, find_template, render, with_system
from trl_r1.rewards.language import prompt_language
from trl_r1.stages.rejection_sampling.mix import DOMAINS
from trl_r1.storage.structured import option, read_entries, refuse_twins
from trl_r1.text.completions import reply
from trl_r1.text.records import Problem, Row


REASONING_CHOICES = {
    "keep": "the reply as it is",
    "drop": "the reply without its thought",
    "auto": "without its thought for a greeting and the like, else as it is",
}


@dataclass(frozen=True)
class PromptPool:
    """Where prompts of one kind come from, and what becomes of them."""

    name: str
    dataset_name: str = option(like="rows.jsonl")
    domain: str = option("reasoning", choices=DOMAINS, like="writing")
    dataset_config: str | Mapping[str, Any] | None = None
    dataset_split: str = "train"
    question_column: str = "question"  # text, or a conversation
    solution_column: str | None = None  # the gold answer; None: nobody can verify
    language_column: str | None = None  # None: told from the question's script
    answer_column: str | None = None  # reuse these answers (text, or a conversation whose last message it is)
    template: Template = "r1_zero"
    system_prompt: str | None = None  # before its conversations; None: the stage's
    samples: int = 1  # per prompt, where the checkpoint writes the answers
    max_prompts: int | None = None
    chain: str = option("auto", choices=REASONING_CHOICES)
    filters: tuple[str, ...] = ()  # () takes the usual ones of its kind

    def __post_init__(self) -> None:
        if self.samples < 1 or (self.max_prompts is not None and self.max_prompts < 1):
            raise ValueError(f"The pool {self.name!r} needs samples and max_prompts of at least 1.")
        usual = tuple(FILTERS) if self.domain == "reasoning" else GENERAL_FILTERS
        if self.domain == "translation":  # the answer is in another language than the question
            usual = tuple(name for name in usual if name != "mixed_language")
        if self.domain != "reasoning" and self.solution_column is not None and self.answer_column is None:
            usual = (*usual, "right")
        object.__setattr__(self, "filters", tuple(check_names(self.filters or usual)))
        if "right" in self.filters and self.solution_column is None:
            raise ValueError(f"The pool {self.name!r} has the filter 'right' and no solution_column to judge by.")
        find_template(self.template)

    @property
    def draws(self) -> int:
        """Texts per prompt."""
        return 1 if self.answer_column else self.samples


def read_pools(value: Any, template: Template, system_prompt: str | None = None) -> list[PromptPool]:
    """The `general` entry of a recipe.

    Args:
        template, system_prompt: of pools that name none.

    Raises:
        ValueError: no list, an unknown key, a missing dataset, or two pools of one name.
    """

    def complete(entry: Row) -> Row:
        usual = {"name": entry.get("domain") or entry.get("dataset_name"), "domain": "writing", "template": template}
        return {**usual, "system_prompt": system_prompt, **entry}

    pools = read_entries("general", value, PromptPool, key=None, complete=complete, least=0)
    refuse_twins("general", ["reasoning", *(pool.name for pool in pools)], "name")
    return pools


def load_pool(pool: PromptPool, seed: int, drop_empty: bool = False) -> list[Problem]:
    """The problems of a pool; with a `reference` where an answer is reused.

    Of a question that is a conversation, see `exchange`.

    Raises:
        ValueError: the dataset or a column is not there, or a row is empty.
    """
    what = f"The dataset of the pool {pool.name!r}"
    table = spec_of(pool).load(seed, what, answer=pool.answer_column)
    columns = {"question": pool.question_column, "solution": pool.solution_column, "answer": pool.answer_column}
    template = find_template(pool.template)
    problems: list[Problem] = []
    for number, row in enumerate(table):
        if pool.max_prompts is not None and len(problems) >= pool.max_prompts:
            break
        question, answer = row[pool.question_column], row[pool.answer_column] if pool.answer_column else None
        if isinstance(question, list):
            question, answer = exchange(question, answer, isinstance(template, str))
            if question is None:
                continue
        gold = row[pool.solution_column] if pool.solution_column else None
        empty = next(
            (
                c
                for c, v in (("question", question), ("answer", answer), ("solution", gold))
                if columns[c] and is_empty(v)
            ),
            None,
        )
        if empty and not drop_empty:
            raise ValueError(
                f"Row {number} (counted from 0) of the pool {pool.name!r} has nothing in {columns[empty]!r}. Fill it in, or "
                "set drop_empty to leave such rows out."
            )
        if empty:
            continue
        prompt, text = to_prompt(template, question)
        prompt = with_own(with_system(prompt, pool.system_prompt), row)
        language = row[pool.language_column] if pool.language_column else prompt_language(text)
        problems.append(
            Problem(
                prompt,
                text,
                solution=None if gold is None else str(gold),
                language=language,
                domain=pool.domain,
                answer_type=row.get("answer_type") or "",
                reference=reply(answer) if pool.answer_column else None,
            )
        )
    if not problems:
        raise ValueError(f"The pool {pool.name!r} has no prompts; nothing can be sampled for it.")
    return problems


def exchange(messages: list[Row], answer: Any, text: bool) -> tuple[list[Row] | None, Any]:
    """What is asked and what is answered in a conversation.

    As a conversation, all up to the last assistant's message is asked, and that one is the answer. As text, which holds
    one turn, the first user's message is asked and the next one answers; None for a conversation that begins otherwise.
    ``answer`` is given back as it is where it is no conversation.
    """
    if text:
        if not messages or messages[0].get("role") != "user":
            return None, answer
        return messages[:1], messages[1:2] if isinstance(answer, list) else answer
    while messages and messages[-1].get("role") == "assistant":
        messages = messages[:-1]
    return messages, answer


def to_prompt(template: Any, question: Any) -> tuple[Any, str]:
    """The prompt, and the question as text."""
    if not isinstance(question, list):
        return render(template, str(question)), str(question)
    text = reply([{**question[-1], "role": "assistant"}]) if question else ""
    return (render(template, text), text) if isinstance(template, str) else (question, text)


@dataclass(frozen=True)
class EvaluationSet:
    """One entry of a recipe's `decontaminate`."""

    dataset_name: str = option(like="test.jsonl")
    dataset_config: str | Mapping[str, Any] | None = None
    dataset_split: str | None = None  # None: test where there is one, else train
    question_column: str = "question"
    solution_column: str | None = None  # None: questions alone


def contamination(entries: Sequence[EvaluationSet], seed: int) -> Contamination:
    """The 10-grams of the evaluation sets of a recipe's `decontaminate`.

    Raises:
        ValueError: a dataset or column is not there.
    """
    result = Contamination()
    for entry in entries:
        table = spec_of(entry).load(seed, f"The evaluation set {entry.dataset_name!r}")
        result.add(str(text) for text in table[entry.question_column])
        if entry.solution_column is not None:
            result.add((str(text) for text in table[entry.solution_column]), whole_if_short=False)
    return result
