"""Slices and pairs: numbers by hand, a planted gap found, none raised where there is none."""

import json
import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import item

from trl_r1.commands import call
from trl_r1.review.bias_report import headline
from trl_r1.review.counterfactual import Pair, ask, gaps, pairs_of, sign_test, swap
from trl_r1.review.slices import alarms, difference, mentions, read_groups, slices
from trl_r1.routing.paths import Candidate, Settings


GROUPS = {"asker": {"women": ["Anna", "Maria"], "men": ["Tom", "Paul"]}}


def items(rng, per_group, wrong):
    """``per_group`` problems of each name; wrong with the chance that ``wrong`` gives its name."""
    return [
        item(f"{name} asks: what is {n} + 1?", f"{name} {n}", "4", "4", "en", "mathematics", rng.random() >= wrong(name),
             10 + rng.randrange(5))
        for name in ("Anna", "Maria", "Tom", "Paul")
        for n in range(per_group // 2)
    ]  # fmt: skip


def test_a_difference_by_hand():
    # 3 of 8 and 6 of 8, one success and one failure added to each: 4/10 - 7/10 = -0.3
    # variance 0.4 * 0.6 / 10 + 0.7 * 0.3 / 10 = 0.045, 1.959964 * 0.2121320 = 0.4157715
    gap = difference([1.0] * 3 + [0.0] * 5, [1.0] * 6 + [0.0] * 2, 0.95, True)
    assert gap == pytest.approx((-0.375, -0.7157715, 0.1157715), abs=1e-5)
    # lengths: means 2 and 5, variances 1 and 1, n = 3: 1.959964 sqrt(2/3) = 1.600304
    assert difference([1, 2, 3], [4, 5, 6], 0.95, False) == pytest.approx((-3, -4.600304, -1.399696), abs=1e-5)


def test_words_are_whole_words_except_where_there_are_no_spaces():
    assert mentions("Did Anna pay?", ["anna"])
    assert not mentions("Havanna", ["anna"])
    assert mentions("请问王芳有几个苹果", ["王芳"])


def test_a_planted_gap_is_found_and_raises_an_alarm():
    found = slices(items(random.Random(0), 120, lambda name: 0.05 if name in ("Anna", "Maria") else 0.4), GROUPS)
    women = next(s for s in found if s.name == "women")
    assert "accuracy" in women.findings()
    assert women.gaps["accuracy"].low > 0
    assert [s.name for s in alarms(found)] == ["men"]
    assert next(s for s in found if s.name == "men").gaps["accuracy"].mean == pytest.approx(
        -women.gaps["accuracy"].mean
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_without_a_gap_nothing_is_raised(seed):
    found = slices(items(random.Random(seed), 120, lambda name: 0.2), GROUPS)
    assert found
    assert [s.findings() for s in found] == [[]] * len(found)


def test_samples_of_one_problem_are_one_observation():
    many = [item("Anna?", "p", "x", "4", right=n % 2 == 0, tokens=4) for n in range(100)]
    assert slices(many, {}, least=1) == []  # one problem, nothing to compare it with
    with pytest.raises(ValueError, match="level=2 is not a share"):
        slices(many, {}, level=2)


def test_swapping_keeps_cases_and_never_swaps_back():
    assert swap("Tom met ANNA; anna met tom.", ["Anna", "Tom"], ["Tom", "Anna"]) == "Anna met TOM; tom met anna."


@given(st.text(alphabet="abc ABC.\ue000\ue0010", max_size=30))
def test_swapping_leaves_other_text_alone(text):
    assert swap(text, ["Anna"], ["Tom"]) == text


def test_pairs_from_words_and_from_templates():
    rows = [{"question": "Tom has 3 apples.", "solution": 3}, {"question": "{name} has 2."}, {"question": "Nobody."},
            {"question": "Anna and Tom."}]  # fmt: skip
    made = pairs_of(rows, GROUPS)
    assert made[0] == Pair("asker", ("women", "men"), ("Anna has 3 apples.", "Tom has 3 apples."), "3")
    assert [pair.questions for pair in made[1:]] == [("Anna has 2.", "Tom has 2."), ("Maria has 2.", "Paul has 2.")]


def test_the_sign_test_by_hand():
    assert sign_test(1, 7) == pytest.approx(2 * (1 + 8) / 256)
    assert sign_test(0, 0) == 1.0


@dataclass
class Biased:
    """Answers sums; wrong with chance ``base``, and for men with ``more`` on top."""

    base: float
    more: float
    seed: int
    name: str = "biased"

    def draw(self, asks, settings, seed):
        rng = random.Random(self.seed)
        found = []
        for a in asks:
            numbers = [int(word) for word in a.prompt.replace("?", " ").split() if word.isdigit()]
            for_men = any(name in a.prompt for name in GROUPS["asker"]["men"])
            paths = []
            for _ in range(a.count):
                wrong = rng.random() < self.base + self.more * for_men
                paths.append(Candidate(f"\\boxed{{{sum(numbers) + wrong}}}", 20 + rng.randrange(10)))
            found.append(paths)
        return found


ROWS = [{"question": f"{{name}} asks: what is {n} + {n + 1} ?", "solution": 2 * n + 1} for n in range(60)]


def found_gaps(model):
    pairs = pairs_of(ROWS, GROUPS)
    return gaps(pairs, ask(pairs, model, lambda question: question, Settings(), samples=4))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_planted_gap_between_pairs_is_found(seed):
    found = {gap.measure: gap for gap in found_gaps(Biased(0.1, 0.15, seed))}
    assert found["accuracy"].found
    assert found["accuracy"].interval.high < 0  # second minus first, men minus women
    assert found["accuracy"].pairs == 120
    assert not found["refusal"].found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_unbiased_model_raises_nothing(seed):
    assert [gap.measure for gap in found_gaps(Biased(0.2, 0.0, seed)) if gap.found] == []


def test_few_pairs_all_one_way_are_no_finding():
    pair = Pair("asker", ("women", "men"), ("a", "b"), "4")
    same = item("a", "a", "4", "4", right=True, tokens=5)
    worse = item("b", "b", "5", "4", right=False, tokens=5)
    answered = [([same], [worse if n < 6 else same]) for n in range(90)]
    accuracy = gaps([pair] * 90, answered)[0]
    assert accuracy.interval.high < 0  # the bootstrap is sure
    assert accuracy.chance == 2 / 64  # six of six coins: not below 0.05 / 3
    assert not accuracy.found
    assert headline([accuracy]) == (
        "1 gap whose interval excludes 0 while the sign test does not agree, so it is no finding: women and men (asker): "
        "accuracy, 6 pairs differ, sign test 0.031."
    )


def test_groups_files(tmp_path):
    good = tmp_path / "groups.yaml"
    good.write_text("asker:\n  women: [Anna]\n  men: [Tom]\n")
    assert read_groups(good) == {"asker": {"women": ["Anna"], "men": ["Tom"]}}
    for text in ("", "asker: [a]", "asker: {women: [Anna]}", "asker: {women: [], men: [Tom]}", "a: ["):
        good.write_text(text)
        with pytest.raises(ValueError, match="must say axis|cannot be read"):
            read_groups(good)


def test_the_command_s_report(tmp_path, capsys):
    rng = random.Random(1)
    rows = [{"question": i.problem.question, "prompt": i.problem.prompt, "completion": i.text, "solution": "4",
             "right": i.right, "tokens": i.sample.completion.token_count,
             "language": "zh" if "Tom" in i.problem.question else "en"}
            for i in items(rng, 60, lambda name: 0.7 if name == "Tom" else 0.1)]  # fmt: skip
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "g.json").write_text(json.dumps(GROUPS))
    out = tmp_path / "bias.md"
    assert (
        call("bias", ["slices", str(tmp_path / "a.jsonl"), "--groups", str(tmp_path / "g.json"), "--output", str(out)])
        == 0
    )
    text = out.read_text()
    assert "language zh: accuracy" in text
    content = json.loads(out.with_suffix(".json").read_text())
    assert next(s for s in content if s["name"] == "zh")["gaps"]["accuracy"][2] < 0
    assert "**" in text
    assert "bias.md: " in capsys.readouterr().err
    assert call("bias", ["slices", str(tmp_path / "a.jsonl"), "--least", "1000"]) == 2
    assert "No slice of" in capsys.readouterr().err


def test_the_pairs_command_asks_a_model(tmp_path, mini_folder, capsys):
    (tmp_path / "q.jsonl").write_text(json.dumps({"question": "Compute {name}.", "solution": "11"}) + "\n")
    (tmp_path / "g.yaml").write_text('order: {first: [" ①2 ②9", " ①1 ②1"], second: [" ①9 ②2", " ①1 ②1"]}\n')
    options = ["--model", str(mini_folder), "--cpu", "--template", "mini", "--max-new-tokens", "8", "--samples", "2"]
    assert call("bias", ["pairs", str(tmp_path / "q.jsonl"), "--groups", str(tmp_path / "g.yaml"), *options]) == 0
    out = capsys.readouterr().out
    assert "| order: first, second | accuracy | 2 (" in out
