"""What we expect of the installed TRL: the methods R1GRPOTrainer extends, and the one expression it steers.

Asked once when a trainer is built, and by `trl-r1 doctor`. It reads signatures and source; it changes nothing.
"""

from __future__ import annotations

import inspect

import trl
from trl import GRPOTrainer


# method -> the parameter names we pass or read, in order; a method we call with *args needs only its first ones
SEAMS: dict[str, tuple[str, ...]] = {
    "_calculate_rewards": ("inputs", "prompts", "completions", "completion_ids_list"),
    "_generate_single_turn": ("prompt_ids", "images", "multimodal_fields"),
    "_generate_and_score_completions": ("inputs",),
    "_prepare_inputs": ("generation_batch",),
    "_get_per_token_logps_and_entropies": ("model",),
    "_compute_loss": ("model", "inputs"),
    "_save_checkpoint": ("model", "trial"),
    "_load_optimizer_and_scheduler": ("checkpoint",),
    "_get_train_sampler": ("dataset",),
    "create_optimizer": (),
    "_tokenize_prompts": ("prompts",),
    "training_step": ("model", "inputs"),
    "train": (),  # handed on as it came, also to a wrapper that takes anything
    "save_model": ("output_dir", "_internal_call"),
}
KL_EXPRESSION = "self.beta * per_token_kl"
TOKEN_ADVANTAGES = "if advantages.dim() == 1:"  # else it takes (B, T) as they are


def broken_seams(trainer: type = GRPOTrainer) -> list[str]:
    """One sentence for each method of TRL's trainer that is gone or has other parameters; empty when all is well."""
    sentences = []
    for name, expected in SEAMS.items():
        method = getattr(trainer, name, None)
        if method is None:
            sentences.append(f"trl {trl.__version__} no longer defines GRPOTrainer.{name}, which trl_r1 extends.")
            continue
        parameters = tuple(inspect.signature(inspect.unwrap(method)).parameters)[1:]
        if parameters[: len(expected)] != expected:
            sentences.append(
                f"trl {trl.__version__}: GRPOTrainer.{name} takes ({', '.join(parameters)}), and trl_r1 expects it to "
                f"begin with ({', '.join(expected)})."
            )
    return sentences


def broken_kl_seam(trainer: type = GRPOTrainer) -> list[str]:
    """A sentence if TRL's loss no longer multiplies `self.beta` with its per-token KL exactly once; else empty."""
    method = getattr(trainer, "_compute_loss", None)
    count = inspect.getsource(inspect.unwrap(method)).count(KL_EXPRESSION) if method is not None else 0
    if count == 1:
        return []
    return [
        f"trl {trl.__version__}: GRPOTrainer._compute_loss evaluates `{KL_EXPRESSION}` {count} times, and trl_r1's own KL "
        "needs it exactly once. Advantages, the rolling reference and the schedules are not affected."
    ]


def bypasses_compute_loss(trainer: type = GRPOTrainer) -> bool:
    """Whether this TRL computes the loss elsewhere under `use_liger_kernel` (1.13 and older), where no KL of ours acts."""
    return hasattr(trainer, "compute_liger_loss")


def broken_token_seam(trainer: type = GRPOTrainer) -> list[str]:
    """A sentence if TRL's loss no longer tells advantages per token (B, T) from those per completion; else empty."""
    method = getattr(trainer, "_compute_loss", None)
    if method is not None and TOKEN_ADVANTAGES in inspect.getsource(inspect.unwrap(method)):
        return []
    return [
        f"trl {trl.__version__}: GRPOTrainer._compute_loss no longer asks `{TOKEN_ADVANTAGES}`, and a critic hands it one "
        "advantage per token. Advantages per completion are not affected."
    ]


def check_token_advantages(liger: bool) -> None:
    """Raises what keeps one advantage per token from reaching TRL's loss: RuntimeError, or ValueError for `liger`."""
    sentences = broken_token_seam()
    if sentences:
        raise RuntimeError(" ".join(sentences) + " Install a TRL that trl_r1 was tested with (docs/index.md).")
    if liger and bypasses_compute_loss():
        raise ValueError(
            "use_liger_kernel=True computes the loss outside _compute_loss in this TRL, where a critic has no say. Drop "
            "use_liger_kernel, or upgrade to trl>=1.14."
        )


def check_seams(custom_kl: bool) -> None:
    """Raises RuntimeError with every broken seam that the chosen options need."""
    sentences = broken_seams() + (broken_kl_seam() if custom_kl else [])
    if sentences:
        raise RuntimeError(
            " ".join(sentences) + " Install a TRL that trl_r1 was tested with (docs/index.md), or run `trl-r1 doctor`."
        )
