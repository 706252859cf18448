"""The values of `rollout_copy`."""

from trl_r1.storage.structured import one_of


KINDS = ("none", "merged", "bfloat16", "auto")
NO_INT8 = (
    "rollout_copy='int8' is not offered: on a CPU its tokens were .2 to .5 nats from the policy's (bfloat16: .03) for at "
    "most a fifth more speed. Set it to bfloat16."
)


def check_kind(kind: str) -> None:
    """Raises ValueError where `rollout_copy` names no copy."""
    if kind == "int8":
        raise ValueError(NO_INT8)
    one_of("rollout_copy", kind, KINDS)
