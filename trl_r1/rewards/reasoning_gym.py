"""The reward `reasoning_gym`: what a dataset of reasoning-gym itself gives the answer of a reply.

    dataset_name: reasoning_gym:chain_sum          rows with the column that is read here (trl_r1.data.gym)
    rewards: [{name: reasoning_gym}]

Source: reasoning-gym, https://github.com/open-thought/reasoning-gym (arXiv:2505.24760), ``score_answer`` of each dataset.
Departures: the answer is found by our extraction, not by the library's; nothing in an answer is evaluated
(``trl_r1.rewards.reasoning_gym_scorer``); a reply without an answer earns 0, where some datasets give it 0.01.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trl_r1.answers.extract import SOURCES, checked_sources, extract
from trl_r1.storage.structured import option
from trl_r1.text.completions import ANSWER, THINK, after_reasoning, reply, without_hidden
from trl_r1.text.reasoning_format import PREFILLED_HELP, THINK_HELP, ReadsReasoning, checked_tags


SCORE = "trl_r1.rewards.reasoning_gym_scorer:score"
LONGEST = 20_000  # characters of an answer that is still asked about
MISSING = (
    'reasoning-gym is not installed. Try: pip install "trl-r1[real]" (it compiles pycosat, which takes a C compiler and '
    "Python's headers: apt-get install build-essential python3-dev)"
)


def readings(
    text: str,
    sources: tuple[str, ...] = tuple(SOURCES),
    prefilled_think: bool = False,
    think: tuple[str, str] = THINK,
) -> list[str]:
    """The answer of a reply in the ways that it can be read: as it stands in the answer tags, and as ``extract`` has it.

    A grid of numbers or a list of moves has to stay as it is written; of a sentence only what it says is the answer. Both
    are one place in the reply: where a box follows the tags or stands in them, only the box counts. Empty: no answer.

    >>> readings("<think>1 + 1</think><answer>It is 2.</answer>"), readings("so \\\\boxed{2}"), readings("")
    (['It is 2.', '2'], ['2'], [])
    """
    answers = []
    region = without_hidden(after_reasoning(text, think, prefilled_think))
    block = region.rfind(ANSWER[0]) if "answer" in sources else -1
    if block >= 0 and "box" not in region[block:]:
        answers.append(region[block + len(ANSWER[0]) :].partition(ANSWER[1])[0].strip())
    answers.append((extract(text, sources, prefilled_think, think) or "").strip())
    return [answer for answer in dict.fromkeys(answers) if answer]


@dataclass(frozen=True)
class ReasoningGym(ReadsReasoning):
    """What the row's dataset gives the answer, in [0, 1], partial credit as the dataset gives it.

    0.0 without an answer, for one longer than 20,000 characters, and for one that exhausts the limits. None where the row
    is none of reasoning-gym's, or its entry cannot be read. See ``readings`` for where the answer is looked for.

    Raises, when called on rows of reasoning-gym, ImportError if the package is missing.
    """

    entry_column: str = option("reasoning_gym", "Dataset column with the entry, as text.")
    sources: tuple[str, ...] = option(tuple(SOURCES), f"Any of: {', '.join(SOURCES)}.")
    prefilled_think: bool | None = option(None, PREFILLED_HELP)
    think: tuple[str, str] | None = option(None, THINK_HELP)
    seconds: float = option(10.0, "Processor time per answer; the first of a dataset loads it.")
    megabytes: int = option(2048, "Memory per answer, in MiB.")
    name: str = option("reasoning_gym", "The metric is logged as rewards/<name>/mean.")

    def __post_init__(self) -> None:
        if not self.seconds > 0 or not math.isfinite(self.seconds) or self.megabytes < 512:
            raise ValueError(
                f"seconds={self.seconds}, megabytes={self.megabytes}: give a positive time and at least 512 MiB."
            )
        object.__setattr__(self, "sources", checked_sources(self.sources))
        object.__setattr__(self, "think", checked_tags(self.think))

    def __call__(
        self,
        completions: list[Any],
        prompts: Sequence[Any] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        entries = columns.get(self.entry_column) or [None] * len(completions)
        answers = [
            self._answers_of(completion, prompt)
            for completion, prompt in zip(completions, prompts or [None] * len(completions), strict=True)
        ]
        work = {
            (tuple(answer), entry): None
            for answer, entry in zip(answers, entries, strict=True)
            if answer and isinstance(entry, str) and entry and max(map(len, answer)) <= LONGEST
        }
        scored = dict(zip(work, self._ask(list(work)), strict=True))
        scores: list[float | None] = [
            scored.get((tuple(answer), entry), 0.0) if isinstance(entry, str) and entry else None
            for answer, entry in zip(answers, entries, strict=True)
        ]
        if log_extra is not None:
            log_extra(f"{self.name}_answer", [answer[-1] if answer else "" for answer in answers])
        if log_metric is not None:
            count = max(1, len(scores))
            log_metric(f"{self.name}/no_answer", sum(not answer for answer in answers) / count)
            log_metric(f"{self.name}/full", sum(score == 1.0 for score in scores) / count)
            log_metric(f"{self.name}/partial", sum(score is not None and 0 < score < 1 for score in scores) / count)
        return scores

    def _answers_of(self, completion: Any, prompt: Any) -> list[str]:
        think, prefilled = self.reading(completion, prompt)
        return readings(reply(completion), self.sources, prefilled, think)

    def _ask(self, work: list[tuple[tuple[str, ...], str]]) -> list[float | None]:
        if not work:
            return []
        if importlib.util.find_spec("reasoning_gym") is None:
            raise ImportError(f"The reward {self.name!r}: {MISSING}", name="reasoning_gym")
        from trl_r1.sandbox import pool

        items = [[list(answer), entry] for answer, entry in work]
        results = pool.run(SCORE, items, seconds=self.seconds, megabytes=self.megabytes)
        return [0.0 if result.why in ("time", "memory", "died") else result.value for result in results]


reasoning_gym_reward = ReasoningGym()
