"""Reward models: from judgements and labels to two models that the rewards `helpfulness` and `harmlessness` can ask."""

import json
import math
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from places import ROOT
from stage_starts import recipe_writer, stage_error

from trl_r1.evaluation import detection
from trl_r1.evaluation.metrics import auroc
from trl_r1.models.judge import Failure
from trl_r1.stages import reward_model
from trl_r1.stages.reward_model import pair_judge
from trl_r1.stages.reward_model.pairs import Judged, Pair, length_matched, orders, preferred, select, split_by_prompt
from trl_r1.stages.reward_model.preferences import read_labels, read_pairs
from trl_r1.stages.reward_model.report import Helpful, Safety
from trl_r1.stages.reward_model.run import compared_length


PAIRS = [
    {"question": f"Say hello to {name}.", "reply_a": f"<think>hm</think> hello {name}", "reply_b": f"leave {name}",
     "scores_a": [8, 9, 8, 7], "scores_b": [3, 4, 2, 3]}
    for name in "Bo Kim Lee Max Ned Pam Ron Zoe Ann Tom Ian Eve Abe Liv Gus Uma".split()
]  # fmt: skip
LABELS = [
    {"question": f"How to {act} {thing}?", "completion": reply, "label": label}
    for act in ("wash", "steal", "smash", "paint")
    for thing in ("a boat", "a house", "a tree", "a gate")
    for reply, label in ((f"use a hammer on {thing}", 0), ("no, sorry", 1))
]


@pytest.fixture
def recipe(tiny, tmp_path):
    """`recipe(**changes)` writes a small valid YAML with the changes in it and returns its path; None removes a key."""
    files = {}
    for name, rows in (("pairs", PAIRS), ("labels", LABELS)):
        files[name] = tmp_path / f"{name}.jsonl"
        files[name].write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = {
        "model_name_or_path": tiny, "dtype": "float32", "helpful_dataset_name": str(files["pairs"]),
        "safety_dataset_name": str(files["labels"]), "template": "mini", "held_out": 0.3,
        "output_dir": str(tmp_path / "out"), "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
        "per_device_train_batch_size": 8, "learning_rate": 1e-2, "num_train_epochs": 30, "max_length": 64,
        "logging_steps": 1, "save_strategy": "steps", "save_steps": 5, "save_total_limit": 1, "report_to": "none",
        "disable_tqdm": True, "lr_scheduler_type": "constant",
    }  # fmt: skip

    return recipe_writer(tmp_path, base)


# --- selection, by hand


def test_half_the_looks_swap_the_order_and_one_verdict_is_not_enough():
    assert [sum(orders(4, f"pair {i}")) for i in range(20)] == [2] * 20
    assert len({tuple(orders(4, f"pair {i}")) for i in range(20)}) > 2  # the order of the orders is drawn
    assert preferred([3.0, 1.0, None, 2.0]) == 2.0
    assert preferred([9.0, None, None, None]) is None


def test_pairs_above_the_margin_are_kept_better_reply_first():
    judged = [
        Judged("p", "a", "b", (2.0, 1.0, 0.0, 2.0)),  # mean 5/4: kept
        Judged("p", "a", "b", (-3.0, -2.0, None, -1.0)),  # mean -2: kept the other way round
        Judged("p", "a", "b", (1.0, 1.0, 1.0, 1.0)),  # exactly the margin: not above it
        Judged("p", "a", "b", (5.0, None, None, None)),  # one verdict
        Judged("p", "a", "a", (4.0, 4.0, 4.0, 4.0)),  # the same text
        Judged("p", "a", "b", (4.0, -4.0, 4.0, -4.0)),  # a judge who likes what it reads first: mean 0
    ]
    assert select(judged) == [Pair("p", "a", "b", 1.25), Pair("p", "b", "a", 2.0)]


def test_lengths_are_matched_within_a_pair_and_over_the_set():
    def pair(chosen: int, rejected: int) -> Pair:
        return Pair("p", "x" * chosen, "y" * rejected, 2.0)

    # ratios (n+1)/(m+1): 16/10 = 1.6, 14/10 = 1.4, 10/10 = 1, 8/10 = 0.8, and 31/10 = 3.1, which is beyond 2
    pairs = [pair(15, 9), pair(30, 9), pair(13, 9), pair(9, 9), pair(7, 9)]
    # logs .470 .336 0 -.223: mean .146 > .05; without the largest .336 0 -.223: mean .038, within
    kept = length_matched(pairs, most_ratio=2.0, drift=0.05, least_share=0.0)
    assert kept == [pairs[2], pairs[3], pairs[4]]
    assert abs(sum(one.log_ratio for one in kept) / 3 - (math.log(1.4) + math.log(0.8)) / 3) < 1e-9
    shorter = [pair(5, 9), pair(9, 9)]  # log .6 = -.511: mean -.255; the short one goes
    assert length_matched(shorter, 2.0, 0.05) == [shorter[1]]
    always = [pair(11, 9)] * 8  # nothing to balance with: half of them stay
    assert len(length_matched(always, 2.0, 0.05)) == 4
    with pytest.raises(ValueError, match="most_ratio=0.5"):
        length_matched(pairs, most_ratio=0.5)


@pytest.mark.parametrize(
    ("ratio", "told"), [(0.78, "22% shorter"), (1.05, "5% longer"), (1.004, "as long as the others")]
)
def test_a_difference_of_lengths_says_its_direction_in_a_word(ratio, told):
    assert compared_length(ratio) == told


def test_all_rows_of_a_prompt_are_on_one_side():
    rows = [(f"prompt {i % 40}", i) for i in range(200)]
    train, held_out = split_by_prompt(rows, lambda row: row[0], 0.25)
    assert len(train) + len(held_out) == 200
    assert not {row[0] for row in train} & {row[0] for row in held_out}
    assert 4 <= len({row[0] for row in held_out}) <= 18  # 10 expected of 40
    assert split_by_prompt(rows[::-1], lambda row: row[0], 0.25)[1] == held_out[::-1]  # by the prompt alone


def test_the_area_under_the_curve_by_hand():
    # positives 2, 3; negatives 1, 2: three wins and one tie of four
    assert auroc([1, 2, 2, 3], [False, False, True, True]) == 3.5 / 4
    assert auroc([3, 2, 1], [True, False, False]) == 1.0
    assert math.isnan(auroc([1, 2], [True, True]))
    interval = detection.interval(auroc, [1, 2, 2, 3] * 5, [False, False, True, True] * 5)
    assert interval.low < 3.5 / 4 < interval.high
    labelled = [type("Row", (), {"safe": safe})() for safe in (True, False, True)]
    found = Safety.of([2.0, -1.0, -3.0], labelled)
    # right: 2 > 0 safe, -1 < 0 unsafe; wrong: -3 for safe. Of two comparisons with the unsafe -1 one is won
    assert (found.accuracy, found.auroc, found.unsafe) == (pytest.approx(2 / 3), 0.5, 1)
    losses = [math.log1p(math.exp(-2)), math.log1p(math.exp(-1)), math.log1p(math.exp(3))]
    assert found.loss == pytest.approx(sum(losses) / 3)
    helpful = Helpful.of([2.0, 1.0, 0.0, 0.0, 1.0, 4.0], [Pair("p", "long", "s", 2.0)] * 3)
    assert helpful.pair_accuracy == pytest.approx((1 + 0.5 + 0) / 3)
    assert helpful.longer_wins == 1.0
    assert helpful.margins == [1.0, 0.0, -3.0]


# --- rows


def test_the_usual_columns_of_the_hub_are_read():
    from datasets import Dataset

    ultra = Dataset.from_list([{
        "prompt": "Hi?", "chosen": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "good"}],
        "rejected": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "bad"}],
        "score_chosen": 8.0, "score_rejected": 5.5,
    }])  # fmt: skip
    assert read_pairs(ultra, "chat")[0] == [Judged("Hi?", "good", "bad", (2.5,))]
    pku = Dataset.from_list([{"prompt": "Q", "response_0": "x", "response_1": "y", "is_response_0_safe": True,
                              "is_response_1_safe": False}])  # fmt: skip
    assert [(row.text, row.safe) for row in read_labels(pku, "chat")] == [("x", True), ("y", False)]
    with pytest.raises(ValueError, match=r"holds no pairs.*columns are: prompt, text"):
        read_pairs(Dataset.from_list([{"prompt": "a", "text": "b"}]), "chat")
    with pytest.raises(ValueError, match=r"row 1 .* has 3 in 'label'"):
        read_labels(Dataset.from_list([{"prompt": "a", "completion": "b", "label": n} for n in (1, 3)]), "chat")


def test_a_bare_question_in_a_column_called_prompt_goes_into_the_template_when_it_is_named():
    from datasets import Dataset

    rows = Dataset.from_list([{"prompt": "Why?", "chosen": "a", "rejected": "b"}])
    assert read_pairs(rows, "mini")[1][0].prompt == "Why?"
    assert read_pairs(rows, "mini", {"question": "prompt"})[1][0].prompt == "User: Why? Assistant:"
    shipped = yaml.safe_load((ROOT / "recipes" / "reward_model.yaml").read_text())
    # both hub datasets have such a column, and all_scenario_rl asks the models with its template
    assert shipped["helpful_columns"] == shipped["safety_columns"] == {"question": "prompt"}


# --- the judge


def test_verdicts_are_stored_turned_back_and_never_asked_twice(tmp_path):
    asked = []

    def likes_the_first_and_the_long(triples):
        asked.extend(triples)
        return [float(len(a) - len(b)) + 2.0 for _, a, b in triples]

    store = tmp_path / "judgements.jsonl"
    found = pair_judge.judge_pairs([("p", "longer", "long")], likes_the_first_and_the_long, store)
    # shown in order: 2 + 2 = 4; swapped: -2 + 2 = 0, turned back 0; mean (4 + 4 + 0 + 0) / 4 = 2: the favour is gone
    assert sorted(found[0].differences) == [0.0, 0.0, 4.0, 4.0]
    assert preferred(found[0].differences) == 2.0
    assert len(asked) == 4
    store.write_text(store.read_text() + '{"pair": "cut')  # killed in mid-write
    more = pair_judge.judge_pairs([("p", "longer", "long"), ("p", "b", "a")], likes_the_first_and_the_long, store)
    assert len(asked) == 8  # only the new pair
    assert more[0] == found[0]
    assert len(store.read_text().splitlines()) == 3
    again = pair_judge.judge_pairs([("p", "b", "a")], lambda triples: pytest.fail("asked again"), store)
    assert again[0] == more[1]


def test_a_judge_that_is_down_stops_the_stage_and_loses_nothing(tmp_path):
    store = tmp_path / "judgements.jsonl"
    pair_judge.judge_pairs([("p", "b", "a")], lambda triples: [1.0] * len(triples), store)
    before = store.read_text()
    with pytest.raises(RuntimeError, match=r"no verdict on any of 1 pairs \(unreachable\). 1 pairs are judged"):
        pair_judge.judge_pairs([("q", "b", "a")], lambda triples: [Failure("unreachable")] * len(triples), store)
    assert store.read_text() == before


def test_pairs_that_the_judge_missed_in_an_outage_are_asked_again(tmp_path):
    store, calls = tmp_path / "judgements.jsonl", []

    def out_for_a_while(triples):
        calls.append(len(triples))
        return [Failure("unreachable") if len(calls) == 1 and n >= 5 else 2.0 for n in range(len(triples))]

    found = pair_judge.judge_pairs([("p", "b", "a"), ("q", "b", "a")], out_for_a_while, store)
    assert calls == [8, 4]  # the second pair had one look when the judge went away; all four are taken again
    assert [None in one.differences for one in found] == [False, False]
    assert len(store.read_text().splitlines()) == 2

    def away(triples):
        return [2.0] * 4 + [Failure("status 503")] * (len(triples) - 4)

    with pytest.raises(RuntimeError, match=r"no verdict on any of 1 pairs \(status 503\). 3 pairs are judged"):
        pair_judge.judge_pairs([("r", "b", "a"), ("s", "b", "a")], lambda t: away(t) if len(t) > 4 else
                               [Failure("status 503")] * 4, store)  # fmt: skip
    assert len(store.read_text().splitlines()) == 3  # ("s", "b", "a") is not written down as judged


def test_a_pair_that_no_judge_can_judge_is_left_out_and_does_not_stop_the_stage(tmp_path):
    store = tmp_path / "judgements.jsonl"
    pair_judge.judge_pairs([("p", "b", "a")], lambda triples: [2.0] * len(triples), store)
    (one,) = pair_judge.judge_pairs([("q", "b", "a")], lambda triples: [Failure("status 400")] * len(triples), store)
    assert one.differences == (None,) * 4
    assert pair_judge.judge_pairs([("q", "b", "a")], lambda triples: pytest.fail("asked again"), store) == [one]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"scores_a": [8, 7], "scores_b": [5]}, "row 0 (counted from 0) has 2 scores of the first reply and 1"),
        ({"scores_a": "high", "scores_b": 3}, "has the score 'high', which is no number"),
        ({"scores_a": None, "scores_b": None, "replies": "one"}, "a list of replies belongs there"),
    ],
)
def test_scores_that_are_none_are_told_with_their_row(row, sentence, recipe, capsys, tmp_path):
    whole = {"question": "Hello?", "reply_a": "a", "reply_b": "b", **row}
    if "replies" in row:
        whole = {"question": "Hello?", "replies": row["replies"]}
    (tmp_path / "bad.jsonl").write_text(json.dumps(whole) + "\n")
    judge = {"judge_endpoint": "http://127.0.0.1:9/v1", "judge_model": "m"} if "replies" in row else {}
    assert sentence in stage_error(
        capsys, reward_model.main, "--config", recipe(helpful_dataset_name=str(tmp_path / "bad.jsonl"), **judge)
    )


@pytest.fixture
def judge_server():
    """An endpoint that prefers the reply with "hello" in it, or answers no JSON."""
    state = {"garbage": False, "requests": 0}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            material = json.loads(body["messages"][1]["content"])
            state["requests"] += 1
            points = {name: 8 if "hello" in material[name] else 2 for name in ("a", "b")}
            content = "I like both." if state["garbage"] else json.dumps(points)
            answer = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments):
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state["endpoint"] = f"http://127.0.0.1:{server.server_port}/v1"
    yield state
    server.shutdown()


def test_replies_are_judged_by_an_endpoint(recipe, judge_server, capsys, tmp_path):
    rows = [{"question": row["question"], "replies": [row["reply_a"], row["reply_b"]]} for row in PAIRS]
    (tmp_path / "replies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"helpful_dataset_name": str(tmp_path / "replies.jsonl"), "safety_dataset_name": None,
                "num_train_epochs": 1, "judge_options": {"attempts": 1, "backoff": 0.0}}  # fmt: skip
    assert "nobody has judged" in stage_error(capsys, reward_model.main, "--config", recipe(**settings))
    settings |= {"judge_endpoint": judge_server["endpoint"], "judge_model": "j"}
    judge_server["garbage"] = True
    sentence = stage_error(capsys, reward_model.main, "--config", recipe(**settings))
    assert "no verdict" in sentence
    assert "start the same command again" in sentence
    judge_server.update(garbage=False, requests=0)
    reward_model.main(["--config", recipe(**settings)])
    assert judge_server["requests"] == 4 * len(PAIRS)
    report = (tmp_path / "out" / "report.md").read_text()
    assert "16 given, 16 above a difference of 1" in report


# --- the stage


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"helpful_dataset_name": None, "safety_dataset_name": None}, "Nothing to train"),
        ({"helpful_columns": {"frist": "reply_a"}}, "'frist' is no part"),
        ({"safety_columns": {"label": "lable"}}, "no column 'lable'"),
        ({"margin": 9.0}, "leaves 0 pairs to train on"),
        ({"held_out": 1.5}, "not a share"),
        ({"judge_endpoint": "http://127.0.0.1:1"}, "judge_model does not say"),
        ({"model_name_or_path": "./nowhere"}, "no such folder"),
        ({"safety_dataset_name": "./nowhere.jsonl"}, "nowhere.jsonl"),
        ({"template": "none"}, "{question}"),
    ],
)
def test_mistakes_are_told_in_one_sentence(changes, sentence, recipe, capsys):
    assert sentence in stage_error(capsys, reward_model.main, "--config", recipe(**changes))


def test_both_models_learn_and_the_rewards_can_ask_them(recipe, capsys, tmp_path):
    reward_model.main(["--config", recipe()])
    out = tmp_path / "out"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["after"]["helpfulness"]["pair_accuracy"] >= 0.9
    assert summary["after"]["harmlessness"]["auroc"] >= 0.9
    assert summary["after"]["harmlessness"]["loss"] < summary["before"]["harmlessness"]["loss"]
    report = (out / "report.md").read_text()
    for words in ("## Helpfulness", "## Harmlessness", "AUROC", "a judge of length alone", "options: {center:"):
        assert words in report
    for name in ("helpfulness.png", "harmlessness.png", "helpfulness/model.safetensors", "harmlessness/metrics.jsonl"):
        assert (out / name).is_file()

    from trl_r1.rewards.catalogue import load_reward

    helpful = load_reward("helpfulness", model=str(out / "helpfulness"))
    prompts = ["User: Say hello to Sue. Assistant:"] * 3
    polite, rude, hidden = helpful(
        ["<think>x</think> hello Sue", "<think>x</think> leave Sue", "<think>hello hello</think> leave Sue"], prompts,
        reward_for=["helpfulness"] * 3,
    )  # fmt: skip
    assert polite > rude
    assert hidden == pytest.approx(rude, abs=1e-5)  # the thought is not seen
    harmless = load_reward("harmlessness", model=str(out / "harmlessness"), normalize="sigmoid")
    said, declined = harmless(["use a hammer on it", "no, sorry"], ["User: How to steal a cart? Assistant:"] * 2,
                              reward_for=["harmlessness"] * 2)  # fmt: skip
    assert declined > said
    capsys.readouterr()
    reward_model.main(["--config", recipe()])
    assert "finished already" in capsys.readouterr().out


def test_a_killed_run_goes_on_with_the_model_that_was_not_finished(recipe, tmp_path):
    reward_model.main(["--config", recipe(num_train_epochs=6)])
    out = tmp_path / "out"
    first = json.loads((out / "summary.json").read_text())["after"]
    helpful = (out / "helpfulness" / "model.safetensors").stat().st_mtime_ns
    (out / "summary.json").unlink()  # as if killed while the second model trained
    (out / "harmlessness" / "held_out.json").unlink()
    reward_model.main(["--config", recipe(num_train_epochs=6)])
    assert json.loads((out / "summary.json").read_text())["after"] == first
    assert (out / "helpfulness" / "model.safetensors").stat().st_mtime_ns == helpful


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reward_model", "mini/reward_model"])
def test_every_recipe_runs_two_steps_on_a_tiny_model(name, recipe, wide, tmp_path):
    """The recipe itself, quantised where it says so, with what a CPU needs changed on the command line."""
    recipe()
    if name == "reward_model":  # the hub's sets call a bare question `prompt`
        for file in ("pairs.jsonl", "labels.jsonl"):
            rows = (tmp_path / file).read_text()
            (tmp_path / file).write_text(rows.replace('"question":', '"prompt":'))
    options = {
        "model_name_or_path": wide, "helpful_dataset_name": str(tmp_path / "pairs.jsonl"), "helpful_split": "train",
        "safety_dataset_name": str(tmp_path / "labels.jsonl"), "safety_split": "train", "held_out": 0.3,
        "template": "mini", "output_dir": str(tmp_path / "out"), "max_steps": 2, "use_cpu": "true", "bf16": "false",
        "dtype": "float32", "optim": "adamw_torch", "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1,
        "max_length": 64, "disable_tqdm": "true", "save_steps": 1,
    }  # fmt: skip
    arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    reward_model.main(["--config", name, *arguments])
    from trl_r1.rewards.catalogue import load_reward

    for kind in ("helpfulness", "harmlessness"):  # whole models and adapters alike can be asked
        score = load_reward(kind, model=str(tmp_path / "out" / kind))(["hello"], ["q"], reward_for=[kind])
        assert math.isfinite(score[0])
    if yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text()).get("use_peft"):
        assert (tmp_path / "out" / "helpfulness" / "adapter_model.safetensors").is_file()


def test_conversations_without_a_prompt_have_what_they_share_as_their_prompt():
    from datasets import Dataset

    def turn(role, text):
        return {"role": role, "content": text}

    shared = [turn("user", "Hi?"), turn("assistant", "Hi."), turn("user", "2+2?")]
    rows = Dataset.from_list(
        [{"chosen": [*shared, turn("assistant", "4")], "rejected": [*shared, turn("assistant", "5")]}]
    )
    assert read_pairs(rows, "chat")[1] == [Pair(shared, "4", "5", math.inf)]
    apart = Dataset.from_list([{"chosen": [turn("user", "a")], "rejected": [turn("user", "b")]}])
    with pytest.raises(ValueError, match="begin with different messages"):
        read_pairs(apart, "chat")


def test_pairs_have_the_system_prompt_of_the_stage_and_template_options_are_refused():
    from datasets import Dataset

    from trl_r1.stages.reward_model.run import RewardModelOptions

    rows = Dataset.from_list([{"question": "2+2?", "chosen": "4", "rejected": "5"}])
    _, pairs, _ = read_pairs(rows, "chat", system_prompt="Be brief.")
    assert pairs[0].prompt[0] == {"role": "system", "content": "Be brief."}
    with pytest.raises(ValueError, match="chat_template_kwargs: a reward model reads finished replies"):
        RewardModelOptions(helpful_dataset_name="x", chat_template_kwargs={"enable_thinking": False})
