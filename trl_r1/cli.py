"""`trl-r1 <command>`: a table of names and a hand-over. What a stage can do lives in the stage, so no option can drift."""

from __future__ import annotations

import importlib
import sys


STAGES = {  # started under `accelerate launch`
    "zero": "reinforcement learning on a base model (DeepSeek-R1-Zero)",
    "cold-start": "gather readable long reasoning and fine-tune a base on it",
    "reasoning-rl": "reinforcement learning with accuracy, format and language",
    "rejection-sampling": "many answers of a checkpoint; the right and readable ones are kept",
    "sft": "supervised fine-tuning, from the base again",
    "reward-model": "learn what is helpful and what is harmful",
    "all-scenario-rl": "rules where an answer is checkable, preference elsewhere",
    "distill": "a smaller student learns from a teacher",
    "evaluate": "pass@1, pass@k, cons@k, format and language on any problems",
}
COMMANDS = {  # run in this process
    "run": ("trl_r1.commands.run", "run all stages of a pipeline file, resumable: trl-r1 run mini/pipeline"),
    "why": ("trl_r1.commands.why", "walk from a model's answer back to rows, checkpoints and rewards"),
    "preset": (
        "trl_r1.commands.preset",
        "a stage's published numbers as a recipe for a card: trl-r1 preset zero --gpu 24GB",
    ),
    "ablate": (
        "trl_r1.commands.ablate",
        "a recipe trained whole and without its parts: trl-r1 ablate mini/ablation --drop gate",
    ),
    "watch": (
        "trl_r1.commands.watch",
        "a run's numbers and alarms in the terminal while it trains: trl-r1 watch runs/zero",
    ),
    "answer": (
        "trl_r1.commands.answer",
        "ask a trained model, with more thought where it pays: trl-r1 answer --model RUN ...",
    ),
    "serve": (
        "trl_r1.commands.serve",
        "the same behind the OpenAI protocol: trl-r1 serve --model RUN ...",
    ),
    "review": (
        "trl_r1.commands.review",
        "answers worth a person's look, as a file and a page: trl-r1 review make RUN ...",
    ),
    "bias": ("trl_r1.commands.bias", "gaps between languages, topics and groups: trl-r1 bias slices RUN"),
    "demo": ("trl_r1.commands.demo", "train a small model on this machine's CPU and show what it learnt"),
    "doctor": ("trl_r1.commands.doctor", "check versions, devices and that training equals stock TRL"),
    "recipes": ("trl_r1.commands.recipes", "list the recipes, or copy them: trl-r1 recipes copy FOLDER [NAME ...]"),
    "rewards": ("trl_r1.commands.rewards", "list rewards, try one on a completion, audit one, train the semantic one"),
    "agser": ("trl_r1.commands.agser", "hallucination score: score one answer, or evaluate it beside its rivals"),
    "traces": (
        "trl_r1.commands.traces",
        "verified reasoning traces, aimed at the levels with the fewest; replay them",
    ),
    "data": (
        "trl_r1.commands.data",
        "examine a dataset's gold answers, grade its problems: trl-r1 data check rows.jsonl",
    ),
}


def usage() -> str:
    """The help text: one line per command."""
    from trl_r1.version import __version__

    rows = {**{name: text for name, (_, text) in COMMANDS.items()}, **STAGES}
    width = max(map(len, rows))
    lines = [f"  {name:<{width}} {text}" for name, text in rows.items()]
    return "\n".join(
        [
            f"trl-r1 {__version__}",
            "",
            "usage: trl-r1 COMMAND [options]",
            "       trl-r1 STAGE [accelerate options --] --config RECIPE [options]",
            "",
            *lines,
            "",
            "`trl-r1 COMMAND --help` lists the options of one.",
        ]
    )


def split_at_double_dash(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Options for `accelerate launch` stand before a lone `--`, the stage's own after it; without one, all are the stage's.

    >>> split_at_double_dash(["--num_processes", "2", "--", "--config", "zero"])
    (['--num_processes', '2'], ['--config', 'zero'])
    """
    if "--" not in arguments:
        return [], arguments
    position = arguments.index("--")
    return arguments[:position], arguments[position + 1 :]


def shipped_config_file(chosen: list[str]) -> list[str]:
    """`--config_file accelerate/ddp` names a file that came with the package, as `--config zero` names a recipe.

    Raises:
        ValueError: there is neither a file nor a recipe of that name.

    >>> shipped_config_file(["--num_processes", "2"])
    ['--num_processes', '2']
    """
    from trl_r1 import recipes

    chosen = [part for option in chosen for part in (option.split("=", 1) if "config_file=" in option else [option])]
    if "--config_file" in chosen[:-1]:
        place = chosen.index("--config_file") + 1
        chosen[place] = str(recipes.find(chosen[place]))
    return chosen


def launch_defaults() -> list[str]:
    """What `accelerate launch` would otherwise guess with a warning: one machine, its GPUs, precision left to the recipe."""
    import torch

    processes = max(1, torch.cuda.device_count())
    return ["--num_processes", str(processes), "--num_machines", "1", "--mixed_precision", "no",
            "--dynamo_backend", "no", *(["--multi_gpu"] if processes > 1 else [])]  # fmt: skip


def launch(stage: str, arguments: list[str], modules: str = "trl_r1.stages") -> int:
    """Hands `<modules>.<stage>` to `accelerate launch` and returns its exit code."""
    from accelerate.commands.launch import launch_command, launch_command_parser

    chosen, options = split_at_double_dash(arguments)
    module = f"{modules}.{stage.replace('-', '_')}"
    if "--help" in options or "-h" in options:
        sys.argv = [f"trl-r1 {stage}", "--help"]
        importlib.import_module(module).main(["--help"])
        return 0
    try:
        chosen = shipped_config_file(chosen)
    except ValueError as error:
        print(f"trl-r1 {stage}: {error}", file=sys.stderr)
        return 2
    command = ["--quiet", *(chosen or launch_defaults()), "-m", module, *options]
    try:
        launch_command(launch_command_parser().parse_args(command))
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    return 0


def main(argv: list[str] | None = None) -> int:
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in COMMANDS:
        return importlib.import_module(COMMANDS[name][0]).main(rest) or 0
    if name in STAGES:
        return launch(name, rest)
    if name in ("--help", "-h", "help"):
        print(usage())
        return 0
    if name == "--version":
        from trl_r1.version import __version__

        print(__version__)
        return 0
    import difflib

    near = difflib.get_close_matches(name, [*COMMANDS, *STAGES], n=1)
    print(
        f"trl-r1: there is no command {name!r}."
        + (f" Did you mean {near[0]!r}?" if near else "")
        + f" Commands: {', '.join([*COMMANDS, *STAGES])}.",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
