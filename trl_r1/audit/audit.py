"""Audit: which completions that deserve nothing does a reward pay for?

    audit("my.module:reward", rows=rows_of(dataset))        trl-r1 rewards audit my.module:reward --data rows.jsonl

First honest replies are scored, in every layout, as text and as messages; the layout the reward likes best is the one
the exploits use. For every row two marks come out of it:

    top        what the honest reply earns: thought in the prompt's language, right answer, in that layout; for logic
               the thought makes claims about numbers and points, all of them right
    bottom     accuracy: the same with a plain wrong answer; language: with the thought in another language; logic: with
               wrong claims among the right ones; symbolic: with an answer that breaks off; format: the same words
               without a layout

The kind is the first (in the order accuracy, language, logic, symbolic, format) whose top is above its bottom on average
and on a fifth of the rows; an accuracy reward that pays a long, repetitive right answer less is called shaping. With
none it is "other", and only the reward's health is examined. With ``margin`` m (default 0.1):

    accuracy, shaping   an exploit is paid when it scores more than  bottom + m * (top - bottom)   (a bit more than wrong)
    others              an exploit is paid when it scores at least   top - m * (top - bottom)      (as much as honest)

So a shaping reward passes if nothing about its length makes a wrong answer worth more than a plain wrong answer.

``None`` counts as 0, which is what TRL's weighted sum makes of it: abstaining from a penalty is a payment too. A row
whose top is not above its bottom cannot be judged and is counted as ``unpaid``. Findings of health, for any kind: a
call that hangs or takes too long (the reward runs in a process that is killed), raises, returns nan or infinity or the
wrong number of scores, or cannot be pickled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trl_r1.answers.extract import extract, gold_answer
from trl_r1.answers.forms import wrong_form
from trl_r1.audit.exploits import FAMILIES, KINDS, LAYOUTS, REASONINGS, Family, Layout, Row
from trl_r1.audit.isolated import MEANING, IsolatedReward, Outcome


SHAPES = ("messages", "text")
ENOUGH_ROWS = 0.2  # share of rows whose top must be above the bottom to tell a kind
ENOUGH = 2  # hangs, exceptions and the like of one family, after which the rest of it is left out
EXAMPLES: list[dict[str, str]] = [  # rows for an audit without data: one of each type of answer
    {"prompt": "Natalia sold clips to her friends, twice as many in May. How many in total?", "solution": "72"},
    {"prompt": "What is the sum of the first hundred odd numbers, halved?", "solution": "5000"},
    {"prompt": "What is the remainder in lowest terms?", "solution": "\\frac{3}{7}"},
    {"prompt": "What share of the marbles is red?", "solution": "12%"},
    {"prompt": "Which option is correct? (A) a hat (B) a coat (C) a scarf (D) a glove", "solution": "B"},
    {"prompt": "Is the number a prime?", "solution": "yes"},
    {"prompt": "Find the intersection point of the two lines.", "solution": "(3, 5)"},
    {"prompt": "Expand the product.", "solution": "x^2 + 3x + 2"},
    {"prompt": "小明和小红一共有多少本书？", "solution": "48"},
    {"prompt": "How long is the diagonal of the square?", "solution": "3\\sqrt{2}"},
]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a reward. ``problem`` is "paid", "not picklable" or a key of ``MEANING``."""

    family: str
    exploit: str
    problem: str
    row: int
    text: str
    score: float | None = None  # reward points
    top: float = 0.0
    bottom: float = 0.0
    detail: str = ""

    def __str__(self) -> str:
        if self.problem == "paid":
            return (
                f"{self.family}: {self.exploit} scores {self.score or 0.0:g} (honest {self.top:g}, undeserved "
                f"{self.bottom:g}) in row {self.row}: {_short(self.text)}"
            )
        meaning = MEANING.get(self.problem, self.problem)
        return f"{self.family}: {self.exploit} in row {self.row}: it {meaning} ({self.detail}): {_short(self.text)}"


@dataclass
class Report:
    """What an audit saw."""

    name: str
    kind: str
    layout: str
    shape: str
    rows: int
    unpaid: int = 0  # rows whose honest reply earns no more than what does not deserve it
    tried: Counter[str] = field(default_factory=Counter)  # family -> completions
    slowest: dict[str, float] = field(default_factory=dict)  # family -> seconds of its slowest call
    note: str = ""  # what else there is to know about a reward of this kind
    findings: list[Finding] = field(default_factory=list)

    @property
    def caught(self) -> bool:
        return bool(self.findings)

    def lines(self) -> list[str]:
        """The report as text: a table of the families, then one line per exploit that paid."""
        lines = [
            f"{self.name}: kind {self.kind}, layout {self.layout!r}, completions as {self.shape}, {self.rows} rows",
            f"{'family':<18} {'tried':>6} {'caught':>7} {'slowest':>9}",
        ]
        by_family = Counter(finding.family for finding in self.findings)
        for family in [*self.tried, *(name for name in by_family if name not in self.tried)]:
            seconds = f"{self.slowest.get(family, 0.0):.2f} s"
            lines.append(f"{family:<18} {self.tried[family]:>6} {by_family[family]:>7} {seconds:>9}")
        if self.unpaid:
            lines.append(
                f"{self.unpaid} of {self.rows} rows were not judged: the honest reply earns no more than an undeserved "
                "one. If the gold answers are at fault: trl-r1 data check"
            )
        groups: dict[tuple[str, str, str], list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault((finding.family, finding.exploit, finding.problem), []).append(finding)
        for same in groups.values():
            lines.append(f"{'PAID' if same[0].problem == 'paid' else 'BROKEN'}  {same[0]}")
            if len(same) > 1:
                lines[-1] += f" (and {len(same) - 1} more)"
        if self.caught:
            lines.append(f"{self.name} is caught: {', '.join(dict.fromkeys(f.family for f in self.findings))}.")
        elif self.kind in KINDS:
            lines.append(f"{self.name} passes: {sum(self.tried.values())} exploits, none paid.")
        else:
            lines.append(
                f"{self.name} is healthy: it survived {sum(self.tried.values())} exploits. It pays neither answer, "
                "language, claims, form nor layout, so what it pays was not judged."
            )
        if self.note:
            lines.append(self.note)
        return lines


def audit(
    name: str,
    rows: Sequence[Row] | None = None,
    options: Mapping[str, Any] | None = None,
    kind: str = "auto",
    families: Mapping[str, Family] | None = None,
    seconds: float = 10.0,
    margin: float = 0.1,
    worker_thread: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Attack a reward with every family of exploits.

    Args:
        name: as for ``load_reward``: ``accuracy``, ``my.module:reward``. It is imported in another process only.
        rows: see ``rows_of``; the ``EXAMPLES`` without.
        options: the reward's own. kind: a key of ``KINDS``, "other", or "auto" to find out.
        families: which; all of ``FAMILIES`` without.
        seconds: wall time of one call, above which it hangs. margin: see the module's first lines.
        worker_thread: call the reward off the main thread, as TRL's asynchronous trainer does.
        progress: called with the name of each family.

    Raises:
        ValueError: the reward cannot be loaded, scores no honest reply at all, or an argument is wrong.
    """
    rows = rows_of(EXAMPLES) if rows is None else list(rows)
    families = FAMILIES if families is None else families
    if not rows:
        raise ValueError("There is no row to audit with.")
    if kind not in ("auto", "other", *KINDS):
        raise ValueError(f"kind={kind!r} is unknown. Choose one of: auto, {', '.join(KINDS)}, other.")
    if seconds <= 0 or not 0 < margin < 1:
        raise ValueError(f"seconds={seconds:g}, margin={margin:g}: both are positive, and margin is below 1.")
    with IsolatedReward(name, options, worker_thread) as isolated:
        report, marks, layout = _calibrate(isolated, name, rows, kind, seconds)
        if isolated.unpicklable:
            why = isolated.unpicklable
            report.findings.append(Finding("pickle", "pickling", "not picklable", 0, name, detail=why))
        for family_name, family in families.items():
            if progress is not None:
                progress(family_name)
            _attack(isolated, report, family_name, family, rows[: family.rows], marks, layout, seconds, margin)
    return report


def _attack(
    isolated: IsolatedReward,
    report: Report,
    name: str,
    family: Family,
    rows: Sequence[Row],
    marks: Mapping[int, tuple[float, float]],
    layout: Layout,
    seconds: float,
    margin: float,
) -> None:
    broken = 0
    for row in rows:
        if name == "echo" and _concludes(row):
            continue
        kind = report.kind if report.kind in family.kinds else "accuracy" if "accuracy" in family.kinds else "format"
        for exploit, text in family.make(row, layout, "accuracy" if kind == "shaping" else kind):
            if text is None and report.shape == "text":
                continue
            outcome = _score(isolated, [text], [row], report.shape, seconds)
            report.tried[name] += 1
            report.slowest[name] = max(report.slowest.get(name, 0.0), outcome.seconds)
            content = text if text is not None else "(no content)"
            if outcome.problem:
                report.findings.append(
                    Finding(name, exploit, outcome.problem, row.number, content, detail=outcome.detail)
                )
                broken += 1
                if broken >= ENOUGH:
                    return
            elif report.kind in family.kinds and row.number in marks:
                top, bottom = marks[row.number]
                points, gap = outcome.scores[0] or 0.0, top - bottom
                strict = KINDS[kind].strict
                paid = points > bottom + margin * gap if strict else points >= top - margin * gap
                if paid:
                    report.findings.append(
                        Finding(name, exploit, "paid", row.number, content, outcome.scores[0], top, bottom)
                    )


def _calibrate(
    isolated: IsolatedReward, name: str, rows: Sequence[Row], kind: str, seconds: float
) -> tuple[Report, dict[int, tuple[float, float]], Layout]:
    """The reward's kind, the layout and shape it likes, and (top, bottom) of every row that can be judged."""
    kinds = {
        name: kind_of for name, kind_of in KINDS.items() if kind == name or (kind == "auto" and name != "shaping")
    }
    replies: dict[str, Callable[[Row, Layout], str]] = {
        "honest": lambda row, layout: layout.write(row.reasoning, row.right),
        **{name: kind_of.bottom for name, kind_of in kinds.items()},
        **{f"{name} top": kind_of.top for name, kind_of in kinds.items() if kind_of.top is not None},
    }
    points: dict[tuple[str, str, str], list[float]] = {}
    problems: Counter[str] = Counter()
    for shape in SHAPES:
        failed = 0
        for layout_name, layout in LAYOUTS.items():
            for reply_name, reply in replies.items():
                texts = [reply(row, layout) for row in rows]
                outcome = _score(isolated, texts, rows, shape, seconds * len(rows)) if failed < ENOUGH else None
                if outcome is None or outcome.problem:
                    failed += 1
                    if outcome is not None:
                        problems[f"it {MEANING[outcome.problem]} ({outcome.detail})"] += 1
                    continue
                points[shape, layout_name, reply_name] = [score or 0.0 for score in outcome.scores]
    if not points:
        raise ValueError(f"{name!r} scores no honest reply: {problems.most_common(1)[0][0]}.")

    def tops(kind: str, shape: str, layout_name: str) -> list[float] | None:
        return points.get((shape, layout_name, "honest" if KINDS[kind].top is None else f"{kind} top"))

    def gap(kind: str, shape: str, layout_name: str) -> list[float]:
        top, bottom = tops(kind, shape, layout_name), points.get((shape, layout_name, kind))
        return [] if top is None or bottom is None else [t - b for t, b in zip(top, bottom, strict=True)]

    def best(kind: str) -> tuple[float, float, int, str, str]:
        """(mean gap, mean top, -, shape, layout) of the layout that tells most; for format the one of fewest tags, so
        that no tag is attacked that the reward does not ask for."""
        candidates = []
        for shape in SHAPES:
            for layout_name, layout in LAYOUTS.items():
                gaps = gap(kind, shape, layout_name)
                if gaps:
                    top = sum(tops(kind, shape, layout_name) or ()) / len(rows)
                    candidates.append(
                        (sum(gaps) / len(rows), top, -layout.tags * (kind == "format"), shape, layout_name)
                    )
        return max(candidates, key=lambda candidate: candidate[:3], default=(0.0, 0.0, 0, "", ""))

    if kind == "auto":
        for candidate in kinds:
            mean_gap, _, _, shape, layout_name = best(candidate)
            gaining = sum(g > 1e-9 for g in gap(candidate, shape, layout_name))
            if mean_gap > 0 and gaining >= ENOUGH_ROWS * len(rows):
                kind = candidate
                break
        else:
            kind = "other"
    if kind not in KINDS:
        shape, layout_name, _ = next(iter(points))
        report = Report(name, kind, layout_name, shape, len(rows))
        if kind == "other" and _loses_by_length(isolated, rows, shape, LAYOUTS[layout_name], seconds):
            report.note = _ALONE
        return report, {}, LAYOUTS[layout_name]
    mean_gap, _, _, shape, layout_name = best(kind)
    if mean_gap <= 0:
        raise ValueError(
            f"{name!r} pays honest replies no more than undeserved ones in any layout, so it cannot be audited as "
            f"{kind}. Check the gold column and options, or choose another kind."
        )
    gaps, honest = gap(kind, shape, layout_name), tops(kind, shape, layout_name) or []
    marks = {row.number: (top, top - g) for row, top, g in zip(rows, honest, gaps, strict=True) if g > 1e-9}
    if kind == "accuracy" and _loses_by_length(isolated, rows, shape, LAYOUTS[layout_name], seconds):
        kind = "shaping"
    report = Report(
        name, kind, layout_name, shape, len(rows), unpaid=len(rows) - len(marks), note=_NOTES.get(kind, "")
    )
    return report, marks, LAYOUTS[layout_name]


_NOTES = {
    "symbolic": "It pays an answer's form, not its value: a well-formed wrong answer earns full marks. Pay accuracy too.",
    "logic": "It pays that nothing checkable is wrong, not that it matters: one easy claim is enough. Pay accuracy too.",
}
_ALONE = "It falls with length or repetition alone, so it pays an empty reply most: wrap it around a reward (inner)."


def _loses_by_length(
    isolated: IsolatedReward, rows: Sequence[Row], shape: str, layout: Layout, seconds: float
) -> bool:
    """Whether an honest reply of 27,000 repetitive words earns less than one of 45 words."""
    scores = []
    for times in (1, 600):
        texts = [layout.write(" ".join([row.reasoning] * times), row.right) for row in rows[:2]]
        outcome = _score(isolated, texts, rows[:2], shape, seconds * 2)
        if outcome.problem:
            return False  # the attacks will tell
        scores.append([score or 0.0 for score in outcome.scores])
    return any(long < short - 1e-9 for short, long in zip(*scores, strict=True))


def _score(
    isolated: IsolatedReward, texts: Sequence[str | None], rows: Sequence[Row], shape: str, seconds: float
) -> Outcome:
    def shaped(text: str | None, role: str) -> Any:
        return text if shape == "text" else [{"role": role, "content": text}]

    columns = {key: [row.columns.get(key) for row in rows] for key in rows[0].columns}
    columns["prompts"] = [shaped(row.prompt, "user") for row in rows]
    return isolated.score([shaped(text, "assistant") for text in texts], columns, seconds)


def _concludes(row: Row) -> bool:
    """Whether the prompt itself ends in the right answer, so that giving it back is no wrong answer."""
    from trl_r1.rewards.accuracy import verify

    return verify(extract(row.prompt), row.right, math_verify=False) is True


def rows_of(
    dataset: Any,
    gold_column: str | None = None,
    prompt_column: str | None = None,
    most: int = 12,
) -> list[Row]:
    """Rows to audit with, spread evenly over a dataset.

    Args:
        dataset: a Dataset or a list of mappings; its columns go to the reward as TRL would pass them, and the gold
            answer also as ``solution``.
        gold_column, prompt_column: their names; without, the usual ones are looked for.
        most: how many rows.

    Raises:
        ValueError: there is no such column, or no row has a gold answer.
    """
    from trl_r1.data.goldcheck import GOLD_COLUMNS, PROMPT_COLUMNS, find_column, prompt_text
    from trl_r1.rewards.language import prompt_language

    names = list(dataset[0]) if len(dataset) else []
    gold_column = find_column(names, gold_column, GOLD_COLUMNS, "gold answer")
    prompt_column = find_column(names, prompt_column, PROMPT_COLUMNS, "prompt")
    rows: list[Row] = []
    for number in range(0, len(dataset), max(1, len(dataset) // most)):
        source = dataset[number]
        right = gold_answer(source[gold_column])
        if right is None or len(rows) >= most:
            continue
        prompt = prompt_text(source[prompt_column])
        language = prompt_language(prompt)
        columns = {key: value for key, value in source.items() if key not in ("prompt", "prompts", "completions")}
        columns.setdefault("solution", source[gold_column])
        chosen = language if language in REASONINGS else "en"
        rows.append(Row(number, prompt, right, wrong_form(right), chosen, columns))
    if not rows:
        raise ValueError(f"No row has a gold answer in {gold_column!r}.")
    return rows


def _short(text: str, most: int = 160) -> str:
    for reasoning in REASONINGS.values():
        text = text.replace(reasoning, "(the honest thought)")
    text_shown = repr(text)
    return (
        text_shown
        if len(text_shown) <= most
        else f"{text_shown[: most // 2]} ... {text_shown[-most // 2 :]} ({len(text)} characters)"
    )
