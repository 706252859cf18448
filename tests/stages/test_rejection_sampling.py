"""The stage: what it keeps, that a kill changes nothing, and that every mistake is one sentence."""

import http.server
import json
import subprocess
import sys
import threading

import pytest
from places import ROOT
from samples import sample
from stage_starts import recipe_writer, stage_error

from trl_r1.data.review import sample_id
from trl_r1.stages import rejection_sampling
from trl_r1.text.records import Completion, Verdict


RIGHT = "<think>I add one.</think> <answer>{}</answer>"


class Scripted:
    """An engine that knows the answers: of four samples two are right (one said twice), one is wrong, one in Chinese."""

    def draw(self, prompts, samples, seed, progress=None):
        drawn = []
        for prompt in prompts:
            number = int(prompt.split("Compute ")[1].split(" ")[0])
            right = RIGHT.format(number + 1)
            texts = [
                right,
                right,
                RIGHT.format(number),
                f"<think>我先加一，得到答案。</think> <answer>{number + 1}</answer>",
            ]
            drawn.append([Completion(text, 9) for text in texts[:samples]])
        return drawn


@pytest.fixture
def recipe(tiny, tmp_path):
    """`recipe(**changes)` writes a small valid YAML with the changes in it and returns its path; None removes a key."""
    rows = [{"question": f"Compute {i} + 1.", "solution": str(i + 1), "language": "en"} for i in range(10)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = {
        "model_name_or_path": tiny, "dtype": "float32", "use_cpu": True, "disable_tqdm": True, "template": "mini",
        "dataset_name": str(tmp_path / "rows.jsonl"), "language_column": "language", "samples_per_prompt": 4,
        "max_new_tokens": 6, "unit_prompts": 4, "output_dir": str(tmp_path / "out"),
    }  # fmt: skip

    return recipe_writer(tmp_path, base)


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setattr("trl_r1.stages.rejection_sampling.make.make_engine", lambda *arguments: Scripted())


def run(*argv):
    rejection_sampling.main(list(argv))


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_right_and_readable_ones_are_kept_with_where_they_come_from(recipe, scripted, tmp_path, capsys):
    run("--config", recipe())
    out = tmp_path / "out"
    kept = lines(out / "kept.jsonl")
    assert sorted(row["solution"] for row in kept) == sorted(str(i + 1) for i in range(10))
    one = next(row for row in kept if row["solution"] == "4")
    assert one["completion"] == RIGHT.format(4)
    assert one["prompt"] == "User: Compute 3 + 1. Assistant:"
    assert one["id"] == sample_id(one["prompt"], one["completion"])
    assert one["score"] == {"right": True, "by": "rule", "language": 1.0, "tokens": 9}
    origin = one["provenance"]
    assert (origin["stage"], origin["pool"], origin["place"], origin["index"]) == (
        "rejection_sampling",
        "reasoning",
        3,
        0,
    )
    assert origin["filters"][:3] == ["answered", "truncated", "right"]
    assert origin["filters"][-2:] == ["duplicates", "near_duplicates"]
    summary = json.loads((out / "summary.json").read_text())
    # 10 problems x 4: 10 wrong, 10 in Chinese, 10 said twice, 10 kept
    left = {step["step"]: step["left"] for step in summary["funnel"]}
    assert (left["drawn"], left["right"], left["mixed_language"], left["duplicates"]) == (40, 30, 20, 10)
    assert (summary["before"]["pass@1"], summary["after"]["pass@1"], summary["after"]["cons@4"]) == (0.75, 1.0, 1.0)
    assert {row["filter"] for row in lines(out / "log_dropped.jsonl")} == {"right", "mixed_language", "duplicates"}
    report = (out / "report.md").read_text()
    assert "| right | 10 | 30 | 75.0% |" in report
    assert report.count("## A prompt as the model reads it") == 1
    assert (out / "funnel.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    run("--config", recipe())
    assert "finished already" in capsys.readouterr().out


def test_what_nobody_judged_is_not_called_wrong(recipe, scripted, tmp_path):
    run("--config", recipe(filters=["answered", "truncated"]))
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["before"]["pass@1"], summary["before"]["unjudged"]) == (None, 10)
    assert summary["after"]["pass@1"] is None
    assert summary["before"]["format"] == 1.0  # what needs no gold answer is known


def test_a_gold_answer_that_cannot_be_read_has_no_part_in_the_numbers():
    from trl_r1.stages.rejection_sampling.job import Judged
    from trl_r1.stages.rejection_sampling.select import add_sample

    problems = {}
    unreadable = Verdict(None, "", "right", "the rule cannot judge it: unreadable gold")
    wrong = Verdict(False, "rule", "right", "the answer is '5'")
    for place, verdict in enumerate((unreadable, wrong)):
        add_sample(problems, sample("5", place=place), Judged(verdict, "5", 1.0, True), True)
    assert [problem.judged for problem in problems.values()] == [False, True]


CUT = [  # (what was drawn, whether the token limit cut it, its answer, whether it is right); the gold is 4
    ("So it is #### 4", True, None, False),
    ("So it is #### 4", False, "4", True),
    ("The answer is 4", True, None, False),
    ("<answer>4", True, None, False),
    ("<answer>4</answer> as we", True, "4", True),
    (r"\boxed{4} and", True, "4", True),
    (r"\boxed{4", True, None, False),
]


def test_of_a_reply_that_was_cut_only_a_closed_answer_counts():
    from types import SimpleNamespace

    from trl_r1.data.filters import FilterLimits
    from trl_r1.evaluation.benchmark import default_graders
    from trl_r1.stages.rejection_sampling.judging import judge_unit
    from trl_r1.stages.rejection_sampling.select import add_sample
    from trl_r1.text.records import Origin, Problem, Sample

    asked = Problem("p", "q?", "4", "en")
    drawn = [
        Sample(asked, Completion(text, 5, truncated=cut), Origin("reasoning", index=index))
        for index, (text, cut, _, _) in enumerate(CUT)
    ]
    options = SimpleNamespace(_sources=("boxed", "answer", "hashes", "sentence"), judge_client=lambda: None)
    judged = judge_unit(drawn, options, FilterLimits(layout="answer"), SimpleNamespace(filters=("right",)))
    assert [(one.answer, one.verdict.correct) for one in judged] == [(answer, right) for *_, answer, right in CUT]

    problems = {}  # pass@1 and cons@k of the report
    for one, verdict in zip(drawn, judged, strict=True):
        add_sample(problems, one, verdict, True)
    (entry,) = problems.values()
    assert [(one.answer, one.correct) for one in entry.samples] == [(answer, right) for *_, answer, right in CUT]
    assert entry.vote(default_graders().same_answer) == 1.0


def test_what_was_kept_is_what_sft_reads(recipe, scripted, tmp_path):
    from trl_r1.data.columns import load_rows
    from trl_r1.data.imitation import to_imitate

    run("--config", recipe())
    rows = to_imitate(load_rows(str(tmp_path / "out" / "kept.jsonl")))
    assert rows.column_names == ["prompt", "completion"]
    assert len(rows) == 10


def test_general_pools_are_reused_written_or_left_without_a_chain_and_mixed(recipe, scripted, tmp_path):
    rows = [{"q": q, "a": f"<think>hm</think> {a}"} for q, a in (("hello", "Hi!"), ("Write a line.", "Here is one."))]
    (tmp_path / "general.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    general = [
        {"name": "talk", "domain": "self", "dataset_name": str(tmp_path / "general.jsonl"), "question_column": "q",
         "answer_column": "a"},
        {"name": "more", "domain": "factual", "dataset_name": str(tmp_path / "rows.jsonl"), "samples": 1, "max_prompts": 3,
         "solution_column": "solution", "template": "Please: {question}"},
    ]  # fmt: skip
    mix = {"reasoning": 4, "talk": 2, "more": 9}
    run("--config", recipe(general=general, mix=mix, near_duplicate_similarity=0.0))
    kept = lines(tmp_path / "out" / "kept.jsonl")
    by_pool = {pool: [r for r in kept if r["provenance"]["pool"] == pool] for pool in ("reasoning", "talk", "more")}
    assert {pool: len(rows) for pool, rows in by_pool.items()} == {"reasoning": 4, "talk": 2, "more": 3}
    assert {row["question"]: row["completion"] for row in by_pool["talk"]} == {
        "hello": "Hi!",  # no chain for "hello"
        "Write a line.": "<think>hm</think> Here is one.",
    }
    assert by_pool["talk"][0]["provenance"]["model"].endswith("general.jsonl")
    assert all(row["prompt"].startswith("Please: ") and row["score"]["right"] for row in by_pool["more"])
    assert "The pool more is 6 samples short" in (tmp_path / "out" / "report.md").read_text()


def test_prompts_of_an_evaluation_set_are_not_sampled_and_the_cap_holds(recipe, scripted, tmp_path):
    test = [{"question": "Please tell me now: Compute 3 + 1.", "solution": "4"}]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in test))
    same = [{"question": "Please tell me now: Compute 3 + 1.", "solution": "4", "language": "en"}] * 2
    with open(tmp_path / "rows.jsonl", "a") as file:
        recipe()
        file.write("".join(json.dumps(row) + "\n" for row in same))
    run("--config", recipe(decontaminate=[{"dataset_name": str(tmp_path / "test.jsonl")}], per_prompt=1,
                           near_duplicate_similarity=0.0))  # fmt: skip
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["contaminated_prompts"] == {"reasoning": 2}
    assert summary["samples"] == 40
    assert len(lines(tmp_path / "out" / "kept.jsonl")) == 10


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"load_in_4bit": True},
            "self_attn.q_proj reads 16 values, and on a CPU NF4 is right only for multiples of 64",
        ),
        ({"temprature": 1.0}, "unknown key 'temprature'. Did you mean 'temperature'?"),
        ({"filters": ["rihgt"]}, "No filter is called 'rihgt'"),
        ({"engine": "vllm"}, "engine='vllm' is unknown"),
        ({"engine": "endpoint"}, "needs its address"),
        ({"engine": "endpoint", "endpoint": "http://127.0.0.1:9/v1"}, "nobody listens there"),
        ({"judge_endpoint": "http://127.0.0.1:9/v1"}, "both judge_endpoint and judge_model"),
        ({"question_column": "problem"}, "has no column 'problem'"),
        ({"solution_column": "answr"}, "has no column 'answr'"),
        ({"model_name_or_path": "./no/such"}, "there is no such folder"),
        ({"dataset_name": "./none.jsonl"}, "none.jsonl"),
        ({"samples_per_prompt": 0}, "samples=0"),
        ({"per_prompt": 0}, "per_prompt=0"),
        ({"mix": {"writing": 0.2}}, "There is no pool 'writing'"),
        ({"general": [{"name": "x"}]}, "needs a dataset_name"),
        ({"general": [{"dataset_name": "mini:dev-tiny", "colour": 1}]}, "unknown key 'colour'"),
        ({"general": [{"dataset_name": "mini:dev-tiny", "template": "chat"}]}, "one data set takes one kind"),
        ({"decontaminate": [{"dataset_name": "mini:test-tiny", "question_column": "q"}]}, "no column 'q'"),
        ({"language_share": 2.0}, "language_share=2.0"),
        ({"near_duplicate_similarity": 7}, "near_duplicate_similarity=7"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "all prompts are text"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(changes, sentence, recipe, capsys, tmp_path):
    assert sentence in stage_error(capsys, rejection_sampling.main, "--config", recipe(**changes))
    assert not (tmp_path / "out").exists()


def test_changed_data_or_model_is_refused_and_a_changed_port_is_not(recipe, scripted, tmp_path, capsys):
    run("--config", recipe())
    (tmp_path / "out" / "summary.json").unlink()
    run("--config", recipe(endpoint_concurrency=3))
    (tmp_path / "out" / "summary.json").unlink()
    changed = (tmp_path / "rows.jsonl").read_text().replace("Compute 3", "Compute 33")
    path = recipe()
    (tmp_path / "rows.jsonl").write_text(changed)
    assert "holds shards of other work" in stage_error(capsys, rejection_sampling.main, "--config", path, code=2)


def test_other_filters_judge_the_drawn_texts_anew(recipe, scripted, tmp_path, capsys):
    run("--config", recipe())
    out = tmp_path / "out"
    drawn = {path.name: path.read_bytes() for path in (out / "samples").glob("*.jsonl")}
    assert "remove its summary.json" in stage_error(
        capsys, rejection_sampling.main, "--config", recipe(language_share=0.5), code=2
    )
    (out / "summary.json").unlink()
    run("--config", recipe(language_share=0.5))
    assert "language_share was" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in (out / "samples").glob("*.jsonl")} == drawn
    assert sorted(path.name for path in (out / "judged" / "earlier").iterdir()) == sorted(drawn)


def test_a_damaged_shard_is_done_again_and_the_result_is_the_same(recipe, scripted, tmp_path):
    run("--config", recipe())
    out = tmp_path / "out"
    whole = (out / "kept.jsonl").read_bytes()
    (out / "summary.json").unlink()
    (out / "kept.jsonl").unlink()
    for name in ("samples/00001.jsonl", "judged/00000.jsonl"):
        (out / name).write_bytes((out / name).read_bytes()[:-20])
    run("--config", recipe())
    assert (out / "kept.jsonl").read_bytes() == whole
    assert (out / "samples" / "00001.jsonl.damaged").exists()


def test_a_model_without_weights_is_told(recipe, tiny, tmp_path, capsys):
    from transformers import AutoConfig, AutoTokenizer

    AutoConfig.from_pretrained(tiny).save_pretrained(tmp_path / "bare")
    AutoTokenizer.from_pretrained(tiny).save_pretrained(tmp_path / "bare")
    assert "cannot be loaded" in stage_error(
        capsys, rejection_sampling.main, "--config", recipe(model_name_or_path=str(tmp_path / "bare"))
    )


def test_a_full_disk_stops_with_one_sentence_and_resumes(recipe, scripted, tmp_path, capsys, monkeypatch):
    import errno

    from trl_r1.storage import shards

    run("--config", recipe())
    whole = (tmp_path / "out" / "kept.jsonl").read_bytes()
    real = shards.replace_file

    def full(path, content):
        if path.name in ("00002.jsonl", "kept.jsonl"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "replace_file", full)
        sentence = stage_error(
            capsys, rejection_sampling.main, "--config", recipe(output_dir=str(tmp_path / "full")), code=3
        )
    assert "There is no room for" in sentence
    assert [p.name for p in sorted((tmp_path / "full" / "samples").glob("*.jsonl"))] == ["00000.jsonl", "00001.jsonl"]
    run("--config", recipe(output_dir=str(tmp_path / "full")))
    assert (tmp_path / "full" / "kept.jsonl").read_bytes() == whole


class Flaky(http.server.BaseHTTPRequestHandler):
    """Answers the first ten requests and then only with errors, until it is told otherwise."""

    answered, limit = 0, 10

    def do_GET(self):
        self.reply(200, b"{}")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if Flaky.answered >= Flaky.limit:
            return self.reply(500, b"garbage")
        Flaky.answered += 1
        number = int(body["prompt"].split("Compute ")[1].split(" ")[0])
        self.reply(
            200, json.dumps({"choices": [{"text": RIGHT.format(number + 1), "finish_reason": "stop"}]}).encode()
        )

    def reply(self, status, content):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        return


def test_an_endpoint_that_goes_down_stops_the_run_and_nothing_is_asked_twice(recipe, tmp_path, capsys):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Flaky)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        Flaky.answered, Flaky.limit = 0, 10
        config = recipe(engine="endpoint", endpoint=f"http://127.0.0.1:{server.server_port}/v1", samples_per_prompt=2,
                        endpoint_attempts=1, endpoint_concurrency=1, endpoint_model="served")  # fmt: skip
        assert "status 500" in stage_error(capsys, rejection_sampling.main, "--config", config, code=3)
        assert len(list((tmp_path / "out" / "samples").glob("*.jsonl"))) == 1  # 4 prompts x 2; the second unit was cut
        Flaky.answered, Flaky.limit = 0, 1000
        run("--config", config)
        assert Flaky.answered == 12  # the 6 prompts that were left
        kept = lines(tmp_path / "out" / "kept.jsonl")
        assert len(kept) == 10
        assert kept[0]["provenance"]["model_hash"] == "endpoint:served"
        assert "the same text" in (tmp_path / "out" / "report.md").read_text()  # this server decodes greedily
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_three_kills_change_nothing():
    """Kill -9 at random moments; benchmarks/kill_rejection_sampling.py does the same twenty times."""
    command = [sys.executable, str(ROOT / "benchmarks" / "kill_rejection_sampling.py"), "--kills", "3", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["equal"]
    assert found["kills"] == 3
    assert found["kept"] > 0


@pytest.mark.slow
def test_two_processes_share_the_units(two_ranks, recipe, tmp_path):
    filters = ["answered"]
    run("--config", recipe(filters=filters))
    alone = (tmp_path / "out" / "kept.jsonl").read_bytes()
    config = recipe(filters=filters, output_dir=str(tmp_path / "two"))
    two_ranks("-m", "trl_r1.stages.rejection_sampling", "--config", config)
    assert (tmp_path / "two" / "kept.jsonl").read_bytes() == alone


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rejection_sampling", "mini/rejection_sampling"])
def test_every_recipe_runs_on_a_tiny_model(name, recipe, wide, tmp_path):
    """The recipe itself, quantised where it says so, with what a CPU needs changed on the command line."""
    recipe()
    rows = str(tmp_path / "rows.jsonl")
    options = {
        "model_name_or_path": wide, "dataset_name": rows, "question_column": "question", "solution_column": "solution",
        "output_dir": str(tmp_path / "out"), "max_prompts": 4, "samples_per_prompt": 2, "max_new_tokens": 6,
        "use_cpu": "true", "dtype": "float32", "disable_tqdm": "true", "template": "mini", "general": "[]", "mix": "{}",
        "filters": "answered", "language_column": "language",
    }  # fmt: skip
    (tmp_path / "other.jsonl").write_text('{"question": "something else entirely is asked here today"}\n')
    options["decontaminate"] = json.dumps([{"dataset_name": str(tmp_path / "other.jsonl")}])
    run("--config", name, *(part for key, value in options.items() for part in (f"--{key}", str(value))))
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["samples"] == 8


@pytest.mark.parametrize(
    ("found", "stated", "layout", "text", "kept"),
    [
        (True, None, "answer", "2</think><answer>4</answer>", "<think>2</think><answer>4</answer>"),
        (True, False, "answer", "2</think><answer>4</answer>", "2</think><answer>4</answer>"),
        (None, True, "answer", "2</think><answer>4</answer>", "<think>2</think><answer>4</answer>"),
        (None, None, "answer", "2</think><answer>4</answer>", "2</think><answer>4</answer>"),
        (None, True, "cold_start", "2|special_token|4", "|special_token|2|special_token|4"),
        (True, None, "answer", "", ""),
    ],
)
def test_a_text_is_kept_whole_and_what_is_stated_wins_over_what_was_found(found, stated, layout, text, kept):
    from trl_r1.data.filters import FilterLimits
    from trl_r1.stages.rejection_sampling.judging import whole

    drawn = Completion.of_row(Completion(text, 5, opened=found).to_row())
    done = whole(drawn, FilterLimits(layout=layout, prefilled_think=stated))
    assert (done.text, done.opened) == (kept, found if stated is None else stated)


def test_a_kept_row_says_that_its_prompt_opened_the_thought_and_brings_the_system_prompt(
    recipe, tmp_path, monkeypatch
):
    class Opened:
        def draw(self, prompts, samples, seed, progress=None):
            assert prompts[0][0] == {"role": "system", "content": "Be brief."}
            numbers = [int(prompt[1]["content"].split()[1]) for prompt in prompts]
            texts = [f"I add one.</think> <answer>{number + 1}</answer>" for number in numbers]
            return [[Completion(text, 9, opened=True)] * samples for text in texts]

    monkeypatch.setattr("trl_r1.stages.rejection_sampling.make.make_engine", lambda *arguments: Opened())
    run("--config", recipe(template="chat", system_prompt="Be brief.", samples_per_prompt=1))
    kept = lines(tmp_path / "out" / "kept.jsonl")
    assert len(kept) == 10
    one = next(row for row in kept if row["solution"] == "4")
    assert one["completion"] == RIGHT.format(4)
    assert one["provenance"]["thought_opened_by_prompt"] is True
    assert one["prompt"][0] == {"role": "system", "content": "Be brief."}
    assert one["prompt"][1]["content"] == "Compute 3 + 1."


def test_options_of_the_template_reach_the_engine_in_this_process_and_the_server(recipe, tiny):
    from transformers import AutoTokenizer
    from trl import ModelConfig

    from trl_r1.data.filters import FilterLimits
    from trl_r1.runs.options import parse
    from trl_r1.stages.rejection_sampling.make import make_engine
    from trl_r1.stages.rejection_sampling.options import RejectionOptions

    changes = {"chat_template_kwargs": {"enable_thinking": False}, "engine": "endpoint", "endpoint": "http://h/v1"}
    options, _, model = parse((RejectionOptions, FilterLimits, ModelConfig), ["--config", recipe(**changes)])
    assert options.server("m").extra == {"chat_template_kwargs": {"enable_thinking": False}}
    assert options.server("m")._request([{"role": "user", "content": "hi"}], 0)["chat_template_kwargs"] == {
        "enable_thinking": False
    }
    options.engine = "transformers"
    engine = make_engine(options, model, tiny)
    assert engine.renderer.chat.options == {"enable_thinking": False}
    assert AutoTokenizer.from_pretrained(tiny).eos_token_id in engine.renderer.stops


def test_a_copy_of_the_model_may_write_and_its_distance_is_in_the_report(recipe, tmp_path):
    run("--config", recipe(rollout_copy="merged", samples_per_prompt=1, max_prompts=4))
    found = json.loads((tmp_path / "out" / "rollout_copy.json").read_text())
    assert found["kind"] == "merged"
    assert found["tokens"] == 4 * 32
    assert found["mean"] < 1e-5
    assert "a copy of the model (`rollout_copy: merged`)" in (tmp_path / "out" / "report.md").read_text()


def test_a_copy_writes_in_this_process_only(recipe, capsys):
    changes = {"rollout_copy": "merged", "engine": "endpoint", "endpoint": "http://h/v1"}
    assert "Set rollout_copy: none" in stage_error(capsys, rejection_sampling.main, "--config", recipe(**changes))
