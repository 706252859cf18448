"""CONFLICTS: which options of R1GRPOConfig do not go together, why, and what to set instead.

One row per reason. The config walks them, docs/conflicts.md prints them (`python -m trl_r1.grpo.conflicts`), and a test
runs into each of them and follows each advice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trl_r1.grpo.advantages import ADVANTAGES, PER_TOKEN
from trl_r1.grpo.conflict import DROPPED, Conflict, Remedy, Setting, drop, equal, is_on, is_set, joined, unlike


NO_REFERENCE = (equal("beta", 0.0, allowed=0.001),)
SET_BETA = Remedy("set beta, for instance beta=0.001", {"beta": 0.001})
SET_BETA_AND_LOSS = Remedy(f"{SET_BETA.words}, with loss_type='grpo'", {"beta": 0.001, "loss_type": "grpo"})
FAST_ROLLOUT = Remedy("set rollout='fast'", {"rollout": "fast"})
PER_COMPLETION = Remedy(
    "use an advantage per completion, for instance advantage='group_normalized'",
    {"advantage": "group_normalized", "advantage_options": DROPPED},
)
TRLS_ADVANTAGE = Remedy("use advantage='trl'", {"advantage": "trl", "advantage_options": DROPPED})
CRITIC = Setting("advantage", lambda name: name in PER_TOKEN, " or ".join(map(repr, PER_TOKEN)), PER_TOKEN[-1])
NAMED = Setting("advantage", lambda name: name not in ("trl", *PER_TOKEN), "named", "leave_one_out")
COPIED = unlike("rollout_copy", "none", "bfloat16")
REFILLED = is_on("dynamic_sampling_rounds", 1)
REPLAYED = is_on("verified_paths", 8)


def of_critic(against: Setting, why: str, instead: Remedy = PER_COMPLETION, **besides: Any) -> Conflict:
    """A row for what would misread one advantage per token, or has no use with a critic."""
    where = tuple(equal(option, value) for option, value in besides.items() if option == "kl_placement")
    because = f"gives one advantage per token, and {{against}} {why}"
    return Conflict(CRITIC, (against,), because, (drop(against.option), instead), where, besides)


def of_refilled(against: Setting, *where: Setting) -> Conflict:
    """A row for what looks at more than one group, while single groups are replaced."""
    because = "replaces single groups, and {against} scales each group by the others of its batch"
    alone = Remedy(
        "use an advantage that looks at one group, for instance advantage='group_normalized' with scale_rewards='group' and "
        "multi_objective_aggregation='sum_then_normalize'",
        {
            "advantage": "group_normalized",
            "scale_rewards": "group",
            "multi_objective_aggregation": "sum_then_normalize",
        },
    )
    return Conflict(REFILLED, (against,), because, (alone, drop("dynamic_sampling_rounds")), where)


CONFLICTS = (
    # -- rollout, curriculum -----------------------------------------------------------------------------------------
    Conflict(
        equal("old_logps", "sampled"),
        (unlike("rollout", "fast", "trl"),),
        "takes what rollout='fast' sampled, and {against}",
        (FAST_ROLLOUT, drop("old_logps")),
    ),
    Conflict(
        COPIED,
        (unlike("rollout", "fast", "trl"), is_on("use_vllm")),
        "is a copy that rollout='fast' samples from, and {against}",
        (
            Remedy("set rollout='fast' without use_vllm", {"rollout": "fast", "use_vllm": DROPPED}),
            drop("rollout_copy"),
        ),
    ),
    *(
        Conflict(
            COPIED,
            (setting,),
            "draws tokens with other probabilities than the policy's, which {against} takes for the policy's",
            (Remedy(words, changes), drop("rollout_copy")),
            besides={"rollout": "fast", "old_logps": "sampled"},
        )
        for setting, words, changes in (
            (REPLAYED, "drop verified_paths and old_logps", {"verified_paths": DROPPED, "old_logps": DROPPED}),
            (equal("old_logps", "sampled"), "drop old_logps", {"old_logps": DROPPED}),
        )
    ),
    Conflict(
        COPIED,
        (equal("loss_type", "vespo"),),
        "enters {against} as ratios of tokens, as in TRL",
        (
            Remedy(
                "set vllm_importance_sampling_mode to token_truncate or token_mask",
                {"vllm_importance_sampling_mode": "token_truncate"},
            ),
            drop("rollout_copy"),
        ),
        (
            Setting(
                "vllm_importance_sampling_mode",
                lambda mode: not mode.startswith("token_"),
                "'sequence_truncate' or 'sequence_mask'",
                "sequence_mask",
            ),
        ),
        {"rollout": "fast"},
    ),
    Conflict(
        equal("loss_head", "one_pass"),
        (unlike("batching", "fast", "trl"),),
        "scores the packed rows of batching='fast', and {against}",
        (Remedy("set batching='fast'", {"batching": "fast"}), drop("loss_head")),
    ),
    Conflict(
        is_on("rewards_overlap"),
        (unlike("rollout", "fast", "trl"),),
        "scores groups while rollout='fast' generates, and {against}",
        (FAST_ROLLOUT, drop("rewards_overlap")),
    ),
    Conflict(
        is_on("curriculum_regrade"),
        (equal("curriculum", "none", allowed="mixed"),),
        "moves levels that nothing reads: {against} keeps TRL's shuffle",
        (Remedy("set curriculum to ordered or mixed", {"curriculum": "ordered"}), drop("curriculum_regrade")),
    ),
    # -- advantages --------------------------------------------------------------------------------------------------
    Conflict(
        is_on("advantage_options", {"k": 2}),
        (equal("advantage", "trl"),),
        "has no use with {against}",
        (
            Remedy(f"name the advantage function they are for: {', '.join(ADVANTAGES)}", {"advantage": "pass_at_k"}),
            Remedy("drop them", {"advantage_options": DROPPED}),
        ),
    ),
    Conflict(
        NAMED,
        (unlike("scale_rewards", "group", "batch"),),
        "decides the scale itself, so {against} would have no effect",
        (drop("scale_rewards"), TRLS_ADVANTAGE),
    ),
    Conflict(
        CRITIC,
        (equal("num_generations", 1),),
        "would need no group, but TRL's GRPO takes none smaller than 2, and {against} was given",
        (Remedy("set num_generations=2 (docs/advantages.md says what differs from PPO)", {"num_generations": 2}),),
        early=True,
    ),
    of_critic(equal("loss_type", "vespo"), "weighs whole completions by one advantage each"),
    of_critic(
        unlike("importance_sampling_level", "token", "sequence"),
        "has one ratio per completion, and an advantage per token needs one per token",
    ),
    of_critic(is_set("off_policy_mask_threshold", 0.5), "masks whole completions by the sign of their one advantage"),
    of_critic(
        equal("multi_objective_aggregation", "normalize_then_sum"),
        "normalises rewards inside groups, and the critic predicts them as they are",
    ),
    of_critic(
        unlike("scale_rewards", "group", "batch"),
        "scales by groups or batches, and the critic decides the scale",
        TRLS_ADVANTAGE,
    ),
    of_critic(REFILLED, "replaces groups whose rewards are equal, and a critic learns from those too"),
    of_critic(is_on("mask_dead_groups"), "drops groups whose rewards are equal, and a critic learns from those too"),
    of_critic(
        REPLAYED,
        "puts a replayed completion into a group that is all wrong, and a critic compares with no group",
        rollout="fast",
        old_logps="sampled",
    ),
    of_critic(
        equal("kl_level", "sequence"),
        "gives one KL per completion, and with kl_placement='reward' each token pays its own",
        kl_placement="reward",
        beta=0.1,
    ),
    # -- KL and reference --------------------------------------------------------------------------------------------
    *(
        Conflict(
            unlike(option, idle, other),
            NO_REFERENCE,
            "has nothing to act on: {against} loads no reference model",
            (remedy, drop(option)),
        )
        for option, idle, other, remedy in (
            ("kl_estimator", "k3", "k2", SET_BETA),
            ("kl_placement", "loss", "reward", SET_BETA),
            ("kl_level", "token", "sequence", SET_BETA_AND_LOSS),
        )
    ),
    Conflict(
        equal("kl_estimator", "k1"),
        (equal("kl_placement", "loss", allowed="reward"),),
        "with {against} has an expected gradient of zero, so it would only add noise",
        (
            Remedy("use 'k2' or 'k3' in the loss", {"kl_estimator": "k2"}),
            Remedy("keep 'k1' with kl_placement='reward'", {"kl_placement": "reward"}),
        ),
        besides={"beta": 0.1},
    ),
    Conflict(
        equal("kl_level", "sequence"),
        (unlike("loss_type", "grpo", "dapo"),),
        "gives one KL per completion, which {against} would count once per token",
        (
            Remedy("use loss_type='grpo'", {"loss_type": "grpo"}),
            Remedy("kl_level='token'", {"kl_level": "token"}),
            Remedy("kl_placement='reward'", {"kl_placement": "reward"}),
        ),
        (equal("kl_placement", "loss"),),
        {"beta": 0.1},
    ),
    Conflict(
        is_set("kl_target", 0.05),
        NO_REFERENCE,
        "steers beta, but {against} loads no reference model",
        (
            Remedy("set beta to a starting value, for instance beta=0.001", {"beta": 0.001}),
            drop("kl_target"),
        ),
    ),
    Conflict(
        is_set("reference_every", 400),
        NO_REFERENCE,
        "renews the reference policy, but {against} loads none",
        (SET_BETA, drop("reference_every")),
    ),
    Conflict(
        is_set("reference_every", 400),
        (is_on("sync_ref_model"),),
        "and {against} both move the reference policy",
        (
            Remedy(
                "keep reference_every (it works with LoRA and survives a resume) and drop sync_ref_model",
                {"sync_ref_model": DROPPED},
            ),
            Remedy("the other way round", {"reference_every": DROPPED}),
        ),
        besides={"beta": 0.1},
    ),
    # -- ratio, entropy ----------------------------------------------------------------------------------------------
    Conflict(
        equal("importance_sampling_level", "sequence_product"),
        (
            unlike("loss_type", "grpo", "dapo"),
            is_set("off_policy_mask_threshold", 0.5),
            Setting("top_entropy_quantile", lambda share: share < 1.0, "below 1", 0.5),
            is_on("use_liger_kernel"),
        ),
        "is the ratio of DeepSeek-R1 Eq. 1 and is defined only for loss_type='grpo' over whole completions, not with "
        "{against}",
        (
            Remedy("change that", {}),
            Remedy("use 'token' or 'sequence'", {"importance_sampling_level": "sequence"}),
        ),
    ),
    Conflict(
        unlike("entropy_schedule", "constant", "step"),
        (is_on("use_adaptive_entropy"),),
        "and {against} both move entropy_coef",
        (drop("use_adaptive_entropy"), drop("entropy_schedule")),
        besides={"entropy_coef": 0.1, "entropy_target": 1.0},
    ),
    Conflict(
        unlike("entropy_schedule", "constant", "step"),
        (equal("entropy_coef", 0.0),),
        "starts from entropy_coef, and {against}",
        (
            Remedy("set entropy_coef to the starting value, for instance 0.1", {"entropy_coef": 0.1}),
            drop("entropy_schedule"),
        ),
    ),
    # -- which groups are trained on ---------------------------------------------------------------------------------
    of_refilled(equal("advantage", "batch_normalized")),
    of_refilled(equal("scale_rewards", "batch"), equal("advantage", "trl")),
    of_refilled(equal("multi_objective_aggregation", "normalize_then_sum"), equal("advantage", "trl")),
    Conflict(
        REPLAYED,
        (
            unlike("old_logps", "sampled", "policy"),
            unlike("beta", 0.0, 0.1),
            is_on("top_k", 5),
            unlike("top_p", 1.0, 0.9),
            is_on("min_p", 0.1),
            unlike("repetition_penalty", 1.0, 1.1),
            is_on("mask_truncated_completions"),
        ),
        "replays completions with the probabilities they were sampled with, which needs old_logps='sampled', beta=0, all "
        "completions in the loss and plain sampling (temperature alone); it cannot work with {against}",
        (
            Remedy("change that", {}),
            Remedy("set verified_paths to 0", {"verified_paths": 0}),
        ),
        besides={"rollout": "fast"},
    ),
)


def refuse(config: Any, early: bool = False) -> None:
    """Raises ValueError with the sentence of the first conflict that `config` is in.

    Args:
        early: walks the rows that come before TRL's own checks; else the others.
    """
    for conflict in CONFLICTS:
        sentence = conflict.sentence(config) if conflict.early == early else None
        if sentence is not None:
            raise ValueError(sentence)


def as_markdown(conflicts: Iterable[Conflict] = CONFLICTS) -> str:
    """The table of docs/conflicts.md: a line for each two settings."""
    lines = ["| option | not with | because | instead |", "| --- | --- | --- | --- |"]
    for conflict in conflicts:
        where = "".join(f", where `{setting.option}` is {setting.words}" for setting in conflict.where)
        for setting in conflict.against:
            because = conflict.because.format(against=f"`{setting.option}={setting.example!r}`")
            cells = (
                f"`{conflict.option.option}` {conflict.option.words}{where}",
                f"`{setting.option}` {setting.words}",
                because,
                joined([remedy.words for remedy in conflict.instead]),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_markdown())
