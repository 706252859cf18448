r"""Gold doctor: which gold answers of a dataset can be used to reward with, and why the others cannot.

A gold is usable when the accuracy reward, given it,

    reads it                              it declares an answer, and math-verify can parse what is not a plain literal
    accepts itself
    accepts the same written differently  ``72`` as ``\frac{144}{2}``, ``12%`` as ``0.12``  (``forms.equal_form``)
    rejects a wrong one                   the next number, another letter, one item changed (``forms.wrong_form``)
    keeps a factor where it stands        ``\frac{2}{3}\pi`` is ``\frac{2\pi}{3}``, not ``\frac{2}{3\pi}`` (``moved``)
    has all its digits                    a double beyond 2^53 may have lost its last ones

A gold without a second way to write it (a union, a matrix) is judged by the other three. ``repair`` rewrites a usable
gold so that other verifiers read it too: the answer alone, LaTeX in dollars, no separators, percent as ``\%``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trl_r1.answers.equality import parts
from trl_r1.answers.forms import TYPES, answer_type, equal_form, wrong_form
from trl_r1.answers.moved import moved_factor
from trl_r1.answers.notation import canonical, latex
from trl_r1.answers.quantities import quantity
from trl_r1.data.columns import closest_column
from trl_r1.rewards.accuracy import SECONDS, gold_answer, judge
from trl_r1.text.completions import reply


GOLD_COLUMNS = ("solution", "answer", "final_answer", "expected_answer", "ground_truth", "gold", "target", "label")
PROMPT_COLUMNS = ("prompt", "question", "problem", "instruction", "query", "input")
BATCH = 500  # rows judged at once


@dataclass(frozen=True)
class GoldCheck:
    """What became of one gold. ``why`` is "" for a usable one; ``repaired`` is the gold cell as it should be."""

    row: int  # counted from 0
    answer: str | None  # what the gold was read as
    type: str  # a key of forms.TYPES, or "none"
    why: str = ""
    repaired: str | None = None
    second_form: str | None = None  # the independently written form that it accepted

    @property
    def usable(self) -> bool:
        return not self.why


def check_golds(
    golds: Sequence[Any], seconds: float = SECONDS, progress: Callable[[int], None] | None = None
) -> list[GoldCheck]:
    """Check every gold cell; ``seconds`` is the time math-verify may take for one pair; ``progress`` gets rows done.

    >>> [(c.answer, c.type, c.usable) for c in check_golds(["48 / 2 = 24\\n#### 1,072", "", "12%"])]
    [('1,072', 'integer', True), (None, 'none', False), ('12%', 'percent', True)]
    """
    checks: list[GoldCheck] = []
    for start in range(0, len(golds), BATCH):
        checks += _check_batch(golds[start : start + BATCH], start, seconds)
        if progress is not None:
            progress(len(checks))
    return checks


def _check_batch(golds: Sequence[Any], first: int, seconds: float) -> list[GoldCheck]:
    answers = [gold_answer(gold) for gold in golds]
    answers = [answer if answer is not None and canonical(answer) else None for answer in answers]
    moved = [moved_factor(answer) if answer is not None else None for answer in answers]
    trials: list[tuple[int, str, str]] = []  # (index, what it shows, the answer tried)
    second: dict[int, str] = {}
    fixed: dict[int, str] = {}
    for index, answer in enumerate(answers):
        if answer is None:
            continue
        again = equal_form(answer)
        trials += [(index, "itself", answer), (index, "wrong", wrong_form(answer))]
        if moved[index] is not None:
            trials += zip((index, index), ("moved", "under"), moved[index], strict=True)  # type: ignore[arg-type]
        if again is not None:
            second[index] = again
            trials.append((index, "again", again))
        repaired = repair(answer)
        if repaired != answer:
            fixed[index] = repaired
            trials.append((index, "repaired", repaired))
    tried = [text for _, _, text in trials]
    outcomes = judge(tried, [answers[index] for index, _, _ in trials], seconds=seconds)
    verdicts: dict[tuple[int, str], str] = {
        (index, what): outcome for (index, what, _), outcome in zip(trials, outcomes, strict=True)
    }
    checks = []
    for index, answer in enumerate(answers):
        if answer is None:
            empty = golds[index] is None or not str(golds[index]).strip()
            why = "is empty" if empty else "declares no answer"
            checks.append(GoldCheck(first + index, None, "none", why))
            continue
        why = _why(verdicts, index, second.get(index), wrong_form(answer)) or _misplaced(verdicts, index, moved[index])
        if _rounded(golds[index]):
            why = why or "is a double beyond 2^53, whose last digits may be lost: store it as text"
        repaired = fixed.get(index, answer)
        if verdicts.get((index, "repaired"), "equal") != "equal":
            repaired = answer
        kind = answer_type(answer)
        checks.append(GoldCheck(first + index, answer, kind, why, None if why else repaired, second.get(index)))
    return checks


def _why(verdicts: Mapping[tuple[int, str], str], index: int, again: str | None, wrong: str) -> str:
    outcomes = [verdicts.get((index, what), "") for what in ("itself", "again", "wrong")]
    if "unreadable gold" in outcomes:
        return "cannot be parsed"
    if verdicts[index, "itself"] != "equal":
        return f"does not accept itself ({verdicts[index, 'itself']})"
    if again is not None and verdicts[index, "again"] != "equal":
        return f"does not accept {again} ({verdicts[index, 'again']})"
    if verdicts[index, "wrong"] == "equal":
        return f"accepts the wrong answer {wrong}"
    return ""


def _misplaced(verdicts: Mapping[tuple[int, str], str], index: int, moved: tuple[str, str] | None) -> str:
    if moved is None:
        return ""
    if verdicts[index, "moved"] != "equal":
        return f"does not accept {moved[0]} ({verdicts[index, 'moved']})"
    return f"accepts the wrong answer {moved[1]}" if verdicts[index, "under"] == "equal" else ""


def _rounded(gold: Any) -> bool:
    """Whether a number lost digits on its way here, or may have: a double beyond 2^53."""
    value = gold[0] if isinstance(gold, list) and len(gold) == 1 else gold
    return isinstance(value, float) and math.isfinite(value) and abs(value) >= 2**53


_SMALL, _LARGE = "(?:least|smallest|lowest)", "(?:greatest|largest|highest|biggest)"
_ORDERED = re.compile(
    r"\b(?:sort(?:ed|ing)?|arrange|rank|ascending|descending|respectively|sequence|next (?:\w+ )?(?:terms|numbers)|"
    r"first (?:\w+ )?terms|in (?:the )?(?:correct |right |increasing |decreasing |alphabetical |chronological )?order|"
    rf"{_SMALL} to (?:the )?{_LARGE}|{_LARGE} to (?:the )?{_SMALL})\b|从小到大|从大到小|排序|排列|依次|分别|顺序",
    re.IGNORECASE,
)
_A_SET = re.compile(
    r"\b(?:solve|roots?|solutions?|zeros|zeroes|all (?:\w+ ){0,3}(?:values|numbers|integers|primes|x|n)|find all|"
    r"set of|factors|divisors|which (?:of|numbers))\b|解方程|所有|的根|的解|集合|因数",
    re.IGNORECASE,
)


def order_of(question: str, answer: str) -> str:
    """How the order of a gold that is a bare list is meant: "sequence", "set", or "" where the question does not say.

    >>> order_of("Sort 51, 29, 60 in ascending order.", "29, 51, 60"), order_of("Solve x^2 = 4.", "2, -2")
    ('sequence', 'set')
    """
    brackets, items = parts(canonical(answer))
    if brackets or len(items) < 2:
        return ""
    if _ORDERED.search(question):
        return "sequence"
    return "set" if _A_SET.search(question) else ""


def order_notes(
    checks: Sequence[GoldCheck], questions: Sequence[Any], types: Sequence[Any] | None = None
) -> list[str]:
    """What to say of golds that are bare lists and declare no type: which rows look as if their order counts."""
    found: dict[str, list[int]] = {"sequence": [], "set": [], "": []}
    for check in checks:
        if check.type == "list" and check.answer and not (types and types[check.row]):
            brackets, _ = parts(canonical(check.answer))
            if not brackets:
                found[order_of(prompt_text(questions[check.row]), check.answer)].append(check.row)

    def rows(numbers: list[int]) -> str:
        return f"{len(numbers)} ({', '.join(map(str, numbers[:5]))}{', ...' if len(numbers) > 5 else ''})"

    notes = []
    if found["sequence"]:
        notes.append(
            f"lists whose order seems to count: rows {rows(found['sequence'])}. Any order is paid unless the row declares "
            "answer_type: sequence."
        )
    if found["set"]:
        notes.append(f"lists that look like sets of solutions, right in any order: rows {rows(found['set'])}.")
    if found[""] and (found["sequence"] or found["set"]):
        notes.append(f"lists whose question does not say: rows {rows(found[''])}.")
    return notes


def repair(answer: str) -> str:
    r"""A gold answer as any verifier reads it.

    >>> repair("1,072"), repair("12 percent"), repair(r"\frac{1}{2}"), repair("x^2"), repair("Paris")
    ('1072', '$12\\%$', '$\\frac{1}{2}$', '$x^2$', 'Paris')
    """
    kind, text = answer_type(answer), canonical(answer)
    number = quantity(text)
    if kind == "percent":
        return (
            "$" + re.sub(r"\s*(?:%|per ?cent(?:age)?|pct)", r"\\%", text, flags=re.IGNORECASE).replace(",", "") + "$"
        )
    if number is not None and not number.unit and kind in ("integer", "decimal"):
        return text.replace(",", "").lstrip("+") if re.fullmatch(r"[-+]?[\d,]+(?:\.\d+)?", text) else answer
    if kind in ("text", "choice", "yes_no", "clock") or (number is not None and number.unit):
        return answer.strip()
    brackets, items = parts(text)
    if kind == "list" and not brackets:
        return f"${', '.join(map(latex, items))}$"
    bare = answer.strip()
    if bare.startswith(("$", "\\(", "\\[", "\\begin")):
        return bare
    return f"${bare}$" if "\\" in bare or "$" in bare else f"${latex(text)}$"


def coverage(checks: Sequence[GoldCheck]) -> list[str]:
    """The table: per type of answer, how many rows there are, how many are usable, and an example."""
    total, usable = Counter(c.type for c in checks), Counter(c.type for c in checks if c.usable)
    lines = [f"{'type':<16} {'rows':>8} {'usable':>8}  for example"]
    for kind in [*TYPES, "none"]:
        if total[kind]:
            example = next((c.answer for c in checks if c.type == kind and c.answer), "")
            shown = " ".join((example or "").split())
            lines.append(f"{kind:<16} {total[kind]:>8} {usable[kind]:>8}  {shown[:60]}")
    lines.append(f"{'all':<16} {len(checks):>8} {sum(usable.values()):>8}")
    return lines


def find_column(there: Sequence[str], wanted: str | None, usual: Iterable[str], purpose: str) -> str:
    """The column that was asked for, or the first of the usual names that is there.

    Raises:
        ValueError: neither; says what there is.
    """
    if wanted is not None:
        if wanted in there:
            return wanted
        near = closest_column(wanted, list(there))
        raise ValueError(
            f"There is no column {wanted!r} for the {purpose}."
            + (f" Did you mean {near!r}?" if near else "")
            + f" The columns are: {', '.join(there) or 'none'}."
        )
    for name in usual:
        if name in there:
            return name
    raise ValueError(f"No column looks like the {purpose}; name it. The columns are: {', '.join(there) or 'none'}.")


def prompt_text(prompt: Any) -> str:
    """A prompt as text: itself, or the last user message of a conversation."""
    if prompt is None or isinstance(prompt, str):
        return prompt or ""
    users = [m for m in prompt if isinstance(m, dict) and m.get("role", "user") == "user"]
    return reply([{**users[-1], "role": "assistant"}]) if users else ""
