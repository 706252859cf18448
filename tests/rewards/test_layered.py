"""The layered reward: a weighted mean whose weights pass on when a layer abstains, and may move over training."""

import math
import pickle
from types import SimpleNamespace

import pytest

from trl_r1.rewards.layered import DEFAULT_LAYERS, Layered, layered_reward, weighted_mean, weights_at


class Says:
    """A layer that says what it is told, one score per completion or one for all."""

    def __init__(self, scores=0.0, name="says"):
        self.scores, self.__name__ = scores, name

    def __call__(self, completions, **columns):
        return self.scores if isinstance(self.scores, list) else [self.scores] * len(completions)


class Waits(Says):
    async def __call__(self, completions, **columns):
        return [0.0]


SAYS = f"{__name__}:Says"


def three(a, b, c, **options) -> Layered:
    layers = [{"name": Says(score, name), "weight": weight}
              for score, name, weight in [(a, "form", 0.4), (b, "steps", 0.3), (c, "sense", 0.3)]]  # fmt: skip
    return Layered(layers, **options)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((1.0, 0.5, 0.0), 0.55),  # 0.4 + 0.15
        ((1.0, None, 0.0), 4 / 7),  # 0.4 / (0.4 + 0.3)
        ((None, None, 0.25), 0.25),
        ((0.0, 1.0, None), 3 / 7),
        ((math.nan, 1.0, 1.0), 1.0),
        ((None, None, None), None),
        ((5.0, 5.0, 5.0), 1.0),
        ((-1.0, 0.0, 0.0), 0.0),
    ],
)
def test_the_weight_of_a_silent_layer_goes_to_the_others(scores, expected):
    assert three(*scores)(["x"]) == [expected if expected is None else pytest.approx(expected)]


def test_weights_need_not_sum_to_one():
    # 2 * (0.5 * 0.2 + 1.5 * 0.4) / 2 = 0.7
    assert weighted_mean([0.2, 0.4], [0.5, 1.5]) == pytest.approx(0.7)
    assert weighted_mean([1.0, None], [0.0, 1.0]) is None  # who judged has no weight


def test_each_completion_has_its_own_silent_layers():
    reward = three([1.0, None], [0.0, 0.5], [None, 1.0])
    # 0.4 / 0.7; (0.15 + 0.3) / 0.6
    assert reward(["x", "y"]) == [pytest.approx(4 / 7), pytest.approx(0.75)]


SCHEDULE = {0.0: [1.0, 0.0, 0.0], 0.5: [0.4, 0.3, 0.3]}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, [1.0, 0.0, 0.0]),
        (25, [0.7, 0.15, 0.15]),
        (50, [0.4, 0.3, 0.3]),
        (90, [0.4, 0.3, 0.3]),
        (150, [0.4, 0.3, 0.3]),
    ],
)
def test_weights_follow_the_training(step, expected):
    reward = three(1.0, 0.0, 0.0, schedule=SCHEDULE)
    state = SimpleNamespace(global_step=step, max_steps=100)
    assert reward.weights(state) == pytest.approx(expected)
    assert reward(["x"], trainer_state=state) == [pytest.approx(expected[0])]


def test_a_schedule_starts_where_it_starts_and_takes_names_and_yaml_keys():
    assert weights_at(0.1, [(0.4, [1.0]), (0.8, [3.0])]) == [1.0]
    assert weights_at(0.6, [(0.4, [1.0]), (0.8, [3.0])]) == [pytest.approx(2.0)]
    named = {"0.5": {"sense": 0.3, "form": 0.4, "steps": 0.3}, 0: {"form": 1, "steps": 0, "sense": 0}}
    assert three(1, 0, 0, schedule=named).weights() == [1.0, 0.0, 0.0]  # no trainer: the beginning
    assert three(1, 0, 0, schedule=named).weights(SimpleNamespace(global_step=1, max_steps=2)) == [0.4, 0.3, 0.3]
    assert three(1, 0, 0).weights(SimpleNamespace(global_step=1, max_steps=0)) == [0.4, 0.3, 0.3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": []}, "is no list"),
        ({"layers": "symbolic"}, "is no list"),
        ({"layers": [{"name": "formt"}]}, "Did you mean"),
        ({"layers": [{"weight": 1.0}]}, "is no layer"),
        ({"layers": [{"name": "format", "wieght": 1.0}]}, "is no layer"),
        ({"layers": ["format", "format"]}, "Two layers are called the same"),
        ({"layers": [{"name": "format", "weight": -1}]}, "Give numbers of 0 or more"),
        ({"layers": [{"name": "format", "weight": 0}]}, "at least one above 0"),
        ({"layers": [Waits()]}, "'says' is asynchronous"),
        ({"layers": [Says()], "schedule": {}}, "schedule is empty"),
        ({"layers": [Says()], "schedule": {2.0: [1.0]}}, "lies in \\[0, 1\\]"),
        ({"layers": [Says()], "schedule": {0.0: [1.0, 2.0]}}, "2 weights for 1 layers"),
        ({"layers": [Says()], "schedule": {0.0: {"other": 1.0}}}, "weighs other; the layers are says"),
        ({"layers": [Says(math.inf)]}, "gave an infinite score"),
        ({"layers": [Says([0.0, 1.0])]}, "gave 2 scores for 1 replies"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Layered(**options)(["x"])


def test_layers_are_rewards_by_name_path_or_object_with_options():
    reward = Layered([
        {"name": "format", "weight": 0.5, "options": {"graded": True}},
        {"name": SAYS, "weight": 0.5, "options": {"scores": 1.0}},
    ])  # fmt: skip
    assert reward(["<think>a</think>5"]) == [0.75]  # the two think tags of four are right: (0.5 + 1) / 2
    assert Layered([{"name": SAYS, "weight": 0.5, "options": {"scores": 1.0}}])(["x"]) == [0.5]


def test_every_layer_is_logged():
    columns, metrics = {}, {}
    three([1.0, None], [0.0, None], [0.5, 1.0], name="mixed")(
        ["x", "y"], log_extra=columns.__setitem__, log_metric=metrics.__setitem__
    )
    assert columns == {"mixed_form": [1.0, None], "mixed_steps": [0.0, None], "mixed_sense": [0.5, 1.0]}
    assert metrics["mixed/form"] == 1.0
    assert metrics["mixed/form_judged"] == 0.5
    assert metrics["mixed/sense"] == 0.75
    assert metrics["mixed/sense_weight"] == 0.3
    silent = {}
    three(None, None, None, name="mixed")(["x"], log_metric=silent.__setitem__)
    assert silent.keys() == metrics.keys()  # on every rank, whatever its rows: TRL 1.12 gathers each name


def test_columns_reach_the_layers():
    seen = {}

    def layer(completions, **columns):
        seen.update(columns)
        return [0.0]

    Layered([layer])(["x"], prompts=["p"], solution=["5"], trainer_state=None)
    assert seen["prompts"] == ["p"]
    assert seen["solution"] == ["5"]


def test_pickles_hold_options_only():
    reward = three(1.0, 0.5, 0.0, schedule=SCHEDULE, name="mixed")
    reward(["x"])
    copy = pickle.loads(pickle.dumps(Layered(["format"], name="mixed")))
    assert copy == Layered(["format"], name="mixed")
    assert "_loaded" not in reward.__getstate__()
    assert pickle.loads(pickle.dumps(reward))(["x"]) == reward(["x"])
    assert layered_reward.__name__ == "layered"


def test_the_real_layers():
    pytest.importorskip("trl_r1.rewards.logic")
    assert [layer["weight"] for layer in DEFAULT_LAYERS] == [0.4, 0.3, 0.3]
    layers = [dict(layer) for layer in DEFAULT_LAYERS]
    layers[2] = {"name": Says(0.5, "semantic"), "weight": 0.3}
    metrics = {}
    reward = Layered(layers)
    right = "<think>2 + 3 = 5, and 5 * 2 = 10</think> \\boxed{10}"
    wrong = "<think>2 + 3 = 6, and 6 * 2 = 12</think> \\boxed{x +}"
    scores = reward([right, wrong, right], solution=["10", "10", None], log_metric=metrics.__setitem__)
    # right: 0.4 + 0.3 + 0.15; wrong: symbolic 1/3, logic 1/2: 0.4 / 3 + 0.15 + 0.15; no gold: (0.3 + 0.15) / 0.6
    assert scores == [pytest.approx(0.85), pytest.approx(0.4 / 3 + 0.3), pytest.approx(0.75)]
    assert metrics["layered/symbolic_judged"] == pytest.approx(2 / 3)
    for text in ["", None, "<think>", "\ud800" * 9, "\\boxed{" * 99]:
        (score,) = reward([text], solution=["5"])
        assert 0.0 <= score <= 1.0


@pytest.mark.parametrize("conversational", [False, True])
def test_a_stock_grpo_trainer_takes_layers_models_and_preferences(tiny, tmp_path, conversational):
    from datasets import Dataset
    from tiny_classifier import save
    from trl import GRPOConfig, GRPOTrainer

    from trl_r1.rewards.preference import helpfulness_reward
    from trl_r1.rewards.semantic import semantic_reward

    model = save(tmp_path / "model", ("damaged", "coherent"))
    layers = [*DEFAULT_LAYERS[:2], {"name": semantic_reward.bind(model), "weight": 0.3}]
    helpful = helpfulness_reward.bind(model, label="coherent", normalize="softmax", last_steps=1)
    prompt = [{"role": "user", "content": "2 + 3"}] if conversational else "2 + 3"
    rows = [{"prompt": prompt, "solution": "5", "reward_for": "helpfulness"}] * 4
    config = GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=4, num_generations=4, max_completion_length=8, max_steps=2,
        logging_steps=1, report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False, save_strategy="no",
    )  # fmt: skip
    trainer = GRPOTrainer(
        tiny, reward_funcs=[Layered(layers), helpful], args=config, train_dataset=Dataset.from_list(rows)
    )
    if conversational:
        trainer.processing_class.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    trainer.train()
    first, second = trainer.state.log_history[:2]
    assert 0.0 <= first["rewards/layered/mean"] <= 1.0
    assert first["layered/semantic_weight"] == pytest.approx(0.3, abs=1e-6)
    assert (first["helpfulness/active"], second["helpfulness/active"]) == (0.0, 1.0)
    assert first["rewards/helpfulness/mean"] in (None, pytest.approx(math.nan, nan_ok=True))  # no row was judged
    assert 0.0 < second["rewards/helpfulness/mean"] < 1.0
