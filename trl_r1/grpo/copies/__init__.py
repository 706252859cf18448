"""Rollouts from a light copy of the policy, and a loss that knows.

linear    a linear layer that only generates: merged, cast, packed where the processor has it
copy      the whole model of such layers; built once, refreshed by touching only what changed
memory    what a copy takes and what there is
mismatch  how far the copy is from the policy, and the factor in the loss that makes up for it
writer    a copy that writes where nothing is trained (evaluation, rejection sampling, routing), its difference measured
connect   the seams to TRL: `rollout_copy` of R1GRPOTrainer
"""
