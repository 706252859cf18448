"""The stages as one resumable graph.

plan        a pipeline file in, a checked plan out
record      pipeline.json: what has run, with what settings, from which inputs, to which products
supervisor  the process below which all stages run, and with which they end
run         the plan carried out: what is ready starts, what is finished stays
console     what a person sees meanwhile
report      summary.json, report.md and two pictures over all stages

Belongs here: order, restart and record of several stages. Not: what a stage does. A new stage needs nothing
here; a line in ``KINDS`` of ``report.py`` says what it is.
"""
