"""The evaluate stage: from benchmark files to a report, resumed, judged again, compared, and following a run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from places import shared_file
from samples import graded
from stage_starts import stage_error
from trl import ModelConfig

from trl_r1 import cli
from trl_r1.evaluation import follow as following
from trl_r1.evaluation import followed
from trl_r1.evaluation.benchmark import Evaluation, default_graders
from trl_r1.evaluation.chunks import evaluate_in_chunks
from trl_r1.evaluation.graded import GradedProblem
from trl_r1.evaluation.suite_report import numbers, paired_on_questions
from trl_r1.evaluation.suites import choose_shots, problems_of, read_suite, with_shots
from trl_r1.models.templates import TEMPLATES
from trl_r1.stages import evaluate
from trl_r1.stages.evaluate.matching import match_earlier
from trl_r1.stages.evaluate.run import EvaluateOptions, load_parts, prepare_evaluation


ROWS = [{"question": f"Compute {i} + 1.", "solution": str(i + 1), "language": "en"} for i in range(6)]


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


@pytest.fixture
def options(tiny, rows, tmp_path):
    """`options(**changes)`: the command line of a small evaluation as a list."""
    base = {
        "model_name_or_path": tiny, "dtype": "float32", "use_cpu": True, "datasets": rows, "template": "mini",
        "samples": 2, "max_tokens": 5, "chunk_problems": 2, "output_dir": str(tmp_path / "out"), "disable_tqdm": True,
    }  # fmt: skip

    def build(**changes):
        chosen = {key: value for key, value in {**base, **changes}.items() if value is not None}
        return [
            part
            for key, value in chosen.items()
            for part in (f"--{key}", value if isinstance(value, str) else json.dumps(value))
        ]

    return build


def problem(solution: str, texts: list[str], prompt: str = "p") -> GradedProblem:
    return graded(solution, texts, prompt=f"{prompt} {solution}")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"datasets": '[{"benchmark": "aime2"}]'}, "Did you mean 'aime24'?"),
        ({"datasets": '[{"name": "x.jsonl", "sample": 3}]'}, "unknown key 'sample'. Did you mean 'samples'?"),
        ({"datasets": "./no_such.jsonl"}, "no_such.jsonl"),
        ({"datasets": "[]"}, "must be a list"),
        (
            {"datasets": '[{"benchmark": "gsm8k", "problems": 0}]'},
            "problems=0 of 'gsm8k' must be a whole number of at least 1",
        ),
        ({"shots": "2"}, "no `shots_from`"),
        ({"shots": "-1"}, "at least 0"),
        ({"shots": "many"}, "list of whole numbers"),
        ({"template": "no place"}, "{question}"),
        ({"model_name_or_path": None}, "No model was named"),
        ({"model_name_or_path": "./nowhere"}, "no such folder"),
        ({"compare_with": "./nowhere"}, "There is no evaluation at './nowhere'"),
        ({"regrade": "./nowhere"}, "There is no evaluation at './nowhere'"),
        ({"follow": "./nowhere", "output_dir": "./nowhere/followed"}, "Start the training first"),
        ({"temperature": -1.0}, "temperature=-1.0 is negative"),
        ({"rewards": '[{"name": "acuracy"}]'}, "Did you mean 'accuracy'?"),
        ({"rollout_copy": "int8"}, "rollout_copy='int8' is not offered"),
        ({"rollout_copy": "merged", "ray_workers": 1}, "Set rollout_copy: none"),
    ],
)
def test_mistakes_are_told_in_one_sentence_and_leave_nothing(changes, sentence, options, capsys, tmp_path):
    assert sentence in stage_error(capsys, evaluate.main, *options(**changes))
    assert not (tmp_path / "out").exists()


def test_a_wrong_column_names_the_right_one(options, rows, capsys):
    sentence = stage_error(capsys, evaluate.main, *options(datasets=[{"name": rows, "solution_column": "answer"}]))
    assert "no column 'answer'" in sentence
    assert "Did you mean 'solution'?" in sentence


def test_a_folder_without_a_model_is_refused_before_anything_is_written(options, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "folder without a model" in stage_error(
        capsys, evaluate.main, *options(model_name_or_path=str(tmp_path / "empty"))
    )


@pytest.fixture
def chatty(tiny, tmp_path):
    """The tiny model with a chat template."""
    folder = tmp_path / "chatty"
    shutil.copytree(tiny, folder)
    (folder / "chat_template.jinja").write_text("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    return str(folder)


def test_evaluate_grade_and_traces_ask_a_model_in_the_same_template(tiny, chatty, rows, tmp_path, monkeypatch):
    seen = []

    def prompts_of(model):
        seen.clear()
        evaluation = EvaluateOptions(datasets=rows, output_dir=str(tmp_path / f"of-{Path(model).name}"), use_cpu=True)
        prepared = prepare_evaluation(evaluation, ModelConfig(model_name_or_path=model))
        prepared.lock.release()
        cli.main(["data", "grade", rows, str(tmp_path / "graded.jsonl"), "--model", model])
        levelled = tmp_path / "levelled.jsonl"
        levelled.write_text("".join(json.dumps({**row, "trl_r1_level": 1}) + "\n" for row in ROWS))
        cli.main(["traces", "make", str(levelled), str(tmp_path / "traces"), "--model", model, "--batch", "9"])
        return [next(iter(prepared.parts.values()))[0]["prompt"], *seen]

    def no_evaluation(policy, tokenizer, prompts, **options):
        seen.append(prompts[0]["prompt"])
        raise ValueError("seen")

    def no_draw(self, prompts, *rest, **more):
        seen.append(min(prompts, key=str))
        raise ValueError("seen")

    monkeypatch.setattr("trl_r1.evaluation.benchmark.evaluate", no_evaluation)
    monkeypatch.setattr("trl_r1.models.engines.InProcess.draw", no_draw)
    assert prompts_of(chatty) == [[{"role": "user", "content": "Compute 0 + 1."}]] * 3
    assert prompts_of(tiny) == [TEMPLATES["r1_zero"].replace("{question}", "Compute 0 + 1.")] * 3


def test_a_benchmark_by_name_knows_its_columns_and_the_papers_samples():
    (aime,) = read_suite("aime24")
    assert (aime.name, aime.split, aime.question_column, aime.samples) == (
        "HuggingFaceH4/aime_2024",
        "train",
        "problem",
        64,
    )
    (local,) = read_suite({"benchmark": "gsm8k", "name": "mine/gsm8k_test.jsonl"})
    assert (local.name, local.config, local.split, local.solution_column) == (
        "mine/gsm8k_test.jsonl",
        None,
        None,
        "answer",
    )
    with pytest.raises(ValueError, match="datasets: two of them are called 'rows'; give each its own label"):
        read_suite([{"name": "a/rows.jsonl"}, {"name": "b/rows.jsonl"}])


def test_examples_stand_before_the_question_and_never_are_the_question(rows, tmp_path):
    worked = tmp_path / "worked.jsonl"
    worked.write_text(
        "".join(json.dumps({"question": r["question"], "reply": f" so {r['solution']}"}) + "\n" for r in ROWS)
    )
    (entry,) = read_suite([{"name": rows, "shots_from": str(worked)}])
    made = problems_of(entry, "Q: {question} A:", shots=2, seed=3)
    for row in made:
        before = row["prompt"].split("\n\n")
        assert before[-1] == f"Q: {row['question']} A:"
        assert len(before) == 3
        assert row["question"] not in "".join(before[:-1])
    chat = with_shots([{"role": "user", "content": "{question}"}], [("1+1?", "2")], "2+2?", 1)
    assert [turn["role"] for turn in chat] == ["user", "assistant", "user"]
    with pytest.raises(ValueError, match=r"shots=6 needs 7 worked examples; .* has 6"):
        choose_shots(entry, 6, 0)


def test_an_evaluation_leaves_what_it_promises_and_is_finished_the_second_time(options, rows, capsys, tmp_path):
    worked = tmp_path / "worked.jsonl"
    worked.write_text("".join(json.dumps({"question": f"Compute {i}.", "reply": str(i)}) + "\n" for i in range(5)))
    datasets = [{"name": rows, "language_column": "language", "shots_from": str(worked)},
                {"name": rows, "label": "few", "problems": 3, "samples": 4, "shots_from": str(worked)}]  # fmt: skip
    argv = options(datasets=datasets, shots="0,2")
    evaluate.main(argv)
    out = tmp_path / "out"
    names = ["rows", "rows-2shot", "few", "few-2shot"]
    assert not (out / "chunks").exists()
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["parts"]) == names
    assert summary["parts"]["few"]["problems"] == 3
    assert {"pass@1", "pass@2", "pass@4", "cons@4", "format", "language", "length"} <= set(summary["parts"]["few"])
    assert set(summary) >= {"stage", "seconds", "before", "after"}
    stored = Evaluation.load(out / "rows-2shot.json")
    assert [stored.settings[key] for key in ("shots", "chunk", "samples", "seed")] == [2, 2, 2, 0]
    report = (out / "report.md").read_text()
    assert report.count("## A prompt as the model reads it") == 1
    for words in ("## Zero-shot and few-shot", "drawing the right one", "pass_at_k.png", "rows-2shot"):
        assert words in report
    capsys.readouterr()
    evaluate.main(argv)
    assert "finished already" in capsys.readouterr().out


def test_a_report_says_how_far_the_copy_that_answered_is_from_the_model(options, tmp_path):
    evaluate.main(options(rollout_copy="bfloat16"))
    found = json.loads((tmp_path / "out" / "rollout_copy.json").read_text())
    assert found["kind"] == "bfloat16"
    assert found["tokens"] == len(ROWS) * 32
    assert 0.0 < found["mean"] < found["p99"] < 0.5
    assert f"{found['mean']:.2g} nats per token" in (tmp_path / "out" / "report.md").read_text()


def test_a_killed_evaluation_goes_on_where_it_stopped_and_ends_the_same(tiny, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny)
    problems = [{"prompt": f"{i} + 1 =", "solution": str(i + 1), "language": "en"} for i in range(5)]
    fixed = {"chunk": 2, "graders": default_graders(), "samples": 2, "max_new_tokens": 4, "seed": 7}
    loaded = []

    def load():
        loaded.append(1)
        return model, tokenizer

    whole = evaluate_in_chunks(load, problems, tmp_path / "a", "x", **fixed)

    def kill(line):
        if line.startswith("x: 4 of 5"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_in_chunks(load, problems, tmp_path / "b", "x", progress=kill, **fixed)
    assert sorted(path.name for path in (tmp_path / "b" / "chunks" / "x").iterdir()) == ["00000.json", "00001.json"]
    loaded.clear()
    resumed = evaluate_in_chunks(load, problems, tmp_path / "b", "x", **fixed)
    assert len(loaded) == 1  # only the third chunk was left
    assert [p.samples for p in resumed.problems] == [p.samples for p in whole.problems]
    (tmp_path / "c" / "chunks" / "x").mkdir(parents=True)
    (tmp_path / "c" / "chunks" / "x" / "00000.json").write_text('{"kind": "trl_r1.evaluation", "pro')
    mended = evaluate_in_chunks(load, problems, tmp_path / "c", "x", **fixed)
    assert [p.samples for p in mended.problems] == [
        p.samples for p in whole.problems
    ]  # a damaged chunk is sampled again


def test_a_chunk_of_other_problems_is_not_taken_for_ours(tiny, tmp_path):
    part = tmp_path / "chunks" / "x"
    Evaluation([problem("4", ["4", "5"])]).save(part / "00000.json")
    with pytest.raises(ValueError, match="holds other problems"):
        evaluate_in_chunks(
            lambda: (None, None), [{"prompt": "p", "solution": "5", "language": None}], tmp_path, "x", chunk=1,
            graders=default_graders(), samples=2, max_new_tokens=4,
        )  # fmt: skip


def test_what_cannot_be_loaded_is_one_sentence_after_the_checks_too(options, capsys, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")  # looks like a model
    assert "cannot be loaded" in stage_error(
        capsys, evaluate.main, *options(model_name_or_path=str(tmp_path / "model"))
    )
    (tmp_path / "half.json").write_text('{"kind": "trl_r1.evaluation", "version": 1}')
    assert "a damaged one" in stage_error(
        capsys, evaluate.main, *options(regrade=str(tmp_path / "half.json"), output_dir=str(tmp_path / "o"))
    )


def test_a_regrade_names_the_model_that_answered(options, tmp_path):
    Evaluation([problem("4", ["4", "5"])], {"model": "runs/mine"}).save(tmp_path / "stored.json")
    evaluate.main(options(regrade=str(tmp_path / "stored.json"), model_name_or_path="runs/another"))
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["model"] == "runs/mine"
    assert "runs/another" not in (tmp_path / "out" / "report.md").read_text()


def test_a_verifier_needs_columns_that_stored_answers_have_only_from_a_verifier(options, tmp_path, capsys):
    again = {
        "regrade": str(tmp_path / "stored.json"),
        "rewards": ["format"],
        "verifier": "format",
        "template": None,
        "datasets": None,
    }
    Evaluation([problem("4", ["4"])]).save(tmp_path / "stored.json")
    assert "verifier='format' reads columns of the dataset" in stage_error(capsys, evaluate.main, *options(**again))
    kept = problem("4", ["<think>2 + 2</think><answer>4</answer>", "4"])
    kept.columns = {"question": "2 + 2"}
    Evaluation([kept]).save(tmp_path / "stored.json")
    evaluate.main(options(**again, output_dir=str(tmp_path / "again")))
    assert json.loads((tmp_path / "again" / "summary.json").read_text())["after"]["pass@1"] == 0.5
    assert "Right is a reply that the reward format pays in full." in (tmp_path / "again" / "report.md").read_text()
    assert load_parts(str(tmp_path / "again"))["stored"].settings["verifier"] == "format"


def test_pass_at_k_and_the_paired_difference_by_hand():
    # 4 samples, 1 right: pass@2 = 1 - C(3,2)/C(4,2) = 1 - 3/6 = 1/2; 2 right: 1 - C(2,2)/C(4,2) = 5/6
    before = Evaluation([problem("4", ["4", "5", "6", "7"]), problem("9", ["9", "9", "8", "7"])])
    found = numbers(before, [1, 2, 4, 8])
    assert found["pass@1"] == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert found["pass@2"] == pytest.approx((1 / 2 + 5 / 6) / 2)
    assert found["pass@4"] == 1.0
    assert "pass@8" not in found
    # the first problem ties four ways: 1/4; the second has a clear majority: 1
    assert found["cons@4"] == pytest.approx((1 / 4 + 1) / 2)
    after = Evaluation([problem("4", ["4", "4", "6", "7"], "other prompt"), problem("9", ["9"] * 4, "other prompt")])
    change, count = paired_on_questions(before, after)
    assert (change.mean, count) == (pytest.approx((1 / 4 + 1 / 2) / 2), 2)


def test_regrading_stored_answers_gives_the_same_numbers(options, tmp_path):
    evaluate.main(options())
    first = json.loads((tmp_path / "out" / "summary.json").read_text())
    evaluate.main(options(regrade=str(tmp_path / "out"), output_dir=str(tmp_path / "again"), model_name_or_path=None))
    second = json.loads((tmp_path / "again" / "summary.json").read_text())
    for key in ("pass@1", "cons@2", "pass@2", "format", "language", "length", "interval"):
        assert second["after"][key] == first["after"][key]
    assert "rows: 0 of 12 verdicts changed." in (tmp_path / "again" / "report.md").read_text()


def test_before_and_after_are_paired_by_problem(options, tmp_path):
    evaluate.main(options())
    evaluate.main(options(compare_with=str(tmp_path / "out"), output_dir=str(tmp_path / "later"), seed=1))
    report = (tmp_path / "later" / "report.md").read_text()
    assert "before and after" in report
    assert "on the same 6 problems" in report
    parts = load_parts(str(tmp_path / "later"))
    assert match_earlier({"renamed": parts["rows"]}, parts) == {"rows": parts["rows"]}
    assert match_earlier({"other": Evaluation([problem("4", ["4"])])}, parts) == {}


def test_real_solutions_are_judged_as_their_authors_judged_them():
    """700 GSM8K questions, four models' solutions each, with the verdict OpenAI published (`is_correct`)."""
    lines = [
        json.loads(line) for line in shared_file("data/gsm8k_model_solutions.jsonl").read_text().splitlines()[:150]
    ]
    models = ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"]
    evaluation = Evaluation([
        problem(
            row["ground_truth"].replace("A: ", "#### "),
            [row[name]["solution"].replace("A: ", "#### ") for name in models],
        )
        for row in lines
    ])  # fmt: skip
    theirs = [bool(row[name]["is_correct"]) for row in lines for name in models]
    ours = [verdict for one in evaluation.problems for verdict in one.right]
    assert sum(a == b for a, b in zip(ours, theirs)) >= 0.98 * len(theirs)
    assert [one.right for one in evaluation.regrade().problems] == [one.right for one in evaluation.problems]


@pytest.mark.slow
def test_gsm8k_and_aime24_files_end_to_end(options, tmp_path):
    datasets = [
        {"benchmark": "gsm8k", "name": str(shared_file("data/gsm8k_test.jsonl")), "problems": 6,
         "shots_from": {"name": str(shared_file("data/gsm8k_train.jsonl")), "reply_column": "answer"}},
        {"benchmark": "aime24", "name": str(shared_file("data/aime24.jsonl")), "problems": 4},
    ]  # fmt: skip
    evaluate.main(options(datasets=datasets, template="r1_zero", most_samples=2))
    stored = load_parts(str(tmp_path / "out"))
    assert {name: len(run.problems) for name, run in stored.items()} == {"gsm8k": 6, "aime24": 4}
    assert all(one.judged for run in stored.values() for one in run.problems)  # every gold can be read
    assert stored["gsm8k"].problems[0].gold.endswith("#### 18")
    evaluate.main(options(regrade=str(tmp_path / "out"), output_dir=str(tmp_path / "again")))
    first, second = (json.loads((tmp_path / name / "summary.json").read_text())["parts"] for name in ("out", "again"))
    for part in ("gsm8k", "aime24"):
        for key in ("pass@1", "cons@2", "pass@2", "format", "language", "length", "interval", "unjudged"):
            assert second[part][key] == first[part][key]


def test_the_followers_table_is_renewed_and_stands_before_the_answers(tmp_path):
    one = Evaluation([problem("4", ["4", "5"])])
    followed.record(tmp_path, 20, {"rows": one})
    followed.record(tmp_path, 10, {"rows": one})
    followed.record(tmp_path, 10, {"rows": Evaluation([problem("4", ["4", "4"])])})  # the later one counts
    assert [(row["step"], row["pass@1"]) for row in followed.read_followed(tmp_path)] == [(10, 1.0), (20, 0.5)]
    report = "# T\n\n## Training\n\nx\n\n## Sample answers\n\ny\n"
    once = followed.put_into(report, followed.section(tmp_path))
    assert once.index("## Training") < once.index(followed.HEADING) < once.index("## Sample answers")
    followed.record(tmp_path, 30, {"rows": one})
    twice = followed.put_into(once, followed.section(tmp_path))
    assert twice.count(followed.HEADING) == 1
    assert "| 30 | rows |" in twice
    assert twice.endswith("## Sample answers\n\ny\n")


def test_a_checkpoint_that_is_deleted_meanwhile_is_still_evaluated(tiny, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(tiny, run / "checkpoint-5")
    (run / "checkpoint-5" / "trainer_state.json").write_text("{}")
    (run / "checkpoint-9").mkdir()  # half-written: no weights, no state
    assert [one.step for one in following.complete_checkpoints(run)] == [5]
    said = []

    def evaluate_one(folder, step):
        shutil.rmtree(run / "checkpoint-5")  # what save_total_limit does
        assert (folder / "model.safetensors").is_file()
        (run / "summary.json").write_text('{"steps": 5}')
        return {"rows": Evaluation([problem("4", ["4"])])}

    steps = following.follow(run, tmp_path / "own", evaluate_one, say=said.append, poll_seconds=0.01)
    assert steps == [5]
    assert followed.read_followed(run)[0]["pass@1"] == 1.0
    assert not list((tmp_path / "own" / ".held").iterdir())


def test_following_ends_when_nothing_comes(tmp_path):
    said = []
    assert following.follow(tmp_path, tmp_path / "own", lambda folder, step: {}, say=said.append, poll_seconds=0.01,
                            patience_seconds=0.05) == []  # fmt: skip
    assert "stopping" in said[-1]


@pytest.mark.slow
def test_a_follower_adds_to_the_report_and_changes_nothing_in_the_run(tiny, rows, tmp_path):
    settings = {
        "model_name_or_path": tiny, "dtype": "float32", "dataset_name": rows, "language_column": "language",
        "template": "mini", "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
        "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 6, "max_steps": 4,
        "logging_steps": 1, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 1, "report_to": "none",
        "disable_tqdm": True,
    }  # fmt: skip
    recipe = tmp_path / "zero.yaml"
    recipe.write_text(yaml.safe_dump(settings))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

    def start(module, *argv):
        return subprocess.Popen([sys.executable, "-m", module, *argv], env=environment)

    alone = start("trl_r1.stages.zero", "--config", str(recipe), "--output_dir", str(tmp_path / "alone"))
    assert alone.wait(300) == 0
    run = tmp_path / "run"
    training = start("trl_r1.stages.zero", "--config", str(recipe), "--output_dir", str(run))
    argv = ["--async", str(run), "--datasets", rows, "--template", "mini", "--samples", "2", "--max_tokens", "5",
            "--dtype", "float32", "--use_cpu", "true", "--follow_poll", "0.2", "--follow_patience", "120"]  # fmt: skip
    while not (run / "run.json").is_file():
        assert training.poll() is None
    follower = start("trl_r1.stages.evaluate", *argv)
    assert training.wait(300) == 0
    assert follower.wait(300) == 0
    assert max(row["step"] for row in followed.read_followed(run)) == 4
    report = (run / "report.md").read_text()
    assert followed.HEADING in report
    assert following.UNFINISHED not in report
    lines = [
        [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        for path in (tmp_path / "alone", run)
    ]
    for one, other in zip(*lines, strict=True):
        assert [one.get(key) for key in ("loss", "reward", "grad_norm")] == [
            other.get(key) for key in ("loss", "reward", "grad_norm")
        ]


@pytest.mark.slow
def test_an_adapter_is_evaluated_on_its_quantised_base(wide, options, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = get_peft_model(AutoModelForCausalLM.from_pretrained(wide), LoraConfig(r=2, target_modules="all-linear"))
    model.save_pretrained(tmp_path / "adapter")
    AutoTokenizer.from_pretrained(wide).save_pretrained(tmp_path / "adapter")
    evaluate.main(options(model_name_or_path=str(tmp_path / "adapter"), load_in_4bit=True))
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["after"]["problems"] == 6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evaluate", "mini/evaluate"])
def test_every_recipe_runs_on_a_tiny_model(name, options, wide, tmp_path):
    """The recipe itself, quantised where it says so, with what a CPU needs changed on the command line."""
    evaluate.main(["--config", name, *options(model_name_or_path=wide, max_tokens=4, most_samples=2, samples=None)])
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["after"]["problems"] == 6


def test_problems_are_put_with_the_system_prompt_an_opening_and_what_their_rows_say(tmp_path):
    from trl_r1.evaluation.suites import problems_of, read_suite

    rows = [{"question": "1 + 1?", "solution": "2", "chat_template_kwargs": {"thinking": False}}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    worked = [{"question": f"{n} + 0?", "reply": f"<think>nothing added</think>{n}"} for n in range(3)]
    (tmp_path / "worked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in worked))
    opened = [{"role": "user", "content": "{question}"}, {"role": "assistant", "content": "<think>"}]
    entry = {
        "name": str(tmp_path / "rows.jsonl"),
        "split": "train",
        "shots_from": {"name": str(tmp_path / "worked.jsonl")},
    }
    (one,) = problems_of(read_suite([entry])[0], opened, 1, 0, "Be brief.")
    assert one["chat_template_kwargs"] == {"thinking": False}
    assert [message["role"] for message in one["prompt"]] == ["system", "user", "assistant", "user", "assistant"]
    assert one["prompt"][2]["content"].startswith("<think>nothing added</think>")
    assert one["prompt"][-1]["content"] == "<think>"


def test_the_options_of_the_template_make_the_renderer(tiny, tmp_path):
    from transformers import AutoTokenizer

    from trl_r1.stages.evaluate.run import EvaluateOptions, renderer_for

    options = EvaluateOptions(
        chat_template_kwargs='{"enable_thinking": false}',
        system_prompt="Be brief.",
        output_dir=str(tmp_path),
        use_cpu=True,
    )
    made = renderer_for(options, None, AutoTokenizer.from_pretrained(tiny))
    assert (made.chat.options, made.chat.system_prompt) == ({"enable_thinking": False}, "Be brief.")
    with pytest.raises(ValueError, match="chat_template_kwargs='off' is no mapping"):
        EvaluateOptions(chat_template_kwargs="off")
