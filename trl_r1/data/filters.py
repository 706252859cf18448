"""Filters: why a sample should not become training data, or nothing if it should.

Each is a pure function of a sample, what was decided about its answer, and the limits; it gives None, or half a sentence
that says what is wrong. The order of `FILTERS` is from what costs nothing and spoils everything to what is finer; the
first that objects drops the sample.

    answered          the model wrote something
    truncated         no token limit cut the text, and its thought ended
    right             the final answer is the gold one: by rule, else by the judge's verdict (`decide_right`)
    layout            the tags are where they belong
    mixed_language    the text keeps to the asker's language
    long_paragraphs   the thought is no wall of text
    code_blocks       the thought holds no fenced code
    repetition        the text does not go round in circles

Source  DeepSeek-R1, arXiv:2501.12948v1, Sec. 2.3.3: only correct samples are kept, and "chain-of-thought with mixed
        languages, long paragraphs, and code blocks" is filtered out. The limits are ours, the paper gives none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

from trl_r1.answers.forms import answer_type
from trl_r1.answers.types import known_type
from trl_r1.errors import InfrastructureError
from trl_r1.models.judge import OWN_FAULTS, Failure, Judge
from trl_r1.rewards.accuracy import SOURCES, extract, gold_answer, judge
from trl_r1.rewards.format import LAYOUTS, SPECIAL_TOKEN, well_formed
from trl_r1.rewards.language import consistency
from trl_r1.rewards.shaping import repetition as repeated_share
from trl_r1.text.completions import THINK, reasoning_bounds
from trl_r1.text.records import Row, Sample, Verdict


@dataclass(frozen=True)
class FilterLimits:
    """What is still readable. All limits are ours: the paper names the faults, not the numbers."""

    layout: str = field(default="answer", metadata={"help": f"Layout that is asked for: {', '.join(LAYOUTS)}."})
    prefilled_think: bool | None = field(
        default=None, metadata={"help": "The prompt template writes the opening tag; None: as it is found out."}
    )
    language_share: float = field(
        default=0.95, metadata={"help": "Least share of the words in the asker's language, in [0, 1]."}
    )
    longest_paragraph: int = field(
        default=1500, metadata={"help": "Characters a paragraph of the thought may have (about 250 English words)."}
    )
    repeated_share: float = field(
        default=0.3, metadata={"help": "Share of the 32-character pieces that may have occurred before, in [0, 1]."}
    )

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout={self.layout!r} is unknown. Choose one of: {', '.join(LAYOUTS)}.")
        for name in ("language_share", "repeated_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}={getattr(self, name)} is not a share in [0, 1].")
        if self.longest_paragraph < 1:
            raise ValueError(
                f"longest_paragraph={self.longest_paragraph} allows no text; give characters, such as 1500."
            )

    def to_row(self) -> Row:
        """As the digests of shards know them: to earlier versions what is found out now was false."""
        return asdict(self) | {"prefilled_think": bool(self.prefilled_think)}


def parts(text: str, limits: FilterLimits) -> tuple[str, str, bool]:
    """The thought, what the reader sees, and whether the thought was closed (True where there is none).

    >>> parts("<think>2 + 2</think> 4", FilterLimits())
    ('2 + 2', ' 4', True)
    """
    if limits.layout == "cold_start":
        pieces = text.split(SPECIAL_TOKEN)
        if limits.prefilled_think and len(pieces) < 3:
            pieces = ["", *pieces]
        return (pieces[1], SPECIAL_TOKEN.join(pieces[2:]), len(pieces) > 2) if len(pieces) > 1 else ("", text, True)
    prefilled = bool(limits.prefilled_think)
    start, end, after = reasoning_bounds(text, THINK, prefilled)
    opened = THINK[0] in text or prefilled
    return text[start:end], text[after:], THINK[1] in text or not opened


# --- one fault each


def answered(sample: Sample, verdict: Verdict, limits: FilterLimits) -> str | None:
    """The model wrote something, and the server did not refuse the prompt."""
    if sample.completion.refused:
        return f"the server refused: {sample.completion.refused}"
    return None if sample.completion.text.strip() else "the text is empty"


def truncated(sample: Sample, verdict: Verdict, limits: FilterLimits) -> str | None:
    """The token limit did not cut the text, and a thought that began has ended."""
    if sample.completion.truncated:
        return "the token limit cut it off"
    return None if parts(sample.completion.text, limits)[2] else "the thought never ends"


def right(sample: Sample, verdict: Verdict, limits: FilterLimits) -> str | None:
    """What `decide_right` decided. A sample that was not judged is not right."""
    return None if verdict.correct else verdict.reason or "nobody judged the answer"


def layout(sample: Sample, verdict: Verdict, limits: FilterLimits) -> str | None:
    """The tags of the layout, each once and in its place, nothing outside (`trl_r1.rewards.format`)."""
    prefilled = bool(limits.prefilled_think)
    strict = well_formed(sample.completion.text, layout=limits.layout, prefilled_think=prefilled)
    return None if strict else f"not in the layout {limits.layout!r}"


def mixed_language(sample: Sample, verdict: Verdict, limits: FilterLimits) -> str | None:
    """The words of the whole text are in the asker's language; a text without words, or without a language, passes."""
    share = language_share(sample)
    if share is None or share >= limits.language_share:
        return None
    return f"only {share:.0%} of the words are {sample.problem.language}"


def language_share(sample: Sample) -> float | None:
    """Share of the words in the asker's language, in [0, 1]; None where there is no word or no language."""
    language = sample.problem.language
    return consistency(sample.completion.text, language) if language else None


def long_paragraphs(sample: Sample, verdict: Verdict, limits: FilterLimits) -> str | None:
    """No paragraph of the thought (text between line breaks) is longer than the limit; formulas on display count too."""
    longest = max((len(part) for part in parts(sample.completion.text, limits)[0].splitlines()), default=0)
    return None if longest <= limits.longest_paragraph else f"a paragraph of {longest} characters"


_FENCE = re.compile(r"^[ \t]{0,3}(?:```|~~~)", re.MULTILINE)


def code_blocks(sample: Sample, verdict: Verdict, limits: FilterLimits) -> str | None:
    """No fenced code in the thought. What the reader sees may hold some: a programming answer has to."""
    fence = _FENCE.search(parts(sample.completion.text, limits)[0])
    return "a code block in the thought" if fence else None


def repetition(sample: Sample, verdict: Verdict, limits: FilterLimits) -> str | None:
    """At most the limit's share of the 32-character pieces occurred before in the same text."""
    share = repeated_share(sample.completion.text, 32)
    return None if share <= limits.repeated_share else f"{share:.0%} of it repeats"


Filter = Callable[[Sample, Verdict, FilterLimits], str | None]

FILTERS: dict[str, Filter] = {
    "answered": answered,
    "truncated": truncated,
    "right": right,
    "layout": layout,
    "mixed_language": mixed_language,
    "long_paragraphs": long_paragraphs,
    "code_blocks": code_blocks,
    "repetition": repetition,
}
GENERAL_FILTERS = ("answered", "truncated", "mixed_language", "repetition")  # for answers no gold belongs to


def first_objection(sample: Sample, verdict: Verdict, limits: FilterLimits, names: Sequence[str]) -> Verdict:
    """The verdict with the first of the named filters that objects and what it says; without both when none does.

    Args:
        verdict: on the sample's answer, as `decide_right` gives it; `Verdict()` where nobody was asked.
    """
    for name in names:
        reason = FILTERS[name](sample, verdict, limits)
        if reason is not None:
            return replace(verdict, dropped_by=name, reason=reason)
    return replace(verdict, dropped_by="", reason="")


def check_names(names: Sequence[str]) -> list[str]:
    """The filters in the order of `FILTERS`.

    Raises:
        ValueError: a name is unknown.
    """
    unknown = [name for name in names if name not in FILTERS]
    if unknown:
        raise ValueError(f"No filter is called {unknown[0]!r}. Choose from: {', '.join(FILTERS)}.")
    return [name for name in FILTERS if name in names]


# --- right: by rule, else by a judge who knows the gold

CRITERION = (
    "the reply comes to the same final result as the reference answer, which stands at the end of the prompt and is known "
    "to be right. Only the result counts, not the way there or its wording: 10 if it is the same, 0 if it is another, "
    "unclear or missing."
)
LEAST_VERDICT = 0.8  # a judge's 8, 9 or 10 out of 10 is "the same"

NOT_BY_RULE = "the rule cannot judge it"
NO_VERDICT = "the judge gave no verdict"


class JudgeError(InfrastructureError):
    """The judge cannot be asked, in one sentence; nothing is lost, and the same samples can be judged later."""


def decide_right(
    samples: Sequence[Sample],
    *,
    sources: Sequence[str] = tuple(SOURCES),
    prefilled_think: bool = False,
    judge_client: Judge | None = None,
) -> list[Verdict]:
    """For each sample: is its final answer the gold one, who says so, and why not.

    The rule decides first (`trl_r1.rewards.accuracy`). The judge, who is shown the gold, is asked where the rule has
    nothing to say: it cannot read the gold, it ran out of time, or the gold is words and the reply is worded otherwise.
    ``correct`` is None where nobody could decide.

    Args:
        sources: where the rule looks for the final answer.
        judge_client: a judge with the criterion `CRITERION`; None leaves undecided what the rule cannot decide, and takes
            other words than the gold's for wrong.

    Raises:
        JudgeError: the judge is down, or says nothing usable about any of several completions.

    Source: DeepSeek-R1, arXiv:2501.12948v1, Sec. 2.3.3 (a generative reward model, given the ground truth and the
    prediction). Departure: there it judged a part of the data, here only what the rule leaves open.
    """
    kinds = [known_type(sample.problem.answer_type) for sample in samples]
    answers = [
        extract(
            sample.completion.text,
            tuple(sources),
            prefilled_think,
            truncated=sample.completion.truncated,
            kind=kind,
        )
        for sample, kind in zip(samples, kinds, strict=True)
    ]
    golds = [gold_answer(sample.problem.solution) for sample in samples]
    outcomes = judge(answers, golds, types=kinds)
    verdicts = [by_rule(outcome, answer) for outcome, answer in zip(outcomes, answers, strict=True)]
    if judge_client is None:
        return verdicts
    open_ones = [
        index
        for index, (outcome, gold) in enumerate(zip(outcomes, golds, strict=True))
        if gold is not None
        and outcome != "equal"
        and (outcome in UNDECIDED or answer_type(gold) == "text")
        and not samples[index].completion.truncated
    ]
    pairs = [
        (f"{samples[i].problem.question}\n\nReference answer: {golds[i]}", samples[i].completion.text)
        for i in open_ones
    ]
    for index, score in zip(open_ones, ask(judge_client, pairs) if pairs else (), strict=True):
        if isinstance(score, Failure):
            verdicts[index] = Verdict(reason=NO_VERDICT)
        elif score >= LEAST_VERDICT:
            verdicts[index] = Verdict(True, "judge")
        else:
            verdicts[index] = Verdict(False, "judge", reason=f"the judge gives it {score * 10:.0f} of 10")
    return verdicts


UNDECIDED = ("unreadable gold", "gave up")  # outcomes of the rule after which a judge may still decide


def by_rule(outcome: str, answer: str | None) -> Verdict:
    """What the rule's outcome says about an answer."""
    if outcome == "equal":
        return Verdict(True, "rule")
    if outcome in UNDECIDED or outcome == "no gold":
        return Verdict(reason=f"{NOT_BY_RULE}: {outcome}")
    return Verdict(
        False, "rule", reason="no final answer" if outcome == "no answer" else f"the answer is {(answer or '')[:80]!r}"
    )


def ask(judge_client: Judge, pairs: Sequence[tuple[str, str]]) -> list[float | Failure]:
    """The judge's verdicts; a single one that is no verdict stands, a judge that is of no use is an error.

    Raises:
        JudgeError: no connection, an error status or no answer in time for any pair; or no verdict for all of several.
    """
    verdicts = judge_client.grade(pairs)
    failures = [verdict for verdict in verdicts if isinstance(verdict, Failure)]
    lost = next((failure for failure in failures if failure.why not in OWN_FAULTS), None)
    again = "Nothing is lost; start this again when the judge answers."
    if lost is not None:
        raise JudgeError(
            f"The judge {judge_client.model} at {judge_client.endpoint} cannot be asked ({lost.why}). {again}"
        )
    if failures and len(failures) == len(verdicts) and len(verdicts) > 1:
        whys = ", ".join(sorted({failure.why for failure in failures} - {"no verdict"}))
        raise JudgeError(
            f"The judge {judge_client.model} at {judge_client.endpoint} returned no JSON verdict for any of {len(verdicts)} "
            f"answers{f' ({whys})' if whys else ''}. Choose a judge that follows its instructions, or a longer max_tokens. "
            f"{again}"
        )
    return verdicts
