"""The supervised act from the command line of `sft`: mistakes in one sentence, R1's settings, kill and resume, products."""

import json
import math
import signal
from pathlib import Path

import fresh
import pytest
import torch
from datasets import Dataset
from places import SCRIPTS
from stage_starts import recipe_writer, stage_error

from trl_r1.data.imitation import to_imitate, tokenized
from trl_r1.models.rendering import Renderer
from trl_r1.stages import sft


SCRIPT = SCRIPTS / "killed_tuning.py"

ROWS = [
    {
        "prompt": f"User: Compute {i} + 1. Assistant:", "completion": f"<think>{i} and 1</think> <answer>{i + 1}</answer>",
        "question": f"Compute {i} + 1.", "solution": str(i + 1), "language": "en",
    }
    for i in range(24)
]  # fmt: skip


@pytest.fixture
def recipe(tiny, tmp_path):
    """`recipe(**changes)` writes a small valid YAML with the changes in it and returns its path; None removes a key."""
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    base = {
        "model_name_or_path": tiny, "dtype": "float32", "dataset_name": str(data), "template": "mini",
        "output_dir": str(tmp_path / "out"), "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
        "per_device_train_batch_size": 4, "max_length": 128, "packing": True, "max_steps": 4, "learning_rate": 1e-3,
        "lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}, "logging_steps": 1,
        "save_strategy": "steps", "save_steps": 2, "report_to": "none", "disable_tqdm": True,
    }  # fmt: skip

    return recipe_writer(tmp_path, base)


def logged(folder) -> list[dict]:
    lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lerning_rate": 1e-4}, "Did you mean 'learning_rate'?"),
        ({"model_name_or_path": "./no/such/model"}, "there is no such folder"),
        ({"model_name_or_path": None}, "No model was named"),
        ({"dataset_name": "./no_rows.jsonl"}, "no_rows.jsonl"),
        ({"dataset_name": "mini:train-tiny"}, "has no column 'completion'"),
        ({"completion_column": "completon"}, "Did you mean 'completion'?"),
        ({"messages_column": "mesages"}, "has no column 'mesages'"),
        ({"prompt_column": None, "question_column": "qestion"}, "Did you mean 'question'?"),
        ({"prompt_column": "promt", "question_column": "nothing"}, "Did you mean 'prompt'?"),
        ({"max_length": 3}, "all 24 rows are longer than max_length=3 tokens"),
        ({"overlong": "keep"}, "overlong='keep' is unknown"),
        ({"lr_scheduler_kwargs": None}, "needs to know where to end"),
        ({"lr_scheduler_kwargs": {"min_lr_rate": 10}}, "is a share of the peak"),
        ({"completion_only_loss": False}, "would train on the prompts too"),
        ({"rewards": [{"name": "acuracy"}]}, "Did you mean 'accuracy'?"),
        ({"evaluation_dataset_name": "mini:trane"}, "mini:tr"),
        ({"resume_from_checkpoint": "./no/checkpoint-5"}, "it does not exist"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "all prompts are text"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(changes, sentence, recipe, capsys, tmp_path):
    if "prompt_column" in changes and changes["prompt_column"] is None:
        path = recipe(question_column=changes["question_column"])
        Path(path).write_text(Path(path).read_text() + "prompt_column: null\n")
        assert sentence in stage_error(capsys, sft.main, "--config", path)
    else:
        assert sentence in stage_error(capsys, sft.main, "--config", recipe(**changes))
    assert not (tmp_path / "out").exists()


def test_an_unreadable_line_is_named(recipe, capsys, tmp_path):
    recipe()
    with open(tmp_path / "rows.jsonl", "a") as file:
        file.write('{"prompt": "x", "comple')
    assert "line 25 is not JSON" in stage_error(capsys, sft.main, "--config", recipe())


def test_a_run_leaves_what_it_promises_and_is_finished_the_second_time(recipe, capsys, tmp_path):
    options = {
        "evaluation_dataset_name": str(tmp_path / "rows.jsonl"), "evaluation_split": "train", "evaluation_problems": 3,
        "evaluation_samples": 2, "evaluation_max_tokens": 6, "language_column": "language",
    }  # fmt: skip
    sft.main(["--config", recipe(**options)])
    out = tmp_path / "out"
    for name in ("run.json", "metrics.jsonl", "report.md", "summary.json", "evaluation_before.json",
                 "evaluation_after.json", "model.safetensors", "imitation.png"):  # fmt: skip
        assert (out / name).is_file(), name
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["steps"], summary["rows"]) == (4, 24)
    assert "## A prompt as the model reads it" in (out / "report.md").read_text()
    assert set(summary["after"]) >= {"pass@1", "cons@2", "pass@2", "format", "language", "interval"}
    capsys.readouterr()
    sft.main(["--config", recipe(**options)])
    assert "finished already" in capsys.readouterr().out
    assert "learning_rate was 0.001 there and is 0.5 here" in stage_error(
        capsys, sft.main, "--config", recipe(**options, learning_rate=0.5)
    )


def test_the_rate_falls_along_a_cosine_to_a_tenth_of_the_peak(recipe, tmp_path):
    sft.main(["--config", recipe(max_steps=10, save_steps=10)])
    rates = [line["learning_rate"] for line in logged(tmp_path / "out")]
    # step k of 10 uses peak * (0.1 + 0.9 * (1 + cos(pi k / 10)) / 2), k from 0: 1e-3 first, 5.5e-4 at k = 5
    assert rates == pytest.approx([1e-3 * (0.1 + 0.45 * (1 + math.cos(math.pi * k / 10))) for k in range(10)])


def test_only_the_completion_is_learnt(recipe, tmp_path, monkeypatch):
    from trl_r1.runs import sft as tuning

    seen = []
    stock = tuning.R1SFTTrainer

    def spy(**arguments):
        trainer = stock(**arguments)
        seen.extend(trainer.train_dataset.select(range(2)))
        seen.append(trainer.processing_class)
        return trainer

    monkeypatch.setattr(tuning, "R1SFTTrainer", spy)
    sft.main(["--config", recipe(packing=False, max_steps=1)])
    *rows, tokenizer = seen
    for row, source in zip(rows, ROWS):
        learnt = [token for token in row["labels"] if token != -100]
        assert tokenizer.decode(learnt) == source["completion"] + tokenizer.eos_token


def test_packed_rows_do_not_see_each_other(tiny):
    """The loss of two packed rows is that of the same two rows side by side: sdpa keeps them apart by position."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32, attn_implementation="sdpa").train()
    first, second = [5, 9, 7, 3, 8], [4, 6, 2]
    apart = [model(torch.tensor([ids])).logits[0] for ids in (first, second)]
    packed = model(
        torch.tensor([first + second]), position_ids=torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2]]), use_cache=False
    ).logits[0]
    torch.testing.assert_close(packed, torch.cat(apart), atol=1e-5, rtol=1e-5)


def test_packing_needs_fewer_sequences_and_has_the_same_loss(recipe, tmp_path):
    """One step over all 24 rows, packed or not: the mean over the same tokens."""
    once = {"max_steps": 1, "save_steps": 1, "max_length": 256, "per_device_train_batch_size": 24}
    sft.main(["--config", recipe(**once, output_dir=str(tmp_path / "packed"))])
    sft.main(["--config", recipe(**once, output_dir=str(tmp_path / "plain"), packing=False)])
    packed = int((tmp_path / "packed" / "report.md").read_text().split("packed into ")[1].split()[0])
    assert 1 < packed < 24
    (one,), (other,) = logged(tmp_path / "packed"), logged(tmp_path / "plain")
    assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
    assert one["grad_norm"] == pytest.approx(other["grad_norm"], abs=1e-4)


# --- shapes of data


def test_three_shapes_of_rows():
    asked = [{"question": "1 + 1?", "completion": "2"}]
    assert to_imitate(Dataset.from_list(asked), template="Q: {question} A:")[0] == {
        "prompt": "Q: 1 + 1? A:",
        "completion": "2",
    }
    whole = [{"prompt": "1 + 1?", "completion": [{"role": "assistant", "content": "2"}], "messages": "noise"}]
    assert to_imitate(Dataset.from_list(whole))[0] == {"prompt": "1 + 1?", "completion": "2"}
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    assert to_imitate(Dataset.from_list([{"messages": talk}]), messages_column="messages")[0] == {
        "prompt": talk[:1],
        "completion": talk[1:],
    }
    mixed = [{"prompt": talk[:1], "completion": "hello"}]
    assert to_imitate(Dataset.from_list(mixed))[0]["completion"] == [{"role": "assistant", "content": "hello"}]


def test_rows_that_cannot_be_imitated_are_named():
    rows = Dataset.from_list([{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": " "}])
    with pytest.raises(ValueError, match=r"row 1 \(counted from 0\) has an empty completion"):
        to_imitate(rows)
    assert len(to_imitate(rows, drop_empty=True)) == 1
    with pytest.raises(ValueError, match="no row with both"):
        to_imitate(rows.select([1]), drop_empty=True)
    asked = Dataset.from_list([{"messages": [{"role": "user", "content": "hi"}]}])
    with pytest.raises(ValueError, match="ends with the role 'user'"):
        to_imitate(asked, messages_column="messages")


def test_long_rows_are_left_out_and_counted(tiny, caplog):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    rows = Dataset.from_list([{"prompt": "ab", "completion": "c" * n} for n in (1, 2, 3)])
    lengths = [len(tokenizer("ab" + "c" * n)["input_ids"]) + 1 for n in (1, 2, 3)]  # and the end token
    assert len(tokenized(rows, Renderer(tokenizer), lengths[1])) == 2
    assert f"Left out 1 of 3 rows that are longer than max_length={lengths[1]} tokens" in caplog.text


# --- kill and resume


def start(recipe_path, kind, number, out):
    command = [
        str(SCRIPT),
        "sft",
        kind,
        str(number),
        "--config",
        recipe_path,
        "--output_dir",
        str(out),
    ]
    return fresh.start(*command)


@pytest.mark.slow
def test_a_killed_run_resumes_onto_the_same_trajectory(recipe, tmp_path):
    """QLoRA: tests/models/test_four_bit.py."""
    from safetensors.torch import load_file

    path = recipe(max_steps=9, save_steps=3)
    done = start(path, "never", 0, tmp_path / "whole")
    assert done.returncode == 0, done.stderr[-2000:]
    killed = start(path, "step", 7, tmp_path / "killed")
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert not (tmp_path / "killed" / "summary.json").exists()
    resumed = start(path, "never", 0, tmp_path / "killed")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert "Resumed from" in (tmp_path / "killed" / "report.md").read_text()

    expected, got = logged(tmp_path / "whole"), logged(tmp_path / "killed")
    assert [line["step"] for line in got] == [line["step"] for line in expected] == list(range(1, 10))
    for one, other in zip(got, expected):
        assert {key: one[key] for key in ("loss", "grad_norm", "learning_rate")} == {
            key: other[key] for key in ("loss", "grad_norm", "learning_rate")
        }
    assert len({line["loss"] for line in expected}) > 5  # it did learn
    whole, again = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "killed"))
    assert whole.keys() == again.keys() != set()
    assert all(torch.equal(tensor, again[key]) for key, tensor in whole.items())


# --- adapters


def test_an_adapter_is_merged_for_the_next_stage(recipe, tiny, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    sft.main(["--config", recipe(use_peft=True, lora_r=4, lora_target_modules="all-linear", learning_rate=0.05,
                                 merge_adapter=True)])  # fmt: skip
    out = tmp_path / "out"
    assert (out / "adapter_model.safetensors").is_file()
    assert not (out / "model.safetensors").exists()
    ids = torch.tensor([[5, 9, 7, 3, 8]])
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    plain = base(ids).logits
    adapted = PeftModel.from_pretrained(base, str(out))(ids).logits
    merged = AutoModelForCausalLM.from_pretrained(out / "merged")(ids).logits
    torch.testing.assert_close(merged, adapted, atol=1e-5, rtol=1e-5)
    assert (merged - plain).abs().max() > 0.01

    before = (out / "merged" / "model.safetensors").stat().st_mtime_ns
    sft.main(["--config", recipe(model_name_or_path=str(out), output_dir=str(tmp_path / "next"), max_steps=1)])
    assert (out / "merged" / "model.safetensors").stat().st_mtime_ns == before  # once is enough
    assert (tmp_path / "next" / "model.safetensors").is_file()


def test_an_adapter_whose_base_is_gone_is_told(recipe, capsys, tmp_path):
    sft.main(["--config", recipe(use_peft=True, lora_r=4, lora_target_modules="all-linear", max_steps=1)])
    config = tmp_path / "out" / "adapter_config.json"
    config.write_text(config.read_text().replace(json.loads(config.read_text())["base_model_name_or_path"], "./gone"))
    sentence = stage_error(
        capsys,
        sft.main,
        "--config",
        recipe(model_name_or_path=str(tmp_path / "out"), output_dir=str(tmp_path / "next")),
    )
    assert "cannot be merged into its base './gone'" in sentence
    assert not (tmp_path / "next").exists()


# --- the recipes


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sft", "mini/sft"])
def test_every_recipe_runs_two_steps_on_a_tiny_model(name, recipe, wide, tmp_path):
    """The recipe itself, quantised where it says so, with what a CPU needs changed on the command line."""
    recipe()  # writes rows.jsonl
    rows = str(tmp_path / "rows.jsonl")
    options = {
        "model_name_or_path": wide, "dataset_name": rows,
        "evaluation_dataset_name": rows, "evaluation_split": "train", "evaluation_problems": 2, "evaluation_samples": 2,
        "evaluation_question_column": "question", "evaluation_solution_column": "solution", "evaluation_max_tokens": 6,
        "output_dir": str(tmp_path / "out"), "max_steps": 2, "use_cpu": "true", "bf16": "false", "dtype": "float32",
        "optim": "adamw_torch", "gradient_accumulation_steps": 1, "disable_tqdm": "true", "save_steps": 1,
        "gradient_checkpointing": "false", "lora_r": 4, "max_length": 128,
    }  # fmt: skip
    arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    sft.main(["--config", name, *arguments])
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["steps"] == 2
    if name == "sft":
        assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
        assert (tmp_path / "out" / "merged" / "model.safetensors").is_file()
