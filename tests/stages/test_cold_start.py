"""The cold-start stage from its command line: data from every source, review, kill and resume, bad worlds, recipes."""

import json
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fresh
import pytest
import yaml
from places import SCRIPTS
from stage_starts import recipe_writer, stage_error

from trl_r1.stages import cold_start, reasoning_rl


SCRIPT = SCRIPTS / "killed_tuning.py"

PROBLEMS = [{"question": f"Compute {i} + 1.", "solution": str(i + 1), "language": "en"} for i in range(12)]


def chain(row, right=True):
    return f"<think>I take the number and count one on.</think> <answer>{int(row['solution']) + (not right)}</answer>"


@pytest.fixture
def recipe(tiny, tmp_path):
    """`recipe(**changes)` writes a small valid YAML with the changes in it and returns its path; None removes a key.

    Its one source is a file of chains: ten right ones, one wrong, one in another language.
    """
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PROBLEMS))
    chains = [{**row, "completion": chain(row)} for row in PROBLEMS]
    chains[3]["completion"] = chain(PROBLEMS[3], right=False)
    chains[5]["completion"] = chains[5]["completion"].replace("count one on", "再加上一个就可以了")
    (tmp_path / "chains.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chains))
    base = {
        "model_name_or_path": tiny, "dtype": "float32", "dataset_name": str(tmp_path / "problems.jsonl"),
        "language_column": "language", "template": "mini", "layout": "answer", "repeated_share": 1.0,
        "sources": [{"name": "rows", "dataset_name": str(tmp_path / "chains.jsonl"), "language_column": "language"}],
        "output_dir": str(tmp_path / "out"), "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
        "per_device_train_batch_size": 4, "max_length": 256, "max_steps": 2, "unit_prompts": 4, "logging_steps": 1,
        "save_strategy": "steps", "save_steps": 1, "report_to": "none", "disable_tqdm": True,
        "source_max_new_tokens": 8, "source_samples": 2,
    }  # fmt: skip

    return recipe_writer(tmp_path, base)


def data(folder) -> list[dict]:
    return [json.loads(line) for line in (Path(folder) / "data.jsonl").read_text().splitlines()]


def cold_start_error(capsys, code, *argv) -> str:
    """The one sentence of a start that must stop with a code."""
    return stage_error(capsys, cold_start.main, *argv, code=code, also_stdout=True)


def test_existing_chains_become_data_and_a_tuned_model(recipe, tmp_path):
    cold_start.main(["--config", recipe()])
    out = tmp_path / "out"
    kept = data(out)
    assert [row["solution"] for row in kept] == [str(i + 1) for i in range(12) if i not in (3, 5)]
    assert kept[0]["prompt"] == "User: Compute 0 + 1. Assistant:"
    assert kept[0]["completion"] == chain(PROBLEMS[0])
    assert set(kept[0]) == {
        "id",
        "prompt",
        "completion",
        "question",
        "solution",
        "language",
        "domain",
        "score",
        "provenance",
    }
    assert set(kept[0]["provenance"]) == {
        "stage", "source", "model", "model_hash", "prompt_hash", "seed", "index", "filters"
    }  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["steps"], summary["rows"], summary["kept"]) == (2, 10, 10)
    assert summary["data"]["sources"] == {"rows": {"drawn": 12, "right": 1, "mixed_language": 1, "kept": 10}}
    assert (out / "model.safetensors").is_file()
    assert "| rows | 12 |" in (out / "report.md").read_text()


def test_a_finished_run_asks_nobody_again(recipe, capsys, tmp_path):
    path = recipe()
    cold_start.main(["--config", path])
    (tmp_path / "chains.jsonl").unlink()
    capsys.readouterr()
    cold_start.main(["--config", path])
    assert "finished already" in capsys.readouterr().out


def test_only_data(recipe, tmp_path):
    cold_start.main(["--config", recipe(only_data=True)])
    assert len(data(tmp_path / "out")) == 10
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["kept"] == 10
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_thought_and_summary_from_two_columns_in_the_papers_layout(recipe, tmp_path):
    rows = [{"problem": "What is 2 + 2?", "gold": 4, "thinking": "Two and two.", "final": "It is \\boxed{4}."}]
    (tmp_path / "s1.jsonl").write_text(json.dumps(rows[0]) + "\n")
    source = {"name": "rows", "dataset_name": str(tmp_path / "s1.jsonl"), "question_column": "problem",
              "solution_column": "gold", "reasoning_column": "thinking", "summary_column": "final"}  # fmt: skip
    cold_start.main(["--config", recipe(sources=[source], layout="cold_start", only_data=True)])
    assert data(tmp_path / "out")[0]["completion"] == "|special_token|Two and two.|special_token|It is \\boxed{4}."


# --- a model and a server as sources


class Answers(BaseHTTPRequestHandler):
    """A server of completions: `reply` is called with the request and says what to send: a text, or bytes, or a status."""

    reply = staticmethod(lambda body: "")

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = type(self).reply(body)
        status = said if isinstance(said, int) else 200
        message = {"message": {"role": "assistant", "content": said}} if "messages" in body else {"text": said}
        content = (
            said
            if isinstance(said, bytes)
            else json.dumps({"choices": [{**message, "finish_reason": "stop"}]}).encode()
        )
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        """Quiet."""


@pytest.fixture
def server():
    """`server(reply)` starts one and gives its address."""
    running = []

    def start(reply):
        handler = type("Handler", (Answers,), {"reply": staticmethod(reply)})
        running.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=running[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{running[-1].server_port}/v1"

    yield start
    for one in running:
        one.shutdown()
        one.server_close()


def asked_number(body) -> int:
    return int(body["messages"][-1]["content"].split("Compute ")[1].split(" + 1")[0])


def test_two_ways_of_asking_a_server_and_a_rewriting_one(recipe, server, tmp_path):
    def reply(body):
        number, text = asked_number(body), body["messages"][-1]["content"]
        if text.startswith("Below are a problem"):
            return f"<think>\nFirst I count on from {number}.\n</think>\n\nCounting on gives \\boxed{{{number + 1}}}."
        mixed = "先数一数" if number % 2 else "I count"
        return f"<think>{mixed}</think> So \\boxed{{{number + 1}}}."

    address = server(reply)
    sources = [{"name": "few_shot", "samples": 1}, {"name": "reflection", "samples": 1}]
    cold_start.main(["--config", recipe(sources=sources, source_endpoint=address, source_model="m", layout="cold_start",
                                        rewrite_model="r", rewrite_endpoint=address, rows_per_problem=2,
                                        only_data=True)])  # fmt: skip
    kept = data(tmp_path / "out")
    assert len(kept) == 12  # both sources were rewritten into the same words; each once
    assert kept[1]["completion"] == (
        "|special_token|First I count on from 1.|special_token|Counting on gives \\boxed{2}."
    )
    assert kept[1]["provenance"]["rewritten_by"] == "r"
    counts = json.loads((tmp_path / "out" / "counts.json").read_text())["sources"]
    assert counts == {"few_shot": {"drawn": 12, "kept": 12}, "reflection": {"drawn": 12, "seen before": 12}}


def test_a_server_that_is_down_is_told_before_anything_is_written(recipe, capsys, tmp_path):
    sentence = cold_start_error(capsys, 2, "--config", recipe(sources=["reflection"], source_endpoint="http://127.0.0.1:9/v1",
                                                  source_model="m"))  # fmt: skip
    assert "The endpoint http://127.0.0.1:9/v1 gives no text (nobody listens there)" in sentence


def test_a_server_that_turns_to_garbage_loses_nothing(recipe, server, capsys, tmp_path, monkeypatch):
    from trl_r1.network import endpoint

    monkeypatch.setattr(endpoint, "LONGEST_PAUSE", 0.01)
    calls, broken = [], [True]

    def reply(body):
        calls.append(asked_number(body))
        if broken[0] and asked_number(body) >= 4:
            return b"<html>busy</html>"
        return f"<think>I count on.</think> It is \\boxed{{{asked_number(body) + 1}}}."

    path = recipe(sources=["reflection"], source_samples=1, source_endpoint=server(reply), source_model="m",
                  endpoint_concurrency=1, layout="summary", only_data=True)  # fmt: skip
    sentence = cold_start_error(capsys, 3, "--config", path)
    assert "an answer that is no completion" in sentence
    assert len(list((tmp_path / "out" / "drawn").glob("0*.jsonl"))) == 1  # problems 0 to 3
    broken[0], calls[:] = False, []
    cold_start.main(["--config", path])
    assert min(calls) == 4  # what was drawn is not drawn again
    assert [row["solution"] for row in data(tmp_path / "out")] == [str(i + 1) for i in range(12)]


def test_a_full_disk_is_told_and_nothing_is_lost(recipe, capsys, tmp_path, monkeypatch):
    import errno

    from trl_r1.storage import shards

    whole, writes = shards.replace_file, [0]

    def full(path, content):
        writes[0] += 1
        if writes[0] == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(path, content)

    monkeypatch.setattr(shards, "replace_file", full)
    path = recipe(only_data=True)
    assert "There is no room for" in cold_start_error(capsys, 3, "--config", path)
    cold_start.main(["--config", path])
    assert len(data(tmp_path / "out")) == 10


def test_a_damaged_shard_is_done_again(recipe, tmp_path, caplog):
    path = recipe(only_data=True)
    cold_start.main(["--config", path])
    expected = (tmp_path / "out" / "data.jsonl").read_bytes()
    for name in ("data.jsonl", "counts.json", "summary.json"):
        (tmp_path / "out" / name).unlink()
    shard = tmp_path / "out" / "judged" / "00001.jsonl"
    shard.write_bytes(shard.read_bytes()[:-20])
    cold_start.main(["--config", path])
    assert "is damaged" in caplog.text
    assert (tmp_path / "out" / "data.jsonl").read_bytes() == expected


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sources": [{"name": "zeros"}]}, "sources: name='zeros' must be one of: few_shot"),
        ({"sources": [{"name": "rows", "dataset_name": "./gone.jsonl"}]}, "gone.jsonl"),
        ({"sources": ["zero"], "source_model": "./gone"}, "there is no such folder"),
        ({"layout": "tags"}, "layout='tags' is unknown"),
        ({"filters": ["wright"]}, "No filter is called 'wright'"),
        ({"source_samples": 0}, "source_samples=0 leaves nothing to do"),
        ({"rewrite_endpoint": "http://127.0.0.1:9/v1"}, "rewrite_endpoint needs rewrite_model"),
        ({"question_column": "problem"}, "Did you mean 'question'?"),
        ({"review_share": 0}, "is not a share"),
        ({"language_share": 2.0}, "is not a share"),
        ({"max_length": 8}, "longer than max_length=8 tokens"),
    ],
)
def test_mistakes(changes, sentence, recipe, capsys):
    assert sentence in cold_start_error(capsys, 2, "--config", recipe(**changes))


def test_when_nothing_is_left_the_reasons_are_counted(recipe, capsys):
    sentence = cold_start_error(capsys, 2, "--config", recipe(language_share=1.0, longest_paragraph=3))
    assert "None of 12 samples can be imitated; dropped by: long_paragraphs 10, right 1, mixed_language 1." in sentence


# --- review


def test_a_review_stops_the_stage_and_the_same_command_goes_on(recipe, capsys, tmp_path):
    path, out = recipe(review="review.jsonl"), tmp_path / "out"
    assert "10 of 10 rows wait for a person" in cold_start_error(capsys, 4, "--config", path)
    lines = [json.loads(line) for line in (out / "review.jsonl").read_text().splitlines()]
    lines[0]["decision"] = "drop"
    lines[1]["completion"] = lines[1]["completion"].replace("count one on", "add one to it")
    for line in lines[2:9]:
        line["decision"] = "keep"
    (out / "review.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "1 of 10 rows wait" in cold_start_error(capsys, 4, "--config", path)
    (left,) = [json.loads(line) for line in (out / "review.jsonl").read_text().splitlines()]
    wrong = {**left, "completion": left["completion"].replace("<answer>", "<answer>9")}
    (out / "review.jsonl").write_text(json.dumps(wrong) + "\n")
    assert "the edited text is refused: the answer is" in cold_start_error(capsys, 2, "--config", path)
    (out / "review.jsonl").write_text(json.dumps({**left, "decision": "keep"}) + "\n")
    cold_start.main(["--config", path])
    kept = data(out)
    assert len(kept) == len({row["id"] for row in kept}) == 9
    assert "add one to it" in kept[0]["completion"]
    assert kept[0]["provenance"]["review"]["edited_from"] == lines[1]["id"]
    assert json.loads((out / "summary.json").read_text())["rows"] == 9


# --- kill and resume


def start(path, kind, number, out, *more):
    command = [
        str(SCRIPT),
        "cold_start",
        kind,
        str(number),
        "--config",
        path,
        "--output_dir",
        str(out),
    ]
    return fresh.start(*command, *more)


@pytest.mark.slow
def test_killed_anywhere_it_makes_the_same_data_and_the_same_model(recipe, tmp_path):
    """A sampled model and existing rows; killed between, before and after shards, and while it tunes."""
    sources = [
        {"name": "zero", "model": "mini:base-tiny", "max_new_tokens": 40, "samples": 4},
        {"name": "rows", "dataset_name": str(tmp_path / "chains.jsonl"), "language_column": "language"},
    ]
    path = recipe(sources=sources, dataset_name="mini:train-tiny", problems=16, filters=["answered"], rows_per_problem=4,
                  max_steps=3)  # fmt: skip
    done = start(path, "never", 0, tmp_path / "whole")
    assert done.returncode == 0, done.stderr[-2000:]
    kept = data(tmp_path / "whole")
    assert {row["provenance"]["source"] for row in kept} == {"zero", "rows"}
    killed = [("write", 2), ("written", 1), ("written", 4), ("write", 5), ("step", 2)]
    for kind, number in killed:
        stopped = start(path, kind, number, tmp_path / "killed")
        assert stopped.returncode == -signal.SIGKILL, (kind, number, stopped.stderr[-2000:])
    assert start(path, "never", 0, tmp_path / "killed").returncode == 0
    for name in ("data.jsonl", "model.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


# --- the recipes


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cold_start", "mini/cold_start"])
def test_every_recipe_runs_two_steps_on_a_tiny_model(name, recipe, wide, tmp_path):
    """The recipe itself, quantised where it says so, with what a CPU needs changed on the command line.

    A tiny model writes nothing right, so chains come from a file, and the quantised model is sampled beside it.
    """
    recipe()  # writes the files
    rows = str(tmp_path / "problems.jsonl")
    sources = [
        {"name": "rows", "dataset_name": str(tmp_path / "chains.jsonl"), "language_column": "language"},
        {"name": "few_shot", "model": wide}, {"name": "reflection", "model": wide},
        {"name": "zero", "model": wide, "template": "r1_zero"},
    ]  # fmt: skip
    options = {
        "model_name_or_path": wide, "dataset_name": rows, "solution_column": "solution", "sources": json.dumps(sources),
        "evaluation_dataset_name": rows, "evaluation_split": "train", "evaluation_problems": 2, "evaluation_samples": 2,
        "evaluation_question_column": "question", "evaluation_solution_column": "solution", "evaluation_max_tokens": 6,
        "output_dir": str(tmp_path / "out"), "max_steps": 2, "use_cpu": "true", "bf16": "false", "dtype": "float32",
        "optim": "adamw_torch", "gradient_accumulation_steps": 1, "disable_tqdm": "true", "save_steps": 1,
        "gradient_checkpointing": "false", "max_length": 512, "problems": 4, "source_samples": 1,
        "source_max_new_tokens": 6, "repeated_share": 1.0,
    }  # fmt: skip
    if name == "cold_start":
        options |= {"lora_r": 4, "layout": "cold_start", "rewrite_model": wide, "rewrite_max_new_tokens": 6}
        with pytest.raises(SystemExit):  # the tiny model cannot rewrite: all is drawn and judged, and nothing is left
            cold_start.main(["--config", name, *[p for k, v in options.items() for p in (f"--{k}", str(v))]])
        judged = "".join(path.read_text() for path in (tmp_path / "out" / "judged").glob("0*.jsonl"))
        assert '"dropped": "rewritten, ' in judged
        config = yaml.safe_load(Path("recipes/cold_start.yaml").read_text())
        del config["rewrite_model"], options["rewrite_model"]
        (tmp_path / "cold_start.yaml").write_text(yaml.safe_dump(config))
        name, options["output_dir"] = str(tmp_path / "cold_start.yaml"), str(tmp_path / "again")
    cold_start.main(["--config", name, *[p for k, v in options.items() for p in (f"--{k}", str(v))]])
    out = Path(options["output_dir"])
    assert json.loads((out / "summary.json").read_text())["steps"] == 2
    if "lora_r" in options:
        assert (out / "adapter_model.safetensors").is_file()
        assert (out / "merged" / "model.safetensors").is_file()
        assert data(out)[0]["completion"].startswith("|special_token|")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reasoning_rl", "mini/reasoning_rl"])
def test_reasoning_rl_goes_on_from_a_cold_start(name, recipe, wide, tmp_path):
    """Two steps of the recipe from an adapter that a cold start has left."""
    lora = {"use_peft": True, "lora_r": 4, "lora_target_modules": "all-linear"}
    cold_start.main(["--config", recipe(model_name_or_path=wide, **lora, max_steps=1)])
    rows = str(tmp_path / "problems.jsonl")
    options = {
        "model_name_or_path": str(tmp_path / "out"), "dataset_name": rows, "dataset_split": "train",
        "evaluation_dataset_name": rows, "evaluation_split": "train", "evaluation_problems": 2, "evaluation_samples": 2,
        "question_column": "question", "solution_column": "solution", "evaluation_question_column": "question",
        "evaluation_solution_column": "solution", "output_dir": str(tmp_path / "rl"), "max_steps": 2, "use_cpu": "true",
        "bf16": "false", "dtype": "float32", "optim": "adamw_torch", "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 1, "max_completion_length": 6, "disable_tqdm": "true", "save_steps": 1,
    }  # fmt: skip
    reasoning_rl.main(["--config", name, *[p for k, v in options.items() for p in (f"--{k}", str(v))]])
    assert json.loads((tmp_path / "rl" / "summary.json").read_text())["steps"] == 2
    logged = [json.loads(line) for line in (tmp_path / "rl" / "metrics.jsonl").read_text().splitlines()]
    parts = {"rewards/accuracy/mean", "rewards/format/mean", "rewards/language_consistency/mean"}
    assert any(parts <= set(line) for line in logged) or any(
        {*parts} - {"rewards/language_consistency/mean"} <= set(line) for line in logged
    )
