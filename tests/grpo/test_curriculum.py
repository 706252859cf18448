"""Orders of graded problems: by hand, as properties, and in a trainer over a resume."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trl.trainer.utils import RepeatSampler

from trl_r1 import R1GRPOConfig, R1GRPOTrainer
from trl_r1.grpo.curriculum import Curriculum, CurriculumSampler, levels_of
from trl_r1.grpo.identity import PROMPTS, share_of_low_bytes


def take(kind, levels, batch=2, batches=100, **options):
    return list(Curriculum(kind, levels, batch, batches, 0, **options).epoch())


def test_ordered_asks_the_easiest_first():
    levels = [6, 1, 3, 1, 6, 3, 2, 2]
    assert [sorted(levels[row] for row in rows) for rows in take("ordered", levels)] == [
        [1, 1],
        [2, 2],
        [3, 3],
        [6, 6],
    ]


def test_a_run_shorter_than_an_epoch_still_reaches_the_hardest():
    levels = [level for level in range(1, 7) for _ in range(20)]
    curriculum = Curriculum("ordered", levels, 2, 12, 0)  # 24 of 120 rows
    asked = [rows for rows, _ in zip(curriculum.epoch(), range(12))]
    assert [levels[rows[0]] for rows in asked] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


def test_mixed_moves_its_centre_and_forgets_nothing():
    levels = [level for level in range(1, 7) for _ in range(200)]
    batches = take("mixed", levels, batch=20, batches=60)
    means = [sum(levels[row] for row in rows) / 20 for rows in batches]
    assert sum(means[:5]) / 5 < 2.2
    assert sum(means[25:30]) / 5 == pytest.approx(3.5, abs=0.8)
    early = [levels[row] for rows in batches[:15] for row in rows]
    assert sum(level >= 5 for level in early) >= 3  # the floor: a tenth from all levels
    assert sorted(row for rows in batches for row in rows) == list(range(1200))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["ordered", "mixed"]),
    st.lists(st.integers(1, 6), min_size=3, max_size=30),
    st.integers(1, 3),
    st.integers(1, 40),
)
def test_an_epoch_asks_no_row_twice_and_is_the_same_again(kind, levels, batch, batches):
    asked = take(kind, levels, batch, batches)
    rows = [row for part in asked for row in part]
    assert len(asked) == len(levels) // batch
    assert len(rows) == len(set(rows)) == len(asked) * batch
    assert asked == take(kind, levels, batch, batches)


def test_the_sampler_has_the_shape_of_trls():
    levels = [1, 2, 3, 4, 5, 6, 6]
    ours = list(CurriculumSampler(Curriculum("ordered", levels, 2, 3, 0), 3, 4))
    trls = RepeatSampler(levels, mini_repeat_count=3, batch_size=2, repeat_count=4, shuffle=False)
    # in the order of the data, where the data are in order (two sixes decide by chance, and the last row is left over)
    assert ours[:48] == list(trls)[:48]
    assert len(ours) == len(list(trls)) == len(trls)


def test_regrading_moves_a_level_by_what_is_measured():
    curriculum = Curriculum("mixed", [3, 3], 1, 10, 0, regrade=True)
    assert curriculum.level(0) == 3.0
    curriculum.observe([0] * 8, [1.0] * 8)
    # before: 1 - 2.5/6 = .58333 on 8 samples; now (8 * .58333 + 8)/16 = .79167, level .5 + 6 * .20833 = 1.75
    assert curriculum.level(0) == pytest.approx(1.75)
    curriculum.observe([1] * 8, [0.0] * 7 + [None])
    assert curriculum.level(1) == pytest.approx(0.5 + 6 * (1 - 8 * (1 - 2.5 / 6) / 15))
    still = Curriculum("mixed", [3], 1, 10, 0)
    still.observe([0], [1.0])
    assert still.level(0) == 3.0


def test_a_restored_curriculum_goes_on_where_it_was():
    levels = [1 + row % 6 for row in range(40)]
    whole = Curriculum("mixed", levels, 4, 20, 3)
    first = [*whole.epoch(), *whole.epoch()]
    half = Curriculum("mixed", levels, 4, 20, 3)
    asked = [rows for rows, _ in zip(half.epoch(), range(6))]
    again = Curriculum("mixed", levels, 4, 20, 3)
    again.restore(json.loads(json.dumps(half.state())), 0)
    assert list(again.epoch()) == first[:10]
    assert list(again.epoch()) == first[10:]
    assert asked == first[:6]
    later = Curriculum("mixed", levels, 4, 20, 3)
    later.restore(whole.state(), 1)
    assert list(later.epoch()) == first[10:]


class Rows:
    """A stand-in with columns."""

    def __new__(cls, **columns):
        from datasets import Dataset

        return Dataset.from_dict(columns)


def test_levels_come_from_the_column_or_from_what_the_data_state():
    assert levels_of(Rows(trl_r1_level=[1, 6]), "trl_r1_level") == [1, 6]
    assert levels_of(Rows(level=["Level 1", "Level 5"]), "trl_r1_level") == [1, 6]
    for rows, sentence in (
        (Rows(trl_r1_level=[1, 7]), "Row 1 has 7"),
        (Rows(question=["a"]), "nor any that states it"),
        (Rows(level=["Level 1", "Level ?"]), "row 1 says nothing in level"),
    ):
        with pytest.raises(ValueError, match=sentence):
            levels_of(rows, "trl_r1_level")


def trained(model, folder, resume=None, **options):
    settings_ = {
        "output_dir": str(folder), "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "max_steps": 6,
        "learning_rate": 5e-3, "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 6,
        "logging_steps": 1, "save_strategy": "steps", "save_steps": 3, "report_to": "none", "disable_tqdm": True, "seed": 7,
        "dataloader_pin_memory": False, "curriculum": "mixed", "curriculum_regrade": True,
        "curriculum_reward": "share_of_low_bytes", **options,
    }  # fmt: skip
    rows = Rows(prompt=[f"{prompt} {n}" for n, prompt in enumerate(PROMPTS)], trl_r1_level=[6, 5, 4, 3, 2, 1, 1, 2])
    trainer = R1GRPOTrainer(model, share_of_low_bytes, R1GRPOConfig(**settings_), train_dataset=rows)
    trainer.train(resume_from_checkpoint=resume)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return trainer, losses


def test_a_trainer_follows_it_and_a_resume_does_not_show(tiny, tmp_path):
    whole, losses = trained(tiny, tmp_path / "whole")
    assert sum(whole._curriculum.tried.values()) == 6 * 8  # every completion was counted
    assert len(whole._curriculum.picked) >= 6
    resumed, later = trained(tiny, tmp_path / "whole", resume=str(tmp_path / "whole" / "checkpoint-3"))
    assert later == losses
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_missing_is_told(tiny, tmp_path):
    with pytest.raises(ValueError, match="curriculum='orderd' is unknown. Did you mean 'ordered'"):
        R1GRPOConfig(str(tmp_path), curriculum="orderd")
    with pytest.raises(ValueError, match="Set curriculum to ordered or mixed"):
        R1GRPOConfig(str(tmp_path), curriculum_regrade=True, use_cpu=True, bf16=False)
    with pytest.raises(ValueError, match="curriculum_reward='accuracy' is none of this run's rewards"):
        trained(tiny, tmp_path, curriculum_reward="accuracy")


def test_by_default_the_sampler_is_trls(tiny, tmp_path):
    trainer, _ = trained(
        tiny, tmp_path, curriculum="none", curriculum_regrade=False, max_steps=1, save_strategy="no",
    )  # fmt: skip
    assert type(trainer._train_sampler) is RepeatSampler


def test_what_may_stand_in_for_a_batch_has_its_levels():
    curriculum = Curriculum("ordered", [3, 1, 1, 2, 1], 2, 2, 0)
    assert {curriculum.levels[row] for row in next(curriculum.epoch())} == {1}
    assert curriculum.alike() == [1, 2, 4]
