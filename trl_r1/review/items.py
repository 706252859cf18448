"""Items: what a model answered, from wherever it was stored, one shape for all."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trl_r1.answers.extract import extract
from trl_r1.data.review import sample_id
from trl_r1.evaluation.benchmark import Evaluation, is_evaluation
from trl_r1.evaluation.metrics import answer_classes
from trl_r1.models.templates import PLACEHOLDER, Template, find_template
from trl_r1.review.lineage import RUN
from trl_r1.review.records import as_text
from trl_r1.storage.files import read_json_lines
from trl_r1.text.completions import after_reasoning, visible
from trl_r1.text.records import Completion, Origin, Problem, Sample


EVALUATION = "evaluation_after.json"  # of a run

_REFUSAL = re.compile(
    r"\bI(?:'m| am)? (?:sorry|afraid)\b|\b(?:I|we) (?:can(?:not|'t|’t)|won't|am (?:not able|unable)|must decline|decline)\b"
    r"|\bcannot (?:help|assist|comply|do that)\b|\bunable to (?:help|assist|comply)\b"
    r"|抱歉|对不起|无法(?:帮助|回答|提供|协助)|不能(?:帮助|回答|提供|协助|帮)|恕难",
    re.IGNORECASE,
)
_TOPICS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("code", re.compile(r"```|\b(?:code|python|function|program|algorithm|compile|bug)\b|代码|程序|函数", re.IGNORECASE)),
    ("law", re.compile(r"\b(?:law|legal|court|contract|statute|liable|plaintiff)\b|法律|合同|法院", re.IGNORECASE)),
    ("logic", re.compile(r"\b(?:if and only if|premise|entails?|knights?|knaves?|logically)\b|推理|前提", re.IGNORECASE)),
    ("mathematics", re.compile(r"\d\s*[+*/=×÷^-]\s*\d|\\frac|\b(?:compute|calculate|solve|prove|how many|sum)\b"
                               r"|计算|求|证明|多少", re.IGNORECASE)),
)  # fmt: skip


@dataclass(frozen=True)
class Item:
    """One answer of a model: a sample, and what is known of it.

    The problem's question is without the template where that is known, else the prompt's text; its domain is the topic;
    the origin's source is where the answer was found: file, problem, sample.
    """

    sample: Sample
    right: bool | None = None
    agreement: float | None = None  # share of this problem's samples with the same answer; None for a single sample
    leading: bool = True  # of the samples with the most frequent answer, the first
    scores: Mapping[str, float] = field(default_factory=dict)  # rewards, in [0, 1]
    held_out: bool = False  # of an evaluation: not to be trained on
    answer: str | None = None  # the final answer, as it was read out of the text

    @property
    def problem(self) -> Problem:
        """What was asked."""
        return self.sample.problem

    @property
    def text(self) -> str:
        """What the model wrote."""
        return self.sample.completion.text

    @property
    def id(self) -> str:
        return sample_id(self.problem.prompt, self.text)


def refuses(text: str) -> bool:
    """Whether what is shown of a reply (its first 400 characters) declines to help, in English or Chinese words.

    A word list: it misses refusals in other words, and may take a reply that quotes one for one.

    >>> refuses("<think>I cannot say.</think> It is 4."), refuses("I'm sorry, but I can't help with that.")
    (False, True)
    """
    return bool(_REFUSAL.search(after_reasoning(text)[:400]))


def topic_of(question: str) -> str:
    """A topic by words: code, law, logic, mathematics or other; for data without a column that says it."""
    return next((name for name, words in _TOPICS if words.search(question[:4000])), "other")


def read_items(source: str | Path, topics: Mapping[str, str] | None = None) -> list[Item]:
    """The answers of an evaluation file, of a run's or pipeline's `evaluation_after.json`, of all parts in the folder of
    `trl-r1 evaluate`, or of an answers file.

    Args:
        topics: question -> topic, where a data set says it.

    Raises:
        ValueError: there is nothing to read; in one sentence.
    """
    path = Path(source)
    if path.is_dir():
        files = [path / EVALUATION] if (path / EVALUATION).is_file() else sorted(path.glob(f"*/{EVALUATION}"))
        files = files or sorted(file for file in path.glob("*.json") if is_evaluation(file))
        if not files:
            raise ValueError(
                f"{path} holds no evaluation; name a run, a pipeline's or an evaluation's folder, or a file with answers."
            )
        return [item for file in files for item in of_evaluation(file, topics or {})]
    if not path.is_file():
        raise ValueError(f"There is neither a run nor a file {str(path)!r}; name one with a model's answers.")
    if path.suffix == ".json":
        return of_evaluation(path, topics or {})
    rows = read_json_lines(path)
    if not rows or any("completion" not in row or "prompt" not in row for row in rows):
        raise ValueError(
            f"{path} has no rows with prompt and completion; `trl-r1 answer --questions` writes such files."
        )
    return [of_row(row, f"{path.name}/{number}", topics or {}) for number, row in enumerate(rows)]


def of_row(row: Mapping[str, Any], source: str, topics: Mapping[str, str]) -> Item:
    """A line of an answers file."""
    question = str(row.get("question") or as_text(row["prompt"]))
    topic = str(row.get("topic") or row.get("domain") or topics.get(question) or topic_of(question))
    scores = row.get("score") if isinstance(row.get("score"), Mapping) else {}
    text = as_text(row["completion"])
    return Item(
        Sample(
            Problem(row["prompt"], question, row.get("solution"), row.get("language"), topic),
            Completion(text, row.get("tokens")),
            Origin(source, str(row.get("model") or "")),
        ),
        row.get("right"),
        row.get("agreement") if (row.get("paths") or 0) > 1 else None,
        scores={str(k): float(v) for k, v in dict(scores or {}).items() if isinstance(v, int | float)},
        answer=extract(text),
    )


def of_evaluation(path: Path, topics: Mapping[str, str]) -> list[Item]:
    """All samples of an evaluation, each problem's in their order."""
    content = Evaluation.load(path)
    name, template = f"{path.parent.name}/{path.stem}", template_of(path.parent)
    items: list[Item] = []
    model = str(content.settings.get("model", ""))
    for number, graded in enumerate(content.problems):
        question = bare(graded.problem.prompt, template)
        problem = replace(graded.problem, question=question, domain=topics.get(question) or topic_of(question))
        share, lead = agreements([one.answer for one in graded.samples])
        for index, one in enumerate(graded.samples):
            right = one.correct if graded.judged else None
            known = (("accuracy", right), ("format", one.well_formed), ("language", one.consistency))
            items.append(
                Item(
                    Sample(problem, one.completion, Origin(f"{name}/{number}/{index}", model)),
                    right,
                    share[index] if len(graded.samples) > 1 else None,
                    index == lead,
                    {key: float(score) for key, score in known if score is not None},
                    held_out=True,
                    answer=one.answer,
                )
            )
    return items


def template_of(run: Path) -> Template | None:
    """The template a run put its questions into; None where no run says it."""
    try:
        named = json.loads((run / RUN).read_text(encoding="utf-8"))["settings"]["template"]
        return find_template(named)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # an evaluation on its own, or a run with another kind of prompt


def bare(prompt: Any, template: Template | None) -> str:
    """A prompt without its template; as it stands where it is not of that template."""
    text = as_text(prompt)
    around = None if template is None else as_text(template).partition(PLACEHOLDER)
    if around and text.startswith(around[0]) and text.endswith(around[2]) and len(text) >= len(around[0] + around[2]):
        return text[len(around[0]) : len(text) - len(around[2])]
    return text


def agreements(answers: Sequence[str | None]) -> tuple[list[float], int]:
    """Per sample the share of samples that answer the same (0 without an answer), and the first sample of the leaders."""
    from trl_r1.rewards.accuracy import same_answer

    share, lead = [0.0] * len(answers), 0
    classes = answer_classes(answers, same_answer)
    for members in classes:
        for index in members:
            share[index] = len(members) / len(answers)
    if classes:
        lead = max(classes, key=lambda members: (len(members), -members[0]))[0]
    return share, lead


def empty(item: Item) -> bool:
    """Whether a reader would see nothing."""
    return not visible(after_reasoning(item.text))
