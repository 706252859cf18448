"""A pipeline file becomes a plan, or one sentence that says what is wrong."""

import pytest

from trl_r1.pipeline.plan import read


CHAIN = [
    {"name": "last", "options": {"source": "{middle}/kept.jsonl"}},
    {"name": "middle", "options": {"source": "{first}/kept.jsonl", "template": "say {question}"}},
    {"name": "first"},
    {"name": "other", "after": ["first"]},
]


def test_stages_stand_after_what_they_refer_to(toy):
    plan = read(toy(CHAIN))
    assert [step.name for step in plan.steps] == ["first", "middle", "last", "other"]
    assert plan["last"].after == ("middle",)
    assert plan["other"].after == ("first",)
    assert plan["middle"].recipe["source"] == "out/first/kept.jsonl"
    assert plan["middle"].recipe["template"] == "say {question}"
    assert plan["middle"].recipe["output_dir"] == "out/middle"
    assert plan["middle"].changed == {"source": "out/first/kept.jsonl", "template": "say {question}"}


def test_what_rests_on_a_stage_and_what_it_rests_on(toy):
    plan = read(toy(CHAIN))
    assert plan.followers(["middle"]) == ["middle", "last"]
    assert plan.followers(["first"]) == ["first", "middle", "last", "other"]
    assert [step.name for step in plan.until("middle").steps] == ["first", "middle"]


def test_scale_seed_and_single_options_win_in_this_order(toy):
    file = toy([{"name": "a", "options": {"rows": 5}}, {"name": "b"}], scales={"tiny": {"a": {"rows": 2, "pause": 0}}})
    plain = read(file)
    assert (plain["a"].recipe["rows"], plain["b"].recipe["rows"], plain.folder.name) == (5, 6, "out")
    small = read(file, scale="tiny", seed=3, changes=["a.rows=1", "b.words=[x, y]"])
    assert small["a"].recipe["rows"] == 1
    assert small["a"].recipe["pause"] == 0
    assert small["b"].recipe["words"] == ["x", "y"]
    assert small["b"].recipe["seed"] == 3
    assert small.folder.name == "out-tiny-seed3"
    assert read(file, output_dir="there", scale="tiny").folder.name == "there"


def test_environment_knows_the_folder(toy):
    plan = read(toy([{"name": "a"}], env={"TRL_R1_CACHE": "{output_dir}/models", "OMP_NUM_THREADS": 1}))
    assert plan.env == {"TRL_R1_CACHE": "out/models", "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    ("stages", "keys", "sentence"),
    [
        ([{"name": "a", "stage": "cuont"}], {}, "There is no stage 'cuont'. Did you mean 'count'?"),
        ([{"name": "a", "config": "cuont.yaml"}], {}, "There is no file and no recipe 'cuont.yaml'"),
        ([{"name": "a", "aftr": ["b"]}], {}, "unknown key 'aftr'. Did you mean 'after'?"),
        ([{"name": "a", "after": ["bb"]}, {"name": "b"}], {}, "There is no stage 'bb', which 'a' comes after."),
        ([{"name": "a", "after": "b"}], {}, "after='b' must be written like [zero]"),
        ([{"name": "a"}, {"name": "a"}], {}, "two stages called 'a'"),
        ([{"name": "logs"}], {}, "cannot be called 'logs'"),
        ([{"name": "a/b"}], {}, "cannot be called 'a/b'"),
        ([{"name": "a", "options": {"source": "{a}/x"}}], {}, "Stage 'a' waits for itself"),
        ([{"name": "first", "options": {"source": "{secnd}/x"}}, {"name": "second"}], {}, "Did you mean {second}?"),
        (
            [{"name": "a", "after": ["b"]}, {"name": "b", "after": ["a"]}],
            {},
            "in a circle: a waits for b, b waits for a",
        ),
        ([{"name": "a"}], {"stagse": 1}, "unknown key 'stagse'. Did you mean 'stages'?"),
        ([{"name": "a"}], {"seed": -1}, "seed=-1"),
        ([{"name": "a"}], {"max_parallel": 1.5}, "max_parallel=1.5"),
        ([{"name": "a"}], {"modules": "no_such_package"}, "modules='no_such_package' cannot be imported"),
        ([{"name": "a"}], {"scales": {"tiny": {"b": {}}}}, ""),
        ([], {}, "needs `stages`"),
    ],
)
def test_mistakes(toy, stages, keys, sentence):
    file = toy(stages, **keys)
    with pytest.raises(ValueError) as caught:
        read(file, scale="tiny" if "scales" in keys else None)
    assert (sentence or "There is no stage 'b' in the scale 'tiny'") in str(caught.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("a.rows", "must be written like"),
        ("rows=1", "must be written like"),
        ("b.rows=1", "There is no stage 'b' for --set"),
    ],
)
def test_mistakes_in_set(toy, change, sentence):
    with pytest.raises(ValueError, match="stage|written") as caught:
        read(toy([{"name": "a"}]), changes=[change])
    assert sentence in str(caught.value)


def test_an_unknown_scale_is_answered_with_the_nearest(toy):
    file = toy([{"name": "a"}], scales={"tiny": {}})
    with pytest.raises(ValueError, match="There is no scale 'tinny' in .*Did you mean 'tiny'?"):
        read(file, scale="tinny")


BASE = "hub/base"


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (BASE, None),
        ("{cold_start}", "sft starts from cold_start's checkpoint; the paper fine-tunes the base again"),
        ("hub/another", "sft starts from 'hub/another', the other stages from hub/base"),
    ],
)
def test_the_800k_fine_tuning_starts_from_the_base(tmp_path, monkeypatch, start, said):
    import yaml

    monkeypatch.chdir(tmp_path)
    package = tmp_path / "mine"
    package.mkdir()
    for name in ("__init__", "cold_start", "sft"):
        (package / f"{name}.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "c.yaml").write_text("x: 1\n")
    stages = [
        {"stage": "cold_start", "config": "c.yaml", "options": {"model_name_or_path": BASE}},
        {"stage": "sft", "config": "c.yaml", "options": {"model_name_or_path": start}},
    ]
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"modules": "mine", "stages": stages}))
    warnings = read("p.yaml").warnings
    assert len(warnings) == (said is not None)
    if said:
        assert said in warnings[0]
