"""`trl-r1 <command>`: a table of names and a hand-over. What a stage can do lives in the stage, so no option can drift."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile

from trl_r1 import errors


ROOM = "trl_r1.commands"
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
    "run": "run all stages of a pipeline file, resumable: trl-r1 run mini/pipeline",
    "why": "walk from a model's answer back to rows, checkpoints and rewards",
    "preset": "a stage's published numbers as a recipe for a card: trl-r1 preset zero --gpu 24GB",
    "ablate": "a recipe trained whole and without its parts: trl-r1 ablate mini/ablation --drop gate",
    "watch": "a run's numbers and alarms in the terminal while it trains: trl-r1 watch runs/zero",
    "answer": "ask a trained model, with more thought where it pays: trl-r1 answer --model RUN ...",
    "serve": "the same behind the OpenAI protocol: trl-r1 serve --model RUN ...",
    "review": "answers worth a person's look, as a file and a page: trl-r1 review make RUN ...",
    "bias": "gaps between languages, topics and groups: trl-r1 bias slices RUN",
    "demo": "train a small model on this machine's CPU and show what it learnt",
    "doctor": "check versions, devices and that training equals stock TRL",
    "recipes": "list the recipes, or copy them: trl-r1 recipes copy FOLDER [NAME ...]",
    "rewards": "list rewards, try one on a completion, audit one, train the semantic one",
    "agser": "hallucination score: score one answer, or evaluate it beside its rivals",
    "traces": "verified reasoning traces, aimed at the levels with the fewest; replay them",
    "data": "a dataset's gold answers, its levels, a recipe's rows: trl-r1 data preview --config sft",
}


def usage() -> str:
    """The help text: one line per command."""
    from trl_r1.version import __version__

    rows = {**COMMANDS, **STAGES}
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


def shipped_config_file(given: list[str]) -> list[str]:
    """`--config_file accelerate/ddp` names a file that came with the package, as `--config zero` names a recipe.

    Raises:
        ValueError: there is neither a file nor a recipe of that name.

    >>> shipped_config_file(["--num_processes", "2"])
    ['--num_processes', '2']
    """
    from trl_r1 import recipes

    given = [part for option in given for part in (option.split("=", 1) if "config_file=" in option else [option])]
    if "--config_file" in given[:-1]:
        place = given.index("--config_file") + 1
        given[place] = str(recipes.find(given[place]))
    return given


def launch_defaults() -> list[str]:
    """What `accelerate launch` would otherwise guess with a warning: one machine, its GPUs, precision left to the recipe."""
    import torch

    processes = max(1, torch.cuda.device_count())
    options = ["--num_processes", str(processes), "--num_machines", "1"]
    options += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    return [*options, "--multi_gpu"] if processes > 1 else options


def launch(stage: str, arguments: list[str], modules: str = "trl_r1.stages") -> int:
    """Hands `<modules>.<stage>` to `accelerate launch`; returns the stage's own exit code.

    accelerate turns every failure into 1 and torchrun into a traceback; so the stage leaves its code in a file.
    """
    from accelerate.commands.launch import launch_command, launch_command_parser

    given, options = split_at_double_dash(arguments)
    module = f"{modules}.{stage.replace('-', '_')}"
    if "--help" in options or "-h" in options:
        sys.argv = [f"trl-r1 {stage}", "--help"]
        importlib.import_module(module).main(["--help"])
        return 0
    given = errors.tell(stage, lambda: shipped_config_file(given))
    command = ["--quiet", *(given or launch_defaults()), "-m", module, *options]
    with tempfile.TemporaryDirectory(prefix="trl-r1-") as folder:
        place = os.environ[errors.EXIT_CODE] = os.path.join(folder, "exit_code")
        try:
            launch_command(launch_command_parser().parse_args(command))
        except SystemExit as end:
            return errors.noted(place) or (end.code if isinstance(end.code, int) else 1)
        except Exception:
            if not errors.noted(place):
                raise
            return errors.noted(place)
        finally:
            del os.environ[errors.EXIT_CODE]
    return 0


def main(argv: list[str] | None = None) -> int:
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in COMMANDS:
        return importlib.import_module(ROOM).call(name, rest)
    if name in STAGES:
        try:
            return launch(name, rest)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        except KeyboardInterrupt:
            return errors.INTERRUPTED
    if name in ("--help", "-h", "help"):
        print(usage())
        return 0
    if name == "--version":
        from trl_r1.version import __version__

        print(__version__)
        return 0
    from trl_r1.errors import did_you_mean

    known = [*COMMANDS, *STAGES]
    near = did_you_mean(name, known)
    print(f"trl-r1: there is no command {name!r}.{near} Commands: {', '.join(known)}.", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
