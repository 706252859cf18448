"""Screening: replies of any layout in, and for each either a completion in the wanted layout or why it was dropped.

The filters of `trl_r1.data.filters` look at a reply in one form, whatever form it came in, so that the marks of a layout
count neither as words of a language nor as part of an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trl_r1.data.filters import FilterLimits, decide_right, first_objection
from trl_r1.stages.cold_start.sources import in_layout, lay_out, summarised, take_apart
from trl_r1.text.completions import ANSWER
from trl_r1.text.records import Sample, Verdict


COARSE = ("answered", "truncated", "right", "layout")  # what no rewriting can mend


@dataclass(frozen=True)
class Screened:
    """What became of a reply."""

    verdict: Verdict
    text: str | None = None  # the reply in the wanted layout; None when it was dropped


def screen(
    samples: Sequence[Sample],
    layout: str,
    filters: Sequence[str],
    limits: FilterLimits,
    answer_sources: Sequence[str],
) -> list[Screened]:
    """What becomes of each sample.

    Args:
        layout: that a kept text has; a reply that can be brought into none of them is dropped.
        filters: names of `FILTERS`, in their order.
        limits: of what is readable; their layout does not matter here.
        answer_sources: where a final answer may stand (`trl_r1.answers.extract`).
    """
    limits = replace(limits, layout="summary", prefilled_think=False)
    parts = [take_apart(sample.completion.text) for sample in samples]
    verdicts = [Verdict(reason=NO_LAYOUT) for _ in samples]
    if "right" in filters:
        places = [place for place, part in enumerate(parts) if part is not None]
        answers = [with_text(samples[place], answer_text(parts[place], layout)) for place in places]
        for place, verdict in zip(places, decide_right(answers, sources=answer_sources), strict=True):
            verdicts[place] = verdict
    screened = []
    for sample, part, verdict in zip(samples, parts, verdicts, strict=True):
        shown_text = sample.completion.text
        if part is not None:
            shown_text = lay_out(part[0], summarised(part[1], layout), "summary")
        verdict = first_objection(with_text(sample, shown_text), verdict, limits, filters)
        text = in_layout(sample.completion.text, layout)
        without_layout = (part is None and verdict.dropped_by == "right") or (text is None and not verdict.dropped_by)
        if without_layout:
            verdict = replace(verdict, dropped_by="layout", reason=NO_LAYOUT)
        screened.append(Screened(verdict, None if verdict.dropped_by else text))
    return screened


NO_LAYOUT = "the reply is in no layout"


def with_text(sample: Sample, text: str) -> Sample:
    """The sample with another text."""
    return replace(sample, completion=replace(sample.completion, text=text))


def answer_text(part: tuple[str, str] | None, layout: str) -> str:
    """What the reader of a reply sees, as the rule that checks answers reads it: an answer in the thought is none."""
    summary = summarised(part[1], layout) if part else ""
    return f"{ANSWER[0]}{summary}{ANSWER[1]}" if layout == "answer" else summary
