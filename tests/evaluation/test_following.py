"""Following a run: which checkpoints are waiting, and how a user says it. The rest is in test_evaluate.py."""

from samples import graded

from trl_r1.evaluation import follow as following
from trl_r1.evaluation import followed
from trl_r1.evaluation.benchmark import Evaluation
from trl_r1.stages import evaluate


def test_a_step_counts_as_followed_when_every_dataset_is_there(tmp_path):
    one = Evaluation([graded("4", ["4", "5"], "en")])
    followed.record(tmp_path, 10, {"gsm8k": one, "aime24": one})
    followed.record(tmp_path, 20, {"gsm8k": one})
    assert following.known_steps(tmp_path, []) == {10, 20}
    assert following.known_steps(tmp_path, ["gsm8k"]) == {10, 20}
    assert following.known_steps(tmp_path, ["gsm8k", "aime24"]) == {10}
    assert following.known_steps(tmp_path, ["math500"]) == set()  # another benchmark, asked for later


def test_following_is_understood_however_it_is_written():
    own = ["--output_dir", "runs/zero/followed"]
    assert evaluate.arguments(["--async", "runs/zero"]) == ["--follow", "runs/zero", *own]
    assert evaluate.arguments(["--async=runs/zero/"]) == ["--follow", "runs/zero/", *own]
    assert evaluate.arguments(["--follow=runs/zero", "--output_dir=o"]) == [
        "--follow",
        "runs/zero",
        "--output_dir",
        "o",
    ]


def test_of_one_sample_the_table_shows_one_number(tmp_path):
    followed.record(tmp_path, 10, {"gsm8k": Evaluation([graded("4", ["4"], "en")])})
    assert "| step | dataset | pass@1 | format | language | tokens |" in followed.section(tmp_path)
    followed.record(tmp_path, 20, {"gsm8k": Evaluation([graded("4", ["4", "5"], "en")])})
    assert "| step | dataset | pass@1 | majority | at least one | format |" in followed.section(tmp_path)
