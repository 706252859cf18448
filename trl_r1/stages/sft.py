"""SFT: imitation of chosen answers, in R1's way: 2 to 3 epochs, a cosine to a tenth, loss on the completion alone.

    trl-r1 sft --config sft          (or a path, or mini/sft for a CPU)

In the paper this stage fine-tunes the BASE model on the 800k samples; it does not go on from the checkpoint that the
samples were drawn from. So does the recipe: `model_name_or_path` is the base, `dataset_name` what
`rejection_sampling` kept.

Reads   rows with a prompt and a completion, a question and a completion, or whole conversations; see docs/data.md.
Leaves  in `output_dir`: the model (with LoRA or QLoRA its adapter; `merge_adapter` adds the whole model in `merged`),
        checkpoints, metrics.jsonl, evaluations, report.md with curves, summary.json.
Source  DeepSeek-R1, arXiv:2501.12948v1, Sec. 2.3.3 (SFT from the base); v2, supplement B.4.2 (its settings).
"""

from __future__ import annotations

from trl_r1 import errors
from trl_r1.models.options import R1ModelConfig
from trl_r1.runs.folder import quiet_libraries
from trl_r1.runs.options import SFTOptions, parse
from trl_r1.runs.sft import prepare, run_sft
from trl_r1.runs.tuning_config import R1SFTConfig


def main(argv: list[str] | None = None) -> None:
    quiet_libraries()

    def ready():
        options, config, model = parse((SFTOptions, R1SFTConfig, R1ModelConfig), argv)
        return options, config, model, prepare("sft", options, config, model)

    run_sft("sft", *errors.tell("sft", ready))


if __name__ == "__main__":
    main()
