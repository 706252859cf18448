"""One thread, no network, quiet libraries; a tiny random model that every trainer test shares."""

import gc
import os


os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import fresh
import pytest
import torch
import transformers
from places import SCRIPTS


torch.set_num_threads(1)
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def pytest_collection_finish(session):
    """What the imports made stays, so the collector need not walk it: every `train()` collects, 0.3 s each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> str:
    """Path of a 2-layer random model with its tokenizer."""
    from trl_r1.grpo.identity import tiny_model

    return tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def wide(tmp_path_factory) -> str:
    """Path of the same with widths that NF4 can take: 64 and 128."""
    from trl_r1.grpo.identity import tiny_model

    return tiny_model(tmp_path_factory.mktemp("wide") / "model", width=64)


@pytest.fixture(scope="session")
def mini_folder(tmp_path_factory) -> str:
    """Path of the smallest mini base with its tokenizer: seconds to build."""
    from trl_r1.mini.model import build_base

    return build_base(tmp_path_factory.mktemp("mini") / "base", 0, "tiny")


@pytest.fixture(scope="session")
def mini(mini_folder):
    """The smallest mini base: a model and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(mini_folder).eval(), AutoTokenizer.from_pretrained(mini_folder)


@pytest.fixture(scope="session")
def two_ranks():
    """`two_ranks(script, *arguments)` runs a program of tests/scripts, or `-m` and a module, on two processes.

    Returns what it printed; fails with its last words where it fails.
    """

    def start(*arguments, **options):
        first, *rest = map(str, arguments)
        done = fresh.on_two_ranks(first if first.startswith("-") else SCRIPTS / first, *rest, **options)
        assert [rank.returncode for rank in done] == [0, 0], "".join(rank.stderr[-4000:] for rank in done)
        return "".join(rank.stdout for rank in done)

    return start


@pytest.fixture
def ours(tiny, tmp_path):
    """`ours(**options)` trains R1GRPOTrainer for a few steps and returns its trace."""
    from trl_r1 import R1GRPOConfig, R1GRPOTrainer
    from trl_r1.grpo.identity import run

    def train(trainer_options=None, resume=None, folder="ours", model=tiny, **options):
        return run(R1GRPOTrainer, R1GRPOConfig, model, tmp_path / folder, options, trainer_options, resume)

    return train


@pytest.fixture
def stock(tiny, tmp_path):
    """`stock(**options)` trains TRL's GRPOTrainer in the same way."""
    from trl import GRPOConfig, GRPOTrainer

    from trl_r1.grpo.identity import run

    def train(trainer_options=None, resume=None, folder="stock", model=tiny, **options):
        return run(GRPOTrainer, GRPOConfig, model, tmp_path / folder, options, trainer_options, resume)

    return train
