"""A sample in one line."""

from trl_r1.evaluation.benchmark import default_graders, grade
from trl_r1.review.items import Item
from trl_r1.text.records import Completion, Origin, Problem, Sample


def sample(text, solution="4", question="q?", language="en", answer_type="", truncated=False, refused="", place=0):
    problem = Problem("p", question, solution, language, answer_type=answer_type)
    return Sample(problem, Completion(text, 1, truncated, refused), Origin("reasoning", place=place))


def graded(solution, texts, language=None, prompt="q?", lengths=None, truncated=None, answer_type="", graders=None):
    """A problem of an evaluation with its texts, graded; `graders` None takes the package's own."""
    problem = Problem(prompt, "", solution, language, answer_type=answer_type)
    lengths, truncated = lengths or [3] * len(texts), truncated or [False] * len(texts)
    completions = [Completion(*one) for one in zip(texts, lengths, truncated, strict=True)]
    return grade(problem, completions, graders or default_graders())


def item(
    question,
    prompt,
    text,
    solution=None,
    language=None,
    topic="other",
    right=None,
    tokens=None,
    truncated=False,
    **rest,
):
    """An answer of a model as `trl_r1.review` reads it."""
    problem = Problem(prompt, question, solution, language, topic)
    return Item(Sample(problem, Completion(text, tokens, truncated)), right, **rest)
