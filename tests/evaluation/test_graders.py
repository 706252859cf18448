"""A reward as the verifier of an evaluation: right is what it pays in full, whatever the text looks like."""

import json

import pytest

from trl_r1.evaluation import benchmark
from trl_r1.evaluation.benchmark import Evaluation, default_graders, evaluate
from trl_r1.evaluation.graders import Graders, check_verifier, columns_of, find_verifier, grade, verified
from trl_r1.evaluation.suites import problems_of, read_suite
from trl_r1.models.sampling import Samples
from trl_r1.rewards import code as code_module
from trl_r1.rewards.catalogue import load_rewards
from trl_r1.sandbox import NoSandbox, open_sandbox
from trl_r1.text.records import Completion, Problem


def offered():
    try:
        return bool(open_sandbox().describe())
    except NoSandbox:
        return False


ROW = {
    "prompt": "Write f(x) that returns x times 7 plus 4.",
    "solution": "def f(x): return x * 7 + 4",
    "verification_info": json.dumps(
        {
            "language": "python",
            "test_cases": [
                {"type": "function_call", "fn_name": "f", "input": [2], "output": 18},
                {"type": "function_call", "fn_name": "f", "input": [10], "output": 74},
            ],
        }
    ),
}
SAME, OTHER, WRONG = "def f(x): return x * 7 + 4", "def f(x): return 4 + sum([x] * 7)", "def f(x): return x * 4 + 7"
TEXTS = [f"<answer>{program}</answer>" for program in (SAME, OTHER, WRONG)] + [SAME]  # the last one submits nothing


def scripted(prompts, completions, points, **columns):
    """Pays what the row's column says; a text of its own in `full` is a full score."""
    assert all(prompt == ROW["prompt"] for prompt in prompts)
    return [None if each == "broken" else float(text in each) for text, each in zip(completions, points, strict=True)]


def problem(texts, graders, **columns):
    row = Problem(ROW["prompt"], "", ROW["solution"])
    (one,) = verified([grade(row, [Completion(text, 3) for text in texts], graders, columns)], graders)
    return one


def by(verifier) -> Graders:
    return default_graders([verifier], verifier.__name__)


@pytest.mark.skipif(not offered(), reason="no sandbox works on this machine; test_sandbox.py fails CI for it")
def test_a_program_is_right_by_its_tests_and_not_by_its_text():
    rewards, _ = load_rewards(
        ["code", {"name": "accuracy", "options": {"sources": ["answer"], "answer_type": "text"}}]
    )
    tested = problem(TEXTS, default_graders(rewards, "code"), **columns_of(ROW))
    assert tested.right == [True, True, False, False]
    compared = problem(TEXTS, default_graders(rewards))
    assert compared.right == [True, False, False, False]
    again = Evaluation([tested]).regrade(default_graders(rewards, "code"))  # its columns came with it
    assert again.problems[0].right == tested.right


def test_a_share_of_the_full_score_is_not_right():
    partly = by(lambda **_: [1.0, 0.99, 0.0])
    assert problem(["a", "b", "c"], partly).right == [True, False, False]


def test_what_the_reward_cannot_judge_is_told_and_not_counted():
    graders = by(scripted)
    assert problem(["a", "b"], graders, points="broken").judged is False
    judged = problem(["a", "b"], graders, points=["a"])
    assert (judged.judged, judged.right) == (True, [True, False])


def test_answers_vote_as_text_with_the_verdicts_of_the_reward():
    right, wrong = "<answer>1</answer>", "<answer>2</answer>"
    assert problem([right, wrong], by(scripted), points=[right]).consensus == 0.5
    assert problem([right, wrong, wrong], by(scripted), points=[right]).consensus == 0.0


def test_the_columns_survive_the_file(tmp_path):
    graders = by(scripted)
    stored = Evaluation([problem(["a", "b"], graders, points=["b"])], {**graders.settings})
    back = Evaluation.load(stored.save(tmp_path / "one.json"))
    assert back.problems[0].columns == {"points": ["b"]}
    assert back.regrade(graders).problems[0].right == [False, True]
    with pytest.raises(ValueError, match="The reward 'scripted' judged these answers"):
        back.regrade()


def test_a_verifier_is_looked_for_before_anything_is_loaded(monkeypatch):
    rewards, _ = load_rewards([{"name": "code", "options": {"name": "tests"}}])
    assert find_verifier(rewards, None) is None
    assert find_verifier(rewards, "tests") is rewards[0]
    with pytest.raises(ValueError, match="No reward of this run is called 'code'.*`rewards` has: tests."):
        check_verifier(rewards, "code")

    def nowhere(*options):
        raise NoSandbox("This machine isolates nothing.")

    monkeypatch.setattr(code_module, "open_sandbox", nowhere)
    with pytest.raises(NoSandbox, match="This machine isolates nothing."):
        check_verifier(rewards, "tests")
    check_verifier(rewards, None)


def test_an_asynchronous_reward_cannot_verify():
    async def later(**columns):
        return [1.0]

    with pytest.raises(ValueError, match="The reward 'later' is asynchronous"):
        check_verifier([later], "later")


def test_an_evaluation_hands_the_verifier_the_columns_of_each_row(monkeypatch, model, tokenizer):
    drawn = Samples([[Completion("a", 1), Completion("b", 1)]] * 2)
    monkeypatch.setattr(benchmark, "sample", lambda *args, **options: drawn)
    rows = [{**ROW, "points": ["a"]}, {**ROW, "points": ["b", "a"]}]
    found = evaluate(model, tokenizer, rows, samples=2, graders=by(scripted))
    assert [one.right for one in found.problems] == [[True, False], [True, True]]
    assert (found["pass@1"], found.settings["verifier"]) == (0.75, "scripted")
    assert "verifier" not in evaluate(model, tokenizer, rows, samples=2).settings


def test_a_suite_keeps_the_tests_of_a_row_where_they_are_read():
    entry = read_suite([{"name": "drill:functions", "split": "test", "config": {"size": 2}}])[0]
    kept = problems_of(entry, "{question}", columns=True)
    assert [json.loads(row["verification_info"])["test_cases"][0]["fn_name"] for row in kept] == ["f", "f"]
    assert all("verification_info" not in row for row in problems_of(entry, "{question}"))
