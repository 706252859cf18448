"""Without a GPU: what will take for ever is said in one sentence before any model is loaded, and only that."""

import json
import sys

import pytest
import torch
from transformers import AutoTokenizer, Qwen2Config
from trl import ModelConfig

from trl_r1.commands import call, doctor
from trl_r1.data.filters import FilterLimits
from trl_r1.runs import processor
from trl_r1.runs.options import parse
from trl_r1.runs.processor import as_options, overrides, weights_of, what_takes_for_ever
from trl_r1.stages import cold_start, evaluate
from trl_r1.stages.rejection_sampling.make import prepare_rejection
from trl_r1.stages.rejection_sampling.options import RejectionOptions


@pytest.fixture
def large(tiny, tmp_path):
    """The folder of a model of 1.5 billion weights that has no weights: whoever loads it fails."""
    folder = tmp_path / "large"
    Qwen2Config(
        vocab_size=151936, hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12,
        num_key_value_heads=2, tie_word_embeddings=True, dtype="bfloat16", architectures=["Qwen2ForCausalLM"],
    ).save_pretrained(folder)  # fmt: skip
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    row = {"prompt": "1 + 1 =", "completion": " 2", "question": "1 + 1 =", "solution": "2"}
    path.write_text((json.dumps(row) + "\n") * 100)
    return str(path)


@pytest.fixture(autouse=True)
def old_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(processor, "computes_bfloat16", lambda: False)


def warnings_of(capsys, stage):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"trl-r1 {stage}: without a GPU")]


def prepare_sft(model, rows, folder, *more):
    """What `sft` does with its recipe until a model would be loaded."""
    from trl import SFTConfig

    from trl_r1.models.options import R1ModelConfig
    from trl_r1.runs.options import SFTOptions
    from trl_r1.runs.sft import prepare

    parsed = parse((SFTOptions, SFTConfig, R1ModelConfig), [
        "--config", "sft", "--model_name_or_path", model, "--dataset_name", rows, "--evaluation_dataset_name", rows,
        "--evaluation_split", "train", "--evaluation_question_column", "question", "--evaluation_solution_column",
        "solution", "--output_dir", str(folder), "--use_cpu", "true", *more,
    ])  # fmt: skip
    prepare("sft", *parsed).folder.let_go()


def test_a_gpu_recipe_says_what_takes_for_ever_and_goes_on(large, rows, tmp_path, capsys):
    prepare_sft(large, rows, tmp_path / "first")
    lines = warnings_of(capsys, "sft")
    assert len(lines) == 1
    # 100 problems, 4 samples, before and after
    assert "800 answers of up to 2,048 tokens, 1.5 billion weights for each token" in lines[0]
    assert "bf16/fp16 has no instructions of its own here" in lines[0]
    wanted = lines[0].split("add ")[1].rstrip(".").split()
    assert wanted == (
        "--evaluation_problems 8 --evaluation_samples 1 --evaluation_max_tokens 256 --bf16 false --dtype float32".split()
    )
    prepare_sft(large, rows, tmp_path / "second", *wanted)  # what it advises is enough
    assert warnings_of(capsys, "sft") == []


def test_evaluate_names_its_own_options(large, rows, tmp_path, capsys):
    def start(*more):
        with pytest.raises(SystemExit):  # there are no weights
            evaluate.main([
                "--config", "evaluate", "--model_name_or_path", large, "--datasets", rows, "--use_cpu", "true",
                "--load_in_4bit", "false", "--output_dir", str(tmp_path / f"out{len(more)}"), *more,
            ])  # fmt: skip
        return warnings_of(capsys, "evaluate")

    (line,) = start()
    assert "--problems 8 --most_samples 1 --max_tokens 256 --dtype float32." in line
    assert start(*line.split("add ")[1].rstrip(".").split()) == []


def test_rejection_sampling_names_its_own_options(large, rows, tmp_path, capsys):
    def start(*more):
        options, limits, model = parse((RejectionOptions, FilterLimits, ModelConfig), [
            "--config", "rejection_sampling", "--model_name_or_path", large, "--dataset_name", rows, "--question_column",
            "question", "--solution_column", "solution", "--general", "[]", "--mix", "{}", "--decontaminate", "[]",
            "--load_in_4bit", "false", "--use_cpu", "true", "--output_dir", str(tmp_path / f"out{len(more)}"), *more,
        ])  # fmt: skip
        prepare_rejection(options, limits, model).folder.let_go()
        return warnings_of(capsys, "rejection_sampling")

    (line,) = start()
    assert "the sampling generates 800 answers of up to 2,048 tokens" in line  # 100 problems, 8 samples
    wanted = line.split("add ")[1].rstrip(".")
    assert wanted == "--max_prompts 8 --samples_per_prompt 1 --max_new_tokens 256 --dtype float32"
    assert start(*wanted.split()) == []


def test_cold_start_counts_its_sources_and_the_rewriting(large, rows, tmp_path, capsys, monkeypatch):
    def start(*more):
        monkeypatch.setattr(cold_start, "make_data", lambda job, prepared: prepared.folder.let_go() or sys.exit(9))
        with pytest.raises(SystemExit) as caught:
            cold_start.main([
                "--config", "cold_start", "--model_name_or_path", large, "--dataset_name", rows, "--question_column",
                "question", "--solution_column", "solution", "--evaluation_dataset_name", rows, "--evaluation_split",
                "train", "--evaluation_question_column", "question", "--evaluation_solution_column", "solution",
                "--sources", json.dumps([{"name": "reflection", "model": large}]), "--rewrite_model", large,
                "--load_in_4bit", "false", "--use_cpu", "true", "--output_dir", str(tmp_path / f"out{len(more)}"), *more,
            ])  # fmt: skip
        assert caught.value.code == 9
        return warnings_of(capsys, "cold_start")

    (line,) = start()
    assert "held-out evaluation generates 800 answers of up to 2,048 tokens" in line
    assert "the source reflection generates 200 answers of up to 2,048 tokens" in line  # 100 problems, 2 samples
    assert "rewriting generates 200 answers of up to 3,072 tokens" in line
    assert start(*line.split("add ")[1].rstrip(".").split()) == []


def test_a_command_that_answers_names_the_type_of_the_weights(large, capsys):
    for dtype in ("bfloat16", "auto"):
        assert call("answer", ["--model", large, "--dtype", dtype, "--template", "mini", "1 + 1?"]) == 2  # no weights
        (line,) = warnings_of(capsys, "answer")
        assert line.endswith(
            "dtype bfloat16 has no instructions of its own here; for a first look add --dtype float32."
        )
    assert call("answer", ["--model", large, "--dtype", "float32", "--template", "mini", "1 + 1?"]) == 2
    assert warnings_of(capsys, "answer") == []


def test_a_small_model_and_a_gpu_are_left_in_peace(wide, large, rows, tmp_path, capsys, monkeypatch):
    prepare_sft(wide, rows, tmp_path / "out")
    assert warnings_of(capsys, "sft") == []

    class OnGPU:
        use_cpu, bf16 = False, True

    given = OnGPU(), ModelConfig(dtype="bfloat16"), large
    assert "--use_cpu true" in what_takes_for_ever(*given)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert what_takes_for_ever(*given) is None


def test_a_processor_with_instructions_for_bfloat16_may_use_it(large, monkeypatch):
    class Config:
        use_cpu, bf16 = True, True

    monkeypatch.setattr(processor, "computes_bfloat16", lambda: True)
    assert what_takes_for_ever(Config(), ModelConfig(dtype="bfloat16"), large) is None


def test_weights_are_counted_without_weights(tiny, large, tmp_path):
    assert weights_of(large) == 1_543_714_304  # Qwen2.5-1.5B
    assert weights_of(str(tmp_path / "nothing")) == 0


def test_doctor_gives_the_same_advice():
    assert any(as_options(overrides()) in line for line in doctor.devices())
