"""Distillation: the road a pair of models takes, what both roads leave, and what the comparison says."""

import json

import pytest
import yaml
from places import ROOT
from samples import graded
from stage_starts import recipe_writer, stage_error

from trl_r1.evaluation.benchmark import Evaluation
from trl_r1.stages import distill
from trl_r1.stages.distill.on_policy import prompts_of, read_others, vocabularies_differ
from trl_r1.stages.distill.report import compare_student_and_teacher, put_into, section


QUESTIONS = [{"question": f"Compute {i} + 1.", "solution": str(i + 1), "language": "en"} for i in range(12)]
SAMPLES = [
    {
        "prompt": f"User: {row['question']} Assistant:",
        "completion": f"<think>{n}</think> <answer>{row['solution']}</answer>",
        **row,
    }
    for row in QUESTIONS
    for n in (1, 2)
]


@pytest.fixture
def recipe(tiny, tmp_path):
    """`recipe(**changes)` writes a small valid YAML with the changes in it and returns its path; None removes a key."""
    for name, rows in (("kept", SAMPLES), ("problems", QUESTIONS)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = {
        "method": "sft", "model_name_or_path": tiny, "teacher_model": tiny, "dtype": "float32",
        "dataset_name": str(tmp_path / "kept.jsonl"), "template": "mini", "language_column": "language",
        "evaluation_dataset_name": str(tmp_path / "problems.jsonl"), "evaluation_split": "train",
        "evaluation_problems": 3, "evaluation_samples": 2, "evaluation_max_tokens": 6,
        "output_dir": str(tmp_path / "out"), "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
        "per_device_train_batch_size": 4, "max_steps": 2, "logging_steps": 1, "save_strategy": "steps", "save_steps": 1,
        "report_to": "none", "disable_tqdm": True,
    }  # fmt: skip

    return recipe_writer(tmp_path, base)


def evaluation(*shares: float) -> Evaluation:
    """One problem per share of 4 samples that are right."""
    texts = [["4"] * round(4 * share) + ["5"] * round(4 - 4 * share) for share in shares]
    return Evaluation([graded("4", text, prompt=f"p{i}") for i, text in enumerate(texts)])


def test_the_method_is_known_before_the_options_are():
    assert distill.method_of(["--config", "mini/distill_on_policy"]) == "on_policy"
    assert distill.method_of(["--config=mini/distill_on_policy", "--method=sft"]) == "sft"
    assert distill.method_of(["--config", "mini/distill"]) == "sft"
    assert distill.method_of([]) == "sft"


def test_other_runs_are_named_or_called_by_their_folder():
    assert read_others({"rl": "runs/a"}) == {"rl": "runs/a"}
    assert read_others("runs/a, runs/b") == {"a": "runs/a", "b": "runs/b"}
    assert read_others('{"rl": "runs/a"}') == {"rl": "runs/a"}
    with pytest.raises(ValueError, match="must be a mapping"):
        read_others([1])


def test_every_prompt_is_asked_once():
    from datasets import Dataset

    rows = Dataset.from_list([{"prompt": p, "completion": c} for p, c in (("a", "1"), ("b", "2"), ("a", "3"))])
    assert prompts_of(rows)["prompt"] == ["a", "b"]
    assert prompts_of(rows).column_names == ["prompt"]


def test_the_accuracy_kept_and_the_lead_over_rl_by_hand(tiny, tmp_path):
    evaluation(0.75, 0.25).save(tmp_path / "out" / "evaluation_after.json")  # mean .5
    evaluation(0.25, 0.25).save(tmp_path / "rl" / "evaluation_after.json")  # mean .25
    (tmp_path / "rl" / "summary.json").write_text('{"training_seconds": 90.0}')
    found = compare_student_and_teacher(
        tmp_path / "out", tiny, tiny, evaluation(1.0, 0.25), {"rl": str(tmp_path / "rl")}, "sft"
    )  # teacher .625
    assert found["kept"] == pytest.approx(0.5 / 0.625)
    assert found["parameters"]["ratio"] == 1.0
    assert found["compared"]["rl"]["ahead"][0] == pytest.approx((0.5 + 0.0) / 2)
    assert found["compared"]["rl"]["seconds"] == 90.0
    # a teacher that was asked a third problem: what it did there is no part of the share
    assert compare_student_and_teacher(tmp_path / "out", tiny, tiny, evaluation(1.0, 0.25, 0.0), {}, "sft")[
        "kept"
    ] == pytest.approx(0.8)
    others = Evaluation([graded("1", ["1"], prompt="elsewhere")])
    apart = compare_student_and_teacher(tmp_path / "out", tiny, tiny, others, {}, "sft")
    assert apart["kept"] is None
    assert "not asked the same problems" in section(apart, {"after": evaluation(0.75, 0.25).to_dict()})
    text = section(found, {"after": evaluation(0.75, 0.25).to_dict(), "training_seconds": 3.0})
    assert "keeps 80% of the teacher's accuracy" in text
    assert "| rl | 25.0 % |" in text
    report = put_into("# R\n\nnote\n\n## Evaluation\n\nx\n", text)
    assert report.index("note") < report.index("## Distillation") < report.index("## Evaluation")
    assert put_into(report, text) == report  # doing it twice changes nothing


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "onpolicy"}, "method='onpolicy' is unknown"),
        ({"method": "on_policy", "teacher_model": None}, "name it in teacher_model"),
        ({"teacher_model": "./nowhere"}, "no such folder"),
        ({"teacher_run": "./nowhere"}, "holds no evaluation_after.json"),
        ({"compare_with": {"rl": "./nowhere"}}, "holds no evaluation_after.json"),
        ({"dataset_name": "./nowhere.jsonl"}, "nowhere.jsonl"),
        ({"completion_column": "reply"}, "reply"),
        ({"method": "on_policy", "per_device_train_batch_size": 64}, "fewer than one step takes (64)"),
        ({"method": "on_policy", "packing": True}, "unknown key 'packing'"),
        ({"domain_shares": {"reasoning": 1.0}}, "has no column 'domain'"),
        ({"domain_shares": {"reasoning": 2}}, "a share is a number from 0"),
    ],
)
def test_mistakes_are_told_in_one_sentence_and_leave_nothing(changes, sentence, recipe, capsys, tmp_path):
    assert sentence in stage_error(capsys, distill.main, "--config", recipe(**changes))
    assert not (tmp_path / "out").exists()


def test_both_roads_leave_a_student_and_the_comparison(recipe, capsys, tmp_path):
    distill.main(["--config", recipe(max_length=128)])
    distill.main(["--config", recipe(method="on_policy", max_completion_length=6, output_dir=str(tmp_path / "op"),
                                     compare_with={"sft": str(tmp_path / "out")})])  # fmt: skip
    for name, method in (("out", "sft"), ("op", "on_policy")):
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        assert summary["distillation"]["method"] == summary["method"] == method
        assert summary["steps"] == 2
        assert summary["distillation"]["parameters"]["ratio"] == 1.0
        assert (tmp_path / name / "model.safetensors").is_file()
        report = (tmp_path / name / "report.md").read_text()
        assert "a ratio of 1.00" in report
        assert report.count("## Distillation") == 1
        assert report.count("## A prompt as the model reads it") == 1
    assert "sft" in summary["distillation"]["compared"]
    assert "compared" not in json.loads((tmp_path / "out" / "summary.json").read_text())["distillation"]
    capsys.readouterr()
    distill.main(["--config", recipe(max_length=128)])
    assert "finished already" in capsys.readouterr().out
    assert (tmp_path / "out" / "report.md").read_text().count("## Distillation") == 1


def test_a_pair_without_one_vocabulary_takes_the_sft_road_and_says_so(recipe, tiny, tmp_path, capsys):
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.from_pretrained(tiny)
    config.vocab_size += 64  # the same tokenizer, more places: as Qwen2.5-7B and Qwen2.5-0.5B
    padded = tmp_path / "padded"
    AutoModelForCausalLM.from_config(config).save_pretrained(padded)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(padded)
    assert vocabularies_differ(tiny, tiny) is None
    assert "share a tokenizer" in vocabularies_differ(tiny, str(padded))
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(padded)
    assert "of them the same" in vocabularies_differ(tiny, str(padded))
    distill.main(["--config", recipe(method="on_policy", max_completion_length=6, teacher_model=str(padded),
                                     sft_max_length=128)])  # fmt: skip
    assert "takes the SFT road" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["method"], summary["rows"]) == ("sft", len(SAMPLES))
    assert "takes the SFT road" in (tmp_path / "out" / "report.md").read_text()


def test_a_killed_on_policy_run_goes_on_where_it_stopped(recipe, tmp_path):
    import shutil

    settings = {"method": "on_policy", "max_completion_length": 6}
    distill.main(["--config", recipe(**settings, output_dir=str(tmp_path / "whole"))])
    distill.main(["--config", recipe(**settings)])
    (tmp_path / "out" / "summary.json").unlink()
    shutil.rmtree(tmp_path / "out" / "checkpoint-2")
    distill.main(["--config", recipe(**settings)])
    lines = [
        [row for row in map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines()) if "loss" in row]
        for name in ("whole", "out")
    ]
    for one, other in zip(*lines, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)


RECIPES = ["distill", "distill_llama", "distill_on_policy", "mini/distill", "mini/distill_on_policy"]


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_two_steps_on_a_tiny_model(name, recipe, wide, tmp_path):
    """The recipe itself, quantised where it says so, with what a CPU needs changed on the command line."""
    recipe()
    kept = [json.dumps({**row, "domain": "reasoning"}) for row in SAMPLES]  # as rejection sampling writes it
    (tmp_path / "kept.jsonl").write_text("\n".join(kept) + "\n")
    options = {
        "model_name_or_path": wide, "teacher_model": wide, "dataset_name": tmp_path / "kept.jsonl",
        "evaluation_dataset_name": tmp_path / "problems.jsonl", "evaluation_split": "train", "evaluation_problems": 2,
        "evaluation_samples": 2, "evaluation_max_tokens": 6, "evaluation_question_column": "question",
        "evaluation_solution_column": "solution", "output_dir": tmp_path / "out", "max_steps": 2, "use_cpu": "true",
        "bf16": "false", "dtype": "float32", "optim": "adamw_torch", "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1, "disable_tqdm": "true", "save_steps": 1,
    }  # fmt: skip
    written = yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text())
    options["max_completion_length" if written["method"] == "on_policy" else "max_length"] = 128
    arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    distill.main(["--config", name, *arguments])
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["steps"] == 2
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file() == bool(written.get("use_peft"))
