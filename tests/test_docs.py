"""The README and the docs are run: Python blocks run, YAML blocks are parsed by the stage, commands exist."""

import ast
import os
import re
import shlex
from dataclasses import fields
from pkgutil import resolve_name

import pytest
import yaml
from places import ROOT

from trl_r1 import cli, recipes
from trl_r1.grpo.config import R1GRPOConfig
from trl_r1.runs.options import RLOptions
from trl_r1.sandbox import NoSandbox


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.S | re.M)


def blocks(language):
    found = []
    for page in PAGES:
        for number, match in enumerate(BLOCK.finditer(page.read_text())):
            if match[1] == language:
                found.append(pytest.param(match[2], id=f"{page.name}-{number}"))
    return found


@pytest.mark.parametrize("code", blocks("bash"))
def test_a_stage_is_started_so_that_a_mistake_is_the_last_line(code):
    """`accelerate launch` alone puts a traceback of its own under our sentence."""
    first = next(
        (line for line in code.splitlines() if "trl_r1.stages." in line or re.match(r"trl-r1 \S+ ", line)), ""
    )
    assert "-m trl_r1.stages." not in first or "--quiet" in first or "--config_file" in first


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRL_R1_CACHE", str(tmp_path / "cache"))
    try:
        exec(compile(code, "documentation", "exec"), {"__name__": "documentation"})
    except NoSandbox as error:
        pytest.skip(f"the reward code cannot run here: {error}")


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_holds_only_keys_the_stage_knows(text, tmp_path):
    from trl_r1.models.options import R1ModelConfig
    from trl_r1.runs.tuning_config import R1SFTConfig
    from trl_r1.stages.cold_start.options import ColdStartOptions

    known = {field.name for part in (RLOptions, R1GRPOConfig, R1ModelConfig) for field in fields(part)}
    content = yaml.safe_load(text)
    assert content
    if "stages" in content:  # a pipeline: the plan is read, recipes and stages are looked up
        from trl_r1.pipeline.plan import read

        (tmp_path / "pipeline.yaml").write_text(text)
        assert read(str(tmp_path / "pipeline.yaml")).steps
        return
    if "sources" in content:
        known = {field.name for part in (ColdStartOptions, R1SFTConfig, R1ModelConfig) for field in fields(part)}
    if set(content) & {"samples_per_prompt", "engine"}:
        from trl_r1.data.filters import FilterLimits
        from trl_r1.stages.rejection_sampling.options import RejectionOptions

        known |= {field.name for part in (RejectionOptions, FilterLimits) for field in fields(part)}
    if set(content) & {"datasets", "shots"} and "rewards" not in content:
        from trl_r1.stages.evaluate.run import EvaluateOptions, read_suite

        known |= {field.name for field in fields(EvaluateOptions)}
        assert read_suite(content["datasets"])
    if "preference_last_steps" in content:
        from trl_r1.stages.all_scenario_rl.hooks import MixtureSource, ScenarioOptions
        from trl_r1.storage.structured import read_entries

        known |= {field.name for field in fields(ScenarioOptions)}
        assert read_entries("datasets", content["datasets"], MixtureSource)
    if set(content) & {"helpful_dataset_name", "safety_dataset_name"}:
        from trl_r1.stages.reward_model.run import RewardModelOptions

        known |= {field.name for field in fields(RewardModelOptions)}
    if "method" in content:
        from trl_r1.stages.distill.on_policy import DistillOptions

        known |= {field.name for field in fields(DistillOptions)}
    assert set(content) <= known


@pytest.mark.parametrize("text", blocks("bash"))
def test_commands_exist(text):
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "make":
            targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
            assert words[1] in targets
        elif words[0] == "trl-r1":
            assert words[1] in {*cli.COMMANDS, *cli.STAGES}
        elif words[:2] == ["accelerate", "launch"]:
            module = words[words.index("-m") + 1]
            place = ROOT / module.replace(".", "/")
            assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()
        elif words[0] not in ("pip", "python"):
            raise AssertionError(f"unknown command in the docs: {line}")
        if "--config" in words:
            assert recipes.find(words[words.index("--config") + 1]).is_file()
        for script in words:
            if words[0] == "python" and script.endswith(".py"):
                assert (ROOT / script).is_file()


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), (page.name, target)


def test_every_option_we_add_is_documented():
    from trl import GRPOConfig

    text = "".join(page.read_text() for page in PAGES)
    ours = [field.name for field in fields(R1GRPOConfig) if field.name not in GRPOConfig.__dataclass_fields__]
    assert [name for name in ours if name not in text] == []


def test_no_machine_path_is_in_the_repository_texts():
    for page in PAGES:
        assert os.sep + "work" + os.sep not in page.read_text(), page.name


def test_the_glossary_points_at_files_that_exist_and_defines_each_word_once():
    text = (ROOT / "docs" / "glossary.md").read_text()
    assert [path for path in re.findall(r"`(trl_r1/[\w/]+\.py)`", text) if not (ROOT / path).is_file()] == []
    words = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    words = [word for word in words if word not in ("word", "---")]
    assert len(words) > 40
    assert sorted(set(words)) == sorted(words)


def dotted_names():
    """Every `trl_r1.a.b` of the pages and of the programs that users start, with where it stands."""
    files = [*PAGES, *(ROOT / "recipes").rglob("*.yaml"), *(ROOT / "benchmarks").glob("*.py")]
    return {
        name: file.name
        for file in files
        for name in re.findall(r"(?<![\w/.])trl_r1(?:[.:][A-Za-z_]\w*)+", file.read_text())
    }


def test_every_dotted_name_in_the_docs_can_be_imported():
    missing = {}
    for name, place in dotted_names().items():
        try:
            resolve_name(name.replace(":", "."))
        except (ImportError, AttributeError) as error:
            missing[name] = f"{place}: {error}"
    assert missing == {}


def test_every_file_that_the_docs_name_exists():
    missing = set()
    for page in PAGES:
        for name in re.findall(r"`((?:\w+/)*\w+\.py)`", page.read_text()):
            if not any((root / name).exists() for root in (ROOT, ROOT / "trl_r1", ROOT / "benchmarks")):
                missing.add((page.name, name))
    assert missing == {("advantages.md", "my_credit.py"), ("scale.md", "state.py")}  # the reader's own; accelerate's


@pytest.mark.parametrize("room", sorted(path.parent.name for path in (ROOT / "trl_r1").glob("*/__init__.py")))
def test_a_package_says_what_belongs_there_and_what_does_not(room):
    docstring = ast.get_docstring(ast.parse((ROOT / "trl_r1" / room / "__init__.py").read_text()))
    assert "Belongs here:" in docstring
    assert "Not: " in docstring
    assert re.search(r"\b[Aa]n?\s+(new|option)\b|\bNew\b", docstring)  # how to add one
