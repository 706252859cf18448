"""Runs: what all training stages share: options, checks before a model is loaded, the life of a run, held-out evaluation.

options     the options of a stage, and how they are read
folder      output_dir: free, unfinished or finished; its lock and its model
run         finished? evaluate, train, save, evaluate, report, summary: in this order, written once
heldout     the problems that measure a run, and the probe while it trains
processor   what a run would take for ever on a CPU, said before it begins
rendering   the chat template of a run
rl, sft     the acts of reinforcement learning and of imitation; tuning_config: what imitation adds to TRL's options

Belongs here: what more than one stage does with a trainer. Not: the mathematics (``grpo``) and what one stage alone does
(``stages``). An option of all stages is a field in ``options.py``.
"""
