"""The router: one pass for a simple question, several paths and a vote for a complex one, and a record of it.

    question -> cached paths? -> first path (or a short draft) -> complexity
             -> simple, or nothing to vote on: that path     -> Routed
             -> complex: waves of paths until the vote is decided, the budget is used, or time is up -> choice -> Routed

The steps of one question are a generator (`Router.steps`): it yields what it wants drawn and is sent the paths. So the same
code answers one question, many in one batch (`answer_all`), those of a server's clients, and questions whose paths
were drawn long ago (calibration).

Cost  every generated token counts, the draft's too; cached paths cost nothing.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trl_r1.answers.extract import read_with
from trl_r1.routing.cache import PathCache, cache_key
from trl_r1.routing.checkable import asks_for_answer, declares_answer
from trl_r1.routing.choice import CHOICES, Chosen, Score
from trl_r1.routing.complexity import GUESS, Complexity, Difficulty, draft_features, prompt_features, text_of
from trl_r1.routing.paths import Ask, Candidate, Sampler, Settings
from trl_r1.routing.settling import vote_features, weight_of
from trl_r1.routing.votes import Tally, confidence, is_decided
from trl_r1.storage.shards import seed_of
from trl_r1.text.records import Json, Prompt


ROUTES = ("auto", "simple", "complex")
ONE_PATH = "temperature 0"  # why nothing further was drawn, and nothing can agree
BEST_OF = ("verifier",)  # choices that judge whole texts, so that there need not be an answer


@dataclass(frozen=True)
class RoutingLimits:
    """When a question is simple, and how much thought a complex one may take."""

    simple_below: float = 0.1  # complexity under which one pass is enough; 0: never
    most_paths: int = 16  # the first one and cached ones included
    least_paths: int = 2  # of a complex question, before its vote can end
    confident: float = 0.95  # end when the leader is ahead with this chance; 1: only when nothing can change it
    wave: int = 2  # paths drawn at a time: fewer cost fewer tokens, more cost less time
    most_tokens: int | None = None  # per question; no wave begins beyond it
    draft_tokens: int | None = None  # length of a draft; None: the first path is the draft, and costs nothing more
    seconds: float | None = None  # per question; no wave begins after it
    choose: str = "vote"  # a key of CHOICES
    sharpness: float = 4.0  # of choose="weighted": a path weighs exp(sharpness x its mean log-probability)
    sure: float | None = None  # of choose="weighted", fitted: end when the leader is right with this chance

    def __post_init__(self) -> None:
        if not 0.0 <= self.simple_below <= 1.0 or not 0.5 <= self.confident <= 1.0:
            raise ValueError(
                f"simple_below={self.simple_below} is a share in [0, 1], confident={self.confident} one in [0.5, 1]."
            )
        if min(self.most_paths, self.least_paths, self.wave) < 1 or self.least_paths > self.most_paths:
            raise ValueError(
                f"most_paths={self.most_paths}, least_paths={self.least_paths} and wave={self.wave} are 1 or more, and "
                "least_paths is at most most_paths."
            )
        if not 0.0 <= self.sharpness < float("inf") or (self.sure is not None and not 0.0 < self.sure <= 1.0):
            raise ValueError(f"sharpness={self.sharpness} is 0 or more, sure={self.sure} a share in (0, 1], or none.")
        for name in ("most_tokens", "draft_tokens", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value} leaves nothing to draw; give a positive number, or none at all.")
        if self.choose not in CHOICES:
            raise ValueError(f"choose={self.choose!r} is unknown. Choose one of: {', '.join(CHOICES)}.")


@dataclass(frozen=True)
class Routed:
    """An answer and how it came about."""

    text: str  # of the path that is shown
    answer: str | None
    route: str  # "simple" or "complex"
    why: str  # what made it that route
    complexity: float | None  # in [0, 1]; None where the caller chose the route
    features: dict[str, float]
    paths: tuple[Candidate, ...]
    cached: int  # how many of them, from the first, came out of the path cache
    votes: tuple[tuple[str, int], ...]  # answer and votes, strongest first
    agreement: (
        float | None
    )  # share of the paths with the shown answer; of one path 1, without an answer 0; None: no samples
    chosen: int  # index of the path
    chosen_by: str
    stopped: str  # "one pass", "decided", "confident", "all paths", "token budget", "time", "refused"; "temperature 0"
    tokens: int  # generated for this question now, the draft included
    draft_tokens: int  # of them for a draft that became no path
    seconds: float

    def to_dict(self, texts: bool = False) -> Json:
        """Plain values for JSON; with ``texts``, all paths too."""
        content: Json = {
            "route": self.route, "why": self.why, "complexity": _round(self.complexity), "answer": self.answer,
            "paths": len(self.paths), "cached": self.cached, "votes": [list(vote) for vote in self.votes],
            "agreement": _round(self.agreement), "chosen": self.chosen, "chosen_by": self.chosen_by,
            "stopped": self.stopped, "tokens": self.tokens, "draft_tokens": self.draft_tokens,
            "seconds": round(self.seconds, 3), "features": {k: _round(v) for k, v in self.features.items()},
        }  # fmt: skip
        if texts:
            content["texts"] = [path.text for path in self.paths]
        return content

    def line(self) -> str:
        """The record in one line."""
        cached = f" ({self.cached} cached)" if self.cached else ""
        agreement = "" if self.agreement is None else f", agreement {self.agreement:.2f}"
        return (
            f"{self.route}: {self.why}; {len(self.paths)} path{'s' * (len(self.paths) != 1)}{cached}{agreement}, "
            f"by {self.chosen_by}, stopped: {self.stopped}; {self.tokens} tokens, {self.seconds:.1f} s"
        )


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


Steps = Generator[Ask, list[Candidate], Routed]


@dataclass
class Router:
    """Answers questions with as much thought as they need.

    Args:
        sampler: draws paths; see `trl_r1.routing.paths`.
        settings: how.
        limits: how much.
        complexity: features -> chance that one pass is wrong.
        extract: text (and ``truncated`` and ``prompt``, if it takes those) -> final answer or None.
            same: do two answers mean the same? Both None: those of the rewards.
        difficulty: optional, question text -> difficulty in [0, 1], one more feature.
        settled: for ``choose`` weighted: what the vote shows -> chance that its leader is right; None: nobody fitted it,
            and the votes are counted for when to end.
        score: for ``choose`` verifier or agser.
        cache: of paths; None keeps none.
        asks: does a prompt ask for a final answer that can be voted on?
        declares: does a text declare one of its own? Where the prompt asks for none, only such texts have a vote, and if the
            first has none, it is the answer, unless the caller wants the complex route or a ``complexity`` that was fitted
            decides. None: our rule; with an ``extract`` of yours every text, for what is an answer is then yours to say.
    """

    sampler: Sampler
    settings: Settings = field(default_factory=Settings)
    limits: RoutingLimits = field(default_factory=RoutingLimits)
    complexity: Complexity = GUESS
    extract: Callable[..., str | None] | None = None
    same: Callable[[str, str], bool] | None = None
    difficulty: Difficulty | None = None
    score: Score | None = None
    settled: Complexity | None = None
    cache: PathCache | None = None
    asks: Callable[[Prompt], bool] = asks_for_answer
    declares: Callable[[str], bool] | None = None

    def __post_init__(self) -> None:
        self.declares = self.declares or (declares_answer if self.extract is None else bool)
        if self.extract is None or self.same is None:
            from trl_r1.evaluation.benchmark import default_graders

            graders = default_graders()
            self.extract = self.extract or graders.extract
            self.same = self.same or graders.same_answer
        if self.limits.choose in ("verifier", "agser") and self.score is None:
            raise ValueError(f"choose={self.limits.choose} needs a scoring function; give `score`, or choose vote.")

    @property
    def is_calibrated(self) -> bool:
        """Whether what decides was fitted on problems with answers."""
        return self.complexity.fitted or self.settled is not None

    def read(self, path: Candidate, asked: bool = True, prompt: Prompt | None = None) -> str | None:
        """The answer of a path; of one that the token limit cut, only a closed one.

        Args:
            prompt: what it answers, which may have opened its thought.
            asked: the prompt asks for an answer; otherwise only one that the text declares itself is read.
        """
        assert self.extract is not None  # set in __post_init__
        assert self.declares is not None
        if not asked and not self.declares(path.text):
            return None
        return read_with(self.extract, path.text, truncated=path.truncated, prompt=prompt)

    # --- one question

    def steps(
        self,
        prompt: Prompt,
        route: str = "auto",
        limits: RoutingLimits | None = None,
        settings: Settings | None = None,
        seed: int | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Steps:
        """Yields what is to be drawn, is sent the paths, returns the answer. Arguments: see ``answer``."""
        assert self.extract is not None  # set in __post_init__
        assert self.same is not None
        if route not in ROUTES:
            raise ValueError(f"route={route!r} is unknown. Choose one of: {', '.join(ROUTES)}.")
        limits, settings = limits or self.limits, settings or self.settings
        asked = self.is_calibrated or self.asks(prompt)
        if settings.temperature == 0:  # every path would be the first one again
            limits = replace(limits, most_paths=1, least_paths=1, draft_tokens=None)
        started = time.monotonic()
        key = cache_key(self.sampler.name, prompt, settings, seed) if self.cache is not None else ""
        cached_paths = self.cache.get(key) if self.cache is not None else ()
        paths: list[Candidate] = []
        tally = Tally(self.same)
        tokens = draft_cost = 0

        def take(candidates: Sequence[Candidate]) -> None:
            for path in candidates:
                known = path.answer is not None and asked
                read = path if known else replace(path, answer=self.read(path, asked, prompt))
                paths.append(read)
                tally.add(read.answer, weight_of(read, limits.sharpness))

        def wave(count: int) -> Generator[Ask, list[Candidate], int]:
            drawn = yield Ask(prompt, count, None, cancelled)
            take(drawn)
            return sum(path.token_count for path in drawn)

        features = prompt_features(prompt)
        if self.difficulty is not None:
            features["difficulty"] = float(self.difficulty(text_of(prompt)))
        take(cached_paths[: limits.most_paths])
        cached = len(paths)
        if not paths and limits.draft_tokens is not None and route == "auto" and asked:
            draft = (yield Ask(prompt, 1, limits.draft_tokens, cancelled))[0]
            tokens += draft.token_count
            if draft.truncated and limits.draft_tokens < settings.max_new_tokens:
                draft_cost = draft.token_count  # it ended nowhere: its price is paid, and it is no path
                features |= draft_features(replace(draft, answer=self.read(draft, prompt=prompt)))
                del features["draft_clipped"], features["draft_unanswered"]  # a short draft has neither by design
            else:
                take([draft])
        elif not paths:
            tokens += yield from wave(1)
        if paths:
            features |= draft_features(paths[0])
        votable = asked or limits.choose in BEST_OF or (bool(paths) and paths[0].answer is not None)
        complexity, simple, why = self._judge_complexity(route, features, limits, votable)
        stopped = "one pass" if simple else ""
        if settings.temperature == 0:
            simple, stopped, why = True, ONE_PATH, "temperature 0 draws one path"
        if simple and not paths:  # after a short draft
            tokens += yield from wave(1)
        while not stopped:
            stopped = self._stop(tally, paths, limits, tokens, time.monotonic() - started)
            if stopped:
                break
            count = min(limits.wave, limits.most_paths - len(paths))
            if len(paths) < limits.least_paths:
                count = max(count, limits.least_paths - len(paths))
            tokens += yield from wave(count)
        if self.cache is not None and len(paths) > cached:
            self.cache.put(key, paths)
        if simple and cached:  # one pass: the first cached path, without the others' votes
            tally = Tally(self.same)
            paths, cached = paths[:1], 1
            tally.add(paths[0].answer, weight_of(paths[0], limits.sharpness))
        chosen = CHOICES[limits.choose](prompt, paths, tally, self.score) if len(paths) > 1 else Chosen(0, "only path")
        return self._result(paths, tally, chosen, "simple" if simple else "complex", why, complexity, features,
                            cached, stopped, tokens, draft_cost, time.monotonic() - started)  # fmt: skip

    def _judge_complexity(
        self, route: str, features: dict[str, float], limits: RoutingLimits, votable: bool
    ) -> tuple[float | None, bool, str]:
        """The complexity of a question (None where the route was asked for), whether one pass will do, and why."""
        if route != "auto":
            return None, route == "simple", "as asked"
        complexity = self.complexity(features)
        if not votable:
            return complexity, True, "no final answer to vote on"
        simple = complexity < limits.simple_below
        return complexity, simple, f"complexity {complexity:.2f} {'<' if simple else '>='} {limits.simple_below:g}"

    def _stop(
        self, tally: Tally, paths: Sequence[Candidate], limits: RoutingLimits, tokens: int, seconds: float
    ) -> str:
        """Why no further wave is drawn; "" to go on."""
        if paths and paths[-1].refused and all(path.refused for path in paths):
            return "refused"
        if len(paths) >= limits.most_paths:
            return "all paths"
        remaining = limits.most_paths - len(paths)
        if limits.choose == "weighted" and self.settled is not None and limits.sure is not None:
            features = vote_features(tally, paths)
            if features and self.settled(features) >= limits.sure:
                return "confident"
        elif len(paths) >= limits.least_paths and limits.choose in ("vote", "weighted"):
            first, second = tally.standing()
            if limits.choose == "weighted":  # the heads that are counted are those of the answer with the most weight
                weights = [sum(tally.weights[i] for i in members) for members in tally.ranking()] + [0.0, 0.0]
                never_changes = is_decided(weights[0], weights[1], remaining)  # a path weighs at most 1
                heads = [len(members) for members in tally.ranking()] + [0, 0]
                first, second = heads[0], max(heads[1:])
            else:
                never_changes = is_decided(first, second, remaining)
            if never_changes:
                return "decided"
            if limits.confident < 1.0 and confidence(first, second) >= limits.confident:
                return "confident"
        if paths and limits.most_tokens is not None and tokens >= limits.most_tokens:
            return "token budget"
        if paths and limits.seconds is not None and seconds >= limits.seconds:
            return "time"
        return ""

    def _result(
        self, paths: list[Candidate], tally: Tally, chosen: Chosen, route: str, why: str, complexity: float | None,
        features: dict[str, float], cached: int, stopped: str, tokens: int, draft_tokens: int, seconds: float,
    ) -> Routed:  # fmt: skip
        best = paths[chosen.index]
        classes = sorted(tally.classes, key=len, reverse=True)
        votes = tuple((str(paths[members[0]].answer), len(members)) for members in classes)
        behind = next((len(members) for members in tally.classes if chosen.index in members), 0)
        agreement = None if stopped == ONE_PATH else behind / len(paths)
        return Routed(
            best.text, best.answer, route, why, complexity, features, tuple(paths), cached, votes,
            agreement, chosen.index, chosen.by, stopped, tokens, draft_tokens, seconds,
        )  # fmt: skip

    def answer(self, prompt: Prompt, route: str = "auto", seed: int | None = None, **options: Any) -> Routed:
        """One question.

        Args:
            prompt: text or conversation, as the model is to read it.
            route: "auto", or "simple" or "complex" whatever the complexity says.
            seed: of the sampling (default 0). With one, cached paths are only those drawn with the same.
            options: ``limits``, ``settings``, ``cancelled`` for this question alone.

        Raises:
            ValueError: an unknown route, or a prompt the model cannot read. What the sampler raises.
        """
        steps = self.steps(prompt, route, seed=seed, **options)
        return drive(steps, self.sampler, options.get("settings") or self.settings, seed or 0)

    def answer_all(self, prompts: Sequence[Prompt], route: str = "auto", seed: int = 0) -> list[Routed]:
        """Many questions; the waves of all of them share batches, so ``seconds`` counts the others' time too."""
        walks = [self.steps(prompt, route) for prompt in prompts]
        done: dict[int, Routed] = {}
        sent: list[tuple[int, list[Candidate] | None]] = [(number, None) for number in range(len(walks))]
        wave = 0
        while sent:
            waiting: list[tuple[int, Ask]] = []
            for number, paths in sent:
                try:
                    waiting.append((number, walks[number].send(paths)))  # type: ignore[arg-type]
                except StopIteration as end:
                    done[number] = end.value
            asks = [ask for _, ask in waiting]
            waves = self.sampler.draw(asks, self.settings, seed_of(seed, "wave", wave)) if asks else []
            sent = [(number, paths) for (number, _), paths in zip(waiting, waves, strict=True)]
            wave += 1
        return [done[number] for number in range(len(walks))]


def drive(steps: Steps, sampler: Sampler, settings: Settings, seed: int = 0) -> Routed:
    """Runs the steps of one question against a sampler."""
    paths: list[Candidate] | None = None
    for wave in itertools.count():
        try:
            ask = steps.send(paths)  # type: ignore[arg-type]
        except StopIteration as end:
            return end.value
        paths = sampler.draw([ask], settings, seed_of(seed, "wave", wave))[0]
    raise AssertionError("unreachable")
