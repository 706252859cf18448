import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from trl_r1.agser.consistency import Words, find_consistency, lcs_length, library_rouge_l, rouge_l, rouge_l_of, words


def slow_lcs(first, second):
    row = [0] * (len(second) + 1)
    for item in first:
        before = row[:]
        for j, other in enumerate(second):
            row[j + 1] = before[j] + 1 if item == other else max(before[j + 1], row[j])
    return row[-1]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=90), st.lists(st.integers(0, 4), max_size=90))
def test_the_subsequence_is_the_longest(first, second):
    assert lcs_length(first, second) == slow_lcs(first, second) == lcs_length(second, first)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_value_is_that_of_rouge_score_with_our_tokenizer(first, second):
    if words(first) or words(second):
        wanted = RougeScorer(["rougeL"], tokenizer=Words()).score(first, second)["rougeL"].fmeasure
        assert rouge_l(first, second) == wanted


prose = st.lists(st.sampled_from("The cat, sat on 12 mats. (Why?) It's Anne's; and so: e-mail!".split()), max_size=25)


@settings(max_examples=100, deadline=None)
@given(prose, prose)
def test_ascii_prose_scores_as_the_library_does(first, second):
    first, second = " ".join(first), " ".join(second)
    if words(first) or words(second):
        assert rouge_l(first, second) == library_rouge_l(first, second)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("作者是鲁迅，1923年", ["作", "者", "是", "鲁", "迅", "1923", "年"]),
        ("Größe, L'œuvre", ["grösse", "l", "œuvre"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("한국어 단어", ["한국어", "단어"]),
        ("ｆｕｌｌ １２", ["full", "12"]),
        ("カタカナ", ["カ", "タ", "カ", "ナ"]),
        ("x = -5, y=3.14.", ["x", "-5", "y", "3.14"]),
        ("1923-1925", ["1923", "1925"]),
        ("a_b", ["a", "b"]),
    ],
)
def test_words_of_every_script(text, tokens):
    assert words(text) == tokens


def test_what_the_library_gets_wrong():
    same, other = "作者是鲁迅，1923年", "作者是巴金，1923年"
    assert library_rouge_l("作者是鲁迅", "作者是鲁迅") == 0.0
    assert library_rouge_l(same, other) == 1.0
    assert rouge_l(same, same) == 1.0
    assert rouge_l(same, other) == pytest.approx(5 / 7)  # 作者是, 1923, 年 of seven


def test_answers_without_words_are_alike_when_equal():
    assert [rouge_l("∅", "∅"), rouge_l("∅", "∞"), rouge_l("", ""), rouge_l("a", "")] == [1.0, 0.0, 0.0, 0.0]


def test_token_ids_need_no_words(byte_tokenizer):
    agree = find_consistency("tokens", byte_tokenizer)
    assert agree("abcd", "abd") == pytest.approx(2 * (3 / 4) * 1 / (3 / 4 + 1))
    assert rouge_l_of([1, 2], []) == 0.0


def test_unknown_names_are_told():
    with pytest.raises(
        ValueError, match="consistency='rogue' is unknown. Choose one of: unicode, rouge_score, tokens"
    ):
        find_consistency("rogue")
