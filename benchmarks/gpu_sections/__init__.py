"""The sections of `benchmarks/gpu.py`, each a module with one function `measure(setting, note)`.

Belongs here: what is measured on a GPU (machine, identity, gradients, rollout, attribution, steps, sampling, ratio,
resume), what carries it (catalogue, budget, processes, record) and what is made of it (report, headers). A new section is
a module here and a line in `catalogue.py`.
"""
