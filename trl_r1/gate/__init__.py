"""Gated attention as a PEFT method of its own: `HeadGateConfig` for `get_peft_model`, beside LoRA or alone. docs/gate.md

Belongs here: the method as peft has it: configuration, layer, tuner, registration. Not: which run uses it
(``models/options.py``). A new option of a gate is a field of ``HeadGateConfig`` in ``config.py``, which the layer
reads.
"""

from trl_r1.gate.config import HeadGateConfig
from trl_r1.gate.layer import HeadGatedLinear, gate_heads
from trl_r1.gate.tuner import HeadGateModel


__all__ = ["HeadGateConfig", "HeadGateModel", "HeadGatedLinear", "gate_heads"]
