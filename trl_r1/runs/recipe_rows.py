"""Recipes looked at without running them: the stage, its options, and the first rows that its model would read.

Stages that make their rows themselves are shown by what there is before: the prompts of a cold start's problems (and the
rows it has made, where they lie in its folder), the prompts of each dataset of a mixture.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset

from trl_r1 import recipes
from trl_r1.data.columns import load_rows, to_prompts
from trl_r1.data.mixture import MixtureSource, as_dataset, load_source
from trl_r1.data.spec import spec_of
from trl_r1.grpo.config import R1GRPOConfig
from trl_r1.models.options import R1ModelConfig
from trl_r1.runs.options import RLOptions, SFTOptions, parse
from trl_r1.runs.preview import first, fitting_stage
from trl_r1.runs.sft import imitated
from trl_r1.runs.tuning_config import R1SFTConfig
from trl_r1.storage.structured import read_entries
from trl_r1.text.records import Json


TO_IMITATE, TO_REINFORCE = (SFTOptions, R1SFTConfig, R1ModelConfig), (RLOptions, R1GRPOConfig, R1ModelConfig)
STAGES = {  # that can be previewed; in this order a recipe is tried
    "sft": TO_IMITATE,
    "zero": TO_REINFORCE,
    "reasoning-rl": TO_REINFORCE,
    "cold-start": TO_IMITATE,
    "distill": TO_IMITATE,
    "all-scenario-rl": TO_REINFORCE,
}
TOLD_BY = {"sources": "cold-start", "teacher_model": "distill", "preference_last_steps": "all-scenario-rl"}
NOT_COMPUTED = ["--use_cpu", "true", "--bf16", "false", "--fp16", "false", "--rewards", '[{"name": "accuracy"}]']
MADE = "data.jsonl"  # what a cold start has made, in its output_dir


@dataclass
class Recipe:
    """A recipe as far as a preview looks at it."""

    stage: str
    options: Any  # SFTOptions or RLOptions
    config: Any
    model: Any
    content: Json  # of the file
    unread: list[str]  # its keys that were not looked at

    def rows(self, count: int) -> tuple[Dataset, bool]:
        """The first rows, of a mixture those of each dataset; and whether they have completions to be trained on.

        Raises:
            ValueError: the rows cannot be read, or lack a column.
        """
        if self.stage == "all-scenario-rl":
            return as_dataset(self._of_each_dataset(count)), False
        if self.stage == "cold-start":
            made = Path(self.config.output_dir) / MADE
            if not made.is_file():
                return first(self._problems(), count), False
            options = SFTOptions(dataset_name=str(made))
            return first(imitated(load_rows(str(made)), options, str(made)), count), True
        if STAGES[self.stage] is TO_IMITATE:
            rows = spec_of(self.options).read(self.config.seed)
            return first(imitated(rows, self.options, self.options.dataset_name), count), True
        return first(self._problems(), count), False

    def _problems(self) -> Dataset:
        options = self.options
        rows = spec_of(options).read(self.config.seed)
        columns = options.question_column, options.solution_column, options.template, options.language_column
        return to_prompts(rows, *columns, options.drop_empty, options.system_prompt)

    def _of_each_dataset(self, count: int) -> list[Mapping[str, Any]]:
        sources = read_entries("datasets", self.content["datasets"], MixtureSource)
        options = self.options.template, self.config.seed, self.options.system_prompt
        return [row for source in sources for row in load_source(source, *options)[:count]]


def read_recipe(name: str, stage: str | None = None, changes: Sequence[str] = ()) -> Recipe:
    """A recipe by its name or path.

    Args:
        stage: whose it is; None finds that out by its keys.
        changes: KEY=VALUE, in place of what the file says.

    Raises:
        ValueError: it cannot be read, or is of a stage that has no rows to show.
    """
    path = recipes.find(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        content = None
    if not isinstance(content, dict):
        content = {}  # `parse` says what is wrong with the file
    arguments = []
    known = {name: {part.name for one in kinds for part in fields(one)} | {"env"} for name, kinds in STAGES.items()}
    for change in changes:
        key, given, value = change.partition("=")
        if not given:
            raise ValueError(f"--set {change}: write KEY=VALUE, such as dataset_name=rows.jsonl.")
        if key in content and not any(key in names for names in known.values()):
            content[key] = yaml.safe_load(value)
        else:
            arguments += [f"--{key}", value]
    stage = stage.replace("_", "-") if stage else stage_of(content, known)
    if stage not in STAGES or ("datasets" in content) != (stage == "all-scenario-rl"):
        raise ValueError(
            f"{name!r} is no recipe of {', '.join(STAGES)}, whose rows can be shown. What another stage has made can be: "
            "--config sft --set dataset_name=FILE."
        )
    unread = sorted(set(content) - known[stage] - {"datasets"})
    if unread or "datasets" in content:
        with tempfile.TemporaryDirectory() as folder:
            rest = Path(folder) / path.name
            kept = {key: content[key] for key in content if key in known[stage]}
            rest.write_text(yaml.safe_dump(kept), encoding="utf-8")
            parts = parse(STAGES[stage], ["--config", str(rest), *NOT_COMPUTED, *arguments])
    else:
        parts = parse(STAGES[stage], ["--config", str(path), *NOT_COMPUTED, *arguments])
    options, config, model = parts
    return Recipe(stage, options, config, model, content, unread)


def stage_of(content: Json, known: Mapping[str, set[str]]) -> str | None:
    """The stage that a recipe's keys tell of; None where they tell of none that can be shown."""
    told = next((stage for key, stage in TOLD_BY.items() if key in content), None)
    return told or fitting_stage(content, known)
