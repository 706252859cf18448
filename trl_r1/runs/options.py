"""What a stage reads from its YAML and command line, and how a mistake in it is told."""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml
from trl import TrlParser

from trl_r1 import recipes


ONLY_PARSE = "TRL_R1_ONLY_PARSE"  # environment variable


@dataclass
class DataOptions:
    """Where problems come from and how they are put to the model."""

    dataset_name: str = field(
        default="mini:train",
        metadata={
            "help": "Hub id, local .jsonl/.json/.parquet/.csv file or folder, save_to_disk folder, or mini:train."
        },
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a hub dataset."})
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
            "help": "Prompt template: r1_zero, mini, plain, chat, chat_think, or a text with {question}. See docs/data.md."
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
        default=None, metadata={"help": "Configuration of that hub dataset."}
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
        if self.overlong not in ("drop", "cut"):
            raise ValueError(f"overlong={self.overlong!r} is unknown. Choose one of: drop, cut.")


def read_rewards(given: Any) -> list[dict[str, Any]]:
    """The `rewards` entry as a list of mappings with `name`, `weight` and `options`.

    Raises:
        ValueError: it is not such a list.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = [given]  # a bare name
    if not isinstance(given, list) or not given:
        raise ValueError(f"rewards={given!r} must be a list such as [{{name: accuracy, weight: 1.0}}].")
    entries = []
    for entry in given:
        entry = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or "name" not in entry:
            raise ValueError(f"The reward {entry!r} needs a name, as in {{name: accuracy, weight: 1.0}}.")
        unknown = sorted(set(entry) - {"name", "weight", "options"})
        if unknown:
            raise ValueError(
                f"The reward {entry['name']!r} has the unknown key {unknown[0]!r}; name, weight and options are known."
            )
        entries.append(
            {"weight": 1.0, "options": {}, **{key: value for key, value in entry.items() if value is not None}}
        )
    return entries


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
            near = difflib.get_close_matches(str(key), known, n=1)
            raise ValueError(
                f"{path} has the unknown key {key!r}."
                + (f" Did you mean {near[0]!r}?" if near else "")
                + " `--help` lists all keys."
            )


def tell_mistakes(stage: str, prepare: Callable[[], Any]) -> Any:
    """Runs `prepare` and turns a user's mistake into one sentence on stderr and exit code 2.

    Only what happens before training goes through here; an error inside training keeps its traceback. The environment
    variable TRL_R1_TRACEBACK=1 keeps it here too.
    """
    try:
        return prepare()
    except (ValueError, OSError, ImportError, NotImplementedError, RuntimeError) as error:
        if os.environ.get("TRL_R1_TRACEBACK") == "1":
            raise
        if os.environ.get("RANK", "0") == "0":  # under a launcher every process would say it
            print(f"trl-r1 {stage}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        raise SystemExit(2) from None
