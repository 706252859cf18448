"""trl_r1: DeepSeek-R1's training system as a plug-in for Hugging Face TRL.

Everything named here is imported on first use, so that ``import trl_r1`` costs nothing and a reward can be used in a
verifier process that never loads torch. One thing happens by itself: when peft is imported, before or after this package,
it learns of head gates, so that `PeftModel.from_pretrained` knows an adapter that has them (docs/gate.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_r1.compat.after_import import after_import
from trl_r1.compat.lazy import lazy_exports
from trl_r1.version import __version__


_HOME = {
    "HeadGateConfig": "trl_r1.gate",
    "R1GRPOConfig": "trl_r1.grpo.config",
    "R1GRPOTrainer": "trl_r1.grpo.trainer",
    "load_reward": "trl_r1.rewards.catalogue",
    "load_rewards": "trl_r1.rewards.catalogue",
}

__all__ = ["HeadGateConfig", "R1GRPOConfig", "R1GRPOTrainer", "__version__", "load_reward", "load_rewards"]

if TYPE_CHECKING:
    from trl_r1.gate import HeadGateConfig
    from trl_r1.grpo.config import R1GRPOConfig
    from trl_r1.grpo.trainer import R1GRPOTrainer
    from trl_r1.rewards.catalogue import load_reward, load_rewards

__getattr__, __dir__ = lazy_exports(__name__, _HOME)


def _register_head_gates() -> None:
    from trl_r1.gate.config import register

    register()


after_import("peft", _register_head_gates)
