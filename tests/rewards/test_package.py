"""The rewards as a package: cheap to import, at home in a stock trainer, in a spawned worker and on the command line."""

import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from places import ROOT

import trl_r1.rewards as rewards
from trl_r1.rewards import accuracy_reward, format_reward, language_consistency_reward


READY_MADE = ["accuracy_reward", "format_reward", "language_consistency_reward"]


def test_importing_the_package_and_the_rewards_loads_nothing_heavy():
    code = (
        "import sys, trl_r1.rewards as r\n"
        "light = {'numpy', 'torch', 'sympy', 'trl', 'math_verify', 'transformers', 'pydantic'} & set(sys.modules)\n"
        "assert not light, light\n"
        "r.accuracy_reward, r.format_reward, r.language_consistency_reward, r.load_rewards\n"
        "heavy = {'torch', 'sympy', 'trl', 'math_verify', 'transformers', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "r.accuracy_reward([r'\\boxed{x+1}'], solution=['1+x'])\n"
        "assert not {'torch', 'sympy', 'trl'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_every_export_exists_and_an_unknown_one_is_an_attribute_error():
    for name in rewards.__all__:
        assert callable(getattr(rewards, name))
    with pytest.raises(AttributeError, match="It offers: accuracy_reward"):
        rewards.acuracy_reward  # noqa: B018


def test_metric_names():
    assert [getattr(rewards, name).__name__ for name in READY_MADE] == ["accuracy", "format", "language_consistency"]


def _score(reward) -> list:
    return reward(["<think>we add them</think><answer>5</answer>"], solution=["5"], language=["en"], prompts=["?"])


def test_a_spawned_process_scores_the_same():
    """TRL's async trainer pickles rewards into a spawned worker."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for name in READY_MADE:
            reward = getattr(rewards, name)
            assert pickle.loads(pickle.dumps(reward)) == reward
            assert pool.submit(_score, reward).result(timeout=120) == [1.0]


def test_trls_async_worker_accepts_them():
    worker = pytest.importorskip("trl.experimental.async_grpo.async_rollout_worker", exc_type=Exception)
    assert worker
    for name in READY_MADE:
        pickle.dumps(getattr(rewards, name), protocol=pickle.HIGHEST_PROTOCOL)


@pytest.mark.parametrize("conversational", [False, True])
def test_a_stock_grpo_trainer_takes_them_as_they_are(tiny, tmp_path, conversational):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    row = {"prompt": "Compute 2 + 3.", "solution": "5", "language": "en"}
    if conversational:
        row["prompt"] = [{"role": "user", "content": "2 + 3"}]
    config = GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=4, num_generations=4, max_completion_length=8, max_steps=2,
        logging_steps=1, report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False, save_strategy="no",
    )  # fmt: skip
    trainer = GRPOTrainer(
        tiny,
        reward_funcs=[accuracy_reward, format_reward, language_consistency_reward],
        args=config,
        train_dataset=Dataset.from_list([row] * 4),
    )
    if conversational:
        trainer.processing_class.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    trainer.train()
    logged = trainer.state.log_history[0]
    assert logged["rewards/accuracy/mean"] in (0.0, 0.25, 0.5, 0.75, 1.0)
    assert logged["rewards/format/mean"] == 0.0  # a random model knows no tags
    assert logged["accuracy/no_gold"] == 0.0
