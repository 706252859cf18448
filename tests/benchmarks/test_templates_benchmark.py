"""The judge of chat templates finds what is wrong, and the project passes on families of every kind."""

import sys
from dataclasses import replace

import pytest
from places import ROOT
from real_models import real_tokenizer


sys.path.insert(0, str(ROOT / "benchmarks"))
import templates
from templates_adapter import Project, Stock


TAGGED = """{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"""
ENDLESS = """{% for m in messages %}
{{ m['role'] }}: {{ m['content'] }}{% endfor %}{% if add_generation_prompt %}
assistant: {% endif %}"""
FORGETFUL = """{% for m in messages %}[{{ m['role'] }}] {{ m['content'].split('</think>')[-1] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}[assistant] <think>{% endif %}"""


@pytest.fixture(scope="module")
def qwen3():
    family = next(f for f in templates.families() if f.templates == ("qwen3",) and not f.label)
    return family, templates.make_tokenizer(family, False, real_tokenizer)


def judge(qwen3, subject):
    family, tokenizer = qwen3
    cells = templates.Judge(family, templates.shipped()["qwen3"], tokenizer, subject).cells()
    return {(row, check): kind for row, check, kind, _ in cells}


def silent(cells):
    return {cell for cell, kind in cells.items() if kind == "silent"}


def test_every_cell_of_qwen3_is_right(qwen3):
    assert set(judge(qwen3, Project).values()) == {"right"}


class DropsTheThought(Project):
    def trained(self, messages):
        last = {"role": "assistant", "content": messages[-1]["content"].split("</think>")[-1].strip()}
        return super().trained([*messages[:-1], last])


class NeverEnds(Project):
    def trained(self, messages):
        context, labels = super().trained(messages)
        return context, labels[:-1]


class AsksAnotherModel(Project):
    def evaluation_prompt_ids(self, prompt):
        return self.prompt_ids(prompt) + [0]


class TrainsThePrompt(Project):
    def trained(self, messages):
        context, labels = super().trained(messages)
        return context[:-1], [context[-1], *labels]


class LosesTheMarks(Project):
    def rewarded(self, ids, prompt, solution):
        marks = self.tokenizer.convert_tokens_to_ids(["<think>", "</think>"])
        return super().rewarded([token for token in ids if token not in marks], prompt, solution)


class PaysAGuess(Project):
    def evaluated(self, ids, prompt, solution):
        return replace(super().evaluated(ids, prompt, solution), accuracy=1.0)


class Refuses(Project):
    def trained(self, messages):
        raise ValueError("No.")


class Crashes(Project):
    def prompt_ids(self, prompt):
        raise KeyError("content")


@pytest.mark.parametrize(
    ("subject", "check", "rows"),
    [
        (DropsTheThought, "labels", {"content", "key", "several"}),
        (NeverEnds, "labels", set(templates.ROWS)),
        (TrainsThePrompt, "labels", set(templates.ROWS)),
        (AsksAnotherModel, "evaluation prompt", set(templates.ROWS)),
        (PaysAGuess, "unfinished", set(templates.ROWS)),
        (Refuses, "labels", set(templates.ROWS)),  # without a sentence
        (Crashes, "RL prompt", set(templates.ROWS)),
    ],
)
def test_a_fault_is_found_in_its_cells_and_nowhere_else(qwen3, subject, check, rows):
    wrong = silent(judge(qwen3, subject))
    wrong -= {(row, "evaluation prompt") for row in templates.ROWS if subject is Crashes}
    assert wrong == {(row, check) for row in rows}


def test_lost_marks_are_found_in_the_text_and_in_what_is_paid(qwen3):
    checks = {check for _, check in silent(judge(qwen3, LosesTheMarks))}
    assert checks == {"decoded", "finished", "unfinished"}


def test_a_sentence_is_a_refusal(qwen3):
    class Says(Project):
        def trained(self, messages):
            raise ValueError("This template drops the thought; give another with chat_template_path.")

    assert judge(qwen3, Says)["content", "labels"] == "refused"


@pytest.mark.parametrize("template", [TAGGED, ENDLESS, FORGETFUL])
def test_a_template_without_a_table_ends_as_right_or_refused(qwen3, template):
    cells = list(templates.judge_unknown(template, qwen3[1], Project))
    assert [cell for cell in cells if cell[2] == "silent"] == []
    assert len(cells) == 4


def test_and_its_faults_are_found_in_a_whole_run():
    found = templates.run(["made_up"], Stock, lambda line: None, {"made_up": FORGETFUL})
    assert (found["templates"], found["cells"], found["silent"]) == (1, 4, 4)


def test_an_opened_thought_in_special_marks_has_no_silent_cell():
    family = next(f for f in templates.families() if "deepseekv3" in f.templates)
    tokenizer = templates.make_tokenizer(family, True, real_tokenizer)
    cells = list(templates.Judge(family, templates.shipped()["deepseekv3"], tokenizer, Project).cells())
    assert [cell for cell in cells if cell[2] != "right"] == []


def test_a_wrong_table_is_found(qwen3):
    family, tokenizer = qwen3
    with pytest.raises(AssertionError, match="the table of Qwen3 is wrong"):
        templates.Judge(replace(family, prompt_end="<think>\n"), templates.shipped()["qwen3"], tokenizer, Project)


def test_every_shipped_template_has_a_table():
    import trl

    known = {name for family in templates.families() for name in family.templates}
    names = {name.removesuffix("_training") for name in templates.shipped()}
    if trl.__version__.startswith("1.16"):
        assert names == known
        assert len(templates.shipped()) == 59


def test_the_page_keeps_what_stands_around_the_table(tmp_path):
    page = tmp_path / "templates.md"
    page.write_text(f"before\n{templates.START}\nold\n{templates.STOP}\nafter\n")
    cells = [(row, check, "right", "") for row in templates.ROWS for check in templates.CHECKS]
    cells[0] = ("content", "labels", "silent", "why")
    found = {
        "templates": 1,
        "cells": 28,
        "right": 27,
        "refused": 0,
        "silent": 1,
        "rows": [("qwen3", "plain marks", cells)],
    }
    templates.write(page, templates.table(found))
    text = page.read_text()
    assert (text[:7], text[-7:]) == ("before\n", "\nafter\n")
    assert "old" not in text
    assert "| qwen3 | plain marks | **x**+++ | ++++ |" in text
    assert '`{"templates": 1, "cells": 28, "right": 27, "refused": 0, "silent": 1}`' in text
