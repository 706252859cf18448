"""A critic for R1GRPOTrainer: advantages per token from a value function with one tower or two (PPO)."""
