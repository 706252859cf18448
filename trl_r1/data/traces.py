"""Reasoning traces with three annotations: natural language, formal steps that Z3 replays, a counterexample per wrong step.

    annotate    texts -> steps with verdicts (``trl_r1.claims.formal`` writes them, Z3 replays them in a killable process)
    kind_of     an answer's verdict and its steps' -> "right", "wrong", or why the trace is not kept
    make        graded problems and a model -> verified traces, aimed at the levels that have the fewest so far
    save        traces -> a folder that ``datasets.load_dataset`` opens, with a card

A trace is kept as right when its answer is right and every step that could be formalised holds; as wrong when its answer is
wrong and a step has a counterexample. A wrong answer whose wrong step nobody can show, and a right one after a wrong
step, are dropped and counted.

Source  Steps checked by solver: VeriCoT, arXiv:2511.04662. Counterexamples as annotation, the schema and the aiming at
        thin levels are ours.
"""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, cast

from datasets import Dataset, Features, Value

from trl_r1.claims.formal import formal_steps
from trl_r1.data.difficulty import LEVELS
from trl_r1.data.trace_card import card
from trl_r1.models.engines import Engine
from trl_r1.rewards.accuracy import Accuracy
from trl_r1.sandbox import pool as verifier
from trl_r1.storage.files import replace_file
from trl_r1.storage.shards import seed_of
from trl_r1.text.records import Problem


REPLAY = "trl_r1.claims.replay:replay"
FEATURES = Features({
    **{name: Value("string") for name in ("id", "question", "solution", "language", "domain", "source", "trace", "kind")},
    "level": Value("int64"),
    "answer_right": Value("bool"),
    "steps": [{
        "text": Value("string"), "start": Value("int64"), "end": Value("int64"), "premises": Value("string"),
        "claim": Value("string"), "verdict": Value("string"), "counterexample": Value("string"),
    }],
})  # fmt: skip


class TraceStep(TypedDict):
    """A step of a trace that Z3 has judged."""

    text: str
    start: int
    end: int
    premises: str  # SMT-LIB
    claim: str
    verdict: str  # "right" or "wrong"
    counterexample: str | None  # JSON


class Trace(TypedDict):
    """A row of the file, in the order of FEATURES."""

    id: str
    question: str
    solution: str
    language: str | None
    domain: str
    source: str
    trace: str
    kind: str  # "right", "wrong", or with a space why it is not kept
    level: int
    answer_right: bool
    steps: list[TraceStep]


FILE = Path("data") / "traces.parquet"


def annotate(pairs: Sequence[tuple[str, str]], seconds: float = 5.0, megabytes: int = 1024) -> list[list[TraceStep]]:
    """The judged steps of each (question, trace): text, place, SMT-LIB, verdict ("right" or "wrong"), counterexample.

    What is neither ("open": a premise; "vacuous": after a contradiction; undecided in time) is left out.

    Raises:
        ImportError: Z3 is not installed.
    """
    written = [formal_steps(trace, question) for question, trace in pairs]
    items = [[step.premises, step.claim] for steps in written for step in steps]
    answers = iter(verifier.run(REPLAY, items, seconds=seconds, megabytes=megabytes))
    found: list[list[TraceStep]] = []
    for (_, trace), steps in zip(pairs, written, strict=True):
        rows: list[TraceStep] = []
        for step, answer in zip(steps, answers):  # strict would ask for one answer too many
            said = answer.value or {}
            if said.get("verdict") in ("right", "wrong"):
                example = said.get("counterexample")
                rows.append(
                    {
                        "text": trace[step.start : step.end],
                        "start": step.start,
                        "end": step.end,
                        "premises": step.premises,
                        "claim": step.claim,
                        "verdict": said["verdict"],
                        "counterexample": json.dumps(example, sort_keys=True) if example is not None else None,
                    }
                )
        found.append(rows)
    return found


def kind_of(answer_right: bool | None, steps: Sequence[TraceStep]) -> str:
    """``right``, ``wrong``, or the reason why a trace is not kept (with a space in it).

    >>> kind_of(True, [{"verdict": "right"}]), kind_of(False, [{"verdict": "right"}])
    ('right', 'wrong answer, no wrong step')
    """
    if answer_right is None:
        return "gold unreadable"
    if not steps:
        return "no formal step"
    wrong = [step for step in steps if step["verdict"] == "wrong"]
    if not wrong:
        return "right" if answer_right else "wrong answer, no wrong step"
    if answer_right:
        return "right answer, wrong step"
    return "wrong" if all(step["counterexample"] for step in wrong) else "no counterexample"


def thinnest(counts: Mapping[int, int], available: Mapping[int, Sequence[Any]]) -> int | None:
    """The level with the fewest traces among those that still have problems; of equals the lowest. None: no problems.

    >>> thinnest({1: 3, 2: 1, 4: 0}, {1: "ab", 2: "c", 4: ""})
    2
    """
    waiting = [level for level in LEVELS if available.get(level)]
    return min(waiting, key=lambda level: (counts.get(level, 0), level)) if waiting else None


@dataclass
class TraceSet:
    """What came out: traces as rows, and what became of everything that was drawn."""

    rows: list[Trace] = field(default_factory=list)
    funnel: Counter[str] = field(default_factory=Counter)

    def levels(self) -> Counter[int]:
        return Counter(row["level"] for row in self.rows)


@dataclass(frozen=True)
class LevelledProblem(Problem):
    """A problem whose gold answer and level are known."""

    solution: str = ""
    domain: str = "maths"
    level: int = 1
    id: str = ""  # "": a checksum of question and trace


def judged(
    problems: Sequence[LevelledProblem], texts: Sequence[str], source: str, reward: Accuracy | None = None
) -> tuple[list[Trace], Counter[str]]:
    """Traces as rows, and counts of what each became; ``kind`` of a dropped one is the reason.

    Args:
        problems: one per text.
    """
    reward = reward or Accuracy()
    scores = reward(completions=list(texts), solution=[problem.solution for problem in problems])
    steps = annotate([(problem.question, text) for problem, text in zip(problems, texts, strict=True)])
    rows: list[Trace] = []
    for problem, text, score, found in zip(problems, texts, scores, steps, strict=True):
        right = None if score is None else score >= 0.5
        rows.append(
            {
                "id": problem.id or f"{seed_of(problem.question, text):08x}",
                "question": problem.question,
                "solution": problem.solution,
                "language": problem.language,
                "domain": problem.domain,
                "source": source,
                "trace": text,
                "kind": kind_of(right, found),
                "level": problem.level,
                "answer_right": bool(right),
                "steps": found,
            }
        )
    return rows, Counter(str(row["kind"]) for row in rows)


def make(
    problems: Sequence[LevelledProblem],
    engine: Engine,
    target: int,
    source: str,
    samples: int = 4,
    batch: int = 32,
    wrong_share: float = 0.5,
    seed: int = 0,
    traces: TraceSet | None = None,
    save_batch: Callable[[TraceSet], Any] | None = None,
    reward: Accuracy | None = None,
) -> TraceSet:
    """Draws traces from a model until there are ``target``, or no problems; each batch is aimed at the thinnest levels.

    Args:
        problems: none is asked twice, nor one that ``traces`` has.
        wrong_share: at most this share of all traces is wrong ones; of a problem at most one of either kind is kept.
        traces: traces from before; they count, and the new ones are added.
        save_batch: called after every batch.
    """
    if target < 1 or samples < 1 or batch < 1 or not 0.0 <= wrong_share <= 1.0:
        raise ValueError(
            f"target={target}, samples={samples} and batch={batch} are 1 or more, wrong_share={wrong_share} in [0, 1]."
        )
    traces = traces or TraceSet()
    asked = {row["question"] for row in traces.rows}
    waiting: dict[int, list[LevelledProblem]] = {level: [] for level in LEVELS}
    for problem in problems:
        if problem.question not in asked:
            waiting[problem.level].append(problem)
    for level, shelf in waiting.items():
        random.Random(f"traces {seed} {level}").shuffle(shelf)
    round_number = 0
    while len(traces.rows) < target:
        counts = traces.levels()
        chosen: list[LevelledProblem] = []
        while len(chosen) < batch and (thin := thinnest(counts, waiting)) is not None:
            chosen.append(waiting[thin].pop())
            counts[thin] += 1  # as if it were kept
        if not chosen:
            break
        drawn = engine.draw([p.prompt for p in chosen], samples, seed_of(seed, len(asked), round_number))
        pairs = [(p, draw) for p, draws in zip(chosen, drawn, strict=True) for draw in draws]
        traces.funnel["drawn"] += len(pairs)
        traces.funnel["cut off"] += sum(draw.truncated for _, draw in pairs)
        traces.funnel["refused"] += sum(bool(draw.refused) and not draw.truncated for _, draw in pairs)
        pairs = [(p, draw) for p, draw in pairs if not draw.truncated and not draw.refused]
        rows, counted = judged([p for p, _ in pairs], [draw.text for _, draw in pairs], source, reward)
        traces.funnel.update({why: count for why, count in counted.items() if " " in why})
        take(traces, rows, target, wrong_share)
        round_number += 1
        if save_batch is not None:
            save_batch(traces)
    return traces


def take(traces: TraceSet, rows: Sequence[Trace], target: int, wrong_share: float) -> None:
    """Adds what is kept of a batch: at most one right and one wrong trace per question, the quota of wrong ones held."""
    seen = {(row["question"], row["kind"]) for row in traces.rows}
    for row in sorted(rows, key=lambda row: row["kind"]):  # right before wrong
        if row["kind"] not in ("right", "wrong") or len(traces.rows) >= target:
            continue
        wrong = sum(one["kind"] == "wrong" for one in traces.rows)
        if (row["question"], row["kind"]) in seen:
            traces.funnel["another of its question"] += 1
        elif row["kind"] == "wrong" and wrong + 1 > wrong_share * (len(traces.rows) + 1):
            traces.funnel["too many wrong ones"] += 1
        else:
            seen.add((row["question"], row["kind"]))
            traces.rows.append(row)
            traces.funnel[f"kept {row['kind']}"] += 1


ADVICE = {
    "no formal step": "show the model how to write its steps as equations, or choose problems that are solved by them",
    "gold unreadable": "look at the gold answers with `trl-r1 data check`",
    "cut off": "give longer texts (--max-tokens)",
    "refused": "ask another model",
    "wrong answer, no wrong step": "choose easier problems, or a better model",
    "right answer, wrong step": "choose a better model",
    "no counterexample": "choose other problems",
    "too many wrong ones": "raise --wrong-share, or choose easier problems",
}


def why_nothing(traces: TraceSet) -> str:
    """Why no trace was kept, the commonest reason first, and what to do about that one."""
    reasons = [(why, count) for why, count in traces.funnel.most_common() if why in ADVICE and count]
    if not reasons:
        return "There was no text to judge: no problem of the rows has a level from 1 to 6, or all were asked before."
    told = ", ".join(f"{why} {count}" for why, count in reasons)
    return f"What became of the texts: {told}. To get some, {ADVICE[reasons[0][0]]}."


# --- on disk


def as_dataset(rows: Sequence[Trace]) -> Dataset:
    """Traces with the schema's types."""
    return Dataset.from_dict({name: [row.get(name) for row in rows] for name in FEATURES}, features=FEATURES)


def save(folder: Path, traces: TraceSet, title: str = "Reasoning traces") -> Path:
    """Writes ``data/traces.parquet``, ``funnel.json`` and the card ``README.md``; each whole or not at all."""
    content = io.BytesIO()
    as_dataset(traces.rows).to_parquet(content)
    path = replace_file(folder / FILE, content.getvalue())
    replace_file(folder / "funnel.json", json.dumps(dict(traces.funnel), indent=1))
    replace_file(folder / "README.md", card(traces.rows, traces.funnel, title))
    return path


def load(folder: Path) -> TraceSet:
    """Traces that were saved.

    Raises:
        ValueError: there are none, or the file has another schema.
    """
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{str(folder)!r} holds no {FILE}; give the folder that `trl-r1 traces` wrote.")
    rows = Dataset.from_parquet(str(path))
    missing = sorted(set(FEATURES) - set(rows.column_names))
    if missing:
        raise ValueError(f"{str(path)!r} has no column {missing[0]!r}, so it holds no traces of this schema.")
    funnel = folder / "funnel.json"
    counted = Counter(json.loads(funnel.read_text(encoding="utf-8"))) if funnel.is_file() else Counter()
    return TraceSet([cast(Trace, row) for row in rows], counted)


def replayed(rows: Sequence[Trace], seconds: float = 5.0) -> list[tuple[int, int, str, str]]:
    """Replays every formal step of stored traces: (row, step, stored verdict, verdict now) where they differ."""
    places = [(row, number) for row, trace in enumerate(rows) for number in range(len(trace["steps"]))]
    items = [[rows[r]["steps"][n]["premises"], rows[r]["steps"][n]["claim"]] for r, n in places]
    differ = []
    for (r, n), answer in zip(places, verifier.run(REPLAY, items, seconds=seconds), strict=True):
        stored, now = rows[r]["steps"][n]["verdict"], (answer.value or {}).get("verdict", answer.why)
        if stored != now:
            differ.append((r, n, stored, now))
    return differ
