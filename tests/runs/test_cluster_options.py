"""Sharing sampling out: every mistake is one sentence before anything is written; what vLLM is asked and answers."""

import importlib.util
import json
import socket
from types import SimpleNamespace

import pytest
import yaml
from stage_starts import stage_error

from trl_r1 import cli, recipes
from trl_r1.models.cluster import Cluster, share_of_cluster
from trl_r1.models.engines import EngineError, seed_of
from trl_r1.models.ray_vllm import Sampling, ask, gathered, rows_of, take
from trl_r1.runs.options import RayOptions, check_cluster
from trl_r1.stages import evaluate, rejection_sampling


@pytest.fixture
def with_ray(monkeypatch):
    """As if Ray were installed: what is tested comes before it is imported."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: "there" if name == "ray" else real(name, *more)
    )


@pytest.fixture
def without_ray(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "ray" else real(name, *more))


@pytest.fixture
def stages(tiny, tmp_path):
    """The two stages that share out, with small valid options; and the folder that must not appear."""
    (tmp_path / "rows.jsonl").write_text('{"question": "Compute 1 + 1.", "solution": "2"}\n')
    common = [
        "--model_name_or_path",
        tiny,
        "--use_cpu",
        "true",
        "--template",
        "mini",
        "--output_dir",
        str(tmp_path / "out"),
    ]
    rows = str(tmp_path / "rows.jsonl")
    return {
        "rejection_sampling": (rejection_sampling.main, [*common, "--dataset_name", rows]),
        "evaluate": (evaluate.main, [*common, "--datasets", rows]),
    }, tmp_path / "out"


@pytest.mark.parametrize("stage", ["rejection_sampling", "evaluate"])
def test_without_ray_the_extra_is_named(stage, stages, without_ray, capsys):
    (main, options), out = stages[0][stage], stages[1]
    assert 'pip install "trl-r1[ray]"' in stage_error(capsys, main, *options, "--ray_workers", "2")
    assert not out.exists()


@pytest.mark.parametrize("stage", ["rejection_sampling", "evaluate"])
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("--ray_workers", "-1"), "ray_workers=-1 is no pool of workers"),
        (("--ray_workers", "2", "--ray_cpus_per_worker", "0"), "ray_cpus_per_worker must be above 0"),
        (("--ray_workers", "2", "--ray_restarts", "-1"), "ray_restarts=-1"),
        (("--ray_workers", "2", "--ray_address", "head"), "neither host:port"),
        (("--ray_workers", "2", "--ray_address", "ray://head:10001"), "is a Ray Client address"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(given, sentence, stage, stages, with_ray, capsys):
    (main, options), out = stages[0][stage], stages[1]
    assert sentence in stage_error(capsys, main, *options, *given)
    assert not out.exists()


def test_an_address_where_nobody_listens_is_told_at_once(stages, with_ray, capsys):
    with socket.socket() as free:  # bound, not listening: nobody else gets this port, and nobody answers there
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        main, options = stages[0]["evaluate"]
        sentence = stage_error(capsys, main, *options, "--ray_workers", "2", "--ray_address", address)
    assert f"ray_address='{address}': nobody answers there" in sentence
    assert not stages[1].exists()


def test_options_that_exclude_each_other_are_refused(stages, with_ray, capsys):
    main, options = stages[0]["rejection_sampling"]
    server = ("--engine", "endpoint", "--endpoint", "http://127.0.0.1:9/v1")
    assert "leave it out" in stage_error(capsys, main, *options, "--ray_workers", "2", *server)
    assert "needs ray_workers" in stage_error(capsys, main, *options, "--engine", "ray_vllm")
    vllm = ("--engine", "ray_vllm", "--ray_workers", "1", "--load_in_4bit", "true")
    assert "takes whole weights" in stage_error(capsys, main, *options, *vllm)
    main, options = stages[0]["evaluate"]
    assert "leave ray_workers out" in stage_error(capsys, main, *options, "--ray_workers", "2", "--follow", "runs/x")
    assert not stages[1].exists()


def test_several_processes_and_a_cluster_do_not_go_together(with_ray):
    class Two:
        num_processes = 2

    with pytest.raises(ValueError, match="started as 2 processes; start it as one"):
        check_cluster(RayOptions(ray_workers=2), Two())
    check_cluster(RayOptions(), Two())  # without a cluster nothing is asked of Ray


def test_what_a_cluster_has_not_is_said_and_gpus_are_taken_where_there_are_enough():
    there = {"CPU": 8.0, "GPU": 2.0}
    assert [share_of_cluster(Cluster(n), there) for n in (1, 2)] == [1.0, 1.0]
    assert share_of_cluster(Cluster(3), {"CPU": 8.0}) == 0.0
    assert share_of_cluster(Cluster(4, gpus=0.5), there) == 0.5  # 4 x 0.5 = 2
    with pytest.raises(
        EngineError, match=r"has 2 GPU, and 3 workers of 1 need 3; lower ray_workers or ray_gpus_per_worker"
    ):
        share_of_cluster(Cluster(3), there)  # rather than three of them on the CPU
    with pytest.raises(EngineError, match=r"has 8 CPU, and 3 workers of 4 need 12"):
        share_of_cluster(Cluster(3, cpus=4.0), there)


SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=3, ends=frozenset({2}), chat=False)


def test_every_text_is_asked_for_with_its_own_seed_and_no_other_restriction():
    rows = list(rows_of([(["a", "b"], 2, 11), (["c"], 1, 12)]))
    assert [(row["unit"], row["place"], row["index"]) for row in rows] == [
        (0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0),
    ]  # fmt: skip
    asked = [ask(SAMPLING, row) for row in rows]
    assert asked[3]["prompt"] == "b"
    assert asked[3]["sampling_params"] == {
        "temperature": 0.7, "top_p": 0.9, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "max_tokens": 3,
        "seed": seed_of(11, 1, 1),
    }  # fmt: skip
    assert len({one["sampling_params"]["seed"] for one in asked}) == 5
    talk = [{"role": "user", "content": "hello"}]
    chat = Sampling(0.7, 0.9, 3, frozenset(), chat=True)
    assert ask(chat, next(rows_of([([talk], 1, 0)])))["messages"] == talk


def test_answers_come_back_by_unit_in_order_whatever_order_they_arrive_in():
    requests = [(["a", "b"], 2, 11), (["c"], 1, 12)]
    answers = [
        take(
            SAMPLING,
            {**row, "generated_text": f"{row['unit']}{row['place']}{row['index']}", "generated_tokens": tokens},
        )
        for row, tokens in zip(rows_of(requests), ([5, 2], [5, 6, 7], [5, 6, 2], [2], [5, 5, 5]), strict=True)
    ]
    found = dict(gathered(reversed(answers), requests))
    assert list(dict(gathered(answers, requests))) == [0, 1]
    assert list(found) == [1, 0]  # the last row was the only one of its unit
    assert [[draw["text"] for draw in draws] for draws in found[0]] == [["000", "001"], ["010", "011"]]
    # three tokens are the limit: clipped where the third is no end
    assert [[draw["clipped"] for draw in draws] for draws in found[0]] == [[False, True], [False, False]]
    assert [[draw["tokens"] for draw in draws] for draws in found[0]] == [[2, 3], [3, 1]]
    with pytest.raises(EngineError, match="1 units unfinished"):
        list(gathered(answers[1:], requests))


@pytest.mark.parametrize(
    ("name", "kind", "decisive"),
    [
        ("ddp", "MULTI_GPU", {"mixed_precision": "no"}),
        ("fsdp2", "FSDP", {"fsdp_version": 2, "fsdp_state_dict_type": "FULL_STATE_DICT", "mixed_precision": "bf16"}),
        ("zero3", "DEEPSPEED", {"zero_stage": 3, "zero3_save_16bit_model": True, "mixed_precision": "bf16"}),
    ],
)
def test_accelerate_reads_the_shipped_configs(name, kind, decisive):
    from accelerate.commands.config.config_args import load_config_from_file

    path = recipes.find(f"accelerate/{name}")
    config = load_config_from_file(str(path))  # raises on a key it does not know
    assert config.distributed_type.value == kind
    found = {**config.to_dict(), **(config.fsdp_config or {}), **(config.deepspeed_config or {})}
    assert {key: found[key] for key in decisive} == decisive
    if config.fsdp_config:  # and every one of them is an option of the launcher
        from accelerate.commands.launch import launch_command_parser

        known = {action.dest for action in launch_command_parser()._actions}
        assert set(config.fsdp_config) <= known


def test_config_files_are_found_by_name(capsys):
    path = str(recipes.find("accelerate/ddp"))
    assert cli.shipped_config_file(["--config_file", "accelerate/ddp"]) == ["--config_file", path]
    assert cli.shipped_config_file(["--config_file=accelerate/ddp", "--x=1"]) == ["--config_file", path, "--x=1"]
    assert cli.main(["recipes", "path", "accelerate/ddp"]) == 0
    assert capsys.readouterr().out.strip() == path
    assert cli.main(["zero", "--config_file", "accelerate/dpp", "--", "--config", "zero"]) == 2
    assert "Did you mean 'accelerate/ddp'?" in capsys.readouterr().err
    assert yaml.safe_load(open(path))["num_processes"] == 2


@pytest.mark.parametrize(
    ("environment", "sharded"),
    [
        ({}, False),
        ({"ACCELERATE_USE_FSDP": "true"}, True),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}, False),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, True),
    ],
)
def test_held_out_problems_are_refused_where_the_model_is_sharded(environment, sharded, monkeypatch):
    from trl_r1.compat.sharding import shards_the_model
    from trl_r1.runs.heldout import evaluation_problems

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert shards_the_model() == sharded
    assert evaluation_problems(SimpleNamespace(evaluation_dataset_name=None), 0) is None
    if sharded:
        with pytest.raises(ValueError, match="none can sample held-out problems for itself"):
            evaluation_problems(SimpleNamespace(evaluation_dataset_name="mini:test"), 0)


def test_a_rolling_reference_under_fsdp_is_one_sentence(monkeypatch, stages, tiny, capsys):
    from trl_r1.stages import zero

    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    options = ["--model_name_or_path", tiny, "--dataset_name", "mini:dev-tiny", "--use_cpu", "true", "--bf16", "false",
               "--output_dir", str(stages[1]), "--reference_every", "2", "--beta", "0.01"]  # fmt: skip
    assert "reference_every=2 needs the whole policy" in stage_error(capsys, zero.main, *options)
    assert not stages[1].exists()


def test_a_json_of_draws_survives_half_a_character():
    draw = take(SAMPLING, {"unit": 0, "place": 0, "index": 0, "generated_text": "\ud83d", "generated_tokens": [2]})
    assert draw["draw"].isascii()
    assert json.loads(draw["draw"])["text"] == "\ud83d"
