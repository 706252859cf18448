"""Logic: of the claims of a reply that can be checked honestly, what share holds?

    arithmetic       closed equalities and inequalities, exactly (``trl_r1.claims.arithmetic``); needs nothing
    linear           equations over named variables against what the reply said before (Z3, extra ``logic``)
    propositional    formulas, ``P, P → Q ⊢ Q``, ``A ≡ B`` (Z3, extra ``logic``)

English prose is not checked: no model translates it, so nothing is guessed.

Source: the idea of checking a chain's own steps by solver, VeriCoT (arXiv:2511.04662) and Logic-RL (arXiv:2502.14768).
Departures: no language model formalises anything; only what is already written in symbols is judged.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from trl_r1.claims.find import Claim, arithmetic_claims, stated
from trl_r1.claims.statements import Statement, linear_statements, propositional_statements
from trl_r1.claims.tokens import tokens
from trl_r1.storage.structured import option
from trl_r1.text.completions import reply


def claims(
    text: str, linear: bool = False, propositional: bool = False, seconds: float = 5.0, megabytes: int = 1024
) -> list[Claim]:
    """Every claim found in a text, in order of place, with its span and verdict: right, wrong, or not judged.

    Repeats of a claim come back as not judged (``why`` "repeated"), premises as not judged (``why`` "premise").
    Code between ``` fences and hidden text are not read.

    Args:
        linear, propositional: judge such statements against the ones before them, in a process that can be killed.
        seconds, megabytes: for that process, per text. What was not judged by then stays not judged.

    Raises:
        ImportError: linear or propositional, without Z3.

    >>> [claim.right for claim in claims("3 * 4 = 12, and 12 + 5 = 18.")]
    [True, False]
    """
    return claims_of([text], linear, propositional, seconds, megabytes)[0]


def claims_of(
    texts: list[str], linear: bool = False, propositional: bool = False, seconds: float = 5.0, megabytes: int = 1024
) -> list[list[Claim]]:
    """``claims`` for many texts at once; the solver's processes share the work. Equal texts are judged once: of a group
    of completions whose policy has settled most are equal."""
    _require_solver(linear, propositional)
    distinct = list(dict.fromkeys(texts))
    rows: list[list[Claim]] = []
    waiting: list[tuple[int, list[Statement]]] = []
    for row, raw in enumerate(distinct):
        text = stated(raw)
        line = tokens(text)
        rows.append(arithmetic_claims(text, line))
        batches = [linear_statements(text, line)] if linear else []
        batches += [propositional_statements(text)] if propositional else []
        waiting += [(row, batch) for batch in batches if batch]
    for (row, batch), verdicts in zip(waiting, _solved([batch for _, batch in waiting], seconds, megabytes)):
        rows[row] += [_claim(statement, verdict) for statement, verdict in zip(batch, verdicts)]
    judged = [_first_of_each(sorted(row, key=lambda claim: (claim.start, claim.end))) for row in rows]
    by_text = dict(zip(distinct, judged, strict=True))
    return [by_text[text] for text in texts]


def _solved(batches: list[list[Statement]], seconds: float, megabytes: int) -> list[list[str]]:
    from trl_r1.sandbox import pool as verifier

    items = [
        [
            [{"content": s.content, "branch": s.branch, "given": s.given, "strict": s.strict} for s in batch],
            seconds * 0.8,
        ]
        for batch in batches
    ]
    results = verifier.run("trl_r1.claims.solver:judge", items, seconds=seconds, megabytes=megabytes)
    return [result.value or [result.why] * len(batch) for result, batch in zip(results, batches, strict=True)]


def _claim(statement: Statement, verdict: str) -> Claim:
    right = {"follows": True, "contradicts": False}.get(verdict)
    why = "" if right is not None else {"open": "premise", "given": "premise"}.get(verdict, verdict)
    return Claim(statement.start, statement.end, right, why, ("statement", statement.branch, repr(statement.content)))


def _first_of_each(row: list[Claim]) -> list[Claim]:
    keys: set[Any] = set()
    first_claims = []
    for claim in row:
        if claim.key is not None and claim.key in keys:
            claim = replace(claim, right=None, why="repeated")
        keys.add(claim.key)
        first_claims.append(claim)
    return first_claims


def _require_solver(linear: bool, propositional: bool) -> None:
    if (linear or propositional) and importlib.util.find_spec("z3") is None:
        option = "linear" if linear else "propositional"
        raise ImportError(f'{option}=True needs Z3, which is not installed. Try: pip install "trl-r1[logic]"')


def shares(row: list[Claim], minimum_claims: int, most_claims: int) -> list[tuple[int, int, float]] | None:
    """``(start, end, share)`` per judged claim, summing to the score; None with fewer than ``minimum_claims``.

    The score is ``1 - wrong / checked``, where beyond ``most_claims`` right claims make ``checked`` no larger, so
    that a heap of easy claims cannot hide a wrong one; never below 0.
    """
    judged = [claim for claim in row if claim.right is not None]
    if len(judged) < minimum_claims or not judged:
        return None
    wrong = sum(claim.right is False for claim in judged)
    score = max(0.0, 1.0 - wrong / min(len(judged), most_claims))
    right = len(judged) - wrong
    return [(claim.start, claim.end, score / right if claim.right else 0.0) for claim in judged]


def score_of(row: list[Claim], minimum_claims: int, most_claims: int) -> float | None:
    """``1 - wrong / checked``, in [0, 1]; None with fewer than ``minimum_claims``. See ``shares``."""
    judged = [claim.right for claim in row if claim.right is not None]
    if len(judged) < minimum_claims or not judged:
        return None
    return max(0.0, 1.0 - judged.count(False) / min(len(judged), most_claims))


class ClaimReward:
    """What the rewards that count claims share: TRL's calling convention, the score, the spans and the log.

    A subclass has the fields ``minimum_claims``, ``most_claims``, the solver's ``seconds`` and ``megabytes``, and
    ``name``, and says what the claims are.
    """

    minimum_claims: int
    most_claims: int
    seconds: float
    megabytes: int
    name: str

    def __post_init__(self) -> None:
        for name in ("minimum_claims", "most_claims"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} is not a number of claims. Give 1 or more.")
        if not self.seconds > 0 or self.megabytes < 256:
            raise ValueError(
                f"seconds={self.seconds}, megabytes={self.megabytes}: give the solver some time and at least 256 MiB."
            )

    @property
    def __name__(self) -> str:
        return self.name

    def claims_of(self, texts: list[str], prompts: list[str]) -> list[list[Claim]]:
        """The claims of each reply; the prompts (as text, "" where none) may help to understand them."""
        raise NotImplementedError

    def score(self, completion: Any, prompt: Any = None) -> float | None:
        """The score of one completion, in [0, 1]; None where too little can be checked."""
        row = self.claims_of([reply(completion)], [prompt_text(prompt)])[0]
        return score_of(row, self.minimum_claims, self.most_claims)

    def spans(self, completion: Any, prompt: Any = None) -> list[tuple[int, int, float]]:
        """``(start, end, share)`` per checked claim, as characters of ``reply(completion)``: equal shares for right
        ones, 0.0 for wrong ones, summing to the score; empty where the score is None."""
        row = self.claims_of([reply(completion)], [prompt_text(prompt)])[0]
        return shares(row, self.minimum_claims, self.most_claims) or []

    def __call__(
        self,
        completions: list[Any],
        prompts: list[Any] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        texts = [reply(completion) for completion in completions]
        questions = [prompt_text(prompt) for prompt in prompts] if prompts is not None else [""] * len(texts)
        rows = self.claims_of(texts, questions)
        scores = [score_of(row, self.minimum_claims, self.most_claims) for row in rows]
        if log_extra is not None:
            log_extra(f"{self.name}_claims", [_describe(text, row) for text, row in zip(texts, rows, strict=True)])
        if log_metric is not None:
            log_metric(f"{self.name}/judged", sum(score is not None for score in scores) / max(1, len(scores)))
            judged = sum(claim.right is not None for row in rows for claim in row)
            log_metric(f"{self.name}/claims", judged / max(1, len(rows)))
        return scores


def prompt_text(prompt: Any) -> str:
    """The text of a prompt, plain or conversational: all its messages, one below the other."""
    if prompt is None or isinstance(prompt, str):
        return prompt or ""
    messages = [prompt] if isinstance(prompt, dict) else list(prompt)
    return "\n".join(reply([{**m, "role": "assistant"} if isinstance(m, dict) else m]) for m in messages)


def _describe(text: str, row: list[Claim]) -> str:
    judged = [claim for claim in row if claim.right is not None]
    wrong = [" ".join(text[claim.start : claim.end].split())[:80] for claim in judged if not claim.right]
    return f"{len(judged) - len(wrong)} right, {len(wrong)} wrong" + (f": {'; '.join(wrong[:5])}" if wrong else "")


@dataclass(frozen=True)
class Logic(ClaimReward):
    """``1 - wrong / checked`` over the claims of a reply that can be checked, in [0, 1]; None below ``minimum_claims``.

    Checked are closed arithmetic claims and, where asked for, linear and propositional statements. Trivial claims
    (``5 = 5``), repeats, hidden text and code count for nothing. Beyond ``most_claims`` right ones do not either, so a
    wrong claim always costs at least 1/16; easy claims around it soften it that far. The whole reply is read: the
    thought, and what follows it. What is paid is that nothing checkable is wrong, not that it matters: use it beside
    accuracy.

    ``linear`` and ``propositional`` ask whether a statement contradicts the ones before it. That is a wrong step more
    often than not, but also a proof by contradiction told without a "suppose"; so they are off by default, and best
    given a small weight.

    Raises:
        ImportError: linear or propositional, without Z3.
    """

    linear: bool = option(False, "Judge linear statements over variables (Z3).")
    propositional: bool = option(False, "Judge propositional formulas (Z3).")
    minimum_claims: int = option(1, "Checkable claims it takes to judge a reply.")
    most_claims: int = option(16, "Beyond that many, right claims buy nothing.")
    seconds: float = option(5.0, "Solver time per reply.")
    megabytes: int = option(1024, "Solver memory, in MiB.")
    name: str = option("logic", "The metric is logged as rewards/<name>/mean.")

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_solver(self.linear, self.propositional)

    def claims_of(self, texts: list[str], prompts: list[str]) -> list[list[Claim]]:
        """The claims of each reply; prompts are not read."""
        return claims_of(texts, self.linear, self.propositional, self.seconds, self.megabytes)


logic_reward = Logic()
