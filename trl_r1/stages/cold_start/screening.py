"""Screening: replies of any layout in, and for each either a completion in the wanted layout or why it was dropped.

The filters of `trl_r1.data.filters` look at a reply in one form, whatever form it came in, so that the marks of a layout
count neither as words of a language nor as part of an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trl_r1.answers.types import declared_type
from trl_r1.data.filters import FilterLimits, decide_right, first_objection
from trl_r1.stages.cold_start.sources import in_layout, lay_out, summarised, take_apart
from trl_r1.text.completions import ANSWER


COARSE = ("answered", "truncated", "right", "layout")  # what no rewriting can mend


@dataclass(frozen=True)
class Verdict:
    """What became of a reply."""

    completion: str | None  # in the wanted layout; None when it was dropped
    dropped: str = ""  # the filter that objected
    why: str = ""


def screen(
    samples: Sequence[Mapping[str, Any]],
    layout: str,
    filters: Sequence[str],
    limits: FilterLimits,
    answer_sources: Sequence[str],
) -> list[Verdict]:
    """A verdict on each sample.

    Args:
        samples: with `text` (the reply), `clipped`, `refused`, `question`, `solution` and `language`.
        layout: that a kept completion has; a reply that can be brought into none of them is dropped.
        filters: names of `FILTERS`, in their order.
        limits: of what is readable; their layout does not matter here.
        answer_sources: where a final answer may stand (`trl_r1.answers.extract`).
    """
    limits = replace(limits, layout="summary", prefilled_think=False)
    parts = [take_apart(sample["text"]) for sample in samples]
    texts = [
        sample["text"] if part is None else lay_out(part[0], summarised(part[1], layout), "summary")
        for sample, part in zip(samples, parts, strict=True)
    ]
    rights: dict[int, tuple[bool | None, str, str]] = {}
    if "right" in filters:
        judged = [place for place, part in enumerate(parts) if part is not None]
        decided = decide_right(
            [answer_text(parts[place], layout) for place in judged],
            [samples[place]["question"] for place in judged],
            [samples[place]["solution"] for place in judged],
            sources=answer_sources,
            types=[declared_type(samples[place]) for place in judged],
            truncated=[bool(samples[place].get("clipped")) for place in judged],
        )
        rights = dict(zip(judged, decided, strict=True))
    verdicts = []
    for place, (sample, text) in enumerate(zip(samples, texts, strict=True)):
        right, _, why = rights.get(place, (None, "", "the reply is in no layout"))
        seen = {**sample, "completion": text, "right": right, "verdict": why}
        objection = first_objection(seen, limits, filters)
        made = in_layout(sample["text"], layout)
        if objection is None and made is None:
            objection = ("layout", "the reply is in no layout")
        if objection is not None and parts[place] is None and objection[0] == "right":
            objection = ("layout", "the reply is in no layout")
        verdicts.append(Verdict(None, *objection) if objection else Verdict(made))
    return verdicts


def answer_text(part: tuple[str, str] | None, layout: str) -> str:
    """What the reader of a reply sees, as the rule that checks answers reads it: an answer in the thought is none."""
    summary = summarised(part[1], layout) if part else ""
    return f"{ANSWER[0]}{summary}{ANSWER[1]}" if layout == "answer" else summary
