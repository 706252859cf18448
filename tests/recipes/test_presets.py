"""The presets against the paper, typed again from its text (section references beside each number)."""

import os
import subprocess
import sys

import pytest
import yaml

from trl_r1 import cli
from trl_r1.commands.preset import render
from trl_r1.recipes.presets import CARDS, preset, rollout_gib, updates_that_fit
from trl_r1.recipes.published import DISTILLATION_RATES, PAPER


# DeepSeek-R1, arXiv:2501.12948v2 unless v1 is said. Typed from the paper's text, not from presets.py; None: not published.
PUBLISHED = {
    "zero": {
        "learning_rate": 0.000003,  # Sec. 2.1: "learning rate to 3e-6"
        "beta": 0.001,  # Sec. 2.1: "KL coefficient to 0.001"
        "temperature": 1,  # Sec. 2.1: "sampling temperature to 1 for rollout"
        "num_generations": 16,  # Sec. 2.1: "sample 16 outputs" for each question
        "max_completion_length": 32768,  # Sec. 2.1: before step 8.2k
        "questions per update": 32,  # Sec. 2.1: "32 unique questions"
        "outputs per update": 512,  # Sec. 2.1: "training batch size of 512"
        "outputs per rollout": 8192,  # Sec. 2.1: "each rollout generates 8,192 outputs"
        "updates per rollout": 16,  # Sec. 2.1: "split into 16 mini-batches"
        "num_iterations": 1,  # Sec. 2.1: "a single inner epoch"
        "reference_every": 400,  # Sec. 2.1: "every 400 steps"
        "max_steps": 10400,  # Sec. 2.1: "10,400 steps"
        "advantage": "group_normalized",  # Eq. 3: (r - mean) / std
        "loss_type": "grpo",  # Eq. 1: 1/G sum 1/|o|
        "kl_estimator": "k3",  # Eq. 2
        "use_bias_correction_kl": False,  # Eq. 2 has no importance ratio in the KL
        "rewards": {"accuracy": 1, "format": 1},  # Eq. 4: "the same weight"
        "evaluation_temperature": 0.6,  # D.1
        "evaluation_top_p": 0.95,  # D.1
        "evaluation_max_tokens": 32768,  # D.1
        "evaluation_samples": 64,  # D.1: AIME and GPQA
    },
    "cold_start": {
        "learning_rate": 0.00005,  # B.4.2: 5e-5
        "last learning rate": 0.000005,  # B.4.2: to 5e-6
        "lr_scheduler_type": "cosine_with_min_lr",  # B.4.2: cosine decay
        "num_train_epochs": (2, 3),  # B.4.2: 2-3 epochs
        "max_length": 32768,  # B.4.2: context length
        "outputs per update": 128,  # B.4.2: batch size
    },
    "distill": {
        "learning_rate": 0.0001,  # Table 6, Qwen2.5-Math-1.5B
        "last learning rate": 0.00001,  # B.4.3: a tenth
        "lr_scheduler_type": "cosine_with_min_lr",  # B.4.3
        "num_train_epochs": (2, 3),  # B.4.3
        "max_length": 32768,  # B.4.3
        "outputs per update": 64,  # B.4.3
    },
    "reward_model": {
        "learning_rate": 0.000006,  # Sec. 3.1: 6e-6
        "num_train_epochs": (1,),  # Sec. 3.1: one epoch
        "max_length": 8192,  # Sec. 3.1: in training
        "outputs per update": 256,  # Sec. 3.1
        "judge_queries": 4,  # Sec. 3.1: four times
        "margin": 1,  # Sec. 3.1: "exceeded 1"
    },
}
PUBLISHED["sft"] = dict(PUBLISHED["cold_start"])  # B.4.2 is one paragraph for both
PUBLISHED["cold_start"]["source_temperature"] = 1  # B.3.2: R1-Zero is sampled at 1.0
PUBLISHED["reasoning_rl"] = {
    **PUBLISHED["zero"],  # Sec. 3.2.1 repeats the numbers
    "epsilon": 10,  # Sec. 3.2.1: "clip ratio"
    "epsilon_high": 10,
    "max_steps": None,  # Sec. 3.2.1: until convergence
    "rewards": {"accuracy": 1, "format": 1, "language_consistency": 1},  # Eq. 4, Eq. 7: "directly added"
}
PUBLISHED["all_scenario_rl"] = {
    **PUBLISHED["zero"],  # Sec. 3.2.2: "retains most parameters"
    "temperature": 0.7,  # Sec. 3.2.2
    "max_steps": 1700,  # Sec. 3.2.2
    "preference_last_steps": 400,  # Sec. 3.2.2: "only in the final 400 steps"
    # Eq. 8-10: reasoning + general + language, the general part from one of two reward models
    "rewards": {"accuracy": 1, "format": 1, "language_consistency": 1, "helpfulness": 1, "harmlessness": 1},
}
FURTHER = {"model_name_or_path", "reward_models", "template", "per_device_train_batch_size", "gradient_accumulation_steps",
           "steps_per_generation", "lr_scheduler_kwargs"}  # fmt: skip
FURTHER_OURS = {
    "lr_scheduler_type",
    "epsilon",
    "epsilon_high",
    "max_steps",
    "packing",
}  # the deviations must list them


def in_the_papers_words(recipe):
    """A recipe's fields as the paper counts: products and ratios instead of TRL's factors."""
    said = dict(recipe)
    update = recipe["per_device_train_batch_size"] * recipe["gradient_accumulation_steps"]
    said["outputs per update"] = update
    if "num_generations" in recipe:
        said["questions per update"] = update / recipe["num_generations"]
        said["outputs per rollout"] = recipe["per_device_train_batch_size"] * recipe["steps_per_generation"]
        said["updates per rollout"] = said["outputs per rollout"] / update
        said["rewards"] = {reward["name"]: reward.get("weight", 1.0) for reward in recipe["rewards"]}
    if "lr_scheduler_kwargs" in recipe:
        said["last learning rate"] = recipe["learning_rate"] * recipe["lr_scheduler_kwargs"]["min_lr_rate"]
    return said


def test_every_stage_with_published_numbers_is_typed_here():
    assert set(PUBLISHED) == set(PAPER)


@pytest.mark.parametrize("stage", PUBLISHED)
def test_without_a_card_a_preset_is_the_published_table(stage):
    result = preset(stage, "none")
    said = in_the_papers_words(result.recipe())
    for name, published in PUBLISHED[stage].items():
        if published is None:
            assert name in {entry.field for entry in result.deviations}
        elif isinstance(published, tuple):
            assert said[name] in published, name
        elif isinstance(published, float):
            assert said[name] == pytest.approx(published, rel=1e-9), name
        else:
            assert said[name] == published, name
    published_fields = {name for name, entry in result.fields.items() if entry.source}
    assert published_fields <= set(PUBLISHED[stage]) | FURTHER
    unpublished = {name for name in result.fields if name in FURTHER_OURS and not result.fields[name].source}
    listed = {entry.field for entry in result.deviations}
    assert unpublished <= listed


@pytest.mark.parametrize(
    ("student", "rate"),
    [  # Table 6
        ("Qwen/Qwen2.5-Math-1.5B", 1e-4),
        ("Qwen/Qwen2.5-Math-7B", 8e-5),
        ("Qwen/Qwen2.5-14B", 7e-5),
        ("Qwen/Qwen2.5-32B", 6e-5),
        ("meta-llama/Llama-3.1-8B", 5e-5),
        ("meta-llama/Llama-3.3-70B-Instruct", 2e-5),
    ],
)
def test_each_student_of_the_paper_has_its_rate(student, rate):
    assert preset("distill", "none", student).recipe()["learning_rate"] == rate


@pytest.mark.parametrize("stage", PAPER)
@pytest.mark.parametrize("card", [name for name in CARDS if name != "none"])
def test_a_scaled_preset_lists_every_field_that_is_not_the_papers(stage, card):
    paper, scaled = preset(stage, "none"), preset(stage, card)
    listed = {entry.field: entry for entry in scaled.deviations}
    for name, entry in paper.fields.items():
        if stage == "distill" and name == "model_name_or_path":
            assert scaled.fields[name].value in DISTILLATION_RATES  # one student of the paper's for another
        elif scaled.fields[name].value != entry.value:
            assert name in listed, name
            assert listed[name].reason
    assert "weights" in listed


@pytest.mark.parametrize("card", [name for name in CARDS if name != "none"])
@pytest.mark.parametrize("stage", ["zero", "reasoning_rl", "all_scenario_rl"])
def test_a_scaled_preset_keeps_the_ratios_that_fit(stage, card):
    paper = in_the_papers_words(preset(stage, "none").recipe())
    said = in_the_papers_words(preset(stage, card).recipe())
    assert said["num_generations"] == 16
    assert said["max_steps"] / said["reference_every"] == paper["max_steps"] / paper["reference_every"]
    assert said["beta"] == 0.001
    if stage == "all_scenario_rl":
        assert said["preference_last_steps"] / said["max_steps"] == 400 / 1700
    assert said["temperature"] == paper["temperature"]
    # 16 updates a rollout would not fit, twice as many as chosen would not either, the chosen do
    chosen = CARDS[card]
    room = chosen.gib - chosen.model.gib() - chosen.work
    updates = int(said["updates per rollout"])
    assert updates == updates_that_fit(chosen)
    assert rollout_gib(chosen, updates) <= room < rollout_gib(chosen, 2 * updates)


def test_the_cache_of_a_rollout_by_hand():
    # Qwen2.5-1.5B: 28 layers x 2 heads x 128 x keys and values x 2 bytes = 28,672 bytes a token
    # 4 updates x 4 questions x 16 = 256 texts x 1,280 tokens x 28,672 x 1.2 = 11,274,289,152 bytes = 10.5 GiB
    card = CARDS["24GB"]
    assert card.model.cache == 28_672
    assert rollout_gib(card, 4) == pytest.approx(11_274_289_152 / 2**30)


def test_mistakes(capsys):
    assert cli.main(["preset", "zer", "--gpu", "24GB"]) == 2
    assert "Did you mean 'zero'?" in capsys.readouterr().err
    assert cli.main(["preset", "zero", "--gpu", "24"]) == 2
    assert "There is no card '24'. Did you mean '24GB'?" in capsys.readouterr().err


@pytest.mark.parametrize("card", CARDS)
def test_a_student_is_not_trained_beyond_its_positions(card):
    """Qwen2.5-Math's configuration has 4,096 of them; what is longer needs another rope_theta, or a shorter limit."""
    result = preset("distill", card)
    assert result.recipe()["model_name_or_path"].startswith("Qwen/Qwen2.5-Math")
    (said,) = [entry for entry in result.deviations if entry.field == "max_length"]
    assert (result.recipe()["max_length"], "rope_theta" in said.reason) == (
        (32_768, True) if card == "none" else (4_096, False)
    )
    assert preset("distill", card, "meta-llama/Llama-3.1-8B").recipe()["max_length"] > 4_096


def test_a_preset_is_written_once(tmp_path, capsys):
    path = tmp_path / "zero.yaml"
    assert cli.main(["preset", "zero", "--gpu", "48GB", "--output", str(path)]) == 0
    assert yaml.safe_load(path.read_text()) == preset("zero", "48GB").recipe()
    assert cli.main(["preset", "zero", "--output", str(path)]) == 2
    assert "already there" in capsys.readouterr().err


@pytest.mark.slow
def test_every_preset_is_accepted_by_its_stage(tmp_path):
    """The stage's own parser, in a process that reads the recipe and stops."""
    recipes = []
    for stage in PAPER:
        for card in CARDS:
            path = tmp_path / f"{stage}-{card}.yaml"
            content = yaml.safe_load(render(preset(stage, card)))
            content.update(use_cpu=True, bf16=False, output_dir=str(tmp_path / "out"))  # this machine, no more
            path.write_text(yaml.safe_dump(content))
            recipes.append((stage, str(path)))
    program = (
        "import importlib, sys\n"
        f"for stage, path in {recipes!r}:\n"
        "    try:\n"
        "        importlib.import_module('trl_r1.stages.' + stage).main(['--config', path])\n"
        "    except SystemExit as end:\n"
        "        print(end.code, path, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300,
        env={**os.environ, "TRL_R1_ONLY_PARSE": "1", "ACCELERATE_USE_CPU": "true"},
    )  # fmt: skip
    assert [line.split(" ")[0] for line in done.stdout.splitlines()] == ["0"] * len(recipes), done.stdout + done.stderr


@pytest.mark.parametrize("card", CARDS)
def test_a_reward_model_is_trained_on_the_prompts_that_the_last_stage_asks_it_with(card):
    trained, used = preset("reward_model", card).recipe(), preset("all_scenario_rl", card).recipe()
    assert trained["template"] == used["template"] == "r1_zero"
    assert trained["lr_scheduler_type"] == "constant"  # TRL's own default would be linear, and no deviation listed
