"""All scenarios in one training set: problems a rule can check, prompts only a preference model can judge, and when.

    datasets:
      - {name: zwhe99/DeepMath-103K, question_column: question, solution_column: final_answer, domain: reasoning, share: 0.5}
      - {name: general.jsonl, domain: writing, share: 0.3}                   no solution column: helpfulness
      - {name: unsafe.jsonl, domain: unsafe, share: 0.2}                     unsafe: harmlessness

Every row becomes ``prompt, question, solution, language, domain, reward_for``; a row's own ``domain``, ``reward_for`` and
``language`` win over its dataset's. ``reward_for`` is ``rule``, ``helpfulness`` or ``harmlessness``: each general prompt
belongs to one preference model.

Source  DeepSeek-R1, arXiv:2501.12948v2, Sec. 3.1 (each general prompt in the helpful or the safety set) and 3.2.2
        (general data and preference rewards only in the last 400 of 1,700 steps).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trl_r1.data.columns import is_empty, to_prompt
from trl_r1.data.spec import DatasetSpec
from trl_r1.models.rendering.prompts import as_json, own_options
from trl_r1.models.templates import Template, find_template
from trl_r1.storage.structured import option
from trl_r1.text.records import Row


if TYPE_CHECKING:
    from datasets import Dataset

RULE, HELPFULNESS, HARMLESSNESS = "rule", "helpfulness", "harmlessness"
ROUTES = (RULE, HELPFULNESS, HARMLESSNESS)
DOMAINS = ("reasoning", "writing", "factual", "self", "translation", "unsafe")
COLUMNS = ("prompt", "question", "solution", "language", "domain", "reward_for")


@dataclass(frozen=True)
class MixtureSource(DatasetSpec):
    """One dataset of the mixture."""

    name: str = option(like="rows.jsonl")
    solution_column: str | None = option(None, "None: nothing here can be checked by a rule.", like="answer")
    language: str | None = None  # of every row without one of its own
    domain: str | None = option(None, "Of its prompts.", choices=DOMAINS)
    reward_for: str | None = option(None, "Who judges its rows.", choices=ROUTES)
    rows: int | None = option(None, "Only the first so many.", ge=1)
    share: float = option(1.0, "Weight among the datasets that are in use at the time.", gt=0)


def load_source(source: MixtureSource, template: Template, seed: int, system_prompt: str | None = None) -> list[Row]:
    """The rows of one dataset in the common columns.

    Raises:
        ValueError: nothing of that name; a column is missing; a row without a question, or without a gold answer
            where it is to be checked; a row's own domain or route is unknown.
    """
    rows = source.load(seed, repr(source.name))
    template = find_template(template)
    rows_of_source = []
    for number, row in enumerate(rows):
        if source.rows is not None and number >= source.rows:
            break
        question = row[source.question_column]
        if is_empty(question):
            raise ValueError(f"{source.name!r}: row {number} (counted from 0) has no question.")
        solution = row[source.solution_column] if source.solution_column else None
        solution = None if is_empty(solution) else str(solution)
        own = source.reward_for or row.get("reward_for")
        if source.solution_column and solution is None and own not in (HELPFULNESS, HARMLESSNESS):
            raise ValueError(
                f"{source.name!r}: row {number} (counted from 0) has no gold answer in {source.solution_column!r}; leave "
                "the row out, or name no solution_column for a dataset that no rule can check."
            )
        domain = row.get("domain") or source.domain or ("reasoning" if source.solution_column else "writing")
        route = own or route_of(domain, solution is not None)
        for key, value, choices in (("domain", domain, DOMAINS), ("reward_for", route, ROUTES)):
            if value not in choices:
                raise ValueError(
                    f"{source.name!r}: row {number} (counted from 0) has {key}={value!r}; known are: {', '.join(choices)}."
                )
        if route == RULE and solution is None:
            raise ValueError(
                f"{source.name!r}: row {number} (counted from 0) is for a rule and has no gold answer; name its "
                "solution_column, or give it reward_for: helpfulness."
            )
        language = row.get(source.language_column or "language") or source.language
        prompt = to_prompt(template, question, system_prompt)
        rows_of_source.append(
            {
                "prompt": prompt,
                "question": question if isinstance(question, str) else json.dumps(question, ensure_ascii=False),
                "solution": solution,
                "language": language,
                "domain": domain,
                "reward_for": route,
                **({} if isinstance(prompt, str) else as_json(own_options(row))),
            }
        )
    return rows_of_source


def route_of(domain: str, checkable: bool) -> str:
    """Who judges a row that does not say so itself.

    >>> route_of("reasoning", True), route_of("writing", False), route_of("unsafe", False)
    ('rule', 'helpfulness', 'harmlessness')
    """
    if checkable:
        return RULE
    return HARMLESSNESS if domain == "unsafe" else HELPFULNESS


def schedule(
    sizes: Sequence[int],
    shares: Sequence[float],
    general: Sequence[bool],
    batches: int,
    per_batch: int,
    general_from: int,
    seed: int,
) -> list[int]:
    """Which rows are asked when: ``batches * per_batch`` indices into the concatenated datasets.

    Before the batch ``general_from`` only datasets that a rule checks are drawn from, after it all of them. Over any
    stretch a dataset gets its share to within one prompt; its own rows come in shuffled rounds, each row once per round.

    Args:
        sizes: rows of each dataset; shares: its weight; general: whether it holds prompts no rule checks.
        batches: prompts are generated for in batches; per_batch: distinct prompts in one.

    Raises:
        ValueError: no dataset to draw from at some time.
    """
    if all(general) and general_from > 0:
        raise ValueError(
            "Every dataset is general, so there is nothing to train on before the preference rewards are active. Add one "
            "with a solution_column, or let preference_last_steps cover all steps."
        )
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    decks = [rounds(size, seed, number) for number, size in enumerate(sizes)]
    order: list[int] = []
    owed = [0.0] * len(sizes)
    for batch in range(batches):
        used = [number for number in range(len(sizes)) if batch >= general_from or not general[number]]
        total = sum(shares[number] for number in used)
        for _ in range(per_batch):
            for number in used:
                owed[number] += shares[number] / total
            chosen = max(used, key=lambda number: (owed[number], -number))
            owed[chosen] -= 1.0
            order.append(starts[chosen] + next(decks[chosen]))
    return order


def rounds(size: int, seed: int, number: int) -> Iterator[int]:
    """The rows of a dataset again and again, in a new order each round."""
    rng = random.Random(f"rounds {seed} {number}")
    while True:
        order = list(range(size))
        rng.shuffle(order)
        yield from order


def as_dataset(rows: Sequence[Mapping[str, Any]]) -> Dataset:
    """Rows in the common columns as a dataset whose empty columns are still text."""
    from datasets import Dataset, Features, Value

    if any(isinstance(row["prompt"], list) for row in rows):
        if not all(isinstance(row["prompt"], list) for row in rows):
            raise ValueError(
                "Some datasets bring whole conversations and others are put into a text template; use a chat template."
            )
        columns = dict.fromkeys(column for row in rows for column in row)
        return Dataset.from_list([{column: row.get(column) for column in columns} for row in rows])
    return Dataset.from_list(
        [dict(row) for row in rows], features=Features({name: Value("string") for name in COLUMNS})
    )
