"""Looking back: the answers worth a person's look, and whether a model treats its askers alike; see docs/review.md.

items            an evaluation, a run or an answers file in, its answers as `Item`s out
queue            the items worth a look -> a file and a page for a person -> rows for the next cold start
page             that page: one HTML file, no server
slices           accuracy, length and refusal by language, topic and named group, with intervals
counterfactual   the same question with another group's words: does the answer change?
bias_report      the last two as Markdown and JSON
"""
