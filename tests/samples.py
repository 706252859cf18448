"""A sample in one line."""

from trl_r1.text.records import Completion, Origin, Problem, Sample


def sample(text, solution="4", question="q?", language="en", answer_type="", truncated=False, refused="", place=0):
    problem = Problem("p", question, solution, language, answer_type=answer_type)
    return Sample(problem, Completion(text, 1, truncated, refused), Origin("reasoning", place=place))
