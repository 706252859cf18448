"""`trl-r1 rewards list` and `try`: every reward in one line; a score, and all that led to it."""

import io
import json
import sys
import types

import pytest

from trl_r1.audit.explain import explain
from trl_r1.commands import call
from trl_r1.commands import rewards as rewards_command
from trl_r1.commands.rewards import headline
from trl_r1.rewards import catalogue
from trl_r1.rewards.accuracy import Accuracy
from trl_r1.rewards.format import Format
from trl_r1.rewards.geometry import Geometry
from trl_r1.rewards.language import LanguageConsistency


def test_list_names_every_reward_with_one_line(capsys):
    assert call("rewards", []) == 0
    printed = capsys.readouterr().out.splitlines()
    listed = {line.split()[0]: line.split(maxsplit=1)[1] for line in printed if line and not line.startswith("Try")}
    assert set(listed) == set(catalogue.installed())
    assert listed["accuracy"].startswith("1.0 if the answer after the thought equals the row's gold answer")
    assert all(len(said) > 20 for said in listed.values())
    assert len(set(listed.values())) == len(listed)
    assert listed["harmlessness"].startswith("How harmless the whole response is")
    assert "``" not in "".join(printed)


def test_a_headline_needs_no_import():
    assert headline("trl.rewards.format_rewards:think_format_reward").startswith("Reward function that checks")
    assert headline("no_such_package.module:thing") == "(no source of no_such_package.module here)"


def test_what_accuracy_saw_and_what_its_options_did():
    found = explain(Accuracy(sources=("boxed",)), r"<think>hm</think>So \boxed{17\cdot 23}.", gold="#### 391")
    assert found.score == 0.0
    assert found.logged == {
        "accuracy_answer": r"17\cdot 23",
        "accuracy_gold": "391",
        "accuracy_verdict": "different",
    }
    assert found.reply[found.reasoning[0] : found.reasoning[1]] == "hm"
    options = {option.name: option for option in found.options}
    assert (options["require_simplified"].other, options["require_simplified"].other_score) == (False, 1.0)
    assert options["sources"].tried  # changed, so its default was tried
    assert not options["seconds"].tried


def test_spans_are_shown_and_sum_to_the_score():
    found = explain(Format(graded=True), "<think>a</think>")
    assert found.score == sum(points for _, _, points in found.spans) == 0.5
    found = explain(LanguageConsistency(), "<think>let us 我们计算 this</think>5", prompt="How many?")
    assert found.logged == {"language_consistency_target": "en"}
    # three Latin words, four Han characters: 3 / (3 + 4 / 1.6) = 0.545...
    assert found.score == pytest.approx(3 / 5.5, abs=1e-12)
    assert sum(points for _, _, points in found.spans) == pytest.approx(found.score, abs=1e-12)
    found = explain(Geometry(), "AB = 5, and the midpoint of AB is (2, 2).", prompt="A(0, 0) and B(3, 4).")
    assert found.spans == [(0, 6, 0.5), (16, 40, 0.0)]  # the middle is (3/2, 2); the prompt knows where A and B are


def test_train_hands_over_to_the_reward_that_is_trained(tmp_path, monkeypatch, capsys):
    given = []
    module = types.SimpleNamespace(
        __doc__="Trains.",
        add_arguments=lambda parser: parser.add_argument("--data"),
        run=lambda args: given.append(args.data) or 3,
    )
    monkeypatch.setitem(sys.modules, "a_training", module)
    monkeypatch.setitem(rewards_command.TRAINERS, "semantic", "a_training")
    assert call("rewards", ["train", "semantic", "--data", "x"]) == 3
    assert given == ["x"]
    assert call("rewards", ["train", "accuracy"]) == 2
    assert "choose from" in capsys.readouterr().err


def test_train_semantic_is_that_command(tmp_path, capsys):
    assert call("rewards", ["train", "semantic", "--data", "/nowhere", "--model", "x", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("trl-r1 rewards train semantic: [Errno 2] No such file")
    assert call("rewards", ["--help"]) == 0
    assert "train the model of a reward (semantic)" in " ".join(capsys.readouterr().out.split())


def test_a_plain_function_and_messages_are_explained_too():
    found = explain(lambda completions, solution, **columns: [None], [{"role": "assistant", "content": "x"}], gold="1")
    assert (found.score, found.reply, found.spans, found.options) == (None, "x", None, [])
    with pytest.raises(ValueError, match="should be a list of one score"):
        explain(lambda completions, **columns: 1.0, "x")


def test_try_reads_an_argument_a_file_messages_or_standard_input(tmp_path, monkeypatch, capsys):
    text, messages = tmp_path / "reply.txt", tmp_path / "reply.json"
    text.write_text(r"\boxed{4}")
    messages.write_text(json.dumps([{"role": "assistant", "content": r"\boxed{4}"}]))
    monkeypatch.setattr("sys.stdin", io.StringIO(r"\boxed{4}"))
    for source in (["--completion", r"\boxed{4}"], ["--file", str(text)], ["--file", str(messages)], []):
        assert call("rewards", ["try", "accuracy", "--gold", "4", *source]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith("score     1\n")
        assert "gold      integer, read as '4': usable" in printed


def test_an_audit_takes_as_many_of_our_rows_as_it_is_told(capsys):
    assert call("rewards", ["audit", "format", "--rows", "2", "--families", "outside_text"]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith(", 2 rows")


def test_try_takes_options_and_columns(capsys):
    assert call("rewards", ["try", "format", "--completion", "<think>a</think>", "--options", '{"graded": true}']) == 0
    printed = capsys.readouterr().out
    assert "score     0.5" in printed
    assert "graded=True  Pay each right tag its share" in printed
    assert "with False the score is 0" in printed
    columns = '{"language": "zh"}'
    assert (
        call(
            "rewards", ["try", "language_consistency", "--completion", "<think>one two</think>", "--columns", columns]
        )
        == 0
    )
    assert "language_consistency_target  'zh'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["formt"], "Did you mean 'format'?"),
        (["format", "--options", "{"], "--options is not JSON"),
        (["format", "--options", "[1]"], "--options is [1]; give dict"),
        (["format", "--options", '{"x": 1}'], "has no option 'x'"),
        (["accuracy"], "accuracy needs a column 'solution'"),
        (["format", "--file", "/nowhere"], "No such file"),
        (["trl_r1.rewards.format:LAYOUTS"], "cannot be called"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(arguments, message, capsys):
    source = [] if "--file" in arguments else ["--completion", "x"]
    assert call("rewards", ["try", *arguments, *source]) == 2
    error = capsys.readouterr().err
    assert error.startswith("trl-r1 rewards: ")
    assert message in error
    assert error.count("\n") == 1
