"""The shape that all commands have, and the one place that runs them."""

import importlib
import subprocess
import sys
import types

import pytest

from trl_r1 import cli
from trl_r1.commands import call


def command(run):
    return types.SimpleNamespace(
        __doc__="Counts.", add_arguments=lambda parser: parser.add_argument("--most", type=int, default=1), run=run
    )


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_the_one_shape(name, capsys):
    module = importlib.import_module(f"trl_r1.commands.{name}")
    assert not hasattr(module, "main")
    assert call(name, ["--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: trl-r1 {name} ")
    assert module.__doc__.strip().splitlines()[0] in shown


def test_a_command_gets_its_options_and_what_was_typed():
    seen = []
    assert call("count", ["--most", "3"], command(lambda args: seen.append((args.most, args.typed)) or 1)) == 1
    assert seen == [(3, "trl-r1 count --most 3")]


def test_a_mistake_is_a_sentence_and_2(capsys):
    def run(args):
        raise ValueError(f"--most {args.most} is too few.")

    assert call("count", [], command(run)) == 2
    assert capsys.readouterr().err == "trl-r1 count: --most 1 is too few.\n"
    assert call("count", ["--more"], command(run)) == 2
    assert "unrecognized arguments: --more" in capsys.readouterr().err


def test_an_interrupt_is_130():
    def run(args):
        raise KeyboardInterrupt

    assert call("count", [], command(run)) == 130


def test_help_needs_neither_torch_nor_transformers():
    code = (
        "import sys; from trl_r1 import cli; code = cli.main(['--help'])\n"
        "sys.exit(code or int(bool({'torch', 'transformers', 'trl'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "usage: trl-r1 COMMAND [options]" in done.stdout
