"""Gated attention as a PEFT method of its own: `HeadGateConfig` for `get_peft_model`, beside LoRA or alone. docs/gate.md"""

from trl_r1.gate.config import HeadGateConfig
from trl_r1.gate.layer import HeadGatedLinear, gate_heads
from trl_r1.gate.tuner import HeadGateModel


__all__ = ["HeadGateConfig", "HeadGateModel", "HeadGatedLinear", "gate_heads"]
