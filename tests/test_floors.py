"""The house: imports run down the floors of benchmarks/architecture.py, no circles, and light rooms stay light."""

import importlib.util
import json
import subprocess
import sys

import pytest
from places import ROOT


spec = importlib.util.spec_from_file_location("architecture", ROOT / "benchmarks" / "architecture.py")
architecture = importlib.util.module_from_spec(spec)
spec.loader.exec_module(architecture)


@pytest.fixture(scope="module")
def imports():
    return architecture.imports_of(ROOT)


def between_rooms(imports):
    return {
        (architecture.room_of(one.source), architecture.room_of(one.target), f"{one.source}:{one.line} {one.target}")
        for one in imports
        if architecture.room_of(one.source) != architecture.room_of(one.target)
    }


def test_every_room_has_a_floor():
    rooms = {architecture.room_of(module) for module in architecture.modules_of(ROOT)}
    assert rooms == {room for floor in architecture.FLOORS for room in floor}


def test_imports_run_down_only(imports):
    assert [where for source, target, where in between_rooms(imports) if architecture.runs_up(source, target)] == []


def test_no_module_imports_itself_over_others(imports):
    assert architecture.cycles_of({(one.source, one.target) for one in imports}) == []


def test_stages_and_commands_are_started_by_name_and_imported_by_nobody(imports):
    assert [where for _, target, where in between_rooms(imports) if target in ("stages", "commands")] == []


def test_the_trainer_knows_no_stage_no_run_and_no_evaluation(imports):
    above = ("stages", "commands", "runs", "evaluation", "pipeline")
    assert [where for source, target, where in between_rooms(imports) if source == "grpo" and target in above] == []


def planted(tmp_path, files):
    for name, text in files.items():
        path = tmp_path / "trl_r1" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return architecture.measure(tmp_path)


@pytest.mark.parametrize(
    "upward",
    [
        "from trl_r1.stages import zero",
        "import trl_r1.stages.zero",
        "def late():\n    from trl_r1.stages.zero import main",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..stages.zero import main",
        "import importlib\nimportlib.import_module('trl_r1.stages.zero')",
    ],
)
def test_an_import_that_runs_up_is_seen_in_every_form(tmp_path, upward):
    found = planted(tmp_path, {"stages/zero": "from trl_r1.text import words", "text/words": upward})
    assert (found["edges_up"], found["cycles"], found["two_way_pairs"], found["module_cycles"]) == (1, 1, 1, 1)


def test_an_import_that_runs_down_is_none(tmp_path):
    found = planted(tmp_path, {"stages/zero": "from trl_r1.text import words", "text/words": "import re, zero"})
    assert (found["edges"], found["edges_up"], found["cycles"], found["module_cycles"]) == (1, 0, 0, 0)


def test_the_numbers_of_a_small_tree(tmp_path):
    long_one = "def f():\n" + "    x = 1\n" * 80
    text = f'"""Doc, not a token."""\n\n\n{long_one}y: dict[str, Any] = {{}}  # fmt: skip\n'
    found = planted(tmp_path, {"__init__": "", "text/words": text, "text/long": "\n" * 401})
    assert found["functions_above_80"] == found["files_above_400"] == found["dict_str_any"] == found["fmt_skip"] == 1
    assert found["tokens"] == 5 + 80 * 3 + 11  # def f ( ) : | x = 1 | y : dict [ str , Any ] = { }
    assert (found["rooms"], found["modules"], found["files_at_top"]) == (2, 3, 1)


# -- what an import costs, in processes of their own ------------------------------------------------------------------

LOADED = """
import contextlib, importlib, io, json, os, sys
def loaded(action):
    \"\"\"The libraries that an action loads, asked in a copy of this process.\"\"\"
    read, write = os.pipe()
    if os.fork() == 0:
        with contextlib.redirect_stdout(io.StringIO()):
            action()
        os.write(write, json.dumps(sorted({name.split(".")[0] for name in sys.modules})).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        found = answer.read()
    os.wait()
    return [name for name in json.loads(found) if name not in sys.stdlib_module_names and name[:1] != "_"]
"""


def loaded(actions):
    """Libraries beside the standard one that each Python statement loads in a fresh process (trl_r1 among them)."""
    program = LOADED + f"print(json.dumps([loaded(lambda: exec(action)) for action in {actions!r}]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(actions, map(set, json.loads(done.stdout)), strict=True))


APART = ("code_harness", "reasoning_gym_scorer")  # programs of processes of their own


def test_rewards_answers_claims_and_texts_load_no_torch():
    """A process that verifies stays light: what a model is needed for loads when it is first asked."""
    light = ("rewards", "answers", "claims", "text")
    modules = [
        name
        for name in architecture.modules_of(ROOT)
        if architecture.room_of(name) in light and not name.endswith(APART)
    ]
    (found,) = loaded(["import " + ", ".join(modules)]).values()
    assert found & {"torch", "transformers", "tokenizers", "datasets", "trl", "peft", "sympy"} == set()


def test_a_reward_loads_no_library_until_it_is_asked():
    """numpy aside, which reads languages. (`agser`, which is a model's, is at home in its own room.)"""
    modules = [name for name in architecture.modules_of(ROOT) if architecture.room_of(name) == "rewards"]
    found = loaded([f"import {name}" for name in modules if not name.endswith(APART)])
    heavy = {action: libraries - {"trl_r1"} for action, libraries in found.items() if libraries != {"trl_r1"}}
    assert heavy == {"import trl_r1.rewards.identification": {"numpy"}, "import trl_r1.rewards.language": {"numpy"}}


def test_the_package_and_its_help_load_no_library():
    found = loaded(["import trl_r1", "from trl_r1.cli import main; main(['--help'])", "import trl_r1.mini"])
    assert set(map(frozenset, found.values())) == {frozenset({"trl_r1"})}
