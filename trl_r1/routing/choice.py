"""Choice: the paths of one question in, the one to show out.

    vote        the answer most paths agree on (by meaning); of its paths, and between tied answers, the likeliest
    weighted    the answer with the most weight, likelier paths weighing more (trl_r1.routing.settling); its likeliest path
    log_prob    the path with the highest mean log-probability per token among those with an answer
    verifier    the path that a scoring function likes best: a reward model, a format reward, a checker of your own
    agser       the path whose answer best rests on what the model read (trl_r1.agser), of the leading answers' paths

Where nobody has an answer, the likeliest path that the model itself ended is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trl_r1.routing.paths import Candidate
from trl_r1.routing.votes import Tally
from trl_r1.text.records import Prompt


Score = Callable[[Prompt, list[str]], Sequence[float | None]]
"""A prompt and texts -> one score each, higher is better; None for "not mine to judge"."""


@dataclass(frozen=True)
class Chosen:
    """Which path, by what, and the scores if there were any."""

    index: int
    by: str
    scores: tuple[float | None, ...] = ()


def likeliest(paths: Sequence[Candidate], among: Sequence[int]) -> int:
    """The index with the highest mean log-probability; the first where they are not known."""
    return max(among, key=lambda i: (_finite_logprob(paths[i].logprob), -i))


def _finite_logprob(logprob: float | None) -> float:
    return float("-inf") if logprob is None else logprob


def fallback(paths: Sequence[Candidate]) -> int:
    """Of paths without an answer: one that was not refused, and if possible not cut off."""
    ranking = (
        [i for i, p in enumerate(paths) if not p.refused and not p.truncated],
        [i for i, p in enumerate(paths) if not p.refused],
        list(range(len(paths))),
    )
    return likeliest(paths, next(among for among in ranking if among))


def by_vote(prompt: Prompt, paths: Sequence[Candidate], tally: Tally, score: Score | None) -> Chosen:
    leaders = tally.leaders()
    if not leaders:
        return Chosen(fallback(paths), "no answer")
    best = max(leaders, key=lambda members: (max(_finite_logprob(paths[i].logprob) for i in members), -members[0]))
    return Chosen(likeliest(paths, best), "vote" if len(leaders) == 1 else "vote, tied")


def by_weight(prompt: Prompt, paths: Sequence[Candidate], tally: Tally, score: Score | None) -> Chosen:
    ranking = tally.ranking()
    if not ranking:
        return Chosen(fallback(paths), "no answer")
    return Chosen(likeliest(paths, ranking[0]), "weighted vote", tuple(tally.weights))


def by_log_prob(prompt: Prompt, paths: Sequence[Candidate], tally: Tally, score: Score | None) -> Chosen:
    answered = [i for i, path in enumerate(paths) if path.answer is not None]
    if not answered or all(paths[i].logprob is None for i in answered):
        return by_vote(prompt, paths, tally, score)
    return Chosen(likeliest(paths, answered), "log_prob", tuple(path.logprob for path in paths))


def by_verifier(prompt: Prompt, paths: Sequence[Candidate], tally: Tally, score: Score | None) -> Chosen:
    """Raises ValueError where the scores are not as many as the paths."""
    if score is None:
        raise ValueError("choose=verifier needs a scoring function; give one, or choose vote.")
    return class_scores(prompt, paths, tally, score, list(range(len(paths))), "verifier")


def by_agser(prompt: Prompt, paths: Sequence[Candidate], tally: Tally, score: Score | None) -> Chosen:
    """One path of each answer is scored, the likeliest: AGSER asks the model twice more for every answer."""
    if score is None:
        raise ValueError("choose=agser needs a scorer; trl_r1.routing.choice.agser_score makes one.")
    among = [likeliest(paths, members) for members in tally.classes]
    return class_scores(prompt, paths, tally, score, among, "agser")


def class_scores(
    prompt: Prompt, paths: Sequence[Candidate], tally: Tally, score: Score, among: Sequence[int], name: str
) -> Chosen:
    """The best of some paths by score; ties go to the answer with more votes, then to the likelier path."""
    if not among:
        return Chosen(fallback(paths), "no answer")
    raw_scores = list(score(prompt, [paths[i].text for i in among]))
    if len(raw_scores) != len(among):
        raise ValueError(
            f"The scoring function gave {len(raw_scores)} scores for {len(among)} texts; it owes one each."
        )
    scores: dict[int, float] = {
        i: float(s) for i, s in zip(among, raw_scores, strict=True) if s is not None and s == s
    }
    if not scores:
        return by_vote(prompt, paths, tally, None)
    votes = {i: len(members) for members in tally.classes for i in members}
    best = max(scores, key=lambda i: (scores[i], votes.get(i, 0), _finite_logprob(paths[i].logprob), -i))
    return Chosen(best, name, tuple(scores.get(i) for i in range(len(paths))))


def agser_score(model: Any, tokenizer: Any, **options: Any) -> Score:
    """AGSER's score of answers, for ``choose="agser"``.

    Raises:
        ImportError: this installation has no trl_r1.agser.
    """
    try:
        from trl_r1.agser import AGSERScorer  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ImportError("choose=agser needs trl_r1.agser, which this version does not have; choose vote.") from error
    scorer = AGSERScorer(model, tokenizer, **options)
    return lambda prompt, texts: [result.score for result in scorer.score([prompt] * len(texts), answers=texts)]


def reward_score(reward: Callable[..., Any]) -> Score:
    """A TRL reward function that needs no gold answer, as a scoring function."""
    return lambda prompt, texts: reward(prompts=[prompt] * len(texts), completions=list(texts))


CHOICES: dict[str, Callable[[Prompt, Sequence[Candidate], Tally, Score | None], Chosen]] = {
    "vote": by_vote,
    "weighted": by_weight,
    "log_prob": by_log_prob,
    "verifier": by_verifier,
    "agser": by_agser,
}
