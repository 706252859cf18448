r"""Accuracy: is the final answer of a reply the gold answer?

Three steps, each usable alone: ``extract`` finds the answer after the thought; ``decide`` compares it with the gold
exactly (numbers, fractions, units, lists, letters, words) in this process; what it cannot decide goes to math-verify
in a process that can be killed (``trl_r1.sandbox.pool``). Nothing here evaluates a model's text as code.

Source: DeepSeek-R1, arXiv:2501.12948, Sec. 2.2.2, accuracy rewards: "the model is required to provide the final answer
in a specified format (e.g., within a box), enabling reliable rule-based verification of correctness".
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trl_r1.answers.declared import decide_as
from trl_r1.answers.equality import Pending, decide
from trl_r1.answers.extract import SOURCES, checked_sources, extract, gold_answer
from trl_r1.answers.forms import TYPES
from trl_r1.answers.notation import LONGEST_ANSWER, boxes, canonical
from trl_r1.answers.types import type_name
from trl_r1.answers.written import as_written
from trl_r1.storage.structured import option
from trl_r1.text.completions import reply
from trl_r1.text.reasoning_format import PREFILLED_HELP, THINK_HELP, ReadsReasoning, checked_tags


__all__ = [  # what this module computes, and what it hands on from the modules it is made of
    "LONGEST_ANSWER",
    "SOURCES",
    "Accuracy",
    "accuracy_reward",
    "boxes",
    "decide",
    "extract",
    "gold_answer",
    "judge",
    "same_answer",
    "verdict",
    "verify",
]

EXACT = "trl_r1.answers.compare:compare"  # our own reading, in a process that can be killed
SECONDS = 2.0  # processor time math-verify may take for one pair of answers
MEGABYTES = 1024  # address space of the process it runs in

Comparison = tuple[str, str, str, str]  # answer and gold, canonical, and the same as they were written
_VERDICTS: dict[tuple[str, str, str, str, float, int], str] = {}  # (*asked, seconds, megabytes) -> outcome
_VERDICTS_KEPT = 65536
_VERDICTS_LOCK = threading.Lock()


def _ask(pairs: set[Comparison], seconds: float, megabytes: int) -> dict[Comparison, str]:
    """The outcome per question: "equal", "different", "unreadable gold" or "gave up" (the limits). Our own reading
    decides first, exactly; what it does not read goes to math-verify."""
    from trl_r1.sandbox import pool as verifier

    known: dict[Comparison, str] = {}
    for pair in pairs:
        outcome = _VERDICTS.get((*pair, seconds, megabytes))
        if outcome is not None:
            known[pair] = outcome
    missing = sorted(pairs - known.keys())
    if missing:
        ours = verifier.run(EXACT, [pair[:2] for pair in missing], seconds=seconds, megabytes=megabytes)
        outcomes = [result.value if result.value is not None else "gave up" for result in ours]
        unread = [index for index, outcome in enumerate(outcomes) if outcome.startswith("unread")]
        items = [missing[index][2:] for index in unread]
        theirs = verifier.run("math_verify", items, seconds=seconds, megabytes=megabytes)
        for index, result in zip(unread, theirs, strict=True):
            gold_read = outcomes[index] == "unread answer"
            outcomes[index] = result.value if result.value is not None else "gave up"
            if result.why == "gold":
                outcomes[index] = "different" if gold_read else "unreadable gold"
        with _VERDICTS_LOCK:
            for pair, outcome in zip(missing, outcomes, strict=True):
                known[pair] = outcome
                if len(_VERDICTS) >= _VERDICTS_KEPT:
                    del _VERDICTS[next(iter(_VERDICTS))]
                _VERDICTS[(*pair, seconds, megabytes)] = outcome
    return known


def judge(
    answers: Sequence[str | None],
    golds: Sequence[str | None],
    require_simplified: bool = True,
    math_verify: bool = True,
    seconds: float = SECONDS,
    megabytes: int = MEGABYTES,
    types: Sequence[str] | None = None,
) -> list[str]:
    """One outcome per answer: "equal", "different", "no answer", "no gold", "unreadable gold" or "gave up".

    What ``decide`` leaves open goes to math-verify in one batch; without ``math_verify`` it counts as "different".

    Args:
        types: the declared type of every gold, as ``type_name`` returns it ("" for none); a gold that is not of its
            type is an "unreadable gold". The others as in ``verify``.
    """
    verdicts: list[str | Pending] = []
    for answer, gold, kind in zip(answers, golds, types or [""] * len(golds), strict=True):
        if gold is None or not canonical(gold):
            verdicts.append("no gold")
        elif answer is None or not answer.strip():
            verdicts.append("no answer")
        else:
            verdict = decide_as(kind, answer, gold, require_simplified)
            if verdict is None:
                verdicts.append("unreadable gold")
            else:
                verdicts.append(verdict if isinstance(verdict, Pending) else "equal" if verdict else "different")
    comparisons = [
        [(a, g, as_written(a, answer or ""), as_written(g, gold or "")) for a, g in verdict.pairs]
        if isinstance(verdict, Pending)
        else []
        for verdict, answer, gold in zip(verdicts, answers, golds, strict=True)
    ]
    pairs = {pair for several in comparisons for pair in several}
    outcomes = _ask(pairs, seconds, megabytes) if pairs and math_verify else dict.fromkeys(pairs, "different")
    return [
        _worst([outcomes[pair] for pair in several]) if isinstance(verdict, Pending) else verdict
        for verdict, several in zip(verdicts, comparisons, strict=True)
    ]


def _worst(outcomes: list[str]) -> str:
    return next((o for o in ("unreadable gold", "different", "gave up") if o in outcomes), "equal")


def verify(
    answer: str | None,
    gold: Any,
    *,
    require_simplified: bool = True,
    math_verify: bool = True,
    seconds: float = SECONDS,
    megabytes: int = MEGABYTES,
    on_timeout: bool | None = False,
    answer_type: str | None = None,
) -> bool | None:
    r"""Whether an extracted answer equals the gold answer; None if the gold is empty or cannot be read.

    A unit on one side only is understood (``5 m`` is 5, but not 5 cm). Percent is a factor of 1/100 (``50\%`` is 0.5,
    not 50). A pair is not a list, an interval not a pair of other ends, ``1101_2`` not 1101. A bare list or a set is
    equal in any order. Every member of a chain ``a = b = c`` has to be right.

    Args:
        answer: as ``extract`` returns it; None is wrong.
        gold: see ``gold_answer``.
        require_simplified: to a number, an expression with operations left to do (``17 \cdot 23``) is no answer; nor
            is an integral, sum, limit or factorial to a gold without one. An unreduced fraction is.
        math_verify: also ask math-verify, in another process; otherwise what ``decide`` leaves open is False.
        seconds: processor time math-verify may take (``verifier.run``). megabytes: memory it may take.
        on_timeout: the verdict when it takes more.
        answer_type: one of ``TYPES``: how the gold is to be read and compared (``trl_r1.answers.declared``); without,
            its own form tells.
    """
    types = [type_name(answer_type)]
    outcome = judge([answer], [gold_answer(gold)], require_simplified, math_verify, seconds, megabytes, types)[0]
    if outcome == "gave up":
        return on_timeout
    return None if outcome in ("no gold", "unreadable gold") else outcome == "equal"


def verdict(
    text: str,
    gold: Any,
    *,
    answer_type: str | None = None,
    truncated: bool = False,
    sources: Sequence[str] = tuple(SOURCES),
    **limits: Any,
) -> bool | None:
    """Whether a reply's answer is the gold one, as every command and stage judges it; None if the gold is no use.

    Args:
        truncated: the token limit cut the reply (``extract``). limits: as in ``verify``.

    >>> verdict("The capital of France is Paris.", "Paris"), verdict("It is 42.5.", "42"), verdict("So it is 4", 4)
    (True, False, True)
    """
    kind = type_name(answer_type)
    return verify(extract(text, sources, truncated=truncated, kind=kind), gold, answer_type=answer_type, **limits)


def same_answer(a: str | None, b: str | None, math_verify: bool = True) -> bool:
    """Whether two extracted answers say the same, for majority voting. Symmetric; an unsimplified form is the same.

    >>> same_answer("0.5", "1/2"), same_answer("5", None)
    (True, False)
    """
    if a is None or b is None or not a.strip() or not b.strip():
        return False
    if decide(a, b, False) is True or decide(b, a, False) is True:
        return True
    first, second = sorted((a, b))
    return judge([first], [second], False, math_verify)[0] == "equal"


@dataclass(frozen=True)
class Accuracy(ReadsReasoning):
    """1.0 if the answer after the thought equals the row's gold answer, else 0.0; None where the gold is no use.

    Works in any ``GRPOTrainer``. An answer only inside the thought earns nothing. See ``extract`` for where an answer
    is looked for and ``verify`` for what equals what. Same verdict on every thread and rank.

    A declared type (the row's ``type_column``, else ``answer_type``) says how a gold is to be read: "No" as a name and
    not as a denial, 12 as 12%. A gold that is not of its type is None, and counted as unreadable.

    Source: DeepSeek-R1, arXiv:2501.12948, Sec. 2.2.2. Departures: the paper demands a box; here ``<answer>``, ``####``
    and a last sentence also count (``sources``). A restated task is refused (``require_simplified``).
    """

    solution_column: str = option("solution", "Dataset column with the gold answer.")
    sources: tuple[str, ...] = option(tuple(SOURCES), f"Any of: {', '.join(SOURCES)}.")
    answer_type: str | None = option(None, f"For rows that name none: {', '.join(TYPES)}.")
    type_column: str | None = option("answer_type", "Dataset column with the type of the gold; None: do not look.")
    require_simplified: bool = option(True, "Refuse expressions left to be evaluated.")
    prefilled_think: bool | None = option(None, PREFILLED_HELP)
    think: tuple[str, str] | None = option(None, THINK_HELP)
    math_verify: bool = option(True, "Ask math-verify about what is not decided exactly.")
    seconds: float = option(SECONDS, "Wall time math-verify may take for one answer.")
    megabytes: int = option(MEGABYTES, "Memory math-verify may take for one answer, in MiB.")
    on_timeout: float | None = option(0.0, "Score of an answer that exhausts the limits.")
    name: str = option("accuracy", "The metric is logged as rewards/<name>/mean.")

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.megabytes < 256:
            raise ValueError(
                f"seconds={self.seconds}, megabytes={self.megabytes}: an answer needs a positive time and 256 MiB or more."
            )
        if self.on_timeout is not None and not math.isfinite(self.on_timeout):
            raise ValueError(f"on_timeout={self.on_timeout} is not a score. Give a finite number or None.")
        object.__setattr__(self, "answer_type", type_name(self.answer_type) or None)
        object.__setattr__(self, "sources", checked_sources(self.sources))
        object.__setattr__(self, "think", checked_tags(self.think))

    def __call__(
        self,
        completions: list[Any],
        solution: Sequence[Any] | None = None,
        prompts: Sequence[Any] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        golds = solution if self.solution_column == "solution" else columns.get(self.solution_column)
        if golds is None:
            raise ValueError(
                f"{self.name} needs a column {self.solution_column!r} with the gold answers. "
                f"The rows have: {', '.join(sorted(columns)) or 'none'}. Name yours with solution_column."
            )
        gold_answers = [gold_answer(gold) for gold in golds]
        types = self._types(columns, len(gold_answers))
        answers = [
            self.answer_of(completion, prompt, kind=kind)
            for completion, prompt, kind in zip(completions, prompts or [None] * len(completions), types, strict=True)
        ]
        limits = (self.require_simplified, self.math_verify, self.seconds, self.megabytes)
        outcomes = judge(answers, gold_answers, *limits, types)
        if log_extra is not None:
            log_extra(f"{self.name}_answer", [answer or "" for answer in answers])
            log_extra(f"{self.name}_gold", [gold or "" for gold in gold_answers])
            log_extra(f"{self.name}_verdict", outcomes)
        if log_metric is not None:
            for outcome, metric in _METRICS.items():
                log_metric(f"{self.name}/{metric}", outcomes.count(outcome) / max(1, len(outcomes)))
        return [self._score(outcome) for outcome in outcomes]

    def answer_of(self, completion: Any, prompt: Any = None, truncated: bool = False, kind: str = "") -> str | None:
        """The final answer of a completion, looked for where the options and what was told say; see ``extract``."""
        think, prefilled = self.reading(completion, prompt)
        return extract(reply(completion), self.sources, prefilled, think, truncated=truncated, kind=kind)

    def _types(self, columns: dict[str, Any], rows: int) -> list[str]:
        named = columns.get(self.type_column) if self.type_column else None
        declared = self.answer_type or ""
        if named is None:
            return [declared] * rows
        try:
            return [type_name(value) or declared for value in named]
        except ValueError as error:
            raise ValueError(f"Column {self.type_column!r}: {error} With type_column null it is not read.") from None

    def _score(self, outcome: str) -> float | None:
        if outcome == "gave up":
            return self.on_timeout
        return None if outcome in ("no gold", "unreadable gold") else float(outcome == "equal")


_METRICS = {"no answer": "no_answer", "no gold": "no_gold", "unreadable gold": "unreadable_gold", "gave up": "gave_up"}

accuracy_reward = Accuracy()
