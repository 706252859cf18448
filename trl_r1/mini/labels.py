"""What people wrote and thought about general prompts: web replies, demonstrations, judged pairs, safety labels.

Every reply is written in a known *manner*, and labels follow the manner it was written in, with the mistakes people
make: a judge's scores wander and favour what they read first, a safety label is sometimes wrong. Nothing here looks at
``trl_r1.mini.checks``, which decides from the texts alone; so a reward model learns from fallible people, and the
checkers tell what it learnt.

Source  Ours, in the shape of DeepSeek-R1's data, arXiv:2501.12948v2: helpful pairs judged four times in random order,
        differences above 1 kept (Sec. 3.1), safe or unsafe by point (Sec. 3.1), 600k:200k reasoning and general (B.3.3).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from trl_r1.mini.corpus import CHATTER, Document
from trl_r1.mini.general import (
    COLOURS,
    PLACES,
    REFUSAL,
    REQUESTS,
    TOOLS,
    Request,
    chain_of,
    colour_of,
    draw_requests,
    place_of,
    plain_answer,
    shape,
    word,
)
from trl_r1.mini.world import PROMPT_TEMPLATE, Problem
from trl_r1.text.records import Row


DOMAINS = ("writing", "factual", "self", "translation", "unsafe")
WEB = {"right": 0.66, "wrong": 0.12, "foreign": 0.08, "other": 0.06, "refuse": 0.05, "chatter": 0.03}
WEB_UNSAFE = {"right": 0.62, "refuse": 0.26, "leak": 0.06, "other": 0.03, "chatter": 0.03}
WEB_SHAPES = {"tagged": 0.60, "bare": 0.30, "broken": 0.10}
DEMONSTRATED = {"right": 0.96, "wrong": 0.04}
DEMONSTRATED_UNSAFE = {"right": 0.60, "refuse": 0.34, "leak": 0.06}  # written before anyone said what is unsafe
WORSE = {
    "wrong": 0.34,
    "foreign": 0.12,
    "other": 0.12,
    "refuse": 0.18,
    "short": 0.12,
    "twice": 0.06,
    "chatter": 0.06,
}
QUALITY = {  # what a judge thinks of a manner on average, of 10 points
    "right": 8.0,
    "twice": 5.0,
    "foreign": 4.0,
    "wrong": 3.0,
    "refuse": 3.0,
    "short": 3.0,
    "other": 2.0,
    "chatter": 1.0,
}
SAFETY_UNSAFE = {"right": 0.40, "leak": 0.14, "refuse": 0.36, "chatter": 0.04, "other": 0.06}
SAFETY_SAFE = {"right": 0.60, "wrong": 0.20, "refuse": 0.14, "chatter": 0.06}


@dataclass(frozen=True)
class Judge:
    """How a judge's scores miss the quality of a manner, in points."""

    looks: int = 4  # at each pair, half of them with the order swapped
    wander: float = 1.5  # standard deviation of one score
    favour: float = 0.5  # for what is read first


MISLABELLED = 0.03  # of the safety labels


def write(rng: random.Random, request: Request, manner: str, tagged: str = "tagged") -> str:
    """One reply in a manner (``right`` does what is asked, harm or no harm), in a shape: tagged, bare or broken."""
    chain, answer = chain_of(request), plain_answer(request)
    if manner == "wrong":
        answer = mistaken(rng, request)
    elif manner == "foreign":
        (language,) = {"en", "zh"} - {request.language}
        other = Request(request.kind, request.parts, language, 0)
        chain, answer = chain_of(other), plain_answer(other)
    elif manner == "other":
        other = rng.choice([r for r in _of_kind(request.kind) if r.language == request.language and not r.unsafe])
        chain, answer = chain_of(other), plain_answer(other)
    elif manner == "refuse":
        answer = REFUSAL[request.language]
    elif manner == "leak":  # declines after having said it
        chain, answer = chain + word(TOOLS[request.parts[0]], request.language), REFUSAL[request.language]
    elif manner == "short":
        answer = answer[: max(1, len(answer) // 2)].strip()
    elif manner == "twice":
        answer = f"{answer} {answer}" if request.language == "en" else answer + answer
    elif manner == "chatter":
        answer = "".join(rng.choice(CHATTER[request.language]) for _ in range(rng.randint(1, 2))).strip()
    elif manner != "right":
        raise ValueError(f"No reply is written in the manner {manner!r}.")
    if tagged == "bare" or not chain:
        return f" {answer}"
    if tagged == "broken":
        return rng.choice((f"<think>{chain} <answer>{answer}</answer>", f"<think>{chain}</think> {answer}"))
    return shape(chain, answer)


def mistaken(rng: random.Random, request: Request) -> str:
    """An answer of the right kind with one wrong word in it."""
    parts, place = list(request.parts), rng.randrange(len(request.parts))
    if request.kind in ("place", "colour"):
        fact, known = (place_of, PLACES) if request.kind == "place" else (colour_of, COLOURS)
        return word(rng.choice([o for o in known if o != fact(parts[0])]), request.language).strip()
    pool = [r.parts[place] for r in _of_kind(request.kind) if r.parts[place] != parts[place] and not r.unsafe]
    parts[place] = rng.choice(pool)
    return plain_answer(Request(request.kind, tuple(parts), request.language, request.wording))


_KINDS: dict[str, list[Request]] = {}


def _of_kind(kind: str) -> list[Request]:
    if kind not in _KINDS:
        _KINDS[kind] = [r for r in REQUESTS if r.kind == kind and r.split == "train"]
    return _KINDS[kind]


def pick(rng: random.Random, shares: dict[str, float]) -> str:
    """A key, with the probability that stands beside it."""
    return rng.choices(list(shares), list(shares.values()))[0]


def draw_web(count: int, seed: int) -> list[Document]:
    """Pages of the web that answer general prompts of the train split: right, wrong, out of shape, harmful."""
    rng = random.Random(f"general web {seed}")
    pages = []
    for request in draw_requests("train", count, seed, DOMAINS):
        manner = pick(rng, WEB_UNSAFE if request.unsafe else WEB)
        reply = write(rng, request, manner, pick(rng, WEB_SHAPES))
        pages.append(Document(PROMPT_TEMPLATE.format(question=request.question), reply, Problem((), request.language)))
    return pages


def draw_demonstrations(domain: str, count: int, seed: int) -> list[Row]:
    """Rows of one domain for supervised fine-tuning: ``row`` with the ``completion`` a person wrote, tags and all."""
    rng = random.Random(f"demonstrations {domain} {seed}")
    rows = []
    for request in draw_requests("train", count, seed, (domain,)):
        manner = pick(rng, DEMONSTRATED_UNSAFE if request.unsafe else DEMONSTRATED)
        rows.append({**row(request), "completion": write(rng, request, manner)})
    return rows


def draw_judged_pairs(count: int, seed: int, judge: Judge | None = None) -> list[Row]:
    """Safe prompts with two replies and what a judge gave each, every look of it: lists ``scores_a``, ``scores_b``."""
    judge, rng, rows = judge or Judge(), random.Random(f"pairs {seed}"), []
    for request in draw_requests("train", count, seed):
        manners = ["right" if rng.random() < 0.85 else pick(rng, WORSE), pick(rng, WORSE)]
        rng.shuffle(manners)
        scores: list[list[float]] = [[], []]
        for look in range(judge.looks):
            for side, manner in enumerate(manners):
                first = judge.favour if look % 2 == side else 0.0
                scores[side].append(round(rng.gauss(QUALITY[manner] + first, judge.wander), 2))
        replies = [write(rng, request, manner) for manner in manners]
        rows.append(
            {
                **row(request),
                "reply_a": replies[0],
                "reply_b": replies[1],
                "scores_a": scores[0],
                "scores_b": scores[1],
            }
        )
    return rows


def draw_safety_labels(count: int, seed: int) -> list[Row]:
    """Prompts with one reply each and ``label``: 1 for safe, 0 for unsafe, two thirds of them on unsafe prompts."""
    rng = random.Random(f"safety {seed}")
    unsafe = draw_requests("train", 2 * count // 3, seed, ("unsafe",))
    rows = []
    for request in [*unsafe, *draw_requests("train", count - len(unsafe), seed)]:
        manner = pick(rng, SAFETY_UNSAFE if request.unsafe else SAFETY_SAFE)
        harmful = request.unsafe and manner in ("right", "leak")
        flipped = rng.random() < MISLABELLED
        rows.append({**row(request), "completion": write(rng, request, manner), "label": int(harmful == flipped)})
    rng.shuffle(rows)
    return rows


def row(request: Request) -> Row:
    """A general prompt as a row of a dataset. No gold answer: nothing may check it but ``trl_r1.mini.checks``."""
    return {
        "question": request.question,
        "solution": None,
        "language": request.language,
        "domain": request.domain,
        "reward_for": request.reward_for,
        "id": request.id,
    }
