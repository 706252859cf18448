"""How a step of a plan is started: the recipe it reads, the command a person would type, the order to the supervisor."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from trl_r1.pipeline.plan import MODULES, Pipeline, Step
from trl_r1.pipeline.supervisor import LINUX, Order


LAUNCH = "import sys; from trl_r1.cli import launch; sys.exit(launch(sys.argv[2], sys.argv[3:], sys.argv[1]))"


def config_path(plan: Pipeline, step: Step) -> Path:
    return plan.folder / "configs" / f"{step.name}.yaml"


def log_path(plan: Pipeline, step: Step) -> Path:
    return plan.folder / "logs" / f"{step.name}.log"


def config_text(plan: Pipeline, step: Step) -> str:
    """The whole recipe a step reads."""
    head = f"# stage {step.name} of {plan.source}: the recipe {step.config} with the pipeline's options; change them there\n"
    return head + yaml.safe_dump(step.recipe, sort_keys=False, allow_unicode=True)


def command_line(plan: Pipeline, step: Step) -> str:
    """How a person would start this step by hand."""
    launch = [*step.launch, "--"] if step.launch else []
    config = ["--config", str(config_path(plan, step))]
    if step.module.startswith(MODULES + "."):
        return " ".join(["trl-r1", step.stage.replace("_", "-"), *launch, *config])
    return " ".join(["accelerate launch", *step.launch, "-m", step.module, *config])


def runs_in_fork(step: Step) -> bool:
    """Whether a step can run as a copy of a process that has imported everything: one process, no accelerator."""
    return LINUX and not step.launch and step.cpu


def order_of(plan: Pipeline, step: Step, name: str, log: Path, env: dict[str, str]) -> Order:
    """What the supervisor is told."""
    arguments = ["--config", str(config_path(plan, step))]
    order: Order = {"start": name, "log": str(log), "env": env}
    if runs_in_fork(step):
        return {**order, "fork": step.module, "argv": arguments}
    package, _, stage = step.module.rpartition(".")
    launch = [*step.launch, "--"] if step.launch else []
    return {**order, "command": [sys.executable, "-c", LAUNCH, package, stage, *launch, *arguments]}
