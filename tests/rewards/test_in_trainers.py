"""All ready-made rewards at once, inside the trainers they are made for: stock GRPO, our recipes, TRL's async worker."""

import importlib.util
import json
import math
import os
import shutil
import time
from pathlib import Path

import pytest
import yaml
from scripted import CHINESE, KNOWN, MESSAGES, PROMPT, READY_MADE, RIGHT, ROW, TEXTS, WRONG, columns
from tiny_classifier import save

import trl_r1.rewards as rewards
from trl_r1.rewards.accuracy import Accuracy
from trl_r1.rewards.logic import Logic
from trl_r1.sandbox import NoSandbox, open_sandbox


def sandboxed() -> bool:
    try:
        open_sandbox()
    except NoSandbox:
        return False
    return True


TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
HAS_GYM = importlib.util.find_spec("reasoning_gym") is not None or os.environ.get("CI") == "true"
MISSING = {*(() if sandboxed() else ("code_reward",)), *(() if HAS_GYM else ("reasoning_gym_reward",))}
AVAILABLE = [name for name in READY_MADE if name not in MISSING]
HAS_Z3 = importlib.util.find_spec("z3") is not None


def chats(model: str, folder: Path) -> str:
    """A copy of a model whose tokenizer has a chat template."""
    shutil.copytree(model, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return str(folder)


@pytest.fixture
def all_rewards(tiny, tmp_path, monkeypatch):
    """The ready-made objects as they are, with tiny random models in the environment variables they read."""
    coherence = save(tmp_path / "coherence", ("damaged", "coherent"))
    preference = save(tmp_path / "preference", ("score",))
    monkeypatch.setenv("TRL_R1_SEMANTIC_MODEL", coherence)
    monkeypatch.setenv("TRL_R1_HELPFULNESS_MODEL", preference)
    monkeypatch.setenv("TRL_R1_HARMLESSNESS_MODEL", preference)
    monkeypatch.setenv("TRL_R1_AGSER_MODEL", chats(tiny, tmp_path / "chats"))
    return [getattr(rewards, name) for name in AVAILABLE]


def direct(reward, completions, prompt=PROMPT) -> list:
    """What a reward says when it is called by hand."""
    count = len(completions)
    return reward(completions=completions, prompts=[prompt] * count, **columns(count))


def test_every_ready_made_reward_is_tried_here():
    exported = {name for name in rewards.__all__ if name.endswith("_reward") and name != "load_reward"}
    assert exported == set(READY_MADE)


def test_text_and_messages_score_the_same_and_what_can_be_known_by_hand(all_rewards):
    for reward in all_rewards:
        plain, messages = direct(reward, TEXTS), direct(reward, MESSAGES)
        assert plain == messages, reward.__name__
        if reward.__name__ in KNOWN:
            assert plain == KNOWN[reward.__name__], reward.__name__


# ---------------------------------------------------------------- a stock GRPOTrainer


@pytest.mark.parametrize("conversational", [False, True])
def test_a_stock_grpo_trainer_takes_all_of_them_at_once(tiny, tmp_path, monkeypatch, all_rewards, conversational):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    completions = MESSAGES if conversational else TEXTS
    original = GRPOTrainer._calculate_rewards

    def scripted(self, inputs, prompts, generated, ids):  # what a trained model with tools would have said
        assert [type(text) for text in generated] == [list if conversational else str] * 8
        return original(self, inputs, prompts, completions, ids)

    monkeypatch.setattr(GRPOTrainer, "_calculate_rewards", scripted)
    row = {**ROW, "prompt": [{"role": "user", "content": PROMPT}] if conversational else PROMPT}
    config = GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=8, num_generations=8, max_completion_length=4, max_steps=2,
        logging_steps=1, report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False, save_strategy="no",
    )  # fmt: skip
    boxed = Accuracy(sources=("boxed",), name="accuracy_boxed")
    trainer = GRPOTrainer(
        tiny, reward_funcs=[*all_rewards, boxed], args=config, train_dataset=Dataset.from_list([row] * 8)
    )
    if conversational:
        trainer.processing_class.chat_template = TEMPLATE
    trainer.train()

    steps = trainer.state.log_history[:2]
    for logged in steps:
        for reward in all_rewards:
            name = reward.__name__
            if name in ("overlong", "cosine_length", "repetition"):  # they read the generated token ids
                assert -1.0 <= logged[f"rewards/{name}/mean"] <= 1.0
                continue
            judged = [score for score in direct(reward, completions, row["prompt"]) if score is not None]
            assert logged[f"rewards/{name}/mean"] == pytest.approx(sum(judged) / len(judged), abs=1e-5), name
        # boxed: RIGHT three times; WRONG and CHINESE declare their answer without a box
        assert logged["rewards/accuracy_boxed/mean"] == pytest.approx(3 / 8)
        assert logged["rewards/accuracy/mean"] == pytest.approx(4 / 8)
        assert logged["accuracy/no_answer"] == pytest.approx(2 / 8)  # the two empty ones
        assert logged["helpfulness/active"] == 1.0
    extra = trainer._logs["extra"]
    assert list(extra["accuracy_answer"])[-8:-1] == ["5", "6", "", "5", "", "5", "5"]
    assert list(extra["accuracy_boxed_answer"])[-8:] == ["5", "", "", "5", "", "5", "", ""]


# ---------------------------------------------------------------- our recipes


def test_a_recipe_names_them_with_options(tiny, tmp_path, all_rewards):
    from trl_r1.stages import zero

    rows = [{"question": f"Compute {i} + 1.", "answer": str(i + 1), "language": "en"} for i in range(8)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({**ROW, **row}) + "\n" for row in rows))
    chosen = [
        {"name": "overlong", "weight": 2.0, "options": {"inner": "accuracy", "longest": 6, "soft": 2}},
        {"name": "repetition", "options": {"tokens": 3, "inner": {"name": "format", "options": {"graded": True}}}},
        {"name": "format", "options": {"layout": "summary"}},
        {"name": "format", "options": {"layout": "cold_start", "graded": True}},
        {"name": "logic", "weight": 0.3, "options": {"minimum_claims": 2}},
        {"name": "symbolic", "options": {"answer_type": "integer"}},
        {"name": "layered", "options": {"schedule": {0.0: [1, 0, 0], 1.0: [0.4, 0.3, 0.3]}}},
        {"name": "preference", "options": {"model": os.environ["TRL_R1_HELPFULNESS_MODEL"], "last_steps": 1}},
        {"name": "trl_r1.rewards.geometry:Geometry", "options": {"name": "drawing"}},
    ]  # fmt: skip
    recipe = {
        "model_name_or_path": tiny, "dtype": "float32", "dataset_name": str(data), "solution_column": "answer",
        "language_column": "language", "template": "mini", "rewards": chosen, "output_dir": str(tmp_path / "out"),
        "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "per_device_train_batch_size": 8,
        "num_generations": 4, "max_completion_length": 6, "max_steps": 2, "logging_steps": 1, "save_strategy": "no",
        "report_to": "none", "disable_tqdm": True,
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    zero.main(["--config", str(tmp_path / "recipe.yaml")])
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    first, second = [line for line in lines if "rewards/format/mean" in line]
    names = "accuracy_overlong format_repetition format format_2 logic symbolic layered preference drawing".split()
    assert {f"rewards/{name}/mean" for name in names} <= first.keys()
    assert first["rewards/accuracy_overlong/mean"] in (0.0, None)  # a random model knows no answer
    assert (first["preference/active"], second["preference/active"]) == (0.0, 1.0)
    # the schedule at step 0 and 1 of 2: 0.3 * 0 and 0.3 * 1/2
    assert first["layered/semantic_weight"] == 0.0
    assert second["layered/semantic_weight"] == pytest.approx(0.15)


# ---------------------------------------------------------------- TRL's asynchronous worker

HANGS = "<think>hm</think> \\boxed{\\int_0^1 9^{9^{9^{9^{x}}}} dx}"


def start(monkeypatch, tiny, reward_funcs, groups):
    """TRL's worker with these rewards, started; vLLM, which only generates, is said to be there."""
    module = pytest.importorskip("trl.experimental.async_grpo.async_rollout_worker", exc_type=Exception)
    if not hasattr(module, "_child_main"):
        pytest.skip("the asynchronous worker of this TRL starts no process")
    from accelerate.state import PartialState
    from async_worker import Worker
    from transformers import AutoTokenizer

    PartialState()  # as the trainer has done by then
    monkeypatch.setattr(module, "is_vllm_available", lambda: True)
    monkeypatch.setattr(module, "is_aiohttp_available", lambda: True)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.response_schema = {}  # else TRL looks for a chat template it knows
    worker = Worker(
        groups=groups, model_name=tiny, dataset=[{"prompt": "x"}], reward_funcs=reward_funcs, processing_class=tokenizer,
        eos_token_ids=[1], num_generations=8, child_ready_timeout=120,
    )  # fmt: skip
    worker.start()
    return worker


@pytest.mark.slow
def test_the_async_workers_daemonic_child_scores_as_this_process_does(tiny, monkeypatch, all_rewards):
    from async_worker import daemonic_and_off_the_main_thread, group, keeper

    extra = [Logic(linear=True, name="linear")] if HAS_Z3 else []
    chosen = [*all_rewards, *extra, Accuracy(seconds=0.5, name="accuracy_short")]
    prompts = [[{"role": "user", "content": PROMPT}]] * 8
    hostile = [[{"role": "assistant", "content": text}] for text in (HANGS, RIGHT, WRONG, CHINESE)] * 2
    pairs = "<think>x + y = 10 and x - y = 2, so x = 6 and y = 5</think> \\boxed{1 + 2x + x^2}"
    algebra = [[{"role": "assistant", "content": pairs}]] * 8
    groups = [
        group(prompts, MESSAGES, columns(8)),
        group(prompts, hostile, columns(8)),
        group(prompts, algebra, {**columns(8), "solution": ["(x + 1)^2"] * 8}),
    ]
    worker = start(monkeypatch, tiny, [*chosen, daemonic_and_off_the_main_thread, keeper], groups)
    try:
        found = []
        while len(found) < 24:
            worker.check_health(stale_after_s=300)
            if not worker.rollout_buffer.empty():
                found.append(worker.rollout_buffer.get())
            else:
                time.sleep(0.05)
    finally:
        worker._process.kill()  # not stop(), which waits for ever for a child that has died
    assert {sample["rewards/daemonic_and_off_the_main_thread"] for sample in found} == {1.0}
    for start_row, given in ((0, groups[0]), (8, groups[1]), (16, groups[2])):
        for reward in chosen:
            here = reward(
                completions=given.completions, prompts=given.prompts, completion_ids=given.completions_ids,
                **given.reward_kwargs,
            )  # fmt: skip
            there = [sample[f"rewards/{reward.__name__}"] for sample in found[start_row : start_row + 8]]
            expected = [math.nan if score is None else score for score in here]
            assert there == pytest.approx(expected, abs=1e-5, nan_ok=True), reward.__name__
    for name, known in KNOWN.items():
        if any(reward.__name__ == name for reward in chosen):
            expected = [math.nan if score is None else score for score in known]
            assert [sample[f"rewards/{name}"] for sample in found[:8]] == pytest.approx(expected, nan_ok=True), name
    assert [sample["rewards/accuracy_short"] for sample in found[8:16]] == [0.0, 1.0, 0.0, 1.0] * 2
    assert {sample["rewards/accuracy"] for sample in found[16:]} == {1.0}
    if HAS_Z3:  # of the two derived statements x = 6 holds and y = 5 does not
        assert {sample["rewards/linear"] for sample in found[16:]} == {0.5}

    judge = int(found[0]["rewards/keeper"])
    deadline = time.monotonic() + 15
    while os.path.exists(f"/proc/{judge}") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{judge}"), "the child is gone, the process that judged for it is not"


@pytest.mark.slow
def test_a_reward_that_raises_in_the_async_worker_reaches_the_trainer(tiny, monkeypatch):
    """What the test above leans on: the child does not swallow what goes wrong in a reward."""
    from async_worker import breaks, group

    prompts = [[{"role": "user", "content": PROMPT}]] * 8
    worker = start(monkeypatch, tiny, [breaks], [group(prompts, MESSAGES, columns(8))])
    try:
        deadline = time.monotonic() + 60
        with pytest.raises(RuntimeError, match="Rollout worker child has failed"):  # noqa: PT012
            while time.monotonic() < deadline:
                worker.check_health(stale_after_s=300)
                time.sleep(0.05)
    finally:
        worker._process.kill()
