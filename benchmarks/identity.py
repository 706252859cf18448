"""Does R1GRPOTrainer with default options train like the installed TRL's GRPOTrainer, bit for bit?

    python benchmarks/identity.py            (about two minutes on one core)

Every row trains both trainers for four steps on a tiny random model and compares each step's loss, gradient norm and KL
and the final weights for equality. The last line is JSON. QLoRA is compared at printed precision (6 digits), since
bitsandbytes' CPU kernels do not promise one order of summation.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path


os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

LOSS_TYPES = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo")


def configurations() -> dict[str, dict]:
    """name -> {"options": GRPOConfig fields, "kind": full | lora | qlora | two_processes}"""
    rows: dict[str, dict] = {}
    for loss_type in LOSS_TYPES:
        rows[f"{loss_type}, token"] = {"options": {"loss_type": loss_type, "beta": 0.1}}
        rows[f"{loss_type}, sequence"] = {
            "options": {"loss_type": loss_type, "beta": 0.1, "importance_sampling_level": "sequence"}
        }
    rows |= {
        "no KL": {"options": {"beta": 0.0}},
        "num_iterations 2": {"options": {"beta": 0.1, "num_iterations": 2}},
        "num_iterations 2, sequence": {
            "options": {"beta": 0.1, "num_iterations": 2, "importance_sampling_level": "sequence", "loss_type": "grpo"}
        },
        "generation serves two updates": {
            "options": {"beta": 0.1, "steps_per_generation": 4, "gradient_accumulation_steps": 2,
                        "per_device_train_batch_size": 4}
        },
        "accumulation 2": {"options": {"beta": 0.1, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4}},
        "entropy bonus": {"options": {"beta": 0.1, "entropy_coef": 0.05}},
        "adaptive entropy": {"options": {"entropy_coef": 0.05, "use_adaptive_entropy": True, "entropy_target": 9.0}},
        "entropy quantile 0.5": {"options": {"beta": 0.1, "top_entropy_quantile": 0.5}},
        "batch scale": {"options": {"scale_rewards": "batch"}},
        "no scale": {"options": {"scale_rewards": "none"}},
        "weights, normalised first": {
            "options": {"reward_weights": [1.0, 0.5], "multi_objective_aggregation": "normalize_then_sum"}
        },
        "uncorrected KL": {"options": {"beta": 0.1, "use_bias_correction_kl": False, "num_iterations": 2}},
        "two-sided clip": {"options": {"delta": 1.5, "num_iterations": 2}},
        "truncated masked": {"options": {"beta": 0.1, "mask_truncated_completions": True}},
        "reference synced": {
            "options": {"beta": 0.1, "sync_ref_model": True, "ref_model_sync_steps": 2, "ref_model_mixup_alpha": 1.0}
        },
        "gradient checkpointing": {"options": {"beta": 0.1, "gradient_checkpointing": True}},
        "LoRA": {"options": {"beta": 0.1, "num_iterations": 2}, "kind": "lora"},
        "LoRA, grpo": {"options": {"beta": 0.1, "loss_type": "grpo"}, "kind": "lora"},
        "QLoRA NF4": {"options": {"beta": 0.1, "num_iterations": 2}, "kind": "qlora"},
        "two processes": {"options": {"beta": 0.1, "per_device_train_batch_size": 4}, "kind": "two_processes"},
        "two processes, iterations 2": {
            "options": {"beta": 0.1, "per_device_train_batch_size": 4, "num_iterations": 2, "loss_type": "grpo"},
            "kind": "two_processes",
        },
    }  # fmt: skip
    return rows


def compare(name: str, row: dict, folder: Path) -> list[str] | None:
    """Differences of one configuration; None where the stock trainer itself does not run it."""
    import torch
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig
    from trl import GRPOConfig, GRPOTrainer

    from trl_r1 import R1GRPOConfig, R1GRPOTrainer
    from trl_r1.grpo.identity import differences, run, tiny_model

    quantised = row.get("kind") == "qlora"  # NF4 needs widths that are multiples of 64
    model = tiny_model(folder / "wide", width=64) if quantised else tiny_model(folder / "model")
    kind, options = row.get("kind", "full"), dict(row["options"])
    extra = {}
    if kind in ("lora", "qlora"):
        extra["peft_config"] = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=0.0)
    if kind == "qlora":
        extra["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
        )
    if kind == "two_processes":
        options["ddp_backend"] = "gloo"
    slug = "".join(c if c.isalnum() else "_" for c in name)
    try:
        stock = run(GRPOTrainer, GRPOConfig, model, folder / f"{slug}_stock", options, extra)
    except (ValueError, TypeError, KeyError) as error:
        print(f"{name:<32} not run: {type(error).__name__}: {str(error).splitlines()[0][:60]}")
        return None
    ours = run(R1GRPOTrainer, R1GRPOConfig, model, folder / f"{slug}_ours", options, extra)
    return differences(ours, stock, digits=6 if kind == "qlora" else None)


def two_processes(name: str, folder: Path) -> list[str] | None:
    """Runs `compare` in two gloo processes; rank 0 writes what it found."""
    result = folder / "two_processes.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", __file__]
    done = subprocess.run(
        [*command, "--worker", name, "--folder", str(folder)], capture_output=True, text=True, timeout=300
    )
    if done.returncode != 0 or not result.is_file():
        return [f"a process failed: {(done.stderr.strip().splitlines() or ['no output'])[-1]}"]
    return json.loads(result.read_text())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="rows whose name contains this")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)

    import torch
    import transformers

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    logging.getLogger("trl").setLevel(logging.ERROR)  # its advice on loss types is not what is asked here
    transformers.utils.logging.disable_progress_bar()
    if chosen.worker:
        found = compare(chosen.worker, configurations()[chosen.worker], Path(chosen.folder))
        if os.environ["RANK"] == "0":
            (Path(chosen.folder) / "two_processes.json").write_text(json.dumps(found))
        return 0

    import trl

    compared = identical = 0
    print(f"R1GRPOTrainer against GRPOTrainer, trl {trl.__version__}, torch {torch.__version__}, 4 steps each")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        from trl_r1.grpo.identity import tiny_model

        tiny_model(folder / "model")
        tiny_model(folder / "wide", width=64)
        for name, row in configurations().items():
            if chosen.only and chosen.only not in name:
                continue
            began = time.perf_counter()
            found = two_processes(name, folder) if row.get("kind") == "two_processes" else compare(name, row, folder)
            if found is None:
                continue
            compared += 1
            identical += not found
            verdict = "identical" if not found else "DIFFERENT: " + "; ".join(found)[:160]
            print(f"{name:<32} {verdict}   ({time.perf_counter() - began:.1f} s)", flush=True)
    print(json.dumps({"name": "identity", "configs": compared, "identical": identical}))
    return 0 if compared and compared == identical else 1


if __name__ == "__main__":
    sys.exit(main())
