"""Reward models for the all-scenario stage: helpfulness from judged pairs, harmlessness from safety labels.

    trl-r1 reward-model --config reward_model      (or a path, or mini/reward_model for a CPU)

Reads   helpful pairs: judged ones, chosen/rejected, or replies that a judge behind an endpoint compares here (four times
        each, half of them with the order swapped; kept above a margin; lengths matched). Safety: replies with a label.
Leaves  in `output_dir`: `helpfulness/` and `harmlessness/`, which the rewards of the same names take as `model`;
        judgements.jsonl, report.md with held-out pair accuracy and AUROC, summary.json.
Source  DeepSeek-R1, arXiv:2501.12948v2, Sec. 3.1: 66,000 pairs, 106,000 labelled prompts, batch 256, learning rate 6e-6,
        one epoch, 8,192 tokens; the helpful model reads the summary alone, the safety model the whole response.
"""

from __future__ import annotations

from trl import RewardConfig

from trl_r1 import errors
from trl_r1.models.options import R1ModelConfig
from trl_r1.runs.folder import quiet_libraries
from trl_r1.runs.options import parse
from trl_r1.stages.reward_model.run import RewardModelOptions, prepare, run_reward_models


def main(argv: list[str] | None = None) -> None:
    quiet_libraries()

    def ready():
        options, config, model = parse((RewardModelOptions, RewardConfig, R1ModelConfig), argv)
        return options, config, model, prepare(options, config, model)

    options, config, model, prepared = errors.tell("reward_model", ready)
    try:
        run_reward_models(options, config, model, prepared)
    finally:
        prepared.folder.let_go()
