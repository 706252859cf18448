"""What a stage reads from its YAML and command line."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import yaml
from accelerate import PartialState
from trl import TrlParser

from trl_r1 import recipes
from trl_r1.errors import did_you_mean
from trl_r1.models.cluster import Cluster
from trl_r1.rewards.catalogue import read_rewards
from trl_r1.storage.structured import one_of
from trl_r1.text.records import Json


if TYPE_CHECKING:
    from datasets import Dataset

ONLY_PARSE = "TRL_R1_ONLY_PARSE"  # environment variable


@dataclass
class SystemPrompt:
    """What stands before every conversation."""

    system_prompt: str | None = field(
        default=None,
        metadata={
            "help": "Put before conversations that bring no system message of their own. See docs/templates.md."
        },
    )


@dataclass
class TemplateKwargs:
    """For stages without a trainer's configuration, which has this option itself."""

    chat_template_kwargs: Json | str | None = field(
        default=None,
        metadata={"help": "Handed to the chat template: {enable_thinking: false}, for instance."},
    )


@dataclass
class DataOptions(SystemPrompt):
    """Where problems come from and how they are put to the model."""

    dataset_name: str = field(
        default="mini:train",
        metadata={
            "help": "Hub id, local .jsonl/.json/.parquet/.csv file or folder, save_to_disk folder, mini:train or "
            "reasoning_gym:NAME."
        },
    )
    dataset_config: str | None = field(
        default=None,
        metadata={"help": "Configuration of a hub dataset; options of reasoning_gym:NAME, such as {max_terms: 2}."},
    )
    dataset_split: str = field(default="train", metadata={"help": "Split to train on; slices like train[:1000] work."})
    question_column: str = field(default="question", metadata={"help": "Column with the problem."})
    solution_column: str = field(default="solution", metadata={"help": "Column with the gold answer."})
    language_column: str | None = field(
        default=None,
        metadata={"help": "Column with the language code of each problem (en, zh, ...), if there is one."},
    )
    template: str = field(
        default="r1_zero",
        metadata={
            "help": "Prompt template: r1_zero, mini, plain, chat, chat_think, or a text or messages with {question}; an "
            "assistant's message at the end opens the reply. See docs/data.md."
        },
    )
    drop_empty: bool = field(
        default=False, metadata={"help": "Leave out rows without question or gold answer instead of refusing."}
    )


@dataclass
class EvaluationOptions:
    """Held-out evaluation before and after training, and a small probe while it runs."""

    evaluation_dataset_name: str | None = field(
        default=None, metadata={"help": "Problems for the evaluation before and after; as dataset_name. None: none."}
    )
    evaluation_dataset_config: str | None = field(
        default=None, metadata={"help": "As dataset_config, of that dataset."}
    )
    evaluation_split: str = field(default="test", metadata={"help": "Split to evaluate on."})
    evaluation_question_column: str | None = field(
        default=None, metadata={"help": "Its column with the problem, where it differs from question_column."}
    )
    evaluation_solution_column: str | None = field(
        default=None, metadata={"help": "Its column with the gold answer, where it differs from solution_column."}
    )
    evaluation_problems: int | None = field(default=None, metadata={"help": "Only the first this many problems."})
    evaluation_samples: int = field(default=16, metadata={"help": "Samples per problem, K of pass@1 and cons@K."})
    evaluation_temperature: float = field(default=0.6, metadata={"help": "DeepSeek-R1 evaluates at 0.6."})
    evaluation_top_p: float = field(default=0.95, metadata={"help": "DeepSeek-R1 evaluates at 0.95."})
    evaluation_max_tokens: int | None = field(
        default=None, metadata={"help": "Longest answer in tokens; None takes max_completion_length."}
    )
    evaluation_batch_size: int = field(default=256, metadata={"help": "Completions generated at once."})
    evaluation_verifier: str | None = field(
        default=None,
        metadata={
            "help": "A reward of `rewards`, by its name: a held-out reply is right where it pays in full (code: the program "
            "passes its tests). None: where its answer equals the gold answer."
        },
    )
    probe_every: int = field(
        default=0, metadata={"help": "Optimizer steps between two looks at held-out pass@1 while training; 0: never."}
    )
    probe_problems: int = field(default=32, metadata={"help": "Problems in such a look."})
    probe_samples: int = field(default=4, metadata={"help": "Samples per problem in such a look."})


@dataclass
class RLOptions(DataOptions, EvaluationOptions):
    """Everything a reinforcement-learning stage reads besides the trainer's and the model's own fields."""

    rewards: str = field(  # a list of mappings in YAML, JSON on the command line
        default='[{"name": "accuracy"}, {"name": "format"}]',
        metadata={
            "help": "Rewards: a list of {name, weight, options}; on the command line as JSON. `trl-r1 rewards list` "
            "names them; a dotted path is your own."
        },
    )
    drift_every: int = field(
        default=10,
        metadata={
            "help": "With beta 0, optimizer steps between two measurements of the policy's drift from its start "
            "(monitor/drift, 16 texts); 0: never. See docs/monitoring.md."
        },
    )

    def __post_init__(self) -> None:
        self.reward_list = read_rewards(self.rewards)


@dataclass
class SFTOptions(DataOptions, EvaluationOptions):
    """Everything a supervised stage reads besides the trainer's and the model's own fields.

    The rows of `dataset_name` hold what is to be imitated; the question, solution and template fields say how the
    problems of an evaluation are put (and, where the rows bring no prompt, how their questions are).
    """

    prompt_column: str | None = field(
        default="prompt",
        metadata={
            "help": "Column with the whole prompt, text or messages. Where the rows have none, question_column is put "
            "into the template instead; so it is with null."
        },
    )
    completion_column: str = field(
        default="completion", metadata={"help": "Column with the text or the messages to imitate."}
    )
    messages_column: str | None = field(
        default=None,
        metadata={"help": "Column with whole conversations, instead of both: the last assistant message is imitated."},
    )
    reasoning_column: str | None = field(
        default=None,
        metadata={
            "help": "Column with the thought that leads to the completion, where it has one of its own; it is put into the "
            "model's own marks."
        },
    )
    overlong: str = field(
        default="drop",
        metadata={
            "help": "What becomes of a row longer than max_length: drop, or cut (a cut row teaches never to end)."
        },
    )
    rewards: str = field(
        default='[{"name": "accuracy"}, {"name": "format"}]',
        metadata={
            "help": "Rewards whose options the evaluation reads answers by (where the answer stands, which layout); "
            "nothing is trained on them."
        },
    )
    merge_adapter: bool = field(
        default=False,
        metadata={
            "help": "With LoRA or QLoRA: also leave the whole model in output_dir/merged. A later stage of this "
            "package that is given an adapter merges it there by itself."
        },
    )

    def __post_init__(self) -> None:
        self.reward_list = read_rewards(self.rewards)
        one_of("overlong", self.overlong, ("drop", "cut"))

    def chosen(self, rows: Dataset, seed: int) -> Dataset:
        """Of the rows of `dataset_name` those that are trained on: all, where a stage has no choice among them."""
        return rows


@dataclass
class RayOptions:
    """How much of a Ray cluster samples, for the stages that can share their sampling out.

    They decide who samples, not what is sampled, so a run may be started on one cluster and finished on another.
    """

    ray_workers: int = field(
        default=0,
        metadata={"help": "Models that sample side by side on a Ray cluster (extra `ray`); 0: only in this process."},
    )
    ray_address: str | None = field(
        default=None,
        metadata={"help": "Of the cluster: host:port of its head, or auto; None starts one on this machine."},
    )
    ray_cpus_per_worker: float = field(default=1.0, metadata={"help": "CPU cores, and so threads, of each of them."})
    ray_gpus_per_worker: float | None = field(
        default=None, metadata={"help": "GPUs of each of them; None: 1 where the cluster has any, else none."}
    )
    ray_restarts: int = field(
        default=3,
        metadata={"help": "How often a worker that died is started again, and a unit that it had is redone."},
    )

    def cluster(self) -> Cluster | None:
        """None where nothing is shared out.

        Raises:
            ValueError: one of the options cannot be.
        """
        if self.ray_workers == 0:
            return None
        gpus = 0.0 if getattr(self, "use_cpu", False) else self.ray_gpus_per_worker
        return Cluster(self.ray_workers, self.ray_address, self.ray_cpus_per_worker, gpus, self.ray_restarts)


RAY_NAMES = tuple(option.name for option in fields(RayOptions))


def check_cluster(options: RayOptions, state: PartialState) -> None:
    """Whether the cluster can be used, as far as can be told without connecting to it.

    Raises:
        ImportError, ValueError: one sentence.
    """
    cluster = options.cluster()
    if cluster is None:
        return
    cluster.check()
    if state.num_processes > 1:
        raise ValueError(
            f"ray_workers shares the work out itself, and this was started as {state.num_processes} processes; start it as "
            "one: accelerate launch --num_processes 1 ..."
        )


def parse(dataclasses: tuple[type, ...], argv: list[str] | None) -> tuple[Any, ...]:
    """Instances of the dataclasses from `--config` (a path or a recipe's name) and the options after it.

    Raises:
        ValueError: the file cannot be found or read, or holds a key that no dataclass knows.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    arguments = [part for argument in arguments for part in _split_config(argument)]
    parser = TrlParser(dataclasses)
    if "--config" in arguments:
        position = arguments.index("--config") + 1
        if position >= len(arguments):
            raise ValueError("--config needs the name of a recipe or a path to a YAML file after it.")
        path = recipes.find(arguments[position])
        arguments[position] = str(path)
        _check_keys(path, {action.dest for action in parser._actions})
    parsed = parser.parse_args_and_config(arguments)
    if only_parsing():
        raise SystemExit(0)
    return parsed


def only_parsing() -> bool:
    """Whether a pipeline asks if a recipe is accepted, and nothing more: what earlier stages leave is not there yet."""
    return os.environ.get(ONLY_PARSE) == "1"


def _split_config(argument: str) -> list[str]:
    """TrlParser knows `--config X` only; `--config=X` is what people type too."""
    return ["--config", argument.removeprefix("--config=")] if argument.startswith("--config=") else [argument]


def _check_keys(path, known: set[str]) -> None:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold `key: value` lines, and holds {type(content).__name__}.")
    for key in content:
        if key not in known and key != "env":
            raise ValueError(f"{path} has the unknown key {key!r}.{did_you_mean(key, known)} `--help` lists all keys.")
