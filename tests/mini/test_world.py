"""The mini world: gold by construction, and splits that share no content."""

import itertools
import random
import re
import unicodedata
from collections import Counter

import pytest

from trl_r1.mini import corpus, world
from trl_r1.mini.world import Problem, draw_problems, gold_chain, gold_reply, split_of


def test_a_problem_is_asked_in_two_languages_with_one_gold_answer():
    english, chinese = Problem((2, 9, 4), "en"), Problem((2, 9, 4), "zh")
    assert english.question == "Compute ①2 ②9 ③4."
    assert chinese.question == "计算 ①2 ②9 ③4。"
    assert english.solution == chinese.solution == "15"  # 2 + 9 + 4
    assert (english.id, chinese.id) == ("en-2-9-4", "zh-2-9-4")


def test_a_gold_chain_adds_one_term_per_step():
    # 2, 2 + 9 = 11, 11 + 4 = 15
    assert gold_chain(Problem((2, 9, 4), "en")) == " ①2 add ②9=11 add ③4=15"
    assert gold_chain(Problem((2, 9, 4), "zh")) == " ①2再加上 ②9=11再加上 ③4=15"


def test_a_gold_reply_has_each_tag_once_in_order_and_ends_with_the_answer():
    reply = gold_reply(Problem((9, 9, 9, 9, 9, 9), "zh"))
    assert re.findall(r"</?\w+>", reply) == ["<think>", "</think>", "<answer>", "</answer>"]
    assert reply.endswith("</think> <answer>54</answer>")  # 6 * 9
    assert reply.startswith("<think> ①9")


@pytest.mark.parametrize(("language", "script"), [("en", "LATIN"), ("zh", "CJK")])
def test_a_gold_chain_has_letters_of_its_language_only(language, script):
    letters = [letter for letter in gold_chain(Problem((2, 9, 4, 1, 5, 3), language)) if letter.isalpha()]
    assert len(letters) == 15  # five steps of three letters, in both languages: neither weighs more
    assert all(unicodedata.name(letter).startswith(script) for letter in letters)


def test_a_split_owns_its_digits_in_every_order():
    for digits in itertools.combinations_with_replacement(world.DIGITS, 4):
        assert len({split_of(order) for order in itertools.permutations(digits)}) == 1


def test_splits_share_the_contents_80_to_10_to_10():
    contents = [c for count in world.TERM_COUNTS for c in itertools.combinations_with_replacement(world.DIGITS, count)]
    owned = Counter(map(split_of, contents))
    # multisets of 3..6 out of 9 digits: C(11,3) + C(12,4) + C(13,5) + C(14,6) = 165 + 495 + 1287 + 3003
    assert len(contents) == sum(owned.values()) == 4950
    # a tenth is 495, its binomial standard deviation sqrt(4950 * 0.1 * 0.9) = 21; four of them: 84
    assert abs(owned["test"] - 495) < 84
    assert abs(owned["dev"] - 495) < 84


def test_no_content_of_one_split_occurs_in_another_or_in_the_corpus_whatever_the_seed():
    drawn = {
        split: {tuple(sorted(p.terms)) for seed in (0, 1) for p in draw_problems(split, 400, seed)}
        for split in world.SPLITS
    }
    read = {tuple(sorted(document.problem.terms)) for document in corpus.draw_corpus(2000, seed=3)}
    assert not drawn["train"] & drawn["test"]
    assert not drawn["train"] & drawn["dev"]
    assert not drawn["dev"] & drawn["test"]
    assert not read & (drawn["dev"] | drawn["test"])


def test_the_question_of_a_document_is_the_problem_it_is_filed_under():
    for document in corpus.draw_corpus(200, seed=0):
        assert document.problem.question in document.prompt


def test_drawing_depends_on_the_seed_alone_and_repeats_no_row():
    first, again, other = (draw_problems("train", 300, seed) for seed in (7, 7, 8))
    random.seed(0)
    assert first == again == draw_problems("train", 300, 7)
    assert first != other
    assert len({problem.terms for problem in first}) == 300


def test_term_counts_are_kept():
    assert {len(problem.terms) for problem in draw_problems("dev", 100, 0, (4, 6))} == {4, 6}


def test_an_unknown_split_is_named_with_the_choices():
    with pytest.raises(ValueError, match="no split 'valid'. Choose one of: train, dev, test"):
        draw_problems("valid", 1, 0)
