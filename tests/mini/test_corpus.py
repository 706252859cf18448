"""The mini web: noise of known kinds in known shares."""

import dataclasses
import random
import re

import pytest

from trl_r1.mini.corpus import TEXTBOOK, TEXTBOOK_SHARE, WEB, draw_chain, draw_corpus, draw_reply, slip
from trl_r1.mini.world import Problem, gold_chain, gold_reply


PROBLEM = Problem((2, 9, 4, 7), "en")


def english() -> str:
    return "en"


def test_a_chain_without_slips_in_one_language_is_the_gold_chain():
    chain, answer = draw_chain(random.Random(0), PROBLEM.terms, 0.0, english)
    assert (chain, answer) == (gold_chain(PROBLEM), 22)  # 2 + 9 + 4 + 7


def test_a_stride_of_two_adds_two_terms_at_once():
    chain, answer = draw_chain(random.Random(0), PROBLEM.terms, 0.0, english, stride=2)
    assert (chain, answer) == (" ①2 add ②9 add ③4=15 add ④7=22", 22)  # 2 + (9 + 4) = 15, 15 + 7 = 22


def test_a_slip_is_wrong_never_negative_and_carried_on():
    rng = random.Random(0)
    assert all(slip(rng, value) != value and slip(rng, value) >= 0 for value in range(1, 55))
    chain, answer = draw_chain(rng, PROBLEM.terms, 1.0, english)
    totals = [2, *map(int, re.findall(r"=(\d+)", chain))]
    assert totals[-1] == answer
    for before, after, term in zip(totals, totals[1:], PROBLEM.terms[1:]):
        assert after != before + term


def test_a_mixture_of_clean_tagged_full_chains_in_one_language_writes_gold_replies():
    clean = dataclasses.replace(TEXTBOOK, styles={"full": 1.0}, asker_language=1.0, foreign_language=0.0)
    assert draw_reply(random.Random(0), PROBLEM, clean, tagged=1.0) == gold_reply(PROBLEM)


@pytest.mark.parametrize("mixture", [TEXTBOOK, WEB])
def test_styles_are_shares(mixture):
    assert sum(mixture.styles.values()) == pytest.approx(1.0)


def test_replies_mix_languages_evenly_and_show_every_kind_of_tag():
    replies = [document.reply for document in draw_corpus(3000, seed=0)]
    words = [len(re.findall(pattern, "".join(replies))) for pattern in (" add", "再加上")]
    assert 0.47 < words[0] / sum(words) < 0.53
    whole = sum(re.fullmatch(r"<think>.*</think> <answer>\d+</answer>", reply) is not None for reply in replies)
    bare = sum("<" not in reply for reply in replies)
    assert 0 < whole < len(replies) - bare < len(replies)  # complete, broken and missing tags all occur


def test_textbooks_come_first_and_the_seed_decides():
    documents = draw_corpus(1000, seed=4)
    chatter = [index for index, document in enumerate(documents) if re.search(r"[.。？?]", document.reply)]
    assert min(chatter) >= TEXTBOOK_SHARE * 1000  # only the web chatters
    assert documents == draw_corpus(1000, seed=4) != draw_corpus(1000, seed=5)
