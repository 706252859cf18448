"""The values of `rollout_copy`."""

KINDS = ("none", "merged", "bfloat16", "auto")
