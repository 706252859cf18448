r"""A cold read: a thousand pairs of all kinds, their verdicts fixed by hand, by mathematics or by the conventions of
docs/rewards.md, before they were judged.

A line of ``cold_answers.txt`` is a gold, what answers it, and what does not, in boxes; of ``cold_replies.txt`` the same
with whole replies. Tabs part the three, `` || `` what stands in one of them.
"""

from pathlib import Path

import pytest

from trl_r1.answers.extract import extract, gold_answer
from trl_r1.rewards.accuracy import judge


HERE = Path(__file__).parent


def rows(name):
    """(reply, gold, whether it is right)."""
    for line in (HERE / name).read_text(encoding="utf-8").splitlines():
        gold, right, wrong = line.split("\t")
        for said in ((right, True), (wrong, False)):
            for text in filter(None, said[0].split(" || ")):
                yield (f"\\boxed{{{text}}}" if name == "cold_answers.txt" else text), gold, said[1]


@pytest.mark.parametrize("name", ["cold_answers.txt", "cold_replies.txt"])
def test_what_was_fixed_by_hand(name):
    asked = list(rows(name))
    assert len(asked) > 300
    outcomes = judge([extract(reply) for reply, _, _ in asked], [gold_answer(gold) for _, gold, _ in asked])
    wrong = [(*row, said) for row, said in zip(asked, outcomes, strict=True) if (said == "equal") != row[2]]
    assert wrong == []
