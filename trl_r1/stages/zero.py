"""R1-Zero: reinforcement learning on a base model, with no supervised step before it.

    accelerate launch -m trl_r1.stages.zero --config zero          (or a path, or mini/zero for a CPU)

Reads   problems with a checkable gold answer; see docs/data.md.
Leaves  in `output_dir`: the model, checkpoints, metrics.jsonl, evaluations, report.md with curves, summary.json.
Source  DeepSeek-R1, arXiv:2501.12948, Sec. 2.2.
"""

from __future__ import annotations

from trl_r1 import errors
from trl_r1.grpo.config import R1GRPOConfig
from trl_r1.models.options import R1ModelConfig
from trl_r1.runs.options import RLOptions, parse
from trl_r1.runs.rl import prepare, quiet_libraries, run_rl


def main(argv: list[str] | None = None) -> None:
    quiet_libraries()

    def ready():
        options, config, model = parse((RLOptions, R1GRPOConfig, R1ModelConfig), argv)
        return options, config, model, prepare("zero", options, config, model)

    run_rl("zero", *errors.tell("zero", ready))


if __name__ == "__main__":
    main()
