"""Alarms: what a run's history shows that a person should look at now, each with a sentence on what to do.

Every alarm is a pure function ``(history, limits) -> Finding | None`` in ``ALARMS``. None looks at one number alone: a
healthy run's entropy falls to a tenth and its length grows by half while it learns, so what would be a failure counts
only where right answers do not become more. Right answers are taken from held-out problems where the run measures them,
and from the training reward too; both have to agree.

Source  What is watched is the paper's: reward, length, reflection, language (DeepSeek-R1, arXiv:2501.12948v2, Fig. 1, B.5,
        B.6, C.2). The tests and their limits are ours, chosen on miniature runs (docs/monitoring.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trl_r1.monitor.signals import SHAPE, History, trend


@dataclass(frozen=True)
class AlarmThresholds:
    """Where the alarms stand. Counted in logged lines where nothing else is said."""

    width: int = 5  # lines that are averaged for "now" and for "then"
    window: int = 20  # how far back "then" lies; the start of the run is looked at as well
    better: float = 0.10  # of right answers: a gain of so much is progress
    solved: float = 0.90  # share of right answers above which nothing is wrong with a quiet policy
    entropy_share: float = 0.35  # of the entropy then: below it the policy has collapsed
    entropy_growth: float = 1.6  # of the entropy then: above it the policy falls apart
    length_growth: float = 1.8  # of the length then: above it length explodes
    clipped: float = 0.25  # share of completions cut off, above what it was
    kl: float = 0.25  # nats per token: below it no KL is called a runaway; four times as much needs no loss
    fewer: float = 0.03  # of right answers: a loss of so much makes a KL a runaway
    kl_growth: float = 3.0  # of the KL then
    reward_rise: float = 0.10  # points of the total reward that count as a rise ...
    reward_rise_spread: float = 0.2  # ... or of its first standard deviation over completions, if that is less
    fall: float = 0.08  # of right answers on held-out problems: a loss of so much is a fall
    shape_rise: float = 0.30  # points of a format reward that count as having learnt the format
    dead: float = 0.90  # share of groups without reward variance
    language_fall: float = 0.15  # share of words in the asker's language
    mismatch: float = 0.1  # nats per token between the copy that generates and the policy (bfloat16: 0.03)
    effective: float = 0.5  # of the samples: below it the weights of few decide
    capped: float = 0.2  # share of ratios outside the limits
    plateau: int = 60  # lines over which a reward that stays within `still` has converged
    still: float = 0.02  # points of reward


@dataclass(frozen=True)
class Finding:
    """What an alarm has seen, in a sentence, and what to do about it, in another."""

    name: str
    seen: str
    advice: str
    level: str = "alarm"  # or "notice": worth knowing, nothing is wrong


Alarm = Callable[[History, AlarmThresholds], Finding | None]


def gain_since(history: History, since: int, limits: AlarmThresholds, every: bool = False) -> float | None:
    """How much the share of right answers has risen since a step; infinity where nearly all are right; None where nothing
    measures them.

    Of several measures (held-out problems, the rule reward while training) the best counts, or, with ``every``, the worst.
    Where there is neither, the total reward stands in.
    """
    keys = [key for key in (history.held_out(), history.rule()) if key is not None]
    gains = [gain for key in keys if (gain := history.gain(key, since, limits.width)) is not None]
    if not gains and not keys and (change := history.gain("reward", since, limits.width)) is not None:
        gains = [change]
    if not gains:
        return None
    solved = any(history.values(key) and history.values(key)[-1] >= limits.solved for key in keys)
    return math.inf if solved else (min if every else max)(gains)


def stuck(
    history: History, key: str, limits: AlarmThresholds, better: float | None = None, every: bool = False
) -> Iterator[tuple[float, float, int]]:
    """(then, now, step of then) of a metric, for the start of the run and for a window ago, where right answers rose by
    less than ``better`` since. Without any measure of right answers nothing comes."""
    better = limits.better if better is None else better
    now = history.now(key, limits.width)
    if now is None:
        return
    for ago in (None, limits.window):
        then = history.was(key, limits.width, ago)
        if then is None:
            continue
        gain = gain_since(history, then[0], limits, every)
        if gain is not None and gain < better:
            yield then[1], now, then[0]


def entropy_collapse(history: History, limits: AlarmThresholds) -> Finding | None:
    """The policy has become nearly certain without becoming right."""
    for then, now, step in stuck(history, "entropy", limits):
        if then > 0 and now < limits.entropy_share * then:
            return Finding(
                "entropy_collapse",
                f"The policy's entropy fell from {then:.3g} nats at step {step} to {now:.3g}, and right answers did not "
                "become more.",
                "Go back to a checkpoint from before it and lower learning_rate, or keep the policy open with "
                "entropy_coef or a higher temperature.",
            )
    return None


def entropy_explosion(history: History, limits: AlarmThresholds) -> Finding | None:
    """The policy falls apart into noise."""
    for then, now, step in stuck(history, "entropy", limits):
        if now > limits.entropy_growth * then and now - then > 0.1:
            return Finding(
                "entropy_explosion",
                f"The policy's entropy rose from {then:.3g} nats at step {step} to {now:.3g}, and right answers did not "
                "become more: the text falls apart.",
                "Go back to a checkpoint from before it and lower learning_rate (to a quarter, say), or entropy_coef if it "
                "is set.",
            )
    return None


def length_explosion(history: History, limits: AlarmThresholds) -> Finding | None:
    """Completions grow, or run into the limit, without more right answers: in training and on held-out problems both, for
    a reward that pays for length may let some right answers through on its way."""
    key = history.length()
    if key is None:
        return None
    clipped = "completions/clipped_ratio"
    advice = (
        "Look at a few completions: the reward probably pays for length. Take that reward out or add the reward overlong "
        "(or repetition); raise max_completion_length only if the long ones are right."
    )
    for then, now, step in stuck(history, key, limits, every=True):
        if then > 0 and now > limits.length_growth * then:
            sentence = (
                f"Completions grew from {then:.0f} tokens at step {step} to {now:.0f}, and right answers did not become "
                "more."
            )
            return Finding("length_explosion", sentence, advice)
    for then, now, step in stuck(history, clipped, limits, every=True):
        if now > then + limits.clipped:
            sentence = (
                f"{now:.0%} of the completions are cut off at the length limit ({then:.0%} at step {step}), and right "
                "answers did not become more."
            )
            return Finding("length_explosion", sentence, advice)
    return None


def kl_runaway(history: History, limits: AlarmThresholds) -> Finding | None:
    """The policy moves away from the reference: some way while right answers become fewer, far while they stay."""
    for key in ("kl", "monitor/drift"):
        for far, better, sentence in (
            (limits.kl, -limits.fewer, "right answers became fewer"),
            (4 * limits.kl, limits.better, "right answers did not become more"),
        ):
            for then, now, step in movements(history, key, limits, better):
                if now < far or now < limits.kl_growth * then:
                    continue
                what = "the reference" if key == "kl" else "where it started"
                return Finding(
                    "kl_runaway",
                    f"The policy is {now:.3g} nats per token away from {what} ({then:.3g} at step {step}), and {sentence}.",
                    "Set beta (0.001 to 0.04) or raise it, or steer it with kl_target; lower learning_rate; or renew the "
                    "reference with reference_every if the movement is wanted.",
                )
    return None


def movements(
    history: History, key: str, limits: AlarmThresholds, better: float
) -> Iterator[tuple[float, float, int]]:
    """As ``stuck``. Drift is measured rarely and 0 at the start by its definition, so its last value is enough."""
    if key == "kl":
        yield from stuck(history, key, limits, better)
        return
    values = history.values(key)
    gain = gain_since(history, 0, limits) if values else None
    if gain is not None and gain < better:
        yield 0.0, values[-1], 0


def reward_without_accuracy(history: History, limits: AlarmThresholds) -> Finding | None:
    """The reward rises while right answers on held-out problems become fewer."""
    key = history.held_out()
    if key is None:
        return None
    steps, values = history.series(key)
    if len(values) < 2:
        return None
    best = max(range(len(values) - 1), key=values.__getitem__)  # the fall is counted from the best look so far
    fall = values[best] - values[-1]
    rise = history.gain("reward", steps[0], limits.width)
    since = history.gain("reward", steps[best], limits.width)
    spread = history.series("reward_std")[1][: limits.width]
    enough = (
        min(limits.reward_rise, limits.reward_rise_spread * sum(spread) / len(spread))
        if spread
        else limits.reward_rise
    )
    if rise is None or since is None or fall < limits.fall or max(rise, since) < enough or since < 0:
        return None
    return Finding(
        "reward_without_accuracy",
        f"The reward rose by {max(rise, since):.3g} while right answers to held-out problems fell from "
        f"{values[best]:.0%} at step {steps[best]} to {values[-1]:.0%}.",
        "The reward is being played, or learning_rate is too high: read a few completions that score high, run `trl-r1 "
        "rewards audit` on it, and go back to a checkpoint from before.",
    )


def format_only(history: History, limits: AlarmThresholds) -> Finding | None:
    """The format is learnt, the task is not."""
    rule = history.rule()
    if rule is None:
        return None
    for shape in history.matching(SHAPE):
        then, now = history.was(shape, limits.width, None), history.now(shape, limits.width)
        recent = history.values(rule, limits.window)
        if then is None or now is None or len(recent) < limits.window:
            continue
        movement = trend(recent)
        if (
            now - then[1] >= limits.shape_rise
            and min(history.values(shape, limits.window)) >= then[1] + limits.shape_rise
            and movement is not None
            and movement.change < limits.better / 2
            and (gain := gain_since(history, then[0], limits)) is not None
            and gain < limits.better
        ):
            return Finding(
                "format_only",
                f"The format reward rose from {then[1]:.2f} to {now:.2f}, and for {limits.window} logged steps right "
                f"answers have not moved ({sum(recent) / len(recent):.2f}).",
                "The model learns the shape and not the task: give format less weight, start with easier problems "
                "(docs/difficulty.md), more completions per prompt, or a stronger base.",
            )
    return None


def language_mixing(history: History, limits: AlarmThresholds) -> Finding | None:
    """Thoughts leave the asker's language."""
    key = "monitor/language"
    now, then = history.now(key, limits.width), history.was(key, limits.width, None)
    if now is None or then is None or then[1] - now < limits.language_fall:
        return None
    return Finding(
        "language_mixing",
        f"The share of words in the asker's language fell from {then[1]:.0%} at step {then[0]} to {now:.0%}.",
        "Add the reward language_consistency (DeepSeek-R1, Eq. 7), if one language matters to you.",
        "notice",
    )


def no_signal(history: History, limits: AlarmThresholds) -> Finding | None:
    """Nearly every group has equal rewards, or none: there is nothing to learn from."""
    equal = history.now("frac_reward_zero_std", 2 * limits.width)
    ungraded = history.now("frac_reward_ungraded", 2 * limits.width) or 0.0
    now = None if equal is None else equal + ungraded
    if now is None or now < limits.dead:
        return None
    if ungraded > now / 2:
        return Finding(
            "no_signal",
            f"{ungraded:.0%} of the groups could not be graded by any reward, so they teach nothing.",
            "Read a few completions and rows: the rewards return None for them, mostly because a column (the gold answer) "
            "is empty or because what they look for is never written.",
        )
    rule = history.rule()
    level = history.now(rule, limits.width) if rule is not None else None
    easy = level is not None and level > 0.5
    advice = (
        "The problems are too easy by now: grade them (`trl-r1 data grade`) and go on with harder ones, or stop here."
        if easy
        else "The problems are too hard for this model: start with easier ones (docs/difficulty.md), raise num_generations, "
        "or start from a cold-started model."
    )
    sentence = f"{equal:.0%} of the groups have the same reward for all completions, so they teach nothing."
    return Finding("no_signal", sentence, advice, "notice" if easy else "alarm")


def copy_drift(history: History, limits: AlarmThresholds) -> Finding | None:
    """The copy that generates (`rollout_copy`) has drifted away from the policy: few samples carry the gradient."""
    far, counted, capped = (
        history.now(f"rollout_copy/{name}", limits.width) for name in ("mismatch", "effective_samples", "capped")
    )
    seen = []
    if far is not None and far > limits.mismatch:
        seen.append(f"its tokens are {far:.2f} nats from the policy's")
    if counted is not None and counted < limits.effective:
        seen.append(f"{counted:.0%} of the samples are effective")
    if capped is not None and capped > limits.capped:
        seen.append(f"{capped:.0%} of the ratios are outside the limits")
    if not seen:
        return None
    return Finding(
        "copy_drift",
        f"The copy that generates is no longer close to the policy: {', '.join(seen)}.",
        "Set rollout_copy: merged, or none; where completions are long and the mismatch is small, "
        "vllm_importance_sampling_mode: token_truncate.",
    )


def converged(history: History, limits: AlarmThresholds) -> Finding | None:
    """The reward has stopped moving."""
    values = history.values("reward", limits.plateau)
    movement = trend(values) if len(values) == limits.plateau else None
    if movement is None or movement.direction(limits.still) != "flat":
        return None
    return Finding(
        "converged",
        f"The reward has not moved for {limits.plateau} logged steps (change "
        f"{movement.change:+.3f} ± {2 * movement.error:.3f}).",
        "Evaluate this checkpoint and stop, or change what limits it: harder problems, longer completions, another reward.",
        "notice",
    )


ALARMS: dict[str, Alarm] = {
    "entropy_collapse": entropy_collapse,
    "entropy_explosion": entropy_explosion,
    "length_explosion": length_explosion,
    "kl_runaway": kl_runaway,
    "reward_without_accuracy": reward_without_accuracy,
    "format_only": format_only,
    "language_mixing": language_mixing,
    "no_signal": no_signal,
    "copy_drift": copy_drift,
    "converged": converged,
}


def look(history: History, limits: AlarmThresholds) -> list[Finding]:
    """What every alarm finds now."""
    return [finding for alarm in ALARMS.values() if (finding := alarm(history, limits)) is not None]
