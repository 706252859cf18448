"""`trl-r1 rewards`: list the rewards, try one on a completion, audit one against exploits, train the model of one."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from trl_r1.commands import call


TRAINERS = {"semantic": "trl_r1.models.chain_classifier"}  # reward -> a command that trains its model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("list", help="all rewards that can be loaded by name; the default")

    trying = commands.add_parser("try", help="score one completion and explain the score")
    _reward_arguments(trying)
    source = trying.add_mutually_exclusive_group()
    source.add_argument("--completion", help="the completion; standard input without")
    source.add_argument("--file", help="a file with the completion (.json: messages)")
    trying.add_argument("--gold", help="the gold answer")
    trying.add_argument("--prompt", default="", help="the prompt")
    trying.add_argument("--columns", default="{}", metavar="JSON", help="further columns of the row")

    auditing = commands.add_parser("audit", help="attack a reward with exploits; exit code 1 when one is paid")
    _reward_arguments(auditing)
    auditing.add_argument("--data", help="rows to attack with: file, folder, hub id, mini:<name>; ten of ours without")
    auditing.add_argument("--split", default="train", help="of the data (default: train)")
    auditing.add_argument("--config", help="configuration of a hub dataset, or options of reasoning_gym:NAME")
    auditing.add_argument("--rows", type=int, default=12, help="how many rows, spread over the data (default: 12)")
    auditing.add_argument("--gold-column", help="the usual names are tried without")
    auditing.add_argument("--prompt-column", help="the usual names are tried without")
    auditing.add_argument("--kind", default="auto", help="accuracy, format, language, other; auto finds out")
    auditing.add_argument("--families", nargs="+", metavar="FAMILY", help="which; all without")
    auditing.add_argument("--seconds", type=float, default=10.0, help="time one call may take (default: 10)")
    auditing.add_argument("--margin", type=float, default=0.1, help="share of the honest gain that is no payment yet")
    auditing.add_argument("--worker-thread", action="store_true", help="call it as TRL's asynchronous trainer does")

    training = commands.add_parser(
        "train", help=f"train the model of a reward ({', '.join(TRAINERS)}); `train semantic --help` lists the options"
    )
    training.add_argument("reward", choices=TRAINERS, help="whose model")
    training.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="options of that training")


def run(args: argparse.Namespace) -> int:
    if args.command == "train":
        trainer = importlib.import_module(TRAINERS[args.reward])
        return call(f"rewards train {args.reward}", args.arguments, trainer)  # type: ignore[arg-type]
    if args.command == "try":
        return try_reward(args)
    return audit_reward(args) if args.command == "audit" else list_rewards()


def _reward_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reward", metavar="REWARD", help="a name of `trl-r1 rewards list`, or package.module:object")
    parser.add_argument("--options", default="{}", metavar="JSON", help="its options, such as '{\"graded\": true}'")


def list_rewards() -> int:
    """Prints one line per reward."""
    from trl_r1.rewards.catalogue import installed

    offered = installed()
    width = max(map(len, offered))
    for name, path in sorted(offered.items()):
        print(f"{name:<{width}}  {headline(path)}")
    print("\nTry one: trl-r1 rewards try accuracy --completion '\\boxed{4}' --gold 4. Adding one: docs/rewards.md")
    return 0


def headline(path: str) -> str:
    """The first sentence said about ``module:object``, found without importing the module: the docstring of a class or
    function, the string below an assignment; without one, the module's."""
    module, _, name = path.partition(":")
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return f"(no source of {module} here)"
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    sentence = _said_of(name, tree.body) or ast.get_docstring(tree) or ""
    return " ".join(sentence.split("\n\n")[0].split()).replace("``", "`") or path


def _said_of(name: str, body: list[ast.stmt]) -> str | None:
    for node, below in zip(body, [*body[1:], None]):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
            return ast.get_docstring(node)
        assigned = isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets)
        if assigned and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            return str(below.value.value)
    return None


def try_reward(args: argparse.Namespace) -> int:
    """Scores one completion and prints the explanation."""
    from trl_r1.audit.explain import explain
    from trl_r1.rewards.catalogue import load_reward

    completion: Any = args.completion
    if args.file is not None:
        completion = Path(args.file).read_text(encoding="utf-8")
        if args.file.endswith(".json"):
            completion = _json(completion, args.file, (list, dict, str))
    elif completion is None:
        completion = sys.stdin.read()
    columns = _json(args.columns, "--columns", (dict,))
    _importable_from_here()
    reward = load_reward(args.reward, **_json(args.options, "--options", (dict,)))
    for line in explain(reward, completion, args.prompt, args.gold, columns).lines():
        print(line)
    if args.gold is not None:
        from trl_r1.data.goldcheck import check_golds

        gold = check_golds([args.gold])[0]
        print(f"gold      {gold.type}, read as {gold.answer!r}: {gold.why or 'usable'}")
    return 0


def audit_reward(args: argparse.Namespace) -> int:
    """Runs the audit and prints its report."""
    from trl_r1.audit.audit import EXAMPLES, audit, rows_of
    from trl_r1.audit.exploits import FAMILIES

    unknown = [name for name in args.families or () if name not in FAMILIES]
    if unknown:
        raise ValueError(f"No family is called {unknown[0]!r}. Choose from: {', '.join(FAMILIES)}.")
    if args.rows < 1:
        raise ValueError(f"--rows {args.rows}: an audit needs one or more.")
    if args.data is None:
        rows = rows_of(EXAMPLES, most=args.rows)
    else:
        from trl_r1.data.columns import load_rows

        dataset = load_rows(args.data, args.split, args.config)
        rows = rows_of(dataset, args.gold_column, args.prompt_column, args.rows)
    report = audit(
        args.reward,
        rows,
        _json(args.options, "--options", (dict,)),
        args.kind,
        {name: FAMILIES[name] for name in args.families} if args.families else None,
        args.seconds,
        args.margin,
        args.worker_thread,
        progress=lambda family: print(f"{family} ...", file=sys.stderr, flush=True),
    )
    print("\n".join(report.lines()))
    return int(report.caught)


def _json(text: str, name: str, kinds: tuple[type, ...]) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} is not JSON: {error}.") from None
    if not isinstance(value, kinds):
        raise ValueError(f"{name} is {value!r}; give {' or '.join(kind.__name__ for kind in kinds)}.")
    return value


def _importable_from_here() -> None:
    """A console script does not look for modules in the current folder; `python -m` does, and so should we."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
