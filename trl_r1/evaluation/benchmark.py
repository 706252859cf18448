"""Benchmark: a model and problems with checkable answers in, an :class:`Evaluation` out.

    problems -> sampling.sample -> texts -> graders -> verdicts -> metrics -> Evaluation -> JSON

The Evaluation keeps every text, so that a better grader can be applied later without generating again
(:meth:`Evaluation.regrade`), and a doubtful number can be looked up.

Source  protocol (temperature 0.6, top-p 0.95, K samples, pass@1 and cons@K): DeepSeek-R1, arXiv:2501.12948, Sec. 3.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trl_r1.answers.types import declared_type
from trl_r1.evaluation.graded import GradedProblem
from trl_r1.evaluation.graders import Graders, columns_of, default_graders, grade, verified
from trl_r1.evaluation.metrics import Interval, bootstrap_interval, paired_difference, pass_at_k
from trl_r1.evaluation.stored_reasoning import StoredReasoningFormat, found_out, opened_by, stored_marks
from trl_r1.models.rendering import Renderer, TemplateReasoningFormat
from trl_r1.models.rendering.prompts import prompt_of
from trl_r1.models.sampling import sample
from trl_r1.storage.files import replace_file
from trl_r1.text.completions import THINK
from trl_r1.text.records import Json, Problem


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

KIND = "trl_r1.evaluation"  # what the JSON file says it is


def mean_of(values: Iterable[float | None]) -> float:
    """Mean without the None; NaN when nothing is left."""
    present = [float(value) for value in values if value is not None]
    return sum(present) / len(present) if present else math.nan


def of_votes(problem: GradedProblem, k: int) -> float:
    """The majority of the first k samples; of all, as it was counted when they were graded."""
    if len(problem.samples) == k:
        return problem.consensus
    from trl_r1.rewards.accuracy import same_answer

    return problem.vote(same_answer, k)


METRICS: dict[str, Callable[[GradedProblem, int], float]] = {
    "pass@1": lambda problem, k: mean_of(problem.right) if problem.judged else math.nan,
    "cons@K": lambda problem, k: of_votes(problem, k) if problem.judged and problem.samples else math.nan,
    "pass@K": lambda problem, k: (
        pass_at_k(len(problem.right), sum(problem.right), k) if problem.judged and problem.right else math.nan
    ),
    "format": lambda problem, k: mean_of(one.well_formed for one in problem.samples),
    "language": lambda problem, k: mean_of(one.consistency for one in problem.samples),
    "length": lambda problem, k: mean_of(one.completion.token_count for one in problem.samples),
    "clipped": lambda problem, k: mean_of(one.completion.truncated for one in problem.samples),
}
"""Number per problem by name, NaN for one without samples; all are shares in [0, 1] except length, which is in tokens. K is
the sample count; where problems have several, the smallest, so that every metric speaks of the same problems."""
OF_K = ("cons@K", "pass@K")


@dataclass
class Evaluation:
    """What a model did on P problems with K samples each; the numbers are computed from ``problems``."""

    problems: list[GradedProblem]
    settings: Json = field(default_factory=dict)  # how the texts were drawn; JSON values
    level: float = 0.95  # of the intervals

    @property
    def samples(self) -> int:
        """K; the smallest one, should problems differ. Problems without samples do not count."""
        return min((len(problem.samples) for problem in self.problems if problem.samples), default=0)

    @property
    def most_samples(self) -> int:
        """The largest number of samples of a problem."""
        return max((len(problem.samples) for problem in self.problems), default=0)

    @property
    def unsampled(self) -> int:
        """Problems without samples; they take no part in any number."""
        return sum(not problem.samples for problem in self.problems)

    @property
    def counts(self) -> str:
        """The number of samples, or the smallest and the largest: ``4``, ``2-5``."""
        return f"{self.samples}-{self.most_samples}" if self.samples < self.most_samples else str(self.samples)

    def key(self, name: str) -> str:
        """A name of METRICS as users write it: 'cons@K' with 16 samples is 'cons@16'."""
        return name.replace("K", str(self.samples)) if name.endswith("@K") else name

    def per_problem(self, name: str) -> np.ndarray:
        """(P,) one number per problem for a name of METRICS ('cons@K' or 'cons@16'); NaN where there is none."""
        for metric, value in METRICS.items():
            if name in (metric, self.key(metric)):
                return np.array([value(problem, self.samples) for problem in self.problems], dtype=np.float64)
        raise ValueError(f"No metric is called {name!r}. Choose one of: {', '.join(map(self.key, METRICS))}.")

    def pass_at(self, k: int) -> float:
        """Unbiased pass@k for any k up to K, averaged over the problems that can be judged."""
        return mean_of(pass_at_k(len(p.right), sum(p.right), k) for p in self.problems if p.judged and p.right)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Mean and bootstrap interval over problems for each name of METRICS, by the users' key."""
        return {self.key(name): bootstrap_interval(self.per_problem(name), self.level) for name in METRICS}

    def __getitem__(self, name: str) -> float:
        """The mean for a name of METRICS, without drawing an interval: ``evaluation["pass@1"]``; NaN for nobody's."""
        values = self.per_problem(name)
        values = values[~np.isnan(values)]
        return float(values.mean()) if len(values) else math.nan

    def to_dict(self) -> Json:
        """The numbers, ready for JSON: ``{"pass@1": .., "cons@16": .., "interval": {"pass@1": [low, high], ..}, ..}``.

        A number nobody could compute (language without a language column) is None.
        """
        return {
            **{name: plain(interval.mean) for name, interval in self.intervals.items()},
            "interval": {
                name: [plain(interval.low), plain(interval.high)] for name, interval in self.intervals.items()
            },
            "level": self.level,
            "problems": len(self.problems),
            "unjudged": sum(not problem.judged for problem in self.problems),
            **({"unsampled": self.unsampled} if self.unsampled else {}),
            "samples": self.samples,
            **({"most_samples": self.most_samples} if self.samples < self.most_samples else {}),
            "settings": self.settings,
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write numbers, settings and every text as JSON, whole or not at all."""
        rows = [problem.to_row() | {"consensus": plain(problem.consensus)} for problem in self.problems]
        content = {"kind": KIND, "version": 1, "summary": self.to_dict(), "problems": rows}
        return replace_file(
            path, json.dumps(content, ensure_ascii=False, indent=1, default=str, allow_nan=False) + "\n"
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Evaluation":
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: there is no such file, or it holds something else.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ValueError(f"There is no evaluation at {str(path)!r}. Evaluation.save writes one.") from None
        except (OSError, ValueError) as error:
            raise ValueError(f"{str(path)!r} is not an evaluation: it cannot be read as JSON ({error}).") from error
        if not isinstance(content, dict) or content.get("kind") != KIND:
            raise ValueError(f"{str(path)!r} is JSON, but not an evaluation. Evaluation.save writes one.")
        try:
            problems = [GradedProblem.of_row(row) for row in content["problems"]]
            return cls(problems, content["summary"]["settings"], content["summary"]["level"])
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{str(path)!r} is an evaluation, but a damaged one: a part of it is missing or of the wrong kind "
                f"({type(error).__name__}: {error}). Make it again."
            ) from error

    def regrade(self, graders: Graders | None = None) -> "Evaluation":
        """The same texts, judged again; nothing is generated.

        Args:
            graders: default: today's, looking for the answer where these were looked for.

        Raises:
            ValueError: a reward judged these, and no graders are given; a reward is to judge them now, and lacks a column.
        """
        if graders is None:
            if "verifier" in self.settings:
                raise ValueError(
                    f"The reward {self.settings['verifier']!r} judged these answers; give graders with it: "
                    "default_graders(rewards, verifier=...)."
                )
            from trl_r1.rewards.accuracy import SOURCES, Accuracy

            graders = default_graders([Accuracy(sources=tuple(self.settings.get("answer_from") or SOURCES))])
        usual, fresh = found_out(self.settings, self.problems), []
        for stored in self.problems:
            opened = stored.opened or usual
            known = graders.with_format(StoredReasoningFormat(stored_marks(self.settings), opened))
            one = grade(stored.problem, [one.completion for one in stored.samples], known, stored.columns)
            (one,) = verified([one], known)
            one.opened, one.columns = opened, stored.columns
            fresh.append(one)
        return Evaluation(fresh, dict(self.settings), self.level)


def is_evaluation(file: Path) -> bool:
    """Whether a JSON file says it is one; a model's own files (config.json) do not."""
    with open(file, encoding="utf-8", errors="replace") as content:
        return f'"kind": "{KIND}"' in content.read(200)


def plain(number: float) -> float | None:
    """A float for JSON, which knows no NaN."""
    return float(number) if math.isfinite(number) else None


def pair(before: Evaluation, after: Evaluation) -> list[tuple[int, int]]:
    """Indices of the problems both evaluations hold (same prompt, same solution), in the order of ``before``."""
    places: dict[str, list[int]] = {}
    for index, problem in enumerate(after.problems):
        places.setdefault(identity(problem), []).append(index)
    pairs = []
    for index, problem in enumerate(before.problems):
        waiting = places.get(identity(problem))
        if waiting:
            pairs.append((index, waiting.pop(0)))
    return pairs


def identity(graded: GradedProblem) -> str:
    """What makes two rows the same problem."""
    return json.dumps([graded.problem.prompt, graded.problem.solution], sort_keys=True, default=str)


def compare(before: Evaluation, after: Evaluation, name: str) -> Interval:
    """Paired difference ``after - before`` of a metric over the problems both hold; NaN when they share none."""
    pairs = pair(before, after)
    first, second = before.per_problem(name), after.per_problem(name)
    return paired_difference([first[i] for i, _ in pairs], [second[j] for _, j in pairs], before.level)


def evaluate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    problems: Sequence[Mapping[str, Any]],
    *,
    prompt_column: str = "prompt",
    solution_column: str = "solution",
    language_column: str | None = "language",
    samples: int = 16,
    temperature: float = 0.6,
    top_p: float = 0.95,
    max_new_tokens: int = 512,
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = True,
    graders: Graders | None = None,
    renderer: Renderer | None = None,
) -> Evaluation:
    """Draw K samples of every problem and grade them.

    Args:
        model, tokenizer, samples, temperature, top_p, max_new_tokens, batch_size, seed, progress, renderer: see
            :func:`trl_r1.models.sampling.sample`.
        problems: P rows (a list of dicts or a datasets.Dataset), prompts ready to generate from (text or messages).
        prompt_column, solution_column: names of the columns with the prompt and the gold answer.
        language_column: language code of each problem; a problem without one is not judged for language.
        graders: default: the rewards of this package.

    Raises:
        ValueError: no problems, a missing column, a missing prompt or gold answer, or a sampling option out of range.
    """
    rows = list(problems)
    if not rows:
        raise ValueError("There are no problems to evaluate on; the dataset or the selection from it is empty.")
    for number, row in enumerate(rows):
        for column in (prompt_column, solution_column):
            if column not in row:
                raise ValueError(f"Problem {number} has no column {column!r}. It has: {', '.join(map(str, row))}.")
            if row[column] in (None, "", []):
                raise ValueError(f"Problem {number} has nothing in its column {column!r}; drop the row or fill it in.")
    renderer = renderer or Renderer(tokenizer)
    reasoning_format = TemplateReasoningFormat(renderer)
    graders = (default_graders() if graders is None else graders).with_format(reasoning_format)
    drawn = sample(
        model,
        tokenizer,
        [prompt_of(row, prompt_column) for row in rows],
        samples=samples,
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
        renderer=renderer,
    )
    graded = []
    for row, completions in zip(rows, drawn.completions, strict=True):
        language = row.get(language_column) if language_column else None
        kind = declared_type(row, graders.type_column)
        problem = Problem(prompt_of(row, prompt_column), "", str(row[solution_column]), language, answer_type=kind)
        one = grade(problem, completions, graders, columns_of(row))
        one.opened = opened_by(reasoning_format, problem.prompt)
        graded.append(one)
    settings = {
        "model": str(getattr(model, "name_or_path", "") or getattr(model.config, "_name_or_path", "")),
        "samples": samples,
        "temperature": temperature,
        "top_p": top_p,
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
        "seed": seed,
        "seconds": round(drawn.seconds, 1),
        "tokens": drawn.tokens,
        **graders.settings,
    }
    if reasoning_format.marks != THINK:
        settings["reasoning_marks"] = list(reasoning_format.marks)
    return Evaluation(verified(graded, graders), settings)
