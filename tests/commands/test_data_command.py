"""`trl-r1 data preview` and `trl-r1 doctor --model` as a user types them."""

import json

import pytest
import yaml

from trl_r1.commands import call


@pytest.fixture
def recipe(tiny, tmp_path):
    """`recipe(rows, **keys)` writes rows and a recipe that names them, and returns the recipe's path."""

    def write(rows, **keys):
        data = tmp_path / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"model_name_or_path": tiny, "dataset_name": str(data), **keys}))
        return str(path)

    return write


def test_a_recipe_to_imitate_is_shown_with_its_labels(recipe, capsys):
    path = recipe([{"prompt": "2+2?", "completion": "<think>a</think>4"}], max_length=64)
    assert call("data", ["preview", "--config", path, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stage"] == "sft"
    assert [part["kind"] for part in found["rows"][0]["stretches"]] == [
        "context",
        "mark",
        "thought",
        "mark",
        "answer",
        "end",
    ]


def test_a_recipe_of_reinforcement_is_shown_with_its_prompts(recipe, capsys):
    path = recipe([{"question": "2+2?", "solution": "4"}] * 3, num_generations=2, template="mini")
    assert call("data", ["preview", "--config", path, "--set", "template=plain"]) == 0
    output = capsys.readouterr().out
    assert output.count("row ") == 2
    assert "'User: 2+2?\\n\\nAssistant:\\n'" in output
    assert "\x1b" not in output


def test_a_stage_without_rows_to_show_says_so(capsys):
    assert call("data", ["preview", "--config", "mini/evaluate"]) == 2
    assert "whose rows can be shown" in capsys.readouterr().err


def test_a_cold_start_is_shown_by_its_prompts_and_once_it_has_made_rows_by_these(recipe, tmp_path, capsys):
    keys = {"sources": [{"name": "zero"}], "template": "mini", "output_dir": str(tmp_path)}
    path = recipe([{"question": "2+2?", "solution": "4"}], **keys)
    assert call("data", ["preview", "--config", path]) == 0
    output = capsys.readouterr()
    assert "context  'User: 2+2? Assistant:'" in output.out
    assert "made when the stage runs" in output.err
    (tmp_path / "data.jsonl").write_text(json.dumps({"prompt": "2+2?", "completion": "<think>a</think>4"}) + "\n")
    assert call("data", ["preview", "--config", path]) == 0
    assert "thought  'a'" in capsys.readouterr().out


def test_a_mixture_is_shown_by_the_prompts_of_each_dataset(recipe, tmp_path, capsys):
    general = tmp_path / "general.jsonl"
    general.write_text('{"question": "Write a poem."}\n')
    path = recipe([{"question": "2+2?", "solution": "4"}] * 3, num_generations=2, template="mini")
    content = yaml.safe_load(open(path)) | {"preference_last_steps": 2}
    reasoning = {"name": content.pop("dataset_name"), "solution_column": "solution"}
    content["datasets"] = [reasoning, {"name": str(general), "domain": "writing"}]
    open(path, "w").write(yaml.safe_dump(content))
    assert call("data", ["preview", "--config", path, "--rows", "1", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["stage"] == "all-scenario-rl"
    texts = [row["stretches"][0]["text"] for row in shown["rows"]]
    assert texts == ["User: 2+2? Assistant:", "User: Write a poem. Assistant:"]


def test_a_distillation_is_shown_as_sft_and_says_what_was_not_looked_at(recipe, capsys):
    path = recipe([{"prompt": "2+2?", "completion": "4"}], max_length=64, method="sft")
    assert call("data", ["preview", "--config", path, "--stage", "sft"]) == 0
    output = capsys.readouterr()
    assert "answer" in output.out
    assert "Not looked at, as they change no row that is shown: method." in output.err


def test_doctor_prints_the_table_of_one_template(tiny, capsys):
    assert call("doctor", ["--model", tiny]) == 1
    output = capsys.readouterr().out
    assert "refused: the tokenizer has no chat template" in output
    assert "marks of a thought" in output


def test_check_takes_the_name_that_stages_use_for_the_gold(tmp_path, capsys):
    data = tmp_path / "rows.jsonl"
    data.write_text('{"problem": "2+2?", "right": "4"}\n')
    assert call("data", ["check", str(data), "--solution_column", "right"]) == 0
    assert "column 'right': 1 rows" in capsys.readouterr().out
