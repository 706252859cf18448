"""Evaluation: sample a model on held-out problems, count what is right, say how sure one can be, write it down.

metrics      pass@1, pass@k, cons@k and intervals over problems (pure functions)
sampling     prompts to K texts each, with `generate`, leaving no trace on the model or the random state
benchmark    prompts + graders -> Evaluation (numbers, intervals, every text), saved as JSON
metrics_log  one JSON line per logged training step, correct after a resume and after kill -9
pictures     one look for all pictures, each written whole or not at all
curves       log lines -> one picture per curve
markdown     numbers with intervals, settings without secrets, model text that can close no block
report       report.md of a run folder, from the last three
"""
