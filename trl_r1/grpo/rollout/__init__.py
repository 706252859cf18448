"""Prompts to completions without a serving engine: one prefill per prompt, finished rows leave the batch.

sampling  logits in, one token and its log-probability out
cache     keys and values of the rows still running, grown in blocks
engine    the loop
threads   how many of them a step deserves on a CPU
support   which models and options the loop serves, and why not
connect   the seams to TRL: R1GRPOTrainer's `rollout: fast` and a `rollout_func` for stock GRPOTrainer
"""

from trl_r1.grpo.rollout.connect import FastRollout
from trl_r1.grpo.rollout.engine import Rollout, generate
from trl_r1.grpo.rollout.sampling import SamplingOptions


__all__ = ["FastRollout", "Rollout", "SamplingOptions", "generate"]
