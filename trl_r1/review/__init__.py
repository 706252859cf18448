"""Looking back: the answers worth a person's look, and whether a model treats its askers alike; see docs/review.md.

items            an evaluation, a run or an answers file in, its answers as `Item`s out
queue            the items worth a look -> a file and a page for a person -> rows for the next cold start
page             that page: one HTML file, no server
slices           accuracy, length and refusal by language, topic and named group, with intervals
counterfactual   the same question with another group's words: does the answer change?
bias_report      the last two as Markdown and JSON

Belongs here: looking at single answers after the fact, by a person or by slices. Not: measuring a model
(``evaluation``) and a stage's own review of its rows (``data/review.py``). A new reason to look is a case of
``reasons`` in ``queue.py`` and its line in ``WEIGHT``.
"""
