import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_r1.agser.split import locate, split_by_share, unit_scores


@given(st.lists(st.floats(0, 10), min_size=2, max_size=60), st.floats(0.01, 0.99))
def test_every_split_is_a_real_one_and_the_best_are_attentive(scores, k):
    kept = split_by_share(scores, k)
    assert 1 <= sum(kept) <= len(scores) - 1
    assert abs(sum(kept) - k * len(scores)) <= 0.5 or sum(kept) in (1, len(scores) - 1)
    assert min(s for s, yes in zip(scores, kept) if yes) >= max(s for s, yes in zip(scores, kept) if not yes)


def test_two_thirds_of_six_are_four_and_ties_go_to_the_earlier():
    assert split_by_share([1, 5, 1, 5, 1, 5]) == [True, True, False, True, False, True]


@pytest.mark.parametrize("k", [0.0, 1.0, float("nan")])
def test_no_share_is_refused(k):
    with pytest.raises(ValueError, match="no share between 0 and 1"):
        split_by_share([1, 2], k)


def test_template_and_system_prompt_stay_in_both(byte_tokenizer):
    query = locate(byte_tokenizer, [{"role": "system", "content": "user"}, {"role": "user", "content": " user? "}])
    assert byte_tokenizer.decode(query.content()) == query.question == "user?"
    left = byte_tokenizer.decode(query.keep([True, False, False, True, True]))
    assert left == "<|system|>user\n<|user|>ur?\n<|assistant|>"


def test_a_question_inside_examples_is_found(byte_tokenizer):
    prompt = "Question: ab\nAnswer: x\n\nQuestion: ab\nAnswer:"
    query = locate(byte_tokenizer, prompt, "ab")
    assert query.places == [34, 35]
    assert byte_tokenizer.decode(query.keep([True, False])) == "Question: ab\nAnswer: x\n\nQuestion: a\nAnswer:"
    assert query.with_question("c") == "Question: ab\nAnswer: x\n\nQuestion: c\nAnswer:"


def test_bytes_of_one_character_stay_together(byte_tokenizer):
    query = locate(byte_tokenizer, "a鲁é")
    assert [len(unit) for unit in query.units] == [1, 3, 2]
    assert unit_scores(query, [1.0, 3.0, 4.0, 8.0, 2.0, 4.0]) == [1.0, 5.0, 3.0]
    assert byte_tokenizer.decode(query.keep([False, True, False])) == "鲁"


@pytest.mark.parametrize(
    ("text", "words"),
    [("Pride and it?", ["Pride", " ", "and", " ", "it?"]), ("é鲁迅 ab", ["é", "鲁", "迅", " ", "ab"])],
)
def test_with_units_of_words_no_word_is_torn_apart(byte_tokenizer, text, words):
    query = locate(byte_tokenizer, text, units="word")
    assert [byte_tokenizer.decode([query.ids[place] for place in unit]) for unit in query.units] == words


def test_the_space_a_token_brings_along_makes_it_no_template():
    from trl_r1.mini.corpus import draw_corpus
    from trl_r1.mini.model import build_tokenizer

    tokenizer = build_tokenizer(draw_corpus(200, 0), 300)
    query = locate(tokenizer, "User: Compute ①2 ②5. Assistant:", "Compute ①2 ②5.")
    assert tokenizer.decode(query.content()).strip() == "Compute ①2 ②5."


@pytest.mark.parametrize(
    ("prompt", "question", "said"),
    [
        ("", None, "has no tokens"),
        ("abc", "d", "Prompt 7 does not hold its question 'd'"),
        ([{"role": "system", "content": "x"}], None, "Prompt 7 has no user message"),
        ([{"role": "user", "content": [{"type": "image"}]}], None, "is not plain text"),
    ],
)
def test_mistakes_are_told(byte_tokenizer, prompt, question, said):
    with pytest.raises(ValueError, match=said):
        locate(byte_tokenizer, prompt, question, 7)


def test_a_conversation_needs_a_template(byte_tokenizer):
    import copy

    bare = copy.deepcopy(byte_tokenizer)
    bare.chat_template = None
    with pytest.raises(ValueError, match="has no chat template. Give the prompt as text"):
        locate(bare, [{"role": "user", "content": "x"}])
    assert locate(bare, "xy").units == ((0,), (1,))
