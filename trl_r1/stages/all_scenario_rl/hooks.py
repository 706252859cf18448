"""The act behind the stage `all_scenario_rl`: a mixture of datasets, preference rewards in the last part, an alarm.

What it adds to `runs.rl.run_rl`:

    the rows       reasoning problems throughout, general prompts from the step where the preference rewards begin
    the rewards    `helpfulness` and `harmlessness` learn their models, their last steps, and their scale from the recipe's
                   `reward_models` (a folder that the stage reward_model left)
    the alarm      `alarms.HackAlarm`
    hidden checks  a function of the user's that no reward sees, asked before and after (`hidden_check`)

Source  DeepSeek-R1, arXiv:2501.12948v2, Sec. 3.2.2 and Eq. 8-10; v1 Sec. 2.3.4.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from datasets import Dataset

from trl_r1.data.mixture import (
    HARMLESSNESS,
    HELPFULNESS,
    RULE,
    MixtureSource,
    as_dataset,
    load_source,
    schedule,
)
from trl_r1.grpo.config import R1GRPOConfig
from trl_r1.grpo.trainer import R1GRPOTrainer
from trl_r1.models.sampling import sample
from trl_r1.monitor.hack_alarm import HackAlarm, notes
from trl_r1.runs.folder import SUMMARY
from trl_r1.runs.options import RLOptions, only_parsing
from trl_r1.runs.rl import Hooks
from trl_r1.storage.files import replace_file
from trl_r1.storage.structured import read_entries
from trl_r1.text.records import Json


PREFERENCES = (HELPFULNESS, HARMLESSNESS)


@dataclass
class ScenarioOptions(RLOptions):
    """What the stage reads besides the trainer's and the model's own fields; `dataset_name` and its columns are unused."""

    datasets: str = field(  # a list of mappings in YAML, JSON on the command line
        default='[{"name": "mini:train", "solution_column": "solution", "language_column": "language"}]',
        metadata={
            "help": "The mixture: a list of {name, config, split, question_column, solution_column, language_column, "
            "language, domain, reward_for, rows, share}. Without solution_column a preference model judges."
        },
    )
    preference_last_steps: int = field(
        default=400,
        metadata={"help": "General prompts and preference rewards in the last so many steps (R1: 400 of 1,700)."},
    )
    reward_models: str | None = field(
        default=None,
        metadata={"help": "output_dir of the stage reward_model: whose models helpfulness and harmlessness ask."},
    )
    alarm_window: int = field(default=40, metadata={"help": "Logged steps over which the alarm compares two halves."})
    alarm_errors: float = field(default=2.0, metadata={"help": "Standard errors that count as beyond chance."})
    alarm_least_fall: float = field(default=0.02, metadata={"help": "Points of accuracy below which a fall is none."})
    stop_on_alarm: bool = field(default=False, metadata={"help": "End training at the first alarm."})
    hidden_check: str | None = field(
        default=None,
        metadata={
            "help": "package.module:function(model, tokenizer, seed) -> {name: share}, asked before and after training; "
            "no reward sees it. A parameter `sample` is given trl_r1.models.sampling.sample."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # hidden: run.json tells a run by `datasets`, not by how we name the class of its entries
        self._sources = read_entries("datasets", self.datasets, MixtureSource)
        if self.preference_last_steps < 0:
            raise ValueError(f"preference_last_steps={self.preference_last_steps} must be 0 or more.")
        if self.alarm_window < 4:
            raise ValueError(f"alarm_window={self.alarm_window}: at least 4 logged steps, two for each half.")
        self.reward_list = [self._completed(entry) for entry in self.reward_list]

    def _completed(self, entry: Json) -> Json:
        """A preference reward with its window, and with the model and scale that `reward_models` gives it."""
        if entry["name"] not in PREFERENCES:
            return entry
        options = dict(entry["options"])
        if not {"last_steps", "from_step", "to_step"} & set(options):
            options["last_steps"] = self.preference_last_steps
        if self.reward_models and not {"model", "endpoint"} & set(options):
            folder = Path(self.reward_models) / entry["name"]
            if not folder.is_dir() and not only_parsing():
                raise ValueError(
                    f"reward_models={self.reward_models!r} has no folder {entry['name']!r}: give the output_dir of a "
                    "finished reward_model run, or name the reward's model in its options."
                )
            options["model"] = str(folder)
            if not {"normalize", "center", "spread"} & set(options):
                options |= scale_of(Path(self.reward_models), entry["name"])
        return {**entry, "options": options}


def scale_of(folder: Path, name: str) -> Json:
    """How a trained model's raw score becomes reward points: helpfulness standardised, harmlessness a probability."""
    if name == HARMLESSNESS:
        return {"normalize": "sigmoid"}
    path = folder / SUMMARY
    measured = json.loads(path.read_text(encoding="utf-8"))["after"].get(name, {}) if path.is_file() else {}
    if not measured.get("spread"):
        return {"normalize": "zscore"}
    return {"normalize": "affine", "center": measured["center"], "spread": measured["spread"]}


def scheduled_rows(options: ScenarioOptions, config: R1GRPOConfig) -> Dataset:
    """Every prompt of the run in the order it is asked; turns off TRL's own shuffling.

    Raises:
        ValueError: max_steps is not set; a dataset is wrong; nothing to train on before the preference rewards begin;
            a general prompt that no reward of the recipe judges.
    """
    if config.max_steps <= 0:
        raise ValueError("all_scenario_rl has to know its last step to begin the preference rewards: set max_steps.")
    parts = [load_source(source, options.template, config.seed, options.system_prompt) for source in options._sources]
    offered = {entry["name"] for entry in options.reward_list}
    for route in PREFERENCES:
        is_used = any(row["reward_for"] == route for part in parts for row in part)
        if is_used and route not in offered and not custom(options, route):
            raise ValueError(
                f"The datasets hold prompts for {route}, but no reward judges them; add {{name: {route}}} to rewards."
            )
    per_batch = config.generation_batch_size // config.num_generations
    updates = config.steps_per_generation * config.num_iterations  # micro-batches a generation serves
    batches = -(-config.max_steps * config.gradient_accumulation_steps // updates)
    first_step = max(0, config.max_steps - options.preference_last_steps)
    general_from = -(-first_step * config.gradient_accumulation_steps // updates)
    order = schedule(
        [len(part) for part in parts],
        [source.share for source in options._sources],
        [any(row["reward_for"] != RULE for row in part) for part in parts],
        batches,
        per_batch,
        general_from,
        config.seed,
    )
    config.shuffle_dataset = False
    return as_dataset([row for part in parts for row in part]).select(order)


def custom(options: ScenarioOptions, route: str) -> bool:
    """Whether a reward under another name is routed there, or judges every row (a `preference` without a route)."""
    return any(
        entry["options"].get("route") == route or (entry["name"] == "preference" and not entry["options"].get("route"))
        for entry in options.reward_list
    )


def find_check(path: str | None) -> Callable[..., dict[str, float]] | None:
    """The function that `hidden_check` names; one with a parameter `sample` is given `trl_r1.models.sampling.sample`.

    Raises:
        ValueError: `path` names no module that can be imported, or nothing in it that can be called.
    """
    if path is None:
        return None
    module, _, name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"hidden_check={path!r} cannot be imported ({error}); write package.module:function."
        ) from error
    if not callable(function):
        raise ValueError(f"hidden_check={path!r} is no function.")
    return partial(function, sample=sample) if "sample" in inspect.signature(function).parameters else function


class ScenarioHooks(Hooks):
    """The alarm, and the hidden checks before and after."""

    def __init__(self, options: ScenarioOptions, config: R1GRPOConfig, rows: Dataset) -> None:
        self.options, self.config, self.folder = options, config, Path(config.output_dir)
        self.check = find_check(options.hidden_check)
        self.mixture = Counter(rows["reward_for"])
        self.alarm: HackAlarm | None = None

    def begin(self, trainer: R1GRPOTrainer) -> None:
        options = self.options
        names = [getattr(reward, "__name__", "") for reward in trainer.reward_funcs]
        listed = list(zip(names, options.reward_list, strict=True))
        self.alarm = HackAlarm(
            trainer,
            self.folder,
            [name for name, entry in listed if entry["name"] in (*PREFERENCES, "preference")],
            [name for name, entry in listed if entry["name"] not in (*PREFERENCES, "preference", *SHAPES)],
            options.alarm_window,
            options.alarm_errors,
            options.alarm_least_fall,
            options.stop_on_alarm,
        )
        trainer.add_callback(self.alarm)
        if not trainer.args.resume_from_checkpoint:
            self._checked(trainer, "before")

    def end(self, trainer: R1GRPOTrainer) -> tuple[list[str], Json]:
        assert self.alarm is not None
        before, after = self._stored("before"), self._checked(trainer, "after")
        mixture = ", ".join(f"{count} for {route}" for route, count in self.mixture.most_common())
        sentences = [f"Prompts asked: {mixture}.", *notes(self.alarm)]
        if after:
            sentences.append(table(before or {}, after))
        alarms = sum(1 for _ in open(self.folder / "alarms.jsonl")) if (self.folder / "alarms.jsonl").is_file() else 0
        return sentences, {"alarms": alarms, "hidden": {"before": before, "after": after} if after else None}

    def _stored(self, when: str) -> dict[str, float] | None:
        path = self.folder / f"hidden_{when}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def _checked(self, trainer: R1GRPOTrainer, when: str) -> dict[str, float] | None:
        """The hidden check's numbers, stored or new. Only the main process asks; the others wait."""
        stored = self._stored(when)
        if stored is not None or self.check is None:
            return stored
        state = self.config.distributed_state
        if state.is_main_process:
            print(f"Checking {when} training what no reward sees.", flush=True)
            model = trainer.accelerator.unwrap_model(trainer.model)
            stored = self.check(model, trainer.processing_class, seed=self.config.seed)
            replace_file(self.folder / f"hidden_{when}.json", json.dumps(stored))
        state.wait_for_everyone()
        return self._stored(when)


SHAPES = ("format", "language_consistency", "overlong", "cosine_length", "repetition")  # not about being right


def table(before: dict[str, float], after: dict[str, float]) -> str:
    """The hidden checks in Markdown."""
    lines = ["| what no reward sees | before | after |", "|---|---:|---:|"]
    for name, value in after.items():
        earlier = f"{100 * before[name]:.1f} %" if name in before else "–"
        lines.append(f"| {name.replace('_', ' ').replace('|', ' ')} | {earlier} | {100 * value:.1f} % |")
    return "\n".join(lines)
