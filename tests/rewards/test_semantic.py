"""The semantic reward: any classifier as a score, damaged chains, and the small classifier of the mini world."""

import json
import math
import os
import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tiny_classifier import save

from trl_r1.commands import call
from trl_r1.mini import world
from trl_r1.models import chain_classifier as semantic_training
from trl_r1.models import load_classifier as loading
from trl_r1.models.chain_classifier import auroc, pairs_of, resolve_mini, split_by_question
from trl_r1.models.classifier import GAP
from trl_r1.models.damage import DAMAGES, Example, damaged, steps
from trl_r1.models.load_classifier import load_classifier
from trl_r1.rewards.semantic import MODEL_VARIABLE, Semantic, question_of, semantic_reward
from trl_r1.text.completions import reasoning_or_all


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifiers")
    return {
        "random": save(folder / "random", ("damaged", "coherent")),
        "fixed": save(folder / "fixed", ("contradiction", "neutral", "entailment"), [0.0, 1.0, 2.0]),
        "one": save(folder / "one", ("score",), [1.5]),
        "nan": save(folder / "nan", ("a", "b"), [float("nan"), 0.0]),
        "decoder": save(folder / "decoder", ("damaged", "coherent"), decoder=True),
        "headless": save(folder / "headless", headless=True),
    }


def replies(*chains):
    return [f"<think>{chain}</think> 5" for chain in chains]


def test_several_logits_are_a_softmax_and_one_is_a_sigmoid(checkpoints):
    # softmax of (0, 1, 2): e^2 / (1 + e + e^2) = 0.66524, e / (...) = 0.24473
    completions = replies("2 + 3 = 5")
    for label, expected in [("entailment", 0.66524), ("Neutral", 0.24473), (0, 0.09003)]:
        reward = Semantic(checkpoints["fixed"], label=label)
        assert reward(completions, prompts=["2 + 3?"]) == [pytest.approx(expected, abs=1e-5)]
    # 1 / (1 + e^-1.5) = 0.81757
    assert Semantic(checkpoints["one"])(completions) == [pytest.approx(0.81757, abs=1e-5)]


def test_a_label_has_to_be_chosen_where_several_would_do(checkpoints):
    with pytest.raises(ValueError, match="No label was given. Choose label from: contradiction, neutral, entailment"):
        Semantic(checkpoints["fixed"])(replies("a"))
    with pytest.raises(ValueError, match="has no label 'good'. Choose label from"):
        Semantic(checkpoints["fixed"], label="good")(replies("a"))
    assert Semantic(checkpoints["random"])(replies("a")) == Semantic(checkpoints["random"], label=1)(replies("a"))


def test_a_checkpoint_without_a_trained_head_is_refused(checkpoints):
    with pytest.raises(
        ValueError, match=r"headless' has no trained weights for score.weight: .* trl-r1 rewards train"
    ):
        Semantic(checkpoints["headless"])(replies("a"))


def test_without_a_model_the_error_names_the_variable(monkeypatch, checkpoints):
    monkeypatch.delenv(MODEL_VARIABLE, raising=False)
    with pytest.raises(ValueError, match="Set the environment variable TRL_R1_SEMANTIC_MODEL"):
        semantic_reward(replies("a"))
    monkeypatch.setenv(MODEL_VARIABLE, checkpoints["random"])
    found = semantic_reward(replies("a"))
    assert 0.0 < found[0] < 1.0
    assert found == semantic_reward.bind(checkpoints["random"])(replies("a"))


@pytest.mark.parametrize("kind", ["random", "decoder"])
def test_a_score_does_not_depend_on_its_batch(checkpoints, kind):
    rng = random.Random(0)
    completions = replies(*("".join(rng.choices("ab 12=+", k=rng.randint(1, 90))) for _ in range(13)))
    prompts = [f"question {row}" for row in range(13)]
    together = Semantic(checkpoints[kind], batch_size=5)(completions, prompts=prompts)
    alone = [Semantic(checkpoints[kind])([c], prompts=[p])[0] for c, p in zip(completions, prompts)]
    assert together == pytest.approx(alone, abs=1e-5)
    assert max(together) - min(together) > 0.01  # the model reads the text


def test_what_is_read_is_the_question_and_the_chain_alone(checkpoints):
    reward = Semantic(checkpoints["random"])
    base = reward(["<think>abc</think> 5"], prompts=["q"])
    assert reward(["<think>abc</think> <answer>other</answer>"], prompts=["q"]) == base
    assert reward(["<think>abd</think> 5"], prompts=["q"]) != base
    assert reward(["<think>abc</think> 5"], prompts=["r"]) != base
    assert reward(["<think>abc</think> 5"], prompts=["r"], question=["q"]) == base
    message = [
        [{"role": "system", "content": "be brief"}, {"role": "user", "content": [{"type": "text", "text": "q"}]}]
    ]
    assert reward([[{"role": "assistant", "content": "5", "reasoning_content": "abc"}]], prompts=message) == base


def test_chain_and_question():
    assert reasoning_or_all("abc") == "abc"
    assert reasoning_or_all("<think>abc") == "abc"
    assert reasoning_or_all("abc</think>d") == "abc"
    assert reasoning_or_all("abc", prefilled_think=True) == "abc"
    assert question_of("User: one Assistant: two User: three Assistant:") == "three"
    assert question_of([{"role": "user", "content": None}]) == ""


@pytest.mark.parametrize(
    "completion", ["", None, [], [{"role": "assistant", "content": None}], "<think> \u200b</think>5"]
)
def test_a_missing_chain_scores_what_is_chosen_and_asks_no_model(completion):
    assert Semantic("no such model")([completion]) == [0.0]
    assert Semantic("no such model", missing=None)([completion]) == [None]


def test_numbers_that_are_not_finite_are_no_score(checkpoints):
    assert Semantic(checkpoints["nan"], label="b")(replies("a")) == [None]


def test_a_long_chain_keeps_the_question_its_head_and_its_tail(checkpoints):
    classifier = load_classifier(checkpoints["random"], "cpu", 2048)
    assert classifier.max_length == 256
    ids = classifier.encode("Q" * 20, "A" * 5000 + "B" * 5000)["input_ids"]
    text = classifier.tokenizer.decode(ids)
    assert 200 < len(ids) <= 256
    assert "Q" * 20 in text
    assert text.count("A") == pytest.approx(text.count("B"), abs=8)
    assert GAP.strip() in text
    long_question = classifier.tokenizer.decode(classifier.encode("P" * 900 + "Q" * 900, "A" * 5000)["input_ids"])
    assert 50 < long_question.count("P") + long_question.count("Q") < 70  # a quarter of the room
    assert long_question.count("A") > 150
    reward = Semantic(checkpoints["random"])
    middle = reward(replies("A" * 500 + "x" + "B" * 500, "A" * 500 + "y" + "B" * 500), prompts=["q", "q"])
    assert middle[0] == middle[1]
    ends = reward(replies("A" * 500 + "B" * 499 + "x", "A" * 500 + "B" * 499 + "y"), prompts=["q", "q"])
    assert ends[0] != ends[1]


def test_hostile_text_is_scored_in_range(checkpoints):
    reward = Semantic(checkpoints["random"])
    texts = ["[SEP][CLS][PAD]" * 50, "\ud800", "\x00", "是" * 3000, "</think>" * 500, "a" * 2_000_000, "<think>" * 300]
    assert all(
        0.0 <= score <= 1.0 for score in reward([f"<think>x{text}" for text in texts], prompts=["q"] * len(texts))
    )


def test_a_special_token_in_a_text_is_no_special_token(checkpoints):
    classifier = load_classifier(checkpoints["random"], "cpu", 2048)
    ids = classifier.encode("q[SEP]", "a[SEP][CLS]b")["input_ids"]
    separator, start = classifier.tokenizer.sep_token_id, classifier.tokenizer.cls_token_id
    assert (ids.count(separator), ids.count(start)) == (2, 1)


def test_the_model_is_loaded_once_and_stays_out_of_pickles(checkpoints):
    reward = Semantic(checkpoints["random"], name="coherence")
    expected = reward(replies("abc"))
    loaded = [key for key in loading._LOADED if key[0] == checkpoints["random"]]
    assert len(loaded) == 1
    copy = pickle.loads(data := pickle.dumps(reward))
    assert len(data) < 1000
    assert copy == reward
    assert copy.__name__ == "coherence"
    with ThreadPoolExecutor(4) as pool:
        assert all(found == expected for found in pool.map(copy, [replies("abc")] * 8))


def test_a_forked_child_loads_its_own(checkpoints):
    Semantic(checkpoints["random"])(replies("abc"))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, str(len(loading._LOADED)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"0"
    os.close(read)
    os.close(write)


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="missing=2 is no score"):
        Semantic(missing=2)
    with pytest.raises(ValueError, match="batch_size=0"):
        Semantic(batch_size=0)


# ---------------------------------------------------------------- damaged chains

GOLD = Example("q1", "First line.\nSecond line.\nThird line.\n")
OTHER = Example("q2", "Alpha.\nBeta.\nGamma.\n")


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ("a\nb\nc", ["a\n", "b\n", "c"]),
        ("One. Two! Three?", ["One.", " Two!", " Three?"]),
        ("一。二。三。", ["一。", "二。", "三。"]),
        (" ①2 add ②9=11 add ③4=15", [" ①2", " add ②9=11", " add ③4=15"]),
        (" ①2再加上 ②9=11再加上 ③4=15", [" ①2", "再加上 ②9=11", "再加上 ③4=15"]),
        ("0.5 is 1/2", ["0.5 is 1/2"]),
        ("", []),
    ],
)
def test_steps_join_to_the_chain(chain, expected):
    assert steps(chain) == expected
    assert "".join(steps(chain)) == chain


def test_every_damage_changes_what_it_says():
    rng = random.Random(0)
    lines = GOLD.chain.splitlines(keepends=True)
    for _ in range(50):
        found = {kind: damaged(kind, rng, GOLD, [OTHER]) for kind in DAMAGES}
        assert all(example is not None and example != GOLD for example in found.values())
        pieces = {kind: example.chain.splitlines(keepends=True) for kind, example in found.items()}
        assert sorted(pieces["shuffled"]) == sorted(lines)
        assert len(pieces["dropped"]) == 2
        assert pieces["dropped"][-1] == lines[-1]
        assert found["other_question"] == Example("q2", GOLD.chain)
        assert GOLD.chain.startswith(found["cut_off"].chain)
        assert 7 <= len(found["cut_off"].chain) <= 33  # of 37 characters: a fifth to nine tenths
        assert 4 <= len(pieces["repeated"]) <= 6
        assert set(pieces["repeated"]) == set(lines)
        assert len(set(pieces["foreign"]) & set(lines)) == 2


def test_damage_is_a_function_of_the_seed_and_needs_something_to_damage():
    once, again = ([damaged(k, random.Random(3), GOLD, [OTHER]) for k in DAMAGES] for _ in range(2))
    assert once == again
    single = Example("q1", "x")
    assert [damaged(kind, random.Random(0), single, [single]) for kind in DAMAGES] == [None] * 6
    assert pairs_of([single], random.Random(0)) == []


def test_half_of_every_training_batch_is_coherent():
    settings = semantic_training.Settings(epochs=1.5, batch_size=4)
    batches = list(semantic_training._batches([GOLD, OTHER] * 10, settings))
    assert [len(batch) for batch in batches] == [4] * 15  # 20 pairs and 10 more, two to a batch
    for batch in batches:
        assert [label for _, label in batch] == [1, 0, 1, 0]
        assert all((example in (GOLD, OTHER)) == bool(label) for example, label in batch)


def test_auroc_counts_pairs():
    # pairs: 0.9 beats both; 0.5 ties with 0.5 and beats 0.1: (1 + 1 + 1/2 + 1) / 4
    assert auroc([0.9, 0.5], [0.5, 0.1]) == 0.875
    assert auroc([0.1], [0.9]) == 0.0
    assert math.isnan(auroc([], [1.0]))


def test_equal_questions_are_on_one_side():
    examples = [Example(f"q{n % 50}", str(n)) for n in range(500)]
    train, held_out = split_by_question(examples, 0.3)
    assert len(train) + len(held_out) == 500
    assert {e.question for e in train}.isdisjoint(e.question for e in held_out)
    assert 5 <= len({e.question for e in held_out}) <= 25


# ---------------------------------------------------------------- training


def test_the_command_trains_any_checkpoint_and_reports_per_damage(tmp_path, capsys):
    rows = [{"problem": f"{a} + {b}?", "completion": f"<think>\nTake {a}.\nAdd {b}.\nThat is {a + b}.</think> {a + b}"}
            for a in range(1, 13) for b in range(1, 13)]  # fmt: skip
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)) + "\n")
    base = save(tmp_path / "base", headless=True)
    before = torch.get_rng_state()
    options = ["train", "semantic", "--data", str(data), "--model", base, "--output", str(tmp_path / "out")]
    assert call("rewards", [*options, "--epochs", "0.5", "--held_out", "0.2", "--max_length", "128"]) == 0
    assert torch.equal(torch.get_rng_state(), before)
    report = json.loads((tmp_path / "out" / "semantic.json").read_text())
    assert set(report["auroc"]) == {*DAMAGES, "all"}
    assert report["chains"] + report["held_out"] == 144
    printed = capsys.readouterr().out
    assert all(f"{kind} " in printed for kind in DAMAGES)
    assert 0.0 < Semantic(str(tmp_path / "out"))(replies("Take 1.\nAdd 2.\nThat is 3."), prompts=["1 + 2?"])[0] < 1.0
    assert call("rewards", options) == 2
    assert "holds a checkpoint already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is no JSON"),
        ("[1]", "line 2 is no object"),
        ('{"question": "q"}', "line 2 has no text in any of chain"),
    ],
)
def test_wrong_data_is_named_by_its_line(tmp_path, capsys, line, message):
    data = tmp_path / "rows.jsonl"
    data.write_text(f'{{"question": "q", "chain": "a"}}\n{line}\n')
    options = ["--data", str(data), "--model", "x", "--output", str(tmp_path / "out")]
    assert call("rewards", ["train", "semantic", *options]) == 2
    assert message in capsys.readouterr().err


def test_the_mini_classifier_is_built_once_and_reproducibly_and_disturbs_nobody(tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_R1_CACHE", str(tmp_path / "a"))
    state, python_state = torch.get_rng_state(), random.getstate()
    with torch.inference_mode():  # as a trainer may be in when it asks for rewards
        first = resolve_mini("mini:semantic-tiny")
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python_state
    assert resolve_mini("mini:semantic-tiny") == first
    monkeypatch.setenv("TRL_R1_CACHE", str(tmp_path / "b"))
    second = resolve_mini("mini:semantic-tiny")
    weights = [open(f"{folder}/model.safetensors", "rb").read() for folder in (first, second)]
    assert first != second
    assert weights[0] == weights[1]
    problem = world.Problem((2, 9, 4), "en")
    found = Semantic("mini:semantic-tiny")([world.gold_reply(problem)], question=[problem.question])
    assert 0.0 < found[0] < 1.0
    with pytest.raises(ValueError, match="Choose one of: mini:semantic, mini:semantic-tiny"):
        resolve_mini("mini:semantik")


def test_training_learns_to_tell_damaged_chains():
    names = ["add", "sum", "numbers", "fun", "test", "what", "know", "wait"]
    chains = [Example(f"{a} {b}", f"add {a}\nadd {b}\nso {n}\n") for a in names for b in names for n in range(10, 20)]
    train, held_out = split_by_question(chains, 0.2)
    classifier = semantic_training.untrained(0, hidden=32, layers=1)
    before = semantic_training.evaluate(classifier, held_out[:40], 0)
    settings = semantic_training.Settings(epochs=4.0, learning_rate=5e-3, max_length=128)
    assert semantic_training.train(classifier, train, settings) == 4 * -(-len(train) // 16)  # 16 pairs to a batch
    after = semantic_training.evaluate(classifier, held_out[:40], 0)
    assert after["cut_off"] > 0.95 > before["cut_off"]
    assert set(after) == {*DAMAGES, "all"}
