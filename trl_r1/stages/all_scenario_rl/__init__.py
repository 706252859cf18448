"""All-scenario RL: rules where an answer can be checked, preference models elsewhere, these only in the last part.

    trl-r1 all-scenario-rl --config all_scenario_rl  (or a path, or mini/all_scenario_rl)

Rewards   accuracy, format and language on reasoning prompts; on general prompts one of two models: helpfulness, which reads
          the summary alone, or harmlessness, which reads the whole response. General prompts and both models come in
          with the last `preference_last_steps` steps (paper: 400 of 1,700), at temperature 0.7.
Alarm     a line on the screen, in alarms.jsonl, in the metrics and in the report, when a preference reward rises while the
          rule reward falls; `stop_on_alarm` ends the training there.
Reads     several datasets, each with its own columns, domain and share; the models that reward_model left.
Leaves    in `output_dir`: as zero does, and alarms.jsonl, hidden_before.json and hidden_after.json.
Source    DeepSeek-R1, arXiv:2501.12948v1, Sec. 2.3.4; v2, Sec. 3.2.2, Eq. 8-10.
"""

from __future__ import annotations

from trl_r1 import errors
from trl_r1.grpo.config import R1GRPOConfig
from trl_r1.models.options import R1ModelConfig
from trl_r1.runs.options import parse
from trl_r1.runs.rl import prepare, quiet_libraries, run_rl
from trl_r1.stages.all_scenario_rl.hooks import ScenarioHooks, ScenarioOptions, scheduled_rows


def main(argv: list[str] | None = None) -> None:
    quiet_libraries()

    def ready():
        options, config, model = parse((ScenarioOptions, R1GRPOConfig, R1ModelConfig), argv)
        rows = scheduled_rows(options, config)
        hooks = ScenarioHooks(options, config, rows)
        return options, config, model, prepare("all_scenario_rl", options, config, model, lambda: rows), hooks

    run_rl("all_scenario_rl", *errors.tell("all_scenario_rl", ready))
