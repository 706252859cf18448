"""AGSER: does an answer rest on what the model read? Scorer, evaluator, reward; see docs/agser.md.

from trl_r1.agser import AGSERScorer
for found in AGSERScorer(model, tokenizer).score(["Who wrote Medicine, and when?"]):
    print(found.score, found.attentive, found.answer)

Belongs here: the score of one answer from the model's own attention, and what tests that score. Not: the test model's
world (``mini/books.py``) and the command (``commands/agser.py``). New questions are a reader and one line in
``READERS`` of ``datasets.py``; a rival score is a function in ``rivals.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_r1.compat.lazy import lazy_exports


if TYPE_CHECKING:
    from trl_r1.agser.consistency import Words as Words
    from trl_r1.agser.consistency import rouge_l as rouge_l
    from trl_r1.agser.reward import AGSERReward as AGSERReward
    from trl_r1.agser.reward import agser_reward as agser_reward
    from trl_r1.agser.scorer import AGSERScorer as AGSERScorer
    from trl_r1.agser.scorer import Contributions as Contributions
    from trl_r1.agser.scorer import Reflection as Reflection
    from trl_r1.agser.scorer import first_line as first_line

_HOME = {  # exported name -> module it lives in
    "AGSERReward": "trl_r1.agser.reward",
    "AGSERScorer": "trl_r1.agser.scorer",
    "agser_reward": "trl_r1.agser.reward",
    "Contributions": "trl_r1.agser.scorer",
    "Reflection": "trl_r1.agser.scorer",
    "Words": "trl_r1.agser.consistency",
    "first_line": "trl_r1.agser.scorer",
    "rouge_l": "trl_r1.agser.consistency",
}
__all__ = [
    "AGSERReward",
    "AGSERScorer",
    "Contributions",
    "Reflection",
    "Words",
    "agser_reward",
    "first_line",
    "rouge_l",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOME)
