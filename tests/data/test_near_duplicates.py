"""Near-duplicates, contamination and the cap, with sets that can be counted by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_r1.data.near_duplicates import Contamination, jaccard, near_duplicates, over_cap, shingles, words


def test_words_are_words_in_every_script():
    assert words("Let x_1 = 3.5, Ｆｕｌｌ!") == ["let", "x", "1", "3", "5", "full"]
    assert words("先计算 ab再加") == ["先", "计", "算", "ab", "再", "加"]
    assert words("!?") == []


def test_similarity_is_the_shared_part_of_the_shingles():
    first, second = shingles("a b c d e f", 5), shingles("a b c d e g", 5)
    # first: abcde, bcdef; second: abcde, bcdeg; shared 1 of 3
    assert jaccard(first, second) == pytest.approx(1 / 3)


def test_the_first_of_its_kind_stays_and_the_later_one_says_whom_it_repeats():
    base = " ".join(f"word{i}" for i in range(100))  # 96 shingles
    changed = base.replace("word99", "other")  # 1 shingle differs: 95 / 97
    far = " ".join(f"else{i}" for i in range(100))
    found = near_duplicates([base, far, changed, base], 0.9)
    assert found == {2: (0, pytest.approx(95 / 97)), 3: (0, 1.0)}
    assert near_duplicates([base, changed], 0.99) == {}
    assert near_duplicates(["", "", "!!"], 0.5) == {}  # without a word, like no other


def test_a_chain_of_small_changes_is_not_dropped_to_its_end():
    texts = [" ".join([f"w{i}" for i in range(k, k + 60)]) for k in range(0, 60, 6)]
    dropped = near_duplicates(texts, 0.7)
    kept = [i for i in range(len(texts)) if i not in dropped]
    assert len(kept) > 1
    assert all(stays in kept for stays, _ in dropped.values())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40).map(" ".join), max_size=25))
def test_what_stays_is_pairwise_dissimilar_and_what_goes_is_similar(texts):
    """At this size against the exact definition; MinHash may miss a pair only with probability 1e-7."""
    limit = 0.8
    dropped = near_duplicates(texts, limit)
    kept = [i for i in range(len(texts)) if i not in dropped]
    sets = [shingles(text) for text in texts]
    assert all(jaccard(sets[i], sets[j]) < limit for i in kept for j in kept if i < j)
    assert all(jaccard(sets[i], sets[j]) == alike >= limit for i, (j, alike) in dropped.items())


def test_a_similarity_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="near_duplicate_similarity=1.5"):
        near_duplicates([], 1.5)


def test_ten_words_in_a_row_are_contamination_and_nine_are_none():
    known = Contamination()
    known.add(["one two three four five six seven eight nine ten eleven"])
    assert known.shared("He said: one, two, three, four, five, six, seven, eight, nine, TEN!") == (
        "one two three four five six seven eight nine ten"
    )
    assert known.shared("one two three four five six seven eight nine") is None
    assert known.shared("two one three four five six seven eight nine ten eleven") is None


def test_a_short_question_counts_whole_and_a_short_answer_not_at_all():
    known = Contamination()
    known.add(["What is 17 times 23?"])  # five words
    known.add(["What is it?"])  # three: anything would match
    known.add(["the answer is three hundred ninety-one"], whole_if_short=False)
    assert known.shared("Tell me: what is 17 times 23") == "what is 17 times 23"
    assert known.shared("What is 17 times 24?") is None
    assert known.shared("What is it?") is None
    assert known.shared("well, the answer is three hundred ninety-one") is None


def test_chinese_counts_characters():
    known = Contamination()
    known.add(["一个农场有鸡和兔共三十五只"])  # 13 characters
    assert known.shared("题目：一个农场有鸡和兔共三。") == "一 个 农 场 有 鸡 和 兔 共 三"


def test_the_cap_keeps_the_first_ones():
    assert over_cap(["a", "b", "a", "a", "b", "b"], 2) == [3, 5]
    with pytest.raises(ValueError, match="per_prompt=0"):
        over_cap([], 0)
