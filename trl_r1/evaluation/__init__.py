"""Evaluation: sample a model on held-out problems, count what is right, say how sure one can be, write it down.

metrics      pass@1, pass@k, cons@k and intervals over problems (pure functions)
graded       a problem with its graded samples, and its keys in the file of an evaluation
benchmark    prompts + graders -> Evaluation (numbers, intervals, every text), saved as JSON
graded       problems with their graded samples, as they stand in an Evaluation
detection    AUROC and thresholds of a score against labels
suites       the benchmarks of a suite: which datasets, how many samples, which shots
chunks       an evaluation as resumable work, in this process or on a cluster
clustered    intervals where several problems belong together
grading      how often a model solves each problem, for its level
follow       evaluates the checkpoints of a training that runs; followed: what came of it
metrics_log  one JSON line per logged training step, correct after a resume and after kill -9
pictures     one look for all pictures, each written whole or not at all
curves       log lines -> one picture per curve
markdown     numbers with intervals, settings without secrets, model text that can close no block
report       report.md of a run folder; suite_report: of a suite

Belongs here: measuring, and writing measurements down. Not: rewards (``rewards``), drawing texts
(``models/sampling.py``) and looking back at single answers (``review``). A new benchmark is an entry of
``BENCHMARKS`` in ``suites.py``; a new number is a function in ``metrics.py`` and its row in the report.
"""
