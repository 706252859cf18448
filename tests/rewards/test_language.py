"""Language consistency: the paper's ratio, counted on the thought, with everything that is no language left out."""

import pickle
import time

import pytest

from trl_r1.mini import world
from trl_r1.rewards.language import (
    LANGUAGES,
    LanguageConsistency,
    consistency,
    language_consistency_reward,
    prompt_language,
)


def test_the_ratio_is_words_in_the_target_over_all_words():
    text = "first add the numbers 然后乘以二"  # 4 words; 5 Han characters are 5 / 1.6 = 3.125 words
    assert consistency(text, "en") == pytest.approx(4 / 7.125, abs=1e-12)
    assert consistency(text, "zh") == pytest.approx(3.125 / 7.125, abs=1e-12)
    assert consistency(text, "ru") == 0.0


def test_han_beside_kana_is_japanese():
    # sentence 1: 3 Han and 2 kana are 3 / 1.6 + 2 / 2.5 Japanese words; sentence 2: 4 Han are 2.5 Chinese ones
    text = "数字を足す。我们计算。"
    assert consistency(text, "zh") == pytest.approx(2.5 / (2.5 + 3 / 1.6 + 2 / 2.5), abs=1e-12)
    assert consistency("数字を足す then add", "en") == pytest.approx(2 / (2 + 3 / 1.6 + 2 / 2.5), abs=1e-12)
    assert consistency("我们计算", "ja") == 0.0


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("we add the numbers", "en"),
        ("nous ajoutons les deux nombres, c'est-à-dire déjà", "fr"),
        ("Мы складываем числа", "ru"),
        ("숫자를 더합니다", "ko"),
        ("数字を足し算します。答えは五です", "ja"),
        ("我们把数字加起来", "zh"),
        ("نجمع الأرقام معا", "ar"),
        ("हम संख्याओं को जोड़ते हैं", "hi"),
        ("προσθέτουμε τους αριθμούς", "el"),
        ("אנחנו מחברים מספרים", "he"),
        ("เราบวกตัวเลข", "th"),
    ],
)
def test_a_thought_in_one_language_is_consistent_with_it_alone(text, language):
    assert consistency(text, language) == 1.0
    for other in ("en", "zh", "ru", "ko", "ar", "ja"):
        if not LANGUAGES[other] & LANGUAGES[language]:
            assert consistency(text, other) == 0.0


@pytest.mark.parametrize(
    "neutral",
    [
        "$\\text{where}$",
        "\\(area\\)",
        "\\[ \\frac{area}{base} \\]",
        "$$ sum $$",
        "\\begin{align} area &= base \\end{align}",
        "```python\nprint(value)\n```",
        "`value`",
        "https://example.org/some/words",
        "<answer>",
        "\\alpha",
        "total_price",
        "x y z",
        "sin log max",
        "12 + 30 = 42",
    ],
)
def test_mathematics_code_and_names_count_for_no_language(neutral):
    assert consistency(f"我们计算 {neutral} 等于", "zh") == 1.0
    assert consistency(neutral, "en") is None


def test_allowed_terms_count_for_no_language():
    assert consistency("我们用GPU计算Fibonacci", "zh", allowed=("gpu", "Fibonacci")) == 1.0
    assert consistency("我们用GPU计算", "zh") < 1.0


def test_two_prices_are_no_formula():
    # "$5 and $10" : 'he', 'pays', 'and' (the dollars enclose no formula); 2 Han characters are 1.25 words
    assert consistency("he pays $5 and $10 元钱", "en") == pytest.approx(3 / 4.25, abs=1e-12)


def test_language_detectors_traps():
    # langdetect: "fr", and not the same on every call; langid: "ku"; a half-Chinese sentence is 100 % English to both
    assert consistency("Let x=5. Then x^2=25.", "en") == 1.0
    assert consistency("12 + 30 = 42", "en") is None
    assert consistency("我们先计算 x=5", "zh") == 1.0
    mixed = "First we compute 首先我们计算 the total sum 总和"
    assert 0.4 < consistency(mixed, "en") < 0.6
    assert len({consistency(mixed, "en") for _ in range(50)}) == 1


def test_the_mini_worlds_short_chains_are_judged():
    english = " <think> a2; b9get11; c4get15;</think> <answer>15</answer>"
    switching = " <think> a2; b9get11; c4得15；</think> <answer>15</answer>"
    chinese = " <think> a2; b9得11；c4得15；</think> <answer>15</answer>"
    # one word and one Han character: 1 / (1 + 1 / 1.6)
    reward = LanguageConsistency(minimum_words=1)
    scores = reward([english, switching, chinese], language=["en", "en", "zh"])
    assert scores == [1.0, pytest.approx(1.6 / 2.6, abs=1e-12), 1.0]
    assert language_consistency_reward([english], language=["en"]) == [None]


@pytest.mark.parametrize("length", world.TERM_COUNTS)
@pytest.mark.parametrize("language", world.LANGUAGES)
def test_the_evaluation_measures_every_gold_chain_of_the_mini_world(language, length):
    from trl_r1.evaluation.benchmark import default_graders

    reply = world.gold_reply(world.Problem((7,) * length, language))
    assert default_graders().consistency(reply, language) == 1.0
    other = "zh" if language == "en" else "en"
    assert default_graders().consistency(reply, other) == 0.0


@pytest.mark.parametrize("thought", ["okay", "Okay!", "hm, okay", "好的", "<br> yes $x$"])
def test_a_thought_of_a_word_or_two_is_not_paid(thought):
    reply = f"<think>{thought}</think> <answer>4</answer>"
    assert language_consistency_reward([reply], language=["zh" if thought == "好的" else "en"]) == [None]


def test_three_words_are_judged_exactly():
    assert language_consistency_reward(["<think>we add them</think>"], language=["en"]) == [1.0]
    # 2 words and 3 Han characters are 2 + 3 / 1.6 = 3.875 words
    score = language_consistency_reward(["<think>we add 再加上</think>"], language=["en"])[0]
    assert score == pytest.approx(2 / 3.875, abs=1e-12)


def test_only_the_thought_is_counted():
    reward = LanguageConsistency(language="en")
    assert reward(["<think>我们先计算总和</think><answer>the answer in many English words</answer>"]) == [0.0]
    assert reward(["<think>we add them up</think>答案是五"]) == [1.0]


def test_the_empty_thought_the_symbols_and_the_missing_thought_earn_nothing():
    reward = LanguageConsistency(language="en")
    assert (
        reward(["<think></think>the answer is five", "<think>2+2=4</think>4", "the answer is five", None])
        == [None] * 4
    )
    assert LanguageConsistency(language="en", minimum_words=10)(["<think>we add them up</think>4"]) == [None]


def test_the_target_is_the_rows_then_the_options_then_the_prompts():
    thinks = ["<think>we add the numbers</think>4"] * 3
    assert language_consistency_reward(thinks, language=["en", "zh", "ru"]) == [1.0, 0.0, 0.0]
    assert LanguageConsistency(language="zh")(thinks, language=["en", None, ""]) == [1.0, 0.0, 0.0]
    prompts = [
        "how many apples?",
        [{"role": "user", "content": "有多少苹果？"}],
        "A template in English. User: 有多少？ Assistant:",
    ]
    assert language_consistency_reward(thinks, prompts=prompts) == [1.0, 0.0, 0.0]
    assert LanguageConsistency(language_column="tongue")(thinks, tongue=["en", "en", "zh"]) == [1.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="does not know the target language"):
        language_consistency_reward(thinks)


def test_the_prompts_language():
    assert prompt_language("How many?") == "en"
    assert prompt_language("数字を足します") == "ja"
    assert prompt_language("Сколько?") == "ru"
    assert prompt_language("2 + 2 = ?") is None
    assert language_consistency_reward(["<think>we add</think>4"], prompts=["2 + 2"]) == [None]


def test_languages_by_tag_and_name_and_an_unknown_one():
    assert consistency("we add", "en-GB") == consistency("we add", "English") == 1.0
    with pytest.raises(ValueError, match="No language is called 'englsh'. Did you mean 'english'"):
        LanguageConsistency(language="englsh")


@pytest.mark.parametrize("language", ["en", "zh", "ja", "ru"])
@pytest.mark.parametrize(
    "text",
    [
        "<think>first add 3 然后乘以 $x$ two sin log</think>5",
        "<think>数字を足す。我们计算。then add</think>5",
        "<think></think>",
        "we add</think>4",
        "<think>Сначала we add</think>4",
    ],
)
def test_spans_lie_in_the_thought_and_sum_to_the_score(text, language):
    score = language_consistency_reward.score(text, language)
    spans = language_consistency_reward.spans(text, language)
    assert sum(part for _, _, part in spans) == pytest.approx(score or 0.0, abs=1e-9)
    assert all(0 <= start < end <= text.index("</think>") for start, end, _ in spans)


def test_pickles_and_logs():
    reward = LanguageConsistency(language="en", allowed=["GPU"], name="tongue")
    assert pickle.loads(pickle.dumps(reward)) == reward
    seen: dict[str, object] = {}
    reward(["<think>we add them</think>"], log_extra=seen.__setitem__, log_metric=seen.__setitem__)
    assert seen == {"tongue_target": ["en"], "tongue/judged": 1.0}
    assert language_consistency_reward.__name__ == "language_consistency"


@pytest.mark.parametrize(
    "unit", ["$", "\\(", "\\[", "\\begin{", "`", "```", "<a", "_", "a", "我", "http://", "a_", "$5 ", "\\", "\ud800"]
)
def test_hostile_text_takes_linear_time(unit):
    text = unit * (400_000 // len(unit))
    start = time.process_time()
    consistency(text, "zh", allowed=("a",))
    assert time.process_time() - start < 2.0


@pytest.mark.slow
def test_speed_across_scripts():
    english = "We first compute the sum of all the numbers, then divide by three. So $x^2+1$ is 12. " * 50
    chinese = "我们首先计算所有数字的总和，然后除以三。所以 $x^2+1$ 等于十二。" * 125
    texts = [english, chinese, "Сначала мы вычислим сумму всех чисел. " * 100, english + chinese]
    characters = sum(map(len, texts))
    best = min(_cpu(lambda: [consistency(text, "en") for text in texts]) for _ in range(20))
    # 20 M characters/s alone on one core of the machine this was written on; a shared one gets slack
    assert characters / best > 4e6


def _cpu(act) -> float:
    start = time.process_time()
    act()
    return time.process_time() - start


CHINESE = "我们先计算这两个数的和然后再把结果除以二得到答案"  # 24 characters: 15 words
ENGLISH = "First we add the two numbers and then we halve the sum."  # 12 words


@pytest.mark.parametrize(
    "cover",
    [
        "${}$", "$\\text{{{}}}$", "\\[{}\\]", "\\({}\\)", "$$ {} $$", "\\begin{{align}}{}\\end{{align}}",
        "```\n{}\n```", "`{}`", "<!-- {} -->", '<span style="display:none">{}</span>', "\\phantom{{{}}}",
    ],
)  # fmt: skip
def test_a_sentence_cannot_be_hidden_in_a_formula_in_code_or_in_hidden_text(cover):
    reply = f"<think>{ENGLISH} {cover.format(CHINESE)}</think> 7"
    assert language_consistency_reward([reply], language=["en"]) == [12 / 27]
    shares = [share for _, _, share in language_consistency_reward.spans(reply, language="en")]
    assert sum(shares) == pytest.approx(12 / 27, abs=1e-12)


def test_a_sentence_in_small_pieces_is_one():
    pieces = " ".join(f"${CHINESE[i : i + 4]}$" for i in range(0, 24, 4))
    assert consistency(f"{ENGLISH} {pieces}", "en") == 12 / 27
    assert consistency(f"{ENGLISH} $5\\text{{个}}$ `总价`", "en") == 1.0  # a unit and a name are no sentence


def test_english_prose_in_a_formula_is_english():
    # 10 Latin words in a row; the 24 Han characters are 15 words
    assert consistency(f"{CHINESE} $\\text{{first we add the two numbers and then we halve}}$", "zh") == 15 / 25
    assert consistency(f"{CHINESE} $x = \\text{{price of it}}$", "zh") == 1.0
    assert consistency(f"{CHINESE}\n```\n# {ENGLISH}\n```", "zh") == 15 / 27
    assert consistency(f"{CHINESE}\n```python\nfrom collections import Counter as Bag\n```", "zh") == 1.0


def test_words_of_the_target_that_are_set_aside_buy_nothing():
    assert consistency(f"{CHINESE} $\\text{{{ENGLISH * 9}}}$", "en") == 0.0
    assert consistency(f"{CHINESE} `{ENGLISH * 9}`", "en") == 0.0
    assert consistency(f"{ENGLISH} $\\text{{{CHINESE * 9}}}$", "zh") == 0.0
    assert consistency(f"{CHINESE} <!-- {ENGLISH} -->", "en") == 0.0
    assert consistency(f"{CHINESE} we add <!-- {ENGLISH} -->", "en") == 2 / 17


def test_a_row_of_a_table_that_names_no_language():
    replies = ["<think>We add the two numbers.</think> 7"] * 3
    columns = {"language": [float("nan"), None, "zh"]}
    assert LanguageConsistency(language="en")(replies, **columns) == [1.0, 1.0, 0.0]
    assert language_consistency_reward(replies, prompts=["How many?", "多少？", "多少？"], **columns) == [
        1.0,
        0.0,
        0.0,
    ]
