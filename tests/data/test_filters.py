"""Filters: each with texts a reader can judge by eye."""

import http.server
import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import sample

from trl_r1.data.filters import (
    CRITERION,
    FILTERS,
    NO_VERDICT,
    FilterLimits,
    JudgeError,
    ask,
    check_names,
    decide_right,
    first_objection,
    parts,
)
from trl_r1.models.judge import Failure, Judge
from trl_r1.text.records import Verdict


GOOD = "<think>First I add 2 and 9, which gives 11.</think> <answer>11</answer>"


RIGHT = Verdict(True, "rule")


def objection(text, limits=None, names=tuple(FILTERS), verdict=RIGHT, **changes):
    return first_objection(sample(text, **changes), verdict, limits or FilterLimits(), names).dropped_by or None


@pytest.mark.parametrize(
    ("completion", "changes", "filter_name"),
    [
        (GOOD, {}, None),
        ("  \n", {}, "answered"),
        ("", {"refused": "status 400"}, "answered"),
        (GOOD, {"truncated": True}, "truncated"),
        ("<think>and so on and", {}, "truncated"),
        (GOOD, {"verdict": Verdict(False, "rule", reason="the answer is '12'")}, "right"),
        (GOOD, {"verdict": Verdict()}, "right"),
        ("The answer is 11.", {}, "layout"),
        ("<think>First I add, 然后再加上九，等于十一。</think> <answer>11</answer>", {}, "mixed_language"),
        (GOOD, {"language": "zh"}, "mixed_language"),
        (GOOD, {"language": None}, None),
        ("<think>12 + 9 = 21</think> <answer>21</answer>", {"language": "zh"}, None),  # no word, no language
        (f"<think>{'I go on and on. ' * 100}</think> <answer>1</answer>", {}, "long_paragraphs"),  # 1,600 characters
        ("<think>" + "\n".join(f"Step {i}: I look at number {i * i}, then at {i + 7}." for i in range(60))
         + "</think> <answer>1</answer>", {}, None),  # as long, in short paragraphs, and no step like another
        ("<think>Run this:\n```python\nprint(11)\n```\nSo 11.</think> <answer>11</answer>", {}, "code_blocks"),
        ("<think>I write a function.</think> <answer>\n```python\nprint(11)\n```\n</answer>", {}, None),
        ("<think>" + "so it is eleven, \n" * 20 + "</think> <answer>11</answer>", {}, "repetition"),
    ],
)  # fmt: skip
def test_a_filter_objects_to_its_own_fault(completion, changes, filter_name):
    assert objection(completion, **changes) == filter_name


def test_every_objection_says_what_is_wrong():
    mixed = sample("<think>add 再加上 and then 等于</think> <answer>11</answer>")
    # add, and, then: 3 words; 再加上等于: 5 characters at 1.6 per word = 3.125 words; 3 / 6.125 = 49 %
    assert FILTERS["mixed_language"](mixed, RIGHT, FilterLimits()) == "only 49% of the words are en"
    assert FILTERS["truncated"](sample("x", truncated=True), RIGHT, FilterLimits()) == "the token limit cut it off"
    assert FILTERS["long_paragraphs"](
        sample(f"<think>{'a' * 31}</think> 1"), RIGHT, FilterLimits(longest_paragraph=30)
    ) == ("a paragraph of 31 characters")


def test_the_cold_start_layout_is_taken_apart_by_its_token():
    limits = FilterLimits(layout="cold_start")
    assert parts("|special_token|because|special_token|so", limits) == ("because", "so", True)
    assert parts("|special_token|because", limits) == ("because", "", False)
    assert objection("|special_token|because", limits, names=("truncated",)) == "truncated"
    assert objection("|special_token|```\nx\n```|special_token|so", limits, names=("code_blocks",)) == "code_blocks"


def test_names_keep_the_order_of_the_table_and_unknown_ones_are_told():
    assert check_names(["repetition", "right"]) == ["right", "repetition"]
    with pytest.raises(ValueError, match="No filter is called 'reptition'"):
        check_names(["reptition"])


def test_limits_that_cannot_be_are_refused():
    for changes in ({"layout": "xml"}, {"language_share": 1.2}, {"repeated_share": -0.1}, {"longest_paragraph": 0}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            FilterLimits(**changes)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200), st.sampled_from(["en", "zh", "ja", None]), st.sampled_from(["answer", "cold_start"]))
def test_any_text_is_judged_and_the_first_objection_is_the_first_in_the_table(text, language, layout):
    limits, one = FilterLimits(layout=layout), sample(text, language=language)
    found = first_objection(one, RIGHT, limits, tuple(FILTERS))
    objections = [name for name, objects in FILTERS.items() if objects(one, RIGHT, limits) is not None]
    assert found.dropped_by == (objections[0] if objections else "")
    assert not parts(text, limits)[2] or FILTERS["truncated"](one, RIGHT, limits) is None


# --- right


def test_the_rule_decides_what_it_can_and_says_what_it_read():
    texts = ["<answer>11</answer>", r"\boxed{12}", "no idea", "<answer>11</answer>"]
    samples = [sample(text, gold) for text, gold in zip(texts, ["11", "11", "11", ""], strict=True)]
    assert decide_right(samples, sources=["boxed", "answer"]) == [
        Verdict(True, "rule"),
        Verdict(False, "rule", reason="the answer is '12'"),
        Verdict(False, "rule", reason="no final answer"),
        Verdict(reason="the rule cannot judge it: no gold"),
    ]


class Verdicts(http.server.BaseHTTPRequestHandler):
    """A judge that says 10 when the reference answer's first word is in the reply, else 0; or whatever `says` is."""

    says = None
    asked: list = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        material = json.loads(body["messages"][1]["content"])
        Verdicts.asked.append(material)
        reference = material["prompt"].rpartition("Reference answer: ")[2].split()[0]
        content = self.says or json.dumps({"score": 10 if reference in material["reply"] else 0})
        answer = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        return


@pytest.fixture
def judge():
    Verdicts.says, Verdicts.asked = None, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Verdicts)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Judge(f"http://127.0.0.1:{server.server_port}/v1", "judge", CRITERION, backoff=0.0, attempts=2)
    server.shutdown()
    server.server_close()


def test_the_judge_is_asked_only_where_the_rule_has_nothing_to_say(judge):
    texts = ["<answer>11</answer>", "<answer>Paris, of course</answer>", "<answer>Rome</answer>", "<answer>9</answer>"]
    golds = ["11", "Paris", "Paris", "11"]
    samples = [sample(text, gold, question="q") for text, gold in zip(texts, golds, strict=True)]
    found = decide_right(samples, sources=["answer"], judge_client=judge)
    assert [(verdict.correct, verdict.decided_by) for verdict in found] == [
        (True, "rule"),
        (True, "judge"),
        (False, "judge"),
        (False, "rule"),
    ]
    assert len(Verdicts.asked) == 2
    assert all(entry["prompt"] == "q\n\nReference answer: Paris" for entry in Verdicts.asked)


def test_a_judge_that_returns_no_json_is_one_sentence_and_a_single_lapse_is_none(judge):
    Verdicts.says = "I think it is right!"
    with pytest.raises(JudgeError, match="returned no JSON verdict for any of 2 answers"):
        decide_right([sample("<answer>a b</answer>", "Paris")] * 2, sources=["answer"], judge_client=judge)
    one = decide_right([sample("<answer>a b</answer>", "Paris")], sources=["answer"], judge_client=judge)
    assert one == [Verdict(reason=NO_VERDICT)]


def test_an_answer_too_long_for_the_judge_is_that_answers_fate_alone():
    class Refuses:
        model, endpoint = "judge", "http://127.0.0.1:9/v1"

        def grade(self, pairs):
            return [Failure("status 400"), 1.0][: len(pairs)]

    assert ask(Refuses(), [("q", "a" * 9), ("q", "b")]) == [Failure("status 400"), 1.0]
    Refuses.grade = lambda self, pairs: [Failure("status 400")] * len(pairs)
    with pytest.raises(JudgeError, match=r"for any of 2 answers \(status 400\)"):
        ask(Refuses(), [("q", "a"), ("q", "b")])


def test_a_judge_that_is_down_is_one_sentence():
    down = Judge("http://127.0.0.1:9/v1", "judge", CRITERION, backoff=0.0, attempts=1)
    with pytest.raises(JudgeError, match=r"cannot be asked \(unreachable\)\. Nothing is lost"):
        decide_right([sample("<answer>Rome</answer>", "Paris")], sources=["answer"], judge_client=down)
