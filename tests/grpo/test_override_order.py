"""The table at the head of grpo/trainer.py names every method of TRL's that we extend, and the order is Python's own."""

import re

from trl import GRPOTrainer

from trl_r1.grpo import trainer


CLASSES = {
    "R1GRPOTrainer": "r1",
    "StepTimes": "times",
    "RenderedPrompts": "prompts",
    "ChosenKL": "kl",
    "GradedPrompts": "curriculum",
    "CriticAdvantages": "critic",
    "CopiedRollout": "copy",
    "LossPrecision": "precision",
    "FastGRPOTrainer": "fast",
}


def test_the_table_says_what_the_classes_do():
    ours = trainer.R1GRPOTrainer.__mro__[: trainer.R1GRPOTrainer.__mro__.index(GRPOTrainer)]
    assert [cls.__name__ for cls in ours] == list(CLASSES)
    order: dict[str, list[str]] = {}
    for cls in ours:
        for name, member in vars(cls).items():
            if callable(member) and hasattr(GRPOTrainer, name):
                order.setdefault(name, []).append(CLASSES[cls.__name__])
    table = re.findall(r"^\| (\w+) \| ([\w, ]+) \| .+ \|$", trainer.__doc__, flags=re.MULTILINE)
    documented = {method: classes.split(", ") for method, classes in table if method != "method"}
    assert documented == order


def test_what_we_add_ourselves_is_no_name_of_trls():
    """A private name of ours that TRL takes for itself would be an override that nobody meant."""
    ours = trainer.R1GRPOTrainer.__mro__[: trainer.R1GRPOTrainer.__mro__.index(GRPOTrainer)]
    values = {
        name
        for cls in ours
        for name, member in vars(cls).items()
        if not callable(member) and not name.startswith("__")
    }
    assert {name for name in values if hasattr(GRPOTrainer, name)} == {"_tag_names", "_name", "_paper"}
